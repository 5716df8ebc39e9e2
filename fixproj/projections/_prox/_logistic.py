r"""Logistic loss: f(x) = w sum log(1 + exp(-t_i x_i)), t_i = -1 or 1.

With v = t x, c = s w and S the logistic function, the minimiser z t solves

    F(z) = z - v - c S(-z) = 0.

F increases, is concave for z > 0 and convex for z < 0. The mirror image z -> -z,
v -> -(v + c) has the same form, so the root can be taken as positive. There S(-z) >=
exp(-z) / 2, hence z >= v + q with q = (c / 2) exp(-v - q) (Wright's omega function),
and Newton's iteration from this lower bound rises to the root without overshooting.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree

from fixproj.projections._cross_entropy import _log_omega
from fixproj.projections._function import (
    AbstractFunction,
    as_signs,
    as_weight,
    prox_each,
    total,
)


class Logistic(AbstractFunction):
    """The loss of logistic regression; its prox is solved to machine precision.

    The derivative is that of the implicit function theorem.

    Args:
        labels: -1 or 1, an array that broadcasts to `x`.
        weight: a factor, a scalar or an array that broadcasts to `x`.

    Raises:
        TypeError: if an argument is not real.
        ValueError: if one is out of range (a runtime error when traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Logistic
        >>> z = Logistic(1).prox(jnp.array(0.0), 2.0)
        >>> print(f"{z:.4f} {2 / (1 + jnp.exp(z)):.4f}")
        0.6748 0.6748
    """

    labels: Float[Array, "..."]
    weight: Float[Array, "..."]

    def __init__(self, labels: ArrayLike = 1.0, weight: ArrayLike = 1.0):
        self.labels = as_signs(labels, "labels")
        self.weight = as_weight(weight)

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        """Returns the sum of the losses."""
        value = lambda x, t, w: w * jax.nn.softplus(-t * x)
        return total(x, value, labels=self.labels, weight=self.weight)

    def prox(self, x: PyTree, step: Any = 1.0) -> PyTree:
        """Returns the minimiser."""
        prox = lambda x, s, t, w: t * _solve(t * x, s * w)
        return prox_each(x, step, prox, labels=self.labels, weight=self.weight)


@jax.custom_jvp
def _solve(v: Array, c: Array) -> Array:
    """The z with z = v + c S(-z)."""
    mirrored = v + c / 2 < 0
    v = jnp.where(mirrored, -(v + c), v)
    half = jnp.where(c > 0, c / 2, 1)
    rise = jnp.exp(_log_omega(jnp.log(half) - v))
    z = v + jnp.where(c > 0, rise, 0)
    z = jnp.maximum(z, 0)
    for _ in range(4 if z.dtype == jnp.float32 else 6):
        tail = jax.nn.sigmoid(-z)
        z = z - (z - v - c * tail) / (1 + c * tail * (1 - tail))
    return jnp.where(mirrored, -z, z)


@_solve.defjvp
def _solve_jvp(primals, tangents):
    v, c = primals
    dv, dc = tangents
    z = _solve(v, c)
    tail = jax.nn.sigmoid(-z)
    return z, (dv + tail * dc) / (1 + c * tail * (1 - tail))
