"""Box: {x : lower <= x <= upper}; P(x) = min(max(x, lower), upper), entry by entry."""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import (
    as_floating,
    as_parameter,
    broadcast,
    computing_dtype,
    require,
)
from fixproj.projections._set import AbstractSet


class Box(AbstractSet):
    """The points whose entries lie between a lower and an upper bound.

    All of `x` is one point. On a bound the derivative is that of the bound: zero with
    respect to `x`, one with respect to the bound. So `lower == upper` fixes an entry.

    Args:
        lower: smallest values, a scalar or an array that broadcasts to `x`; `-inf` for
            no bound.
        upper: largest values, likewise; `inf` for no bound.

    Raises:
        TypeError: if a bound is not real.
        ValueError: if the shapes of the bounds do not broadcast, or a bound is NaN, or
            no real number lies between them (a runtime error when they are traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Box
        >>> print(Box(0.0, jnp.array([1.0, jnp.inf])).project(jnp.array([-2.0, 5.0])))
        [0. 5.]
    """

    lower: Float[Array, "..."]
    upper: Float[Array, "..."]
    axis: ClassVar[None] = None

    def __init__(self, lower: ArrayLike, upper: ArrayLike):
        lower = as_parameter(lower, "lower")
        upper = as_parameter(upper, "upper")
        try:
            np.broadcast_shapes(lower.shape, upper.shape)
        except ValueError as error:
            raise ValueError(
                f"`lower` of shape {lower.shape} and `upper` of shape {upper.shape} "
                "do not broadcast to each other."
            ) from error
        self.lower = require(
            lower,
            _leaves_a_number,
            lower,
            upper,
            message=(
                "`lower` must not be larger than `upper`, nor NaN, nor may both be "
                "the same infinity."
            ),
        )
        self.upper = upper

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns the nearest point of the box.

        Args:
            x: the point, of any shape to which the bounds broadcast.

        Returns:
            An array of the shape and dtype of `x`. A NaN stays one.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if a bound does not broadcast to the shape of `x`.
        """
        x = as_floating(x, "x")
        target = f"the shape {x.shape} of `x`"
        lower = broadcast("lower", self.lower.astype(x.dtype), x.shape, target)
        upper = broadcast("upper", self.upper.astype(x.dtype), x.shape, target)
        # Not `clip`: its derivative at a tie is the mean of both sides, which would
        # give a fixed entry (lower == upper) a derivative with respect to x.
        return jnp.where(x <= lower, lower, jnp.where(x >= upper, upper, x))


def _leaves_a_number(lower, upper):
    shape = np.broadcast_shapes(lower.shape, upper.shape)
    dtype = computing_dtype(lower, upper)
    lower = jnp.broadcast_to(lower.astype(dtype), shape)
    upper = jnp.broadcast_to(upper.astype(dtype), shape)
    return (lower <= upper) & (lower < jnp.inf) & (upper > -jnp.inf)
