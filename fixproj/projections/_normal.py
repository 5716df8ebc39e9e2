"""What the sets given by one normal vector share."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import (
    along,
    as_parameter,
    check_length,
    computing_dtype,
    require_finite,
)
from fixproj.projections._norm import direction_and_norm


def as_normal(a: ArrayLike) -> Float[Array, " n"]:
    """Returns `a` as a finite vector, or says what is wrong with it."""
    a = as_parameter(a, "a")
    if a.ndim != 1:
        raise ValueError(f"`a` must have shape (n,), but has shape {a.shape}.")
    return require_finite(a, "a")


def as_offset(value: ArrayLike, name: str) -> Float[Array, ""]:
    """Returns a scalar parameter, or says that it is none."""
    array = as_parameter(value, name)
    if array.ndim != 0:
        raise ValueError(f"`{name}` must be a scalar, but has shape {array.shape}.")
    return array


def measure_along(
    a: Float[Array, " n"], x: Float[Array, "..."], axis: int
) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, ""]]:
    """The unit normal u = a / |a| laid along `axis`, <u, x>, and |a| (1 for a = 0)."""
    check_length("a", a.shape, x, axis)
    dtype = computing_dtype(x)
    unit, length = direction_and_norm(a.astype(dtype), None)
    unit = along(unit, x, axis)
    inner = jnp.sum(unit * x.astype(dtype), axis=axis, keepdims=True)
    length = length.reshape(())
    return unit, inner, jnp.where(length == 0, 1, length)
