r"""Minimax concave penalty: f(x) = sum p(|x_i|).

    p(u) = w u - u^2 / (2 g)   for u <= g w,     g w^2 / 2   for u >= g w.

The prox is the best of the stationary points of the two pieces, each kept within its
piece, and zero: exact for every step.
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
from fixproj.projections._prox._candidates import best, clip


class MCP(AbstractFunction):
    """A nonconvex penalty that, unlike L1, leaves large entries as they are.

    Args:
        weight: slope at zero, a scalar or an array that broadcasts to `x`.
        gamma: where the penalty becomes constant, relative to `weight`; positive.

    Raises:
        TypeError: if an argument is not real.
        ValueError: if one is out of range (a runtime error when traced).

    References:
        C.-H. Zhang (2010), Nearly unbiased variable selection under minimax concave
        penalty.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import MCP
        >>> print(MCP(1.0, 3.0).prox(jnp.array([0.5, 2.0, 9.0])).round(4))
        [0.  1.5 9. ]
    """

    weight: Float[Array, "..."]
    gamma: Float[Array, "..."]

    def __init__(self, weight: ArrayLike = 1.0, gamma: ArrayLike = 3.0):
        self.weight = as_weight(weight)
        self.gamma = as_positive(gamma, "gamma")

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        """Returns the sum of the penalties."""
        value = lambda x, w, g: _penalty(jnp.abs(x), w, g)
        return total(x, value, weight=self.weight, gamma=self.gamma)

    def prox(self, x: PyTree, step: Any = 1.0) -> PyTree:
        """Returns a global minimiser."""
        return prox_each(x, step, _prox, weight=self.weight, gamma=self.gamma)


def _penalty(u, w, g):
    return jnp.where(u <= g * w, w * u - u**2 / (2 * g), g * w**2 / 2)


def _prox(x, s, w, g):
    u = jnp.abs(x)
    curvature = 1 - s / g
    safe = jnp.where(curvature > 0, curvature, 1)
    stationary = jnp.where(curvature > 0, (u - s * w) / safe, 0 * u)
    z = best(
        lambda z: s * _penalty(z, w, g) + (z - u) ** 2 / 2,
        clip(stationary, 0 * u, g * w),
        jnp.where(u >= g * w, u, g * w),
    )
    return jnp.where(x < 0, -z, z) + 0 * x
