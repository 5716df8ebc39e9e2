"""Negative entropy: f(x) = w sum x log x; prox(x) = c omega(x / c - 1 - log c).

Here c = s w, and omega is Wright's omega function, omega + log omega = u.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree

from fixproj.projections._function import (
    AbstractFunction,
    as_positive,
    prox_each,
    total,
)
from fixproj.projections._prox._entropic import entropic_prox, x_log_x


class Entropy(AbstractFunction):
    """The negative (convex) Boltzmann-Shannon entropy.

    Args:
        weight: a positive factor, a scalar or an array that broadcasts to `x`.

    Raises:
        TypeError: if `weight` is not real.
        ValueError: if it is not finite and positive (a runtime error when traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Entropy
        >>> print(Entropy().prox(jnp.array([2.0])))
        [1.]
    """

    weight: Float[Array, "..."]

    def __init__(self, weight: ArrayLike = 1.0):
        self.weight = as_positive(weight, "weight")

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        """Returns the sum of x log x; infinity if an entry is negative."""
        return total(x, lambda x, w: w * x_log_x(x), weight=self.weight)

    def prox(self, x: PyTree, step: Any = 1.0) -> PyTree:
        """Returns the minimiser, which is never negative."""
        prox = lambda x, s, w: entropic_prox(x, s * w, -jnp.ones_like(x))
        return prox_each(x, step, prox, weight=self.weight)
