"""Zero: f(x) = 0; prox(x) = x."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from fixproj.projections._check import as_floating
from fixproj.projections._function import AbstractFunction, as_step, total


class Zero(AbstractFunction):
    """The function that is zero everywhere.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Zero
        >>> print(Zero().prox(jnp.array([1.0, 2.0])))
        [1. 2.]
    """

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        """Returns 0."""
        return total(x, jnp.zeros_like)

    def prox(self, x: PyTree, step: Any = 1.0) -> PyTree:
        """Returns `x`."""
        as_step(step, jnp.float32)
        return jax.tree.map(lambda leaf: as_floating(leaf, "x"), x)
