r"""The form in which programs are solved.

    minimise x'Px/2 + q'x    subject to    (Gx, x) in C

C are bounds or `b - K`. Rows of A with a single entry bound a variable. Taken out of G
they cost a diagonal instead of a product of matrices, and box constraints cost no
matrix at all.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float

from . import _matrix
from ._band import Band
from ._domain import Bounds, Cones, is_separable
from ._linear import Dense, Matrix, Product, Sparse
from ._plan import Layout, Places, Plan
from ._problem import dtype_of


_INFINITE = 1e18


class Program(eqx.Module):
    """A program; the domain is that of `(G, I) x` if `bounded`, else of `Gx`."""

    P: Matrix
    q: Float[Array, " n"]
    G: Matrix
    domain: Any
    band: Band | None
    bounded: bool = eqx.field(static=True)

    def rows(self, x: Float[Array, " n"]) -> Float[Array, " m"]:
        """`(Gx, x)`."""
        return jnp.concatenate([self.G @ x, x]) if self.bounded else self.G @ x

    def transposed(self, y: Float[Array, " m"]) -> Float[Array, " n"]:
        """`(G, I)' y`."""
        k = self.G.shape[0]
        out = self.G.transposed(y[:k])
        return out + y[k:] if self.bounded else out

    def weighted_diagonal(self, weights: Float[Array, " m"]) -> Float[Array, " n"]:
        """The diagonal of `(G, I)' diag(weights) (G, I)`."""
        k = self.G.shape[0]
        out = self.G.weighted_diagonal(weights[:k])
        return out + weights[k:] if self.bounded else out


def canonical(problem: Any, plan: Plan) -> tuple[Program, Any]:
    """The program as it is solved, and for cones what ties the scales of rows."""
    if hasattr(problem, "cones"):
        return _conic(problem, plan)
    dtype, layout = dtype_of(problem), plan.layout
    n = problem.q.size
    q = problem.q.astype(dtype)
    P = _cost(problem.P, n, plan, dtype)
    lower, upper = (_infinite(b.astype(dtype)) for b in (problem.lower, problem.upper))
    if problem.A is None:
        G = _none(n, plan, dtype)
        bounds = Bounds(lower, upper)
        return Program(P, q, G, bounds, plan.band, lower.size > 0), None
    if layout is None:
        G = _rows(problem.A, plan, dtype)
        return Program(P, q, G, Bounds(lower, upper), plan.band, False), None
    c = jnp.asarray(layout.coefficient, dtype)
    ends = lower[layout.single] / c, upper[layout.single] / c
    lower_x = (
        jnp.full((n,), -jnp.inf, dtype).at[layout.variable].set(jnp.minimum(*ends))
    )
    upper_x = jnp.full((n,), jnp.inf, dtype).at[layout.variable].set(jnp.maximum(*ends))
    bounds = Bounds(
        jnp.concatenate([lower[layout.general], lower_x]),
        jnp.concatenate([upper[layout.general], upper_x]),
    )
    G = _rows(problem.A, plan, dtype)
    return Program(P, q, G, bounds, plan.band, True), None


def original_dual(
    y: Float[Array, " m"], problem: Any, layout: Layout | None
) -> Float[Array, " m"]:
    """The multipliers of the rows of `A` from those of `(G, I)`."""
    if problem.A is None or layout is None:
        return y
    k = layout.general.size
    out = jnp.zeros((k + layout.single.size,), y.dtype)
    out = out.at[layout.general].set(y[:k])
    return out.at[layout.single].set(
        y[k:][layout.variable] / jnp.asarray(layout.coefficient, y.dtype)
    )


def canonical_dual(
    y: Float[Array, " m"], problem: Any, layout: Layout | None
) -> Float[Array, " m"]:
    """The inverse of `original_dual`."""
    if problem.A is None or layout is None:
        return y
    bounds = jnp.zeros((problem.q.size,), y.dtype)
    c = jnp.asarray(layout.coefficient, y.dtype)
    bounds = bounds.at[layout.variable].set(y[layout.single] * c)
    return jnp.concatenate([y[layout.general], bounds])


def _conic(problem, plan):
    dtype = dtype_of((problem.P, problem.q, problem.A, problem.b))
    domain = Cones(problem.b.astype(dtype), problem.cones, problem.shapes)
    P = _cost(problem.P, problem.q.size, plan, dtype)
    G = _rows(problem.A, plan, dtype)
    program = Program(P, problem.q.astype(dtype), G, domain, plan.band, False)

    def tie(scale):
        parts = []
        for cone, part in domain.split(scale):
            flat = part.reshape(-1)
            if not is_separable(cone):
                flat = jnp.full_like(flat, jnp.exp(jnp.mean(jnp.log(flat))))
            parts.append(flat)
        return jnp.concatenate(parts)

    return program, tie


def _cost(P, n, plan, dtype) -> Matrix:
    """`(P + P') / 2`."""
    if plan.kind == "dense":
        array = jnp.zeros((n, n), dtype) if P is None else _matrix.dense(P, dtype)
        return Dense((array + array.T) / 2)
    if P is None and plan.kind != "sparse":
        return _empty(n, n, dtype)
    if P is not None and _matrix.is_operator(P):
        symmetric = P if lx.is_symmetric(P) else (P + P.T) / 2
        return Product(symmetric, jnp.ones((n,), dtype), jnp.ones((n,), dtype))
    data = jnp.zeros((0,), dtype)
    if P is not None:
        data, row, column = _entries(P, dtype)
        if plan.kind != "sparse":
            return _coo(data, row, column, (n, n), symmetric=True)
    assert plan.P is not None
    return _gather(jnp.concatenate([data, data]) / 2, plan.P, (n, n))


def _rows(A, plan, dtype) -> Matrix:
    m, n = _matrix.shape_of(A)
    if plan.kind == "dense":
        dense = _matrix.dense(A, dtype)
        return Dense(dense if plan.layout is None else dense[plan.layout.general])
    if _matrix.is_operator(A):
        return Product(A, jnp.ones((m,), dtype), jnp.ones((n,), dtype))
    data, row, column = _entries(A, dtype)
    if plan.kind != "sparse":
        return _coo(data, row, column, (m, n))
    m = m if plan.layout is None else plan.layout.general.size
    return _gather(data, plan.G, (m, n))


def _none(n, plan, dtype) -> Matrix:
    if plan.kind == "dense":
        return Dense(jnp.zeros((0, n), dtype))
    return _empty(0, n, dtype)


def _empty(m, n, dtype) -> Sparse:
    none = jnp.zeros((0,), jnp.int32)
    return Sparse(jnp.zeros((0,), dtype), none, none, (m, n))


def _entries(matrix, dtype):
    if not _matrix.is_special(matrix):
        m, n = matrix.shape
        row, column = jnp.divmod(jnp.arange(m * n), n)
        return matrix.reshape(-1).astype(dtype), row, column
    data, row, column = _matrix.entries_of(matrix)
    return data.astype(dtype), row, column


def _gather(data, places: Places, shape) -> Sparse:
    """Entries at the same place added up; those that are padding dropped."""
    sums = jnp.zeros((places.row.size,), data.dtype)
    sums = sums.at[places.slot].add(data, mode="drop")
    return Sparse(sums, jnp.asarray(places.row), jnp.asarray(places.column), shape)


def _coo(data, row, column, shape, symmetric: bool = False) -> Sparse:
    """Entries as they are, in the order of the rows."""
    row, column = jnp.asarray(row, jnp.int32), jnp.asarray(column, jnp.int32)
    # Padding is beyond the last row or column.
    inside = (row < shape[0]) & (column < shape[1])
    data = jnp.where(inside, data, 0)
    row, column = jnp.where(inside, row, shape[0]), jnp.where(inside, column, 0)
    if symmetric:
        data = jnp.concatenate([data, data]) / 2
        row, column = jnp.concatenate([row, column]), jnp.concatenate([column, row])
    order = jnp.argsort(row)
    return Sparse(data[order], row[order], column[order], shape)


def _infinite(bound: Float[Array, " m"]) -> Float[Array, " m"]:
    far = jnp.abs(bound) >= _INFINITE
    return jnp.where(far, jnp.sign(bound) * jnp.inf, bound)
