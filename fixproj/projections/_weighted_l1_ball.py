"""Weighted l1 ball: {x : sum w_i |x_i| <= r}; P(x) = sign(x) max(|x| - t w, 0).

t is zero inside, and otherwise the root of sum w_i max(|x_i| - t w_i, 0) = r; see
`_knapsack`.
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
    is_within,
    per_point,
    position,
    require,
)
from fixproj.projections._knapsack import clip_to_plane
from fixproj.projections._set import AbstractSet


class WeightedL1Ball(AbstractSet):
    """The points whose absolute values have a weighted sum of at most the radius.

    An entry of weight zero is free. On the boundary the derivative is that of the
    inside.

    Args:
        weights: weights, not negative, of shape (n,).
        radius: radius, a scalar or an array that broadcasts to the batch: the shape of
            `x` without `axis`.
        axis: the axis of `x`, of length n, along which a point lies.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if the weights have the wrong shape, or a value is negative or not
            finite (a runtime error when it is traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import WeightedL1Ball
        >>> ball = WeightedL1Ball(jnp.array([1.0, 2.0]), 2.0)
        >>> print(ball.project(jnp.array([3.0, -2.0])).round(3))
        [ 2. -0.]
    """

    weights: Float[Array, " n"]
    radius: Float[Array, "..."]
    axis: int = eqx.field(static=True)

    def __init__(self, weights: ArrayLike, radius: ArrayLike = 1.0, axis: int = -1):
        weights = as_parameter(weights, "weights")
        if weights.ndim != 1:
            raise ValueError(
                f"`weights` must have shape (n,), but has shape {weights.shape}."
            )
        self.weights = require(
            weights,
            lambda w: (w >= 0) & jnp.isfinite(w),
            weights,
            message="`weights` must be finite and not negative.",
        )
        self.radius = as_radius(radius)
        self.axis = as_axis(axis)

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns the nearest point of the ball.

        Args:
            x: the point or points, of length n along `axis`.

        Returns:
            An array of the shape and dtype of `x`. A point with a NaN gives NaNs.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if a parameter does not fit the shape of `x`.
        """
        x = as_floating(x, "x")
        check_length("weights", self.weights.shape, x, self.axis)
        axis = position(self.axis, x)
        dtype = computing_dtype(x)
        radius = per_point("radius", self.radius.astype(dtype), x, axis)
        weights = along(self.weights.astype(dtype), x, axis)
        size = jnp.abs(x.astype(dtype))
        lower = jnp.zeros([1] * x.ndim, dtype)
        upper = jnp.full([1] * x.ndim, jnp.inf, dtype)
        shrunk = clip_to_plane(size, weights, lower, upper, radius, axis)
        nearest = (jnp.sign(x.astype(dtype)) * shrunk).astype(x.dtype)
        inside = is_within(jnp.sum(weights * size, axis, keepdims=True), radius)
        return jnp.where(inside, x, nearest)
