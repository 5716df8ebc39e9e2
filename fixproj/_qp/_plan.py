"""What is decided about a program from what is known of it, before it is solved.

    both matrices given as arrays        dense
    operators of which only products     dense up to 1000 unknowns and 4000 rows,
    are known                            else products
    sparse, with known places            dense if small, or full by more than a fifth,
                                         else sparse, with a band if one fits
    sparse, with traced places           dense up to 1000 unknowns, else products
    one dense and one sparse             dense

Places are known outside of `jit`, and inside for matrices that are closed over.
"""

import math
from typing import Any, Literal

import equinox as eqx
import numpy as np
import scipy.sparse as sp
from jax.experimental import sparse as jsparse
from jaxtyping import Float, Int

from .._check import is_traced
from . import _matrix
from ._band import Band, band_of


_SMALL = 256
_SMALL_SIZE = 2**18
_DENSE_UNKNOWNS = 1000
_DENSE_ROWS = 4000
_FULL = 0.2


class Layout(eqx.Module):
    """Where the rows of `A` went: `general` into G, `single` became bounds."""

    general: Int[np.ndarray, " k"]
    single: Int[np.ndarray, " b"]
    variable: Int[np.ndarray, " b"]
    coefficient: Float[np.ndarray, " b"]


class Places(eqx.Module):
    """The places of a sparse matrix, each once, and which entries go there."""

    row: Int[np.ndarray, " k"]
    column: Int[np.ndarray, " k"]
    slot: Int[np.ndarray, " e"]


class Plan(eqx.Module):
    """How the matrices of a program are kept."""

    kind: Literal["dense", "sparse", "traced", "products"] = eqx.field(static=True)
    layout: Layout | None = None
    P: Places | None = None
    G: Places | None = None
    band: Band | None = None

    @property
    def factorises(self) -> bool:
        """Whether the condensed matrix is factorised."""
        return self.kind == "dense" or self.band is not None


def plan(problem: Any) -> Plan:
    """Looks at types, shapes, and the values that are known."""
    P, A, n = problem.P, problem.A, problem.q.size
    given = [m for m in (P, A) if m is not None]
    if not any(map(_matrix.is_special, given)):
        return Plan("dense", _layout_of_dense(problem))
    if any(_matrix.is_operator(m) for m in given):
        small = all(
            _matrix.shape_of(m)[0] <= _DENSE_ROWS
            and _matrix.shape_of(m)[1] <= _DENSE_UNKNOWNS
            for m in given
        )
        return Plan("dense") if small else Plan("products")
    if any(not _matrix.is_special(m) for m in given):
        return Plan("dense", _layout_of_dense(problem))
    entries = [_matrix.entries_of(m) for m in given]
    if any(is_traced(row) or is_traced(column) for _, row, column in entries):
        return Plan("dense" if n <= _DENSE_UNKNOWNS else "traced")
    sizes = [math.prod(_matrix.shape_of(m)) for m in given]
    full = any(d.size > _FULL * s for (d, *_), s in zip(entries, sizes, strict=True))
    if full or (n <= _SMALL and max(sizes) <= _SMALL_SIZE):
        return Plan("dense", _layout_of_dense(problem))
    return _sparse(problem, n)


def _sparse(problem, n):
    _, row, column = _known(problem.P, n)
    # P is averaged with its transpose.
    both = np.concatenate([row, column]), np.concatenate([column, row])
    P, p_pattern = _places(*both, (n, n))
    data, row, column = _known(problem.A, n)
    m = 0 if problem.A is None else _matrix.shape_of(problem.A)[0]
    layout = None
    if not hasattr(problem, "cones") and data is not None and m > 0:
        inside = (row < m) & (column < n)
        matrix = sp.csr_array(
            (data[inside], (row[inside], column[inside])), shape=(m, n)
        )
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        layout = _layout(matrix)
    if layout is not None:
        general = layout.general
        moved = np.full(m + 1, general.size)
        moved[general] = np.arange(general.size)
        row, m = moved[row], general.size
    G, g_pattern = _places(row, column, (m, n))
    return Plan("sparse", layout, P, G, band_of(p_pattern, g_pattern))


def _known(matrix: Any, n: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """Entries, None if their values are not known; places outside are padding."""
    if matrix is None:
        none = np.empty(0, np.int64)
        return np.empty(0), none, none
    data, row, column = _matrix.entries_of(matrix)
    data = None if is_traced(data) else np.asarray(data)
    m = _matrix.shape_of(matrix)[0]
    row, column = np.asarray(row).astype(np.int64), np.asarray(column).astype(np.int64)
    inside = (row < m) & (column < n)
    return data, np.where(inside, row, m), np.where(inside, column, n)


def _places(
    row: np.ndarray, column: np.ndarray, shape: tuple[int, int]
) -> tuple[Places, sp.coo_array]:
    m, n = shape
    inside = (row < m) & (column < n)
    index = np.where(inside, row * n + column, m * n)
    unique, slot = np.unique(index, return_inverse=True)
    if unique.size and unique[-1] == m * n:
        unique = unique[:-1]
    rows, columns = unique // max(n, 1), unique % max(n, 1)
    ints = lambda v: np.asarray(v, np.int32)
    ones = np.ones(unique.size)
    pattern = sp.coo_array((ones, (rows, columns)), shape=shape)
    return Places(ints(rows), ints(columns), ints(slot)), pattern


def _layout_of_dense(problem) -> Layout | None:
    A = problem.A
    if (
        A is None
        or not _matrix.arrays_of(A)
        or hasattr(problem, "cones")
        or is_traced(problem.q)
    ):
        return None
    if isinstance(A, jsparse.BCOO) and is_traced(A.indices):
        return None
    return _layout(sp.csr_array(np.asarray(_matrix.dense(A, A.dtype))))


def _layout(A: Any) -> Layout | None:
    """Finds single-entry rows, if it pays."""
    singles = np.flatnonzero(np.diff(A.indptr) == 1)
    columns = A.indices[A.indptr[singles]]
    # The first row of a variable becomes its bounds; others stay as they are.
    variable, first = np.unique(columns, return_index=True)
    single = singles[first]
    if 4 * single.size < A.shape[0]:
        return None
    general = np.setdiff1d(np.arange(A.shape[0]), single)
    return Layout(general, single, variable, A.data[A.indptr[single]])
