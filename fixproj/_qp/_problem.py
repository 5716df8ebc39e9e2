"""Quadratic programs say what is asked."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jax.experimental import sparse as jsparse
from jaxtyping import Array, Float

from .._check import is_traced
from . import _matrix


class QuadraticProgram(eqx.Module):
    r"""Minimise `x'Px/2 + q'x` subject to `lower <= Ax <= upper`.

    The form of OSQP. `P` is positive semidefinite, so the problem is convex. Bounds may
    be infinite; rows with equal bounds are equations.

    Args:
        P: `(n, n)`, symmetric positive semidefinite: an array, a `lineax` operator or a
            `jax.experimental.sparse.BCOO` array. None is zero, a linear program.
        q: `(n,)`.
        A: `(m, n)`, like `P`. None with bounds stands for the identity, so that they
            bound `x` itself, and without bounds for no constraint at all.
        lower: `(m,)` or a scalar; None is minus infinity.
        upper: `(m,)` or a scalar; None is infinity. A modulus of 1e18 or more counts as
            infinite.

    Raises:
        TypeError: if an argument is not real.
        ValueError: if shapes disagree, an entry is NaN, `P` is not symmetric, a bound
            is infinite on the wrong side, or `lower > upper` somewhere; as far as
            values are known. What only a solve can tell is its `result`: `infeasible`,
            `unbounded`, `nonconvex`, `nonfinite`.

    References:
        B. Stellato, G. Banjac, P. Goulart, A. Bemporad and S. Boyd (2020), OSQP: an
        operator splitting solver for quadratic programs, equation 1.

    Examples:
        >>> import fixproj as fp, jax, jax.numpy as jnp
        >>> P, q = jnp.array([[4.0, 1.0], [1.0, 2.0]]), jnp.array([1.0, 1.0])
        >>> A = jnp.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
        >>> def solve(q):
        ...     lower, upper = jnp.array([1.0, 0, 0]), jnp.array([1.0, 0.7, 0.7])
        ...     return fp.solve(fp.QuadraticProgram(P, q, A, lower, upper)).value
        >>> with jnp.printoptions(precision=3, suppress=True):
        ...     print(solve(q), jax.jacobian(solve)(jnp.array([1.0, 2.0]))[0])
        [0.3 0.7] [-0.25  0.25]
    """

    P: Any
    q: Float[Array, " n"]
    A: Any
    lower: Float[Array, " m"]
    upper: Float[Array, " m"]

    def __init__(
        self, P: Any, q: Any, A: Any = None, lower: Any = None, upper: Any = None
    ):
        owner = "QuadraticProgram"
        self.q = _matrix.as_floats(owner, "q", q, 1)
        if not is_traced(self.q):
            _check_finite(owner, "q", self.q)
        n = self.q.size
        self.P = None if P is None else _matrix.as_matrix(owner, "P", P)
        self.A = None if A is None else _matrix.as_matrix(owner, "A", A)
        check_matrices(owner, self.P, self.A, n)
        if A is not None:
            m = _matrix.shape_of(self.A)[0]
        else:
            m = 0 if lower is None and upper is None else n
        self.lower = _bound(owner, "lower", lower, -np.inf, m, self.q.dtype)
        self.upper = self.lower
        # The same object twice says, even of traced values, that rows are equations.
        if upper is not lower or upper is None:
            self.upper = _bound(owner, "upper", upper, np.inf, m, self.q.dtype)
        _check_bounds(self.lower, self.upper)


def check_matrices(owner: str, P: Any, A: Any, n: int) -> None:
    """Shapes, symmetry and NaN of the matrices of a program with `n` unknowns."""
    if P is not None:
        if _matrix.shape_of(P) != (n, n):
            raise ValueError(
                f"{owner}: `P` must have shape {(n, n)} like `q`, got "
                f"{_matrix.shape_of(P)}."
            )
        for array in _matrix.arrays_of(P):
            _check_finite(owner, "P", array)
        _check_symmetric(owner, P)
    if A is not None:
        if _matrix.shape_of(A)[1] != n:
            raise ValueError(
                f"{owner}: `A` must have {n} columns, one for each entry of `q`, got "
                f"shape {_matrix.shape_of(A)}."
            )
        for array in _matrix.arrays_of(A):
            _check_finite(owner, "A", array)


def _check_finite(owner: str, name: str, array: Any) -> None:
    if not np.all(np.isfinite(np.asarray(array))):
        raise ValueError(f"{owner}: `{name}` has an entry that is NaN or infinite.")


def _check_symmetric(owner: str, P: Any) -> None:
    if not _matrix.arrays_of(P):
        return
    if isinstance(P, jsparse.BCOO):
        if is_traced(P.indices):
            return
        data, row, column = _matrix.entries_of(P)
        n = P.shape[0]
        inside = (row < n) & (column < n)
        entries = np.asarray(data)[inside], (row[inside], column[inside])
        matrix: Any = sp.csr_array(entries, shape=P.shape)
    else:
        matrix = np.asarray(P)
    size = float(abs(matrix).max()) if matrix.shape[0] else 0.0
    gap = float(abs(matrix - matrix.T).max()) if matrix.shape[0] else 0.0
    if gap > 10 * float(jnp.finfo(matrix.dtype).eps) ** 0.5 * size:
        raise ValueError(
            f"{owner}: `P` must be symmetric, but differs from its transpose by "
            f"{gap:.2e}. For a matrix of which only one triangle is stored, pass "
            "`P + P.T - diag(diag(P))`; to keep x'Px, pass `(P + P.T) / 2`."
        )


def _bound(owner, name, value, default, m, dtype) -> Array:
    value = default if value is None else value
    if np.ndim(value) == 0 and not isinstance(value, str):
        return jnp.full((m,), value, dtype)
    bound = _matrix.as_floats(owner, name, value, 1)
    if bound.size != m:
        raise ValueError(
            f"{owner}: `{name}` must have {m} entries, one for each row of `A`, got "
            f"{bound.size}."
        )
    return bound


def _check_bounds(lower: Array, upper: Array) -> None:
    if is_traced(lower) or is_traced(upper):
        return
    low, high = np.asarray(lower), np.asarray(upper)
    for name, bound, wrong in (("lower", low, np.inf), ("upper", high, -np.inf)):
        if np.any(np.isnan(bound)):
            raise ValueError(f"QuadraticProgram: `{name}` has an entry that is NaN.")
        if np.any(bound == wrong):
            raise ValueError(
                f"QuadraticProgram: `{name}` is {wrong} in row "
                f"{int(np.argmax(bound == wrong))}, which no point can satisfy."
            )
    if np.any(low > high):
        row = int(np.argmax(low > high))
        raise ValueError(
            f"QuadraticProgram: `lower` exceeds `upper` in row {row}: "
            f"{low[row]:.6g} > {high[row]:.6g}."
        )


def dtype_of(problem: Any) -> Any:
    """The dtype in which a program is solved: that of all its arrays together."""
    leaves = [x for x in jax.tree.leaves(problem) if eqx.is_inexact_array(x)]
    bits = max(int(jnp.finfo(x.dtype).bits) for x in leaves)
    return jnp.dtype(jnp.float64 if bits > 32 else jnp.float32)
