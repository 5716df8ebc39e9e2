"""Least squares: f(x) = |A x - b|^2 / 2; prox(x) = (I + s A'A)^{-1} (x + s A'b)."""

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
    require_finite,
)
from fixproj.projections._function import AbstractFunction, as_step
from fixproj.projections._prox._spectrum import product, shifted_solve


class LeastSquares(AbstractFunction):
    """Half the squared residual of a system of linear equations.

    `A` is factorised once (a singular value decomposition), at construction, for all
    steps. To change `A` build a new function: the leaf alone would leave the factors
    behind.

    Args:
        A: matrix of shape (m, n), of any rank.
        b: right-hand side of shape (m,).
        axis: the axis of `x`, of length n, along which a point lies.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a shape is wrong or a value is not finite.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import LeastSquares
        >>> f = LeastSquares(jnp.array([[1.0, 0.0]]), jnp.array([2.0]))
        >>> print(f.prox(jnp.array([4.0, 5.0])))
        [3. 5.]
    """

    A: Float[Array, "m n"]
    b: Float[Array, " m"]
    _basis: Float[Array, "n k"]
    _values: Float[Array, " k"]
    axis: int = eqx.field(static=True)

    def __init__(self, A: ArrayLike, b: ArrayLike, axis: int = -1):
        A, b = as_parameter(A, "A"), as_parameter(b, "b")
        if A.ndim != 2:
            raise ValueError(f"`A` must have shape (m, n), but has shape {A.shape}.")
        if b.shape != A.shape[:1]:
            raise ValueError(
                f"`b` must have shape ({A.shape[0]},) to go with `A` of shape "
                f"{A.shape}, but has shape {b.shape}."
            )
        self.A, self.b = require_finite(A, "A"), require_finite(b, "b")
        wide = lax.stop_gradient(A).astype(computing_dtype(A))
        _, singular, right = jnp.linalg.svd(wide, full_matrices=False)
        self._basis, self._values = right.T, singular**2
        self.axis = as_axis(axis)

    def __call__(self, x: Float[ArrayLike, "..."]) -> Float[Array, ""]:
        """Returns the value, summed over the points."""
        x = self._prepare(x)
        b = self.b.astype(x.dtype).reshape([1] * (x.ndim - 1) + [-1])
        return jnp.sum((product(x, self.A.astype(x.dtype).T) - b) ** 2) / 2

    def prox(self, x: Float[ArrayLike, "..."], step: Any = 1.0) -> Float[Array, "..."]:
        """Returns the minimiser."""
        dtype = as_floating(x, "x").dtype
        x = self._prepare(x)
        step = as_step(step, x.dtype)
        A, b = self.A.astype(x.dtype), self.b.astype(x.dtype)
        right = x + step * product(b, A).reshape([1] * (x.ndim - 1) + [-1])
        matvec = lambda x: product(product(x, A.T), A)
        z = shifted_solve(matvec, self._basis, self._values, right, step)
        return jnp.moveaxis(z, -1, self.axis).astype(dtype)

    def _prepare(self, x):
        x = as_floating(x, "x")
        check_length("A", self.A.shape, x, self.axis)
        return jnp.moveaxis(x.astype(computing_dtype(x)), self.axis, -1)
