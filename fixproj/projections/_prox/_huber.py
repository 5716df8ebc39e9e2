"""Huber: f(x) = w sum h(x_i), h(x) = x^2/2 if |x| <= d, else d (|x| - d/2).

prox(x) = x / (1 + s w) if |x| <= d (1 + s w), else x - s w d sign(x).
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


class Huber(AbstractFunction):
    """Quadratic near zero, linear far away: least squares that outliers do not rule.

    Args:
        threshold: where the linear part begins, positive; a scalar or an array that
            broadcasts to `x`.
        weight: a factor, likewise, not negative.

    Raises:
        TypeError: if an argument is not real.
        ValueError: if one is out of range (a runtime error when traced).

    References:
        P. J. Huber (1964), Robust estimation of a location parameter.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Huber
        >>> print(Huber(1.0).prox(jnp.array([1.0, 5.0])))
        [0.5 4. ]
    """

    threshold: Float[Array, "..."]
    weight: Float[Array, "..."]

    def __init__(self, threshold: ArrayLike = 1.0, weight: ArrayLike = 1.0):
        self.threshold = as_positive(threshold, "threshold")
        self.weight = as_weight(weight)

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        """Returns the sum over all entries."""

        def value(x, d, w):
            size = jnp.abs(x)
            near = jnp.minimum(size, d)
            return w * (near**2 / 2 + d * (size - near))

        return total(x, value, threshold=self.threshold, weight=self.weight)

    def prox(self, x: PyTree, step: Any = 1.0) -> PyTree:
        """Returns the minimiser."""

        def prox(x, s, d, w):
            near = jnp.abs(x) <= d * (1 + s * w)
            return jnp.where(near, x / (1 + s * w), x - s * w * d * jnp.sign(x))

        return prox_each(x, step, prox, threshold=self.threshold, weight=self.weight)
