"""The centre of balls and spheres: a vector, a number for all entries, or zero."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import (
    along,
    as_parameter,
    check_length,
    require_finite,
)


def as_center(center: ArrayLike | None) -> Float[Array, "..."] | None:
    """Returns the centre as a finite scalar or vector; `None` stays."""
    if center is None:
        return None
    center = as_parameter(center, "center")
    if center.ndim > 1:
        raise ValueError(
            "`center` must be a scalar or have shape (n,), but has shape "
            f"{center.shape}."
        )
    return require_finite(center, "center")


def spread_center(
    center: Float[Array, "..."] | None, x: Float[Array, "..."], axis: int, dtype
) -> Float[Array, "..."]:
    """The centre laid along `axis` of `x`, in the dtype to compute in."""
    if center is None:
        return jnp.zeros([1] * x.ndim, dtype)
    if center.ndim == 0:
        return center.astype(dtype).reshape([1] * x.ndim)
    check_length("center", center.shape, x, axis)
    return along(center.astype(dtype), x, axis)
