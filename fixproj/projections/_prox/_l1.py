"""L1 norm: f(x) = sum w |x_i|; prox(x) = sign(x) max(|x| - s w, 0)."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree

from fixproj.projections._function import (
    AbstractFunction,
    as_weight,
    prox_each,
    soft_threshold,
    total,
)


class L1(AbstractFunction):
    """The sum of the moduli of all entries; its prox is soft thresholding.

    Args:
        weight: a factor, a scalar or an array that broadcasts to `x`. For weights along
            one axis see [`fixproj.projections.WeightedL1`][].

    Raises:
        TypeError: if `weight` is not real.
        ValueError: if it is negative or not finite (a runtime error when traced).

    References:
        D. L. Donoho (1995), De-noising by soft-thresholding.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import L1
        >>> print(L1(2.0).prox(jnp.array([3.0, -1.0, -5.0])))
        [ 1.  0. -3.]
    """

    weight: Float[Array, "..."]

    def __init__(self, weight: ArrayLike = 1.0):
        self.weight = as_weight(weight)

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        """Returns the weighted sum of moduli."""
        return total(x, lambda x, w: w * jnp.abs(x), weight=self.weight)

    def prox(self, x: PyTree, step: Any = 1.0) -> PyTree:
        """Returns `x`, moved towards zero by `step * weight`."""
        return prox_each(
            x, step, lambda x, s, w: soft_threshold(x, s * w), weight=self.weight
        )
