"""Elastic net: f(x) = a |x|_1 + b |x|^2 / 2; prox(x) = soft(x, s a) / (1 + s b)."""

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


class ElasticNet(AbstractFunction):
    """A weighted sum of the L1 norm and half the squared Euclidean norm.

    Args:
        l1: factor of the L1 norm, a scalar or an array that broadcasts to `x`.
        l2: factor of half the squared norm, likewise.

    Raises:
        TypeError: if a factor is not real.
        ValueError: if one is negative or not finite (a runtime error when traced).

    References:
        H. Zou and T. Hastie (2005), Regularization and variable selection via the
        elastic net.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import ElasticNet
        >>> print(ElasticNet(1.0, 1.0).prox(jnp.array([3.0, -0.5])))
        [1. 0.]
    """

    l1: Float[Array, "..."]
    l2: Float[Array, "..."]

    def __init__(self, l1: ArrayLike = 1.0, l2: ArrayLike = 1.0):
        self.l1 = as_weight(l1, "l1")
        self.l2 = as_weight(l2, "l2")

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        """Returns the value."""
        value = lambda x, a, b: a * jnp.abs(x) + b * x**2 / 2
        return total(x, value, l1=self.l1, l2=self.l2)

    def prox(self, x: PyTree, step: Any = 1.0) -> PyTree:
        """Returns `x`, soft thresholded and scaled."""
        prox = lambda x, s, a, b: soft_threshold(x, s * a) / (1 + s * b)
        return prox_each(x, step, prox, l1=self.l1, l2=self.l2)
