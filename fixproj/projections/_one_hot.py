"""One-hot vectors: {r e_1, ..., r e_n}; P(x) = r e_i with x_i the largest entry."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import (
    as_axis,
    as_floating,
    as_radius,
    per_point,
    position,
)
from fixproj.projections._set import AbstractSet


class OneHot(AbstractSet):
    """The points with one entry equal to a number and all others zero.

    Not convex. Of equal entries the first is taken. The derivative with respect to `x`
    is zero, as the set is finite.

    Args:
        radius: the number, not negative: a scalar or an array that broadcasts to the
            batch, the shape of `x` without `axis`.
        axis: the axis of `x` along which a point lies.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if the radius is negative or not finite (a runtime error when it is
            traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import OneHot
        >>> print(OneHot().project(jnp.array([[0.2, 0.3, 0.3], [-1.0, -2.0, -3.0]])))
        [[0. 1. 0.]
         [1. 0. 0.]]
    """

    radius: Float[Array, "..."]
    axis: int = eqx.field(static=True)

    def __init__(self, radius: ArrayLike = 1.0, axis: int = -1):
        self.radius = as_radius(radius)
        self.axis = as_axis(axis)

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns a nearest point.

        Args:
            x: the point or points, of any length n >= 1 along `axis`.

        Returns:
            An array of the shape and dtype of `x`. A point with a NaN gives NaNs.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if `x` has length 0 along `axis`, or the radius does not
                broadcast to the batch.
        """
        x = as_floating(x, "x")
        axis = position(self.axis, x)
        if x.shape[axis] == 0:
            raise ValueError(
                f"`x` of shape {x.shape} must have an entry along axis {self.axis}."
            )
        radius = per_point("radius", self.radius.astype(x.dtype), x, axis)
        first = jnp.expand_dims(jnp.argmax(x, axis), axis)
        shape = [1] * x.ndim
        shape[axis] = x.shape[axis]
        places = jnp.arange(x.shape[axis], dtype=first.dtype).reshape(shape)
        bad = jnp.any(jnp.isnan(x), axis, keepdims=True)
        y = jnp.where(first == places, radius, jnp.zeros_like(radius))
        return jnp.where(bad, jnp.nan, y)
