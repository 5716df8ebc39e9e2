"""Euclidean sphere: {x : |x - c| = r}; P(x) = c + r (x - c) / |x - c|."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._center import as_center, spread_center
from fixproj.projections._check import (
    as_axis,
    as_floating,
    as_radius,
    computing_dtype,
    per_point,
    position,
)
from fixproj.projections._norm import direction_and_norm
from fixproj.projections._set import AbstractSet


class L2Sphere(AbstractSet):
    """The points at a Euclidean distance from a centre.

    Not convex. From the centre all points are equally near; the one in the direction
    of the first axis is taken, with a derivative of zero.

    Args:
        radius: radius, a scalar or an array that broadcasts to the batch: the shape of
            `x` without `axis`.
        center: centre, of shape (n,), or a scalar for all entries, or `None` for zero.
        axis: the axis of `x`, of length n, along which a point lies.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if the radius is negative, or a value is not finite (a runtime error
            when it is traced), or the centre has more than one axis.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import L2Sphere
        >>> print(L2Sphere(10.0).project(jnp.array([[12.0, 16.0], [0.0, 0.0]])))
        [[ 6.  8.]
         [10.  0.]]
    """

    radius: Float[Array, "..."]
    center: Float[Array, "..."] | None
    axis: int = eqx.field(static=True)

    def __init__(
        self,
        radius: ArrayLike = 1.0,
        center: ArrayLike | None = None,
        axis: int = -1,
    ):
        self.radius = as_radius(radius)
        self.center = as_center(center)
        self.axis = as_axis(axis)

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns a nearest point of the sphere.

        Args:
            x: the point or points, of length n >= 1 along `axis`.

        Returns:
            An array of the shape and dtype of `x`.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if `x` has length 0 along `axis`, or the radius or centre does
                not fit its shape.
        """
        x = as_floating(x, "x")
        axis = position(self.axis, x)
        if x.shape[axis] == 0:
            raise ValueError(
                f"`x` of shape {x.shape} must have an entry along axis {self.axis}."
            )
        dtype = computing_dtype(x)
        radius = per_point("radius", self.radius.astype(dtype), x, axis)
        center = spread_center(self.center, x, axis, dtype)
        direction, norm = direction_and_norm(x.astype(dtype) - center, axis)
        shape = [1] * x.ndim
        shape[axis] = x.shape[axis]
        first = (jnp.arange(x.shape[axis]) == 0).astype(dtype).reshape(shape)
        direction = jnp.where(norm == 0, first, direction)
        return (center + radius * direction).astype(x.dtype)
