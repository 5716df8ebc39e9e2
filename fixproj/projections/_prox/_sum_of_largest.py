"""Sum of the k largest entries: prox(x) = x - P(x), by Moreau's identity.

P projects onto {y : 0 <= y <= c, sum y = k c}, c = s w: c times the set whose support
function is the sum of the k largest.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import (
    as_axis,
    as_floating,
    computing_dtype,
    per_point,
    position,
)
from fixproj.projections._function import AbstractFunction, as_positive, as_step
from fixproj.projections._prox._threshold import capped_sum_projection


class SumOfLargest(AbstractFunction):
    """The sum of the k largest entries (not moduli) of every point.

    Args:
        k: how many, an integer of at least 1 and at most the length of `axis`.
        weight: a positive factor, a scalar or an array that broadcasts to the batch.
        axis: the axis of `x` along which a point lies.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if `k` or `weight` is out of range.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import SumOfLargest
        >>> f, x = SumOfLargest(2), jnp.array([5.0, 4.0, 1.0])
        >>> print(f(x), f.prox(x, 0.5))
        9.0 [4.5 3.5 1. ]
    """

    weight: Float[Array, "..."]
    k: int = eqx.field(static=True)
    axis: int = eqx.field(static=True)

    def __init__(self, k: int, weight: ArrayLike = 1.0, axis: int = -1):
        if isinstance(k, bool) or not isinstance(k, int):
            raise TypeError(f"`k` must be an integer, but was {k!r}.")
        if k < 1:
            raise ValueError(f"`k` must be at least 1, but was {k}.")
        self.k = k
        self.weight = as_positive(weight, "weight")
        self.axis = as_axis(axis)

    def __call__(self, x: Float[ArrayLike, "..."]) -> Float[Array, ""]:
        """Returns the weighted sum of the k largest entries of all points."""
        x, weight = self._prepare(x)
        return jnp.sum(weight * jax.lax.top_k(x, self.k)[0])

    def prox(self, x: Float[ArrayLike, "..."], step: Any = 1.0) -> Float[Array, "..."]:
        """Returns the minimiser: `x` with its largest entries pressed down."""
        dtype = as_floating(x, "x").dtype
        x, weight = self._prepare(x)
        cap = as_step(step, x.dtype) * weight
        z = x - capped_sum_projection(self.k, x, cap)
        return jnp.moveaxis(z, -1, self.axis).astype(dtype)

    def _prepare(self, x):
        x = as_floating(x, "x")
        if x.shape[position(self.axis, x)] < self.k:
            raise ValueError(
                f"`x` of shape {x.shape} has fewer than `k` = {self.k} entries along "
                f"axis {self.axis}."
            )
        dtype = computing_dtype(x)
        x = jnp.moveaxis(x.astype(dtype), self.axis, -1)
        return x, per_point("weight", self.weight.astype(dtype), x, -1)
