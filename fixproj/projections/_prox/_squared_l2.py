"""Squared Euclidean norm: f(x) = w |x|^2 / 2; prox(x) = x / (1 + s w)."""

from typing import Any

from jaxtyping import Array, ArrayLike, Float, PyTree

from fixproj.projections._function import (
    AbstractFunction,
    as_weight,
    prox_each,
    total,
)


class SquaredL2(AbstractFunction):
    """Half the weighted sum of squares: ridge.

    Args:
        weight: a factor, a scalar or an array that broadcasts to `x`.

    Raises:
        TypeError: if `weight` is not real.
        ValueError: if it is negative or not finite (a runtime error when traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import SquaredL2
        >>> print(SquaredL2(3.0).prox(jnp.array([4.0, -8.0])))
        [ 1. -2.]
    """

    weight: Float[Array, "..."]

    def __init__(self, weight: ArrayLike = 1.0):
        self.weight = as_weight(weight)

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        """Returns half the weighted sum of squares."""
        return total(x, lambda x, w: w * x**2 / 2, weight=self.weight)

    def prox(self, x: PyTree, step: Any = 1.0) -> PyTree:
        """Returns `x / (1 + step * weight)`."""
        return prox_each(x, step, lambda x, s, w: x / (1 + s * w), weight=self.weight)
