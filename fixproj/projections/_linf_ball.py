"""Maximum-norm ball: {x : max |x_i - c_i| <= r}; P(x) = c + clip(x - c, -r, r)."""

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
from fixproj.projections._set import AbstractSet


class LinfBall(AbstractSet):
    """The points whose entries all lie within a distance of the centre's.

    On the boundary the derivative is that of the bound.

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
        >>> from fixproj.projections import LinfBall
        >>> print(LinfBall(2.0).project(jnp.array([-3.0, 1.0, 5.0])))
        [-2.  1.  2.]
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
        """Returns the nearest point of the ball.

        Args:
            x: the point or points, of length n along `axis`.

        Returns:
            An array of the shape and dtype of `x`. A NaN stays one.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if the radius or centre does not fit the shape of `x`.
        """
        x = as_floating(x, "x")
        axis = position(self.axis, x)
        dtype = computing_dtype(x)
        radius = per_point("radius", self.radius.astype(dtype), x, axis)
        center = spread_center(self.center, x, axis, dtype)
        upper = (center + radius).astype(x.dtype)
        lower = (center - radius).astype(x.dtype)
        return jnp.where(x <= lower, lower, jnp.where(x >= upper, upper, x))
