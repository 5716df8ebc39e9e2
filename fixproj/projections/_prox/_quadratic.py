"""Quadratic form: f(x) = x' P x / 2 + q' x; prox(x) = (I + s P)^{-1} (x - s q)."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import (
    as_axis,
    as_floating,
    as_parameter,
    check_length,
    computing_dtype,
    require,
    require_finite,
)
from fixproj.projections._function import AbstractFunction, as_step
from fixproj.projections._prox._spectrum import product, shifted_solve


class Quadratic(AbstractFunction):
    """A convex quadratic function, given by its matrix and its linear term.

    `P` is factorised once, at construction, for all steps. To change `P` build a new
    function: the leaf alone would leave the factors behind.

    Args:
        P: symmetric positive semidefinite matrix of shape (n, n).
        q: linear term of shape (n,); None for zero.
        axis: the axis of `x`, of length n, along which a point lies.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a shape is wrong, a value is not finite, or `P` is not symmetric
            or has a negative eigenvalue (a runtime error when traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Quadratic
        >>> f = Quadratic(jnp.diag(jnp.array([1.0, 3.0])), jnp.array([1.0, 0.0]))
        >>> print(f.prox(jnp.array([3.0, 4.0])))
        [1. 1.]
    """

    P: Float[Array, "n n"]
    q: Float[Array, " n"]
    _basis: Float[Array, "n n"]
    _values: Float[Array, " n"]
    axis: int = eqx.field(static=True)

    def __init__(self, P: ArrayLike, q: ArrayLike | None = None, axis: int = -1):
        P = require_finite(as_parameter(P, "P"), "P")
        if P.ndim != 2 or P.shape[0] != P.shape[1]:
            raise ValueError(f"`P` must have shape (n, n), but has shape {P.shape}.")
        q = jnp.zeros(P.shape[:1], P.dtype) if q is None else as_parameter(q, "q")
        if q.shape != P.shape[:1]:
            raise ValueError(
                f"`q` must have shape {P.shape[:1]} to go with `P` of shape {P.shape}, "
                f"but has shape {q.shape}."
            )
        self.q = require_finite(q, "q")
        eps = float(jnp.finfo(P.dtype).eps)
        P = require(
            P,
            lambda P: (
                jnp.max(jnp.abs(P - P.T), initial=0)
                <= 1e3 * eps * jnp.max(jnp.abs(P), initial=0)
            ),
            P,
            message="`P` must be symmetric.",
        )
        wide = lax.stop_gradient(P).astype(computing_dtype(P))
        values, self._basis = jnp.linalg.eigh((wide + wide.T) / 2)
        self.P = require(
            P,
            lambda v: (
                jnp.min(v, initial=0)
                >= -1e2 * eps * v.size * jnp.max(jnp.abs(v), initial=0)
            ),
            values,
            message="`P` must be positive semidefinite.",
        )
        self._values = jnp.maximum(values, 0)
        self.axis = as_axis(axis)

    def __call__(self, x: Float[ArrayLike, "..."]) -> Float[Array, ""]:
        """Returns the value, summed over the points."""
        x = self._prepare(x)
        return jnp.sum(x * (self._times(x) / 2 + self._linear(x)))

    def prox(self, x: Float[ArrayLike, "..."], step: Any = 1.0) -> Float[Array, "..."]:
        """Returns the minimiser."""
        dtype = as_floating(x, "x").dtype
        x = self._prepare(x)
        step = as_step(step, x.dtype)
        right = x - step * self._linear(x)
        z = shifted_solve(self._times, self._basis, self._values, right, step)
        return jnp.moveaxis(z, -1, self.axis).astype(dtype)

    def _times(self, x):
        P = self.P.astype(x.dtype)
        return product(x, (P + P.T) / 2)

    def _linear(self, x):
        return self.q.astype(x.dtype).reshape([1] * (x.ndim - 1) + [-1])

    def _prepare(self, x):
        x = as_floating(x, "x")
        check_length("P", self.P.shape, x, self.axis)
        return jnp.moveaxis(x.astype(computing_dtype(x)), self.axis, -1)
