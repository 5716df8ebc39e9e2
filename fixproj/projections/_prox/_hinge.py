"""Hinge loss: f(x) = w sum max(0, 1 - t_i x_i), t_i = -1 or 1.

With v = t x:  t prox(x) = v if v >= 1,  v + s w if v <= 1 - s w,  else 1.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree

from fixproj.projections._function import (
    AbstractFunction,
    as_signs,
    as_weight,
    prox_each,
    total,
)


class Hinge(AbstractFunction):
    """The loss of support vector machines.

    Args:
        labels: -1 or 1, an array that broadcasts to `x`.
        weight: a factor, a scalar or an array that broadcasts to `x`.

    Raises:
        TypeError: if an argument is not real.
        ValueError: if one is out of range (a runtime error when traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Hinge
        >>> print(Hinge(jnp.array([1, 1, -1])).prox(jnp.array([2.0, 0.5, 3.0])))
        [2. 1. 2.]
    """

    labels: Float[Array, "..."]
    weight: Float[Array, "..."]

    def __init__(self, labels: ArrayLike = 1.0, weight: ArrayLike = 1.0):
        self.labels = as_signs(labels, "labels")
        self.weight = as_weight(weight)

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        """Returns the sum of the losses."""
        value = lambda x, t, w: w * jnp.maximum(1 - t * x, 0)
        return total(x, value, labels=self.labels, weight=self.weight)

    def prox(self, x: PyTree, step: Any = 1.0) -> PyTree:
        """Returns the minimiser."""

        def prox(x, s, t, w):
            v = t * x
            moved = jnp.where(v <= 1 - s * w, v + s * w, 1 + 0 * v)
            return t * jnp.where(v >= 1, v, moved)

        return prox_each(x, step, prox, labels=self.labels, weight=self.weight)
