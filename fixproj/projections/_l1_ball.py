"""l1 ball: {x : sum |x_i| <= r}; outside, P(x) = sign(x) max(|x| - t, 0).

Outside, |P(x)| is the projection of |x| onto the simplex of the same radius: J. Duchi,
S. Shalev-Shwartz, Y. Singer, T. Chandra, "Efficient projections onto the l1-ball for
learning in high dimensions" (2008), section 4.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import (
    as_axis,
    as_floating,
    as_radius,
    computing_dtype,
    is_within,
    per_point,
    position,
)
from fixproj.projections._set import AbstractSet
from fixproj.projections._simplex import project_to_simplex


class L1Ball(AbstractSet):
    """The points whose absolute values sum to at most the radius.

    On the boundary the derivative is that of the inside.

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
        >>> from fixproj.projections import L1Ball
        >>> print(L1Ball(2.0).project(jnp.array([[3.0, -2.0, 0.5], [1.0, 0.0, -0.5]])))
        [[ 1.5 -0.5  0. ]
         [ 1.   0.  -0.5]]
    """

    radius: Float[Array, "..."]
    axis: int = eqx.field(static=True)

    def __init__(self, radius: ArrayLike = 1.0, axis: int = -1):
        self.radius = as_radius(radius)
        self.axis = as_axis(axis)

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns the nearest point of the ball.

        Args:
            x: the point or points, of any length along `axis`.

        Returns:
            An array of the shape and dtype of `x`. A point with a NaN gives NaNs.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if the radius does not broadcast to the batch.
        """
        x = as_floating(x, "x")
        axis = position(self.axis, x)
        if x.shape[axis] == 0:
            return x
        dtype = computing_dtype(x)
        radius = per_point("radius", self.radius.astype(dtype), x, axis)
        size = jnp.abs(x.astype(dtype))
        shrunk = project_to_simplex(axis, size, radius)
        nearest = (jnp.sign(x.astype(dtype)) * shrunk).astype(x.dtype)
        inside = is_within(jnp.sum(size, axis, keepdims=True), radius)
        return jnp.where(inside, x, nearest)
