r"""Smoothly clipped absolute deviation: f(x) = sum p(|x_i|), p(0) = 0.

    p'(u) = w                     for u <= w
            (a w - u) / (a - 1)   for w <= u <= a w
            0                     for u >= a w

The prox is the best of the stationary points of the three pieces, each kept within its
piece: exact for every step, also where s p(z) + (z - x)^2 / 2 has several minima.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree

from fixproj.projections._check import as_parameter, require
from fixproj.projections._function import (
    AbstractFunction,
    as_weight,
    prox_each,
    total,
)
from fixproj.projections._prox._candidates import best, clip


class SCAD(AbstractFunction):
    """A nonconvex penalty that, unlike L1, leaves large entries as they are.

    Args:
        weight: slope at zero, a scalar or an array that broadcasts to `x`.
        a: where the penalty becomes constant, relative to `weight`; greater than 2.

    Raises:
        TypeError: if an argument is not real.
        ValueError: if one is out of range (a runtime error when traced).

    References:
        J. Fan and R. Li (2001), Variable selection via nonconcave penalized likelihood
        and its oracle properties.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import SCAD
        >>> print(SCAD(1.0).prox(jnp.array([0.5, 1.5, 9.0])))
        [0.  0.5 9. ]
    """

    weight: Float[Array, "..."]
    a: Float[Array, "..."]

    def __init__(self, weight: ArrayLike = 1.0, a: ArrayLike = 3.7):
        self.weight = as_weight(weight)
        self.a = require(
            as_parameter(a, "a"),
            lambda a: (a > 2) & jnp.isfinite(a),
            as_parameter(a, "a"),
            message="`a` must be finite and greater than 2.",
        )

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        """Returns the sum of the penalties."""
        value = lambda x, w, a: _penalty(jnp.abs(x), w, a)
        return total(x, value, weight=self.weight, a=self.a)

    def prox(self, x: PyTree, step: Any = 1.0) -> PyTree:
        """Returns a global minimiser."""
        return prox_each(x, step, _prox, weight=self.weight, a=self.a)


def _penalty(u, w, a):
    middle = (2 * a * w * u - u**2 - w**2) / (2 * (a - 1))
    flat = w**2 * (a + 1) / 2
    return jnp.where(u <= w, w * u, jnp.where(u <= a * w, middle, flat))


def _prox(x, s, w, a):
    u = jnp.abs(x)
    curvature = a - 1 - s
    # Where the middle piece is concave its best point is an end, which is a candidate
    # of a neighbour.
    safe = jnp.where(curvature > 0, curvature, 1)
    stationary = jnp.where(curvature > 0, ((a - 1) * u - s * a * w) / safe, w)
    z = best(
        lambda z: s * _penalty(z, w, a) + (z - u) ** 2 / 2,
        clip(u - s * w, 0 * u, w),
        clip(stationary, w, a * w),
        jnp.where(u >= a * w, u, a * w),
    )
    return jnp.where(x < 0, -z, z) + 0 * x
