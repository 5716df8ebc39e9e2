"""Logarithmic barrier: f(x) = -w sum log x_i; prox(x) = (x + sqrt(x^2 + 4 s w)) / 2."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree

from fixproj.projections._function import (
    AbstractFunction,
    as_positive,
    prox_each,
    total,
)


class LogBarrier(AbstractFunction):
    """Keeps entries positive, as interior-point methods do.

    Args:
        weight: a positive factor, a scalar or an array that broadcasts to `x`.

    Raises:
        TypeError: if `weight` is not real.
        ValueError: if it is not finite and positive (a runtime error when traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import LogBarrier
        >>> print(LogBarrier().prox(jnp.array([0.0, 1.5, -1e4])))
        [1.e+00 2.e+00 1.e-04]
    """

    weight: Float[Array, "..."]

    def __init__(self, weight: ArrayLike = 1.0):
        self.weight = as_positive(weight, "weight")

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        """Returns the barrier; infinity if an entry is not positive."""

        def value(x, w):
            safe = jnp.where(x > 0, x, 1)
            return jnp.where(x <= 0, jnp.inf, -w * jnp.log(safe) + 0 * x)

        return total(x, value, weight=self.weight)

    def prox(self, x: PyTree, step: Any = 1.0) -> PyTree:
        """Returns the minimiser, which is positive."""
        return prox_each(
            x, step, lambda x, s, w: _positive_root(x, s * w), weight=self.weight
        )


@jax.custom_jvp
def _positive_root(x: Array, c: Array) -> Array:
    """The z > 0 with z - c / z = x."""
    root = jnp.hypot(x, 2 * jnp.sqrt(c))
    # For negative x the two terms of the formula cancel.
    return jnp.where(x < 0, 2 * c / (root - x), (x + root) / 2)


@_positive_root.defjvp
def _positive_root_jvp(primals, tangents):
    x, c = primals
    dx, dc = tangents
    z = _positive_root(x, c)
    return z, (dx + dc / z) / (1 + c / z / z)
