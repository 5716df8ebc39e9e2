r"""The form in which quadratic programs are solved.

    minimise x'Px/2 + q'x    subject to    l <= (Gx, x) <= u

Rows of A with a single entry bound a variable. Taken out of G they cost a diagonal
instead of a product of matrices, and box constraints cost no matrix at all.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .._check import is_traced
from . import _matrix
from ._domain import Bounds, Cones, is_separable
from ._problem import dtype_of


_INFINITE = 1e18


class Program(eqx.Module):
    """A program with dense matrices; `m` counts the rows of `(G, I)`."""

    P: Float[Array, "n n"]
    q: Float[Array, " n"]
    G: Float[Array, "k n"]
    domain: Any
    bounded: bool = eqx.field(static=True)

    def rows(self, x: Float[Array, " n"]) -> Float[Array, " m"]:
        """`(Gx, x)`."""
        return jnp.concatenate([self.G @ x, x]) if self.bounded else self.G @ x

    def transposed(self, y: Float[Array, " m"]) -> Float[Array, " n"]:
        """`(G, I)' y`."""
        k = self.G.shape[0]
        out = y[:k] @ self.G
        return out + y[k:] if self.bounded else out

    def condensed(self, weights: Float[Array, " m"], shift: Any) -> Float[Array, "n n"]:
        """`P + shift I + (G, I)' diag(weights) (G, I)`."""
        k = self.G.shape[0]
        out = self.P
        if k > 0:
            out = out + (self.G * weights[:k, None]).T @ self.G
        diagonal = jnp.broadcast_to(shift, (self.q.size,))
        if self.bounded:
            diagonal = diagonal + weights[k:]
        return out + jnp.diag(diagonal)


class Layout(eqx.Module):
    """Where the rows of `A` went: `general` into G, `single` became bounds."""

    general: Int[Array, " k"]
    single: Int[Array, " b"]
    variable: Int[Array, " b"]
    coefficient: Float[Array, " b"]


def layout(problem: Any) -> Layout | None:
    """Finds single-entry rows, if the values of `A` are known and it pays."""
    A = problem.A
    if (
        A is None
        or hasattr(problem, "cones")
        or is_traced(problem.q)
        or not _matrix.arrays_of(A)
    ):
        return None
    if not isinstance(A, jnp.ndarray) and any(is_traced(x) for x in (A.indices,)):
        return None
    matrix = np.asarray(_matrix.dense(A, A.dtype))
    singles = np.flatnonzero(np.count_nonzero(matrix, axis=1) == 1)
    columns = np.argmax(matrix[singles] != 0, axis=1)
    # The first row of a variable becomes its bounds; others stay as they are.
    variable, first = np.unique(columns, return_index=True)
    single = singles[first]
    if 4 * single.size < matrix.shape[0]:
        return None
    general = np.setdiff1d(np.arange(matrix.shape[0]), single)
    return Layout(
        jnp.asarray(general),
        jnp.asarray(single),
        jnp.asarray(variable),
        jnp.asarray(matrix[single, variable]),
    )


def canonical(problem: Any, layout: Layout | None) -> Program:
    """The program in the form that is solved."""
    dtype = dtype_of(problem)
    n = problem.q.size
    q = problem.q.astype(dtype)
    P = jnp.zeros((n, n), dtype) if problem.P is None else problem.P
    P = _matrix.dense(P, dtype)
    P = (P + P.T) / 2
    lower, upper = (_infinite(b.astype(dtype)) for b in (problem.lower, problem.upper))
    if problem.A is None:
        G = jnp.zeros((0, n), dtype)
        return Program(P, q, G, Bounds(lower, upper), bounded=lower.size > 0)
    A = _matrix.dense(problem.A, dtype)
    if layout is None:
        return Program(P, q, A, Bounds(lower, upper), bounded=False)
    c = layout.coefficient.astype(dtype)
    ends = lower[layout.single] / c, upper[layout.single] / c
    lower_x = (
        jnp.full((n,), -jnp.inf, dtype).at[layout.variable].set(jnp.minimum(*ends))
    )
    upper_x = jnp.full((n,), jnp.inf, dtype).at[layout.variable].set(jnp.maximum(*ends))
    return Program(
        P,
        q,
        A[layout.general],
        Bounds(
            jnp.concatenate([lower[layout.general], lower_x]),
            jnp.concatenate([upper[layout.general], upper_x]),
        ),
        bounded=True,
    )


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
        y[k:][layout.variable] / layout.coefficient.astype(y.dtype)
    )


def canonical_dual(
    y: Float[Array, " m"], problem: Any, layout: Layout | None
) -> Float[Array, " m"]:
    """The inverse of `original_dual`."""
    if problem.A is None or layout is None:
        return y
    bounds = jnp.zeros((problem.q.size,), y.dtype)
    c = layout.coefficient.astype(y.dtype)
    bounds = bounds.at[layout.variable].set(y[layout.single] * c)
    return jnp.concatenate([y[layout.general], bounds])


def _infinite(bound: Float[Array, " m"]) -> Float[Array, " m"]:
    far = jnp.abs(bound) >= _INFINITE
    return jnp.where(far, jnp.sign(bound) * jnp.inf, bound)


def any_program(problem: Any, layout: Layout | None) -> tuple[Program, Any]:
    """A quadratic or conic program, and what ties the scales of its rows together."""
    if not hasattr(problem, "cones"):
        return canonical(problem, layout), None
    dtype = dtype_of((problem.P, problem.q, problem.A, problem.b))
    n = problem.q.size
    P = jnp.zeros((n, n), dtype) if problem.P is None else problem.P
    P = _matrix.dense(P, dtype)
    domain = Cones(problem.b.astype(dtype), problem.cones, problem.shapes)
    A = _matrix.dense(problem.A, dtype)
    program = Program((P + P.T) / 2, problem.q.astype(dtype), A, domain, False)

    def tie(scale):
        parts = []
        for cone, part in domain.split(scale):
            flat = part.reshape(-1)
            if not is_separable(cone):
                flat = jnp.full_like(flat, jnp.exp(jnp.mean(jnp.log(flat))))
            parts.append(flat)
        return jnp.concatenate(parts)

    return program, tie
