"""Weighted L1 norm: f(x) = sum w_i |x_i|; prox(x)_i = sign(x_i) max(|x_i| - s w_i, 0).

The weights lie along one axis, the other axes of x are a batch.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import along, as_axis, as_floating, check_length
from fixproj.projections._function import (
    AbstractFunction,
    as_weight,
    prox_each,
    soft_threshold,
    total,
)


class WeightedL1(AbstractFunction):
    """The sum of moduli with one weight for each entry along an axis.

    Args:
        weights: shape (n,), not negative.
        axis: the axis of `x`, of length n, along which a point lies.

    Raises:
        TypeError: if `weights` is not real.
        ValueError: if a weight is negative or not finite (a runtime error when traced),
            or `weights` does not have one axis.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import WeightedL1
        >>> print(WeightedL1(jnp.array([1.0, 3.0])).prox(jnp.array([2.0, 2.0])))
        [1. 0.]
    """

    weights: Float[Array, " n"]
    axis: int = eqx.field(static=True)

    def __init__(self, weights: ArrayLike, axis: int = -1):
        self.weights = as_weight(weights, "weights")
        if self.weights.ndim != 1:
            raise ValueError(
                f"`weights` must have shape (n,), but has shape {self.weights.shape}."
            )
        self.axis = as_axis(axis)

    def __call__(self, x: Float[ArrayLike, "..."]) -> Float[Array, ""]:
        """Returns the weighted sum of moduli."""
        x = as_floating(x, "x")
        return total(x, lambda x, w: w * jnp.abs(x), weights=self._laid(x))

    def prox(self, x: Float[ArrayLike, "..."], step: Any = 1.0) -> Float[Array, "..."]:
        """Returns `x`, every entry moved towards zero by `step` times its weight."""
        x = as_floating(x, "x")
        return prox_each(
            x, step, lambda x, s, w: soft_threshold(x, s * w), weights=self._laid(x)
        )

    def _laid(self, x):
        check_length("weights", self.weights.shape, x, self.axis)
        return along(self.weights, x, self.axis)
