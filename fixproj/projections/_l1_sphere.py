"""l1 sphere: {x : sum |x_i| = r}; P(x) = s y, with s the signs of x (+1 for zero).

y is the projection of |x| onto the simplex of radius r: a nearest point has the signs
of x.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import (
    as_axis,
    as_floating,
    as_radius,
    computing_dtype,
    per_point,
    position,
)
from fixproj.projections._set import AbstractSet
from fixproj.projections._simplex import project_to_simplex


class L1Sphere(AbstractSet):
    """The points whose absolute values sum to the radius.

    Not convex. Where an entry of `x` is zero and both signs are equally near, the
    result is positive.

    Args:
        radius: radius, a scalar or an array that broadcasts to the batch: the shape of
            `x` without `axis`.
        axis: the axis of `x` along which a point lies.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if the radius is negative or not finite (a runtime error when it is
            traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import L1Sphere
        >>> print(L1Sphere(2.0).project(jnp.array([[0.0, -1.0], [4.0, -1.0]])))
        [[ 0.5 -1.5]
         [ 2.  -0. ]]
    """

    radius: Float[Array, "..."]
    axis: int = eqx.field(static=True)

    def __init__(self, radius: ArrayLike = 1.0, axis: int = -1):
        self.radius = as_radius(radius)
        self.axis = as_axis(axis)

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns a nearest point of the sphere.

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
        dtype = computing_dtype(x)
        radius = per_point("radius", self.radius.astype(dtype), x, axis)
        wide = x.astype(dtype)
        signs = jnp.where(wide < 0, -1, 1).astype(dtype)
        # Not `abs`, whose derivative at zero is zero.
        return (signs * project_to_simplex(axis, signs * wide, radius)).astype(x.dtype)
