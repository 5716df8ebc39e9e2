"""Number of nonzeros: f(x) = w #{i : x_i != 0}; prox keeps x_i if x_i^2 > 2 s w.

Not convex; at |x_i| = sqrt(2 s w) both values are minimisers, and 0 is taken.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree

from fixproj.projections._function import (
    AbstractFunction,
    as_weight,
    prox_each,
    total,
)


class L0(AbstractFunction):
    """The number of nonzero entries; its prox is hard thresholding.

    Args:
        weight: a factor, a scalar or an array that broadcasts to `x`.

    Raises:
        TypeError: if `weight` is not real.
        ValueError: if it is negative or not finite (a runtime error when traced).

    References:
        T. Blumensath and M. E. Davies (2008), Iterative thresholding for sparse
        approximations.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import L0
        >>> print(L0(2.0).prox(jnp.array([1.5, -3.0])))
        [ 0. -3.]
    """

    weight: Float[Array, "..."]

    def __init__(self, weight: ArrayLike = 1.0):
        self.weight = as_weight(weight)

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        """Returns the weighted number of nonzeros."""
        value = lambda x, w: jnp.where(x == 0, 0 * x, w + 0 * x)
        return total(x, value, weight=self.weight)

    def prox(self, x: PyTree, step: Any = 1.0) -> PyTree:
        """Returns the entries that are large enough, and zeros."""

        def prox(x, s, w):
            # The root of zero has an infinite derivative, and squares overflow.
            return jnp.where(jnp.abs(x) <= jnp.sqrt(2 * s * w), 0 * x, x)

        return prox_each(x, step, prox, weight=self.weight)
