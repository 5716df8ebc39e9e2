"""Capped simplex: {x : 0 <= x <= upper, sum x = r}; P(x) = clip(x - t, 0, upper).

The threshold t is the one for which the entries sum to r; see `_knapsack`.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import (
    along,
    as_axis,
    as_floating,
    as_parameter,
    as_radius,
    check_length,
    computing_dtype,
    per_point,
    position,
    require,
)
from fixproj.projections._knapsack import clip_to_plane
from fixproj.projections._set import AbstractSet


class CappedSimplex(AbstractSet):
    """The points with entries between zero and a cap that sum to the radius.

    With caps of one and an integer radius k, its corners are the choices of k entries.

    Args:
        radius: sum of the entries, a scalar or an array that broadcasts to the batch:
            the shape of `x` without `axis`.
        upper: largest values, a scalar or of shape (n,); `inf` for no cap.
        axis: the axis of `x` along which a point lies.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if the radius is negative or not finite, or a cap is negative or
            NaN (a runtime error when they are traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import CappedSimplex
        >>> print(CappedSimplex(2.0, 1.0).project(jnp.array([3.0, 0.5, 0.5, -1.0])))
        [1.  0.5 0.5 0. ]
    """

    radius: Float[Array, "..."]
    upper: Float[Array, "..."]
    axis: int = eqx.field(static=True)

    def __init__(self, radius: ArrayLike = 1.0, upper: ArrayLike = 1.0, axis: int = -1):
        self.radius = as_radius(radius)
        upper = as_parameter(upper, "upper")
        if upper.ndim > 1:
            raise ValueError(
                f"`upper` must be a scalar or have shape (n,), but has shape "
                f"{upper.shape}."
            )
        self.upper = require(
            upper, lambda u: u >= 0, upper, message="`upper` must not be negative."
        )
        self.axis = as_axis(axis)

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns the nearest point.

        Args:
            x: the point or points, of length n along `axis`.

        Returns:
            An array of the shape and dtype of `x`. A point with a NaN gives NaNs.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if a parameter does not fit the shape of `x`, or the caps sum to
                less than the radius (a runtime error when they are traced).
        """
        x = as_floating(x, "x")
        axis = position(self.axis, x)
        n = x.shape[axis]
        if self.upper.ndim == 1:
            check_length("upper", self.upper.shape, x, axis)
        upper = jnp.broadcast_to(self.upper, (n,))
        radius = require(
            self.radius,
            _fits,
            self.radius,
            upper,
            message=f"`radius` must not exceed the sum of the {n} caps `upper`.",
        )
        dtype = computing_dtype(x)
        radius = per_point("radius", radius.astype(dtype), x, axis)
        upper = along(upper.astype(dtype), x, axis)
        one = jnp.ones([1] * x.ndim, dtype)
        y = clip_to_plane(
            x.astype(dtype), one, jnp.zeros_like(one), upper, radius, axis
        )
        return y.astype(x.dtype)


def _fits(radius, upper):
    dtype = computing_dtype(radius, upper)
    room = jnp.sum(upper.astype(dtype))
    eps = float(jnp.finfo(dtype).eps)
    return radius.astype(dtype) <= room * (1 + 8 * eps)
