"""Kullback-Leibler divergence from a reference: f(x) = w sum x log(x / t) - x + t.

prox(x) = c omega(x / c + log(t / c)), c = s w, omega Wright's omega function.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree

from fixproj.projections._function import (
    AbstractFunction,
    as_positive,
    as_weight,
    prox_each,
    total,
)
from fixproj.projections._prox._entropic import entropic_prox, x_log_x


class KL(AbstractFunction):
    """The generalised relative entropy of `x` with respect to a reference.

    Args:
        reference: t >= 0, a scalar or an array that broadcasts to `x`. Where it is 0,
            `x` must be 0.
        weight: a positive factor, likewise.

    Raises:
        TypeError: if an argument is not real.
        ValueError: if one is out of range (a runtime error when traced).

    References:
        R. M. Corless and D. J. Jeffrey (2002), The Wright omega function.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import KL
        >>> print(KL(2.0).prox(jnp.array([2.0, -1e6])))
        [2. 0.]
    """

    reference: Float[Array, "..."]
    weight: Float[Array, "..."]

    def __init__(self, reference: ArrayLike = 1.0, weight: ArrayLike = 1.0):
        self.reference = as_weight(reference, "reference")
        self.weight = as_positive(weight, "weight")

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        """Returns the divergence; infinity if an entry is negative."""

        def value(x, t, w):
            log_t = jnp.log(jnp.where(t > 0, t, 1))
            inside = x_log_x(x) - x * log_t - x + t
            return w * jnp.where((t > 0) | (x == 0), inside, jnp.inf)

        return total(x, value, reference=self.reference, weight=self.weight)

    def prox(self, x: PyTree, step: Any = 1.0) -> PyTree:
        """Returns the minimiser, which is never negative."""

        def prox(x, s, t, w):
            log_t = jnp.log(jnp.where(t > 0, t, 1))
            return jnp.where(t > 0, entropic_prox(x, s * w, log_t), 0 * x)

        return prox_each(x, step, prox, reference=self.reference, weight=self.weight)
