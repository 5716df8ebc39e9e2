r"""Linear systems A x = b, A = I - J, where J is known by its products with vectors.

Which way is taken depends on the number n of real unknowns:

    n <= 16             A is formed and factorised
    16 < n <= 256       the plain iteration, if it promises to be cheaper, else as above
    256 < n <= 2048     a Krylov iteration, if it promises to be, else as above
    2048 < n            a Krylov iteration

Forming and factorising A costs as much as about max(160, n / 4) products with a dense
J, or n if that is less.

A system that resists is solved in the least-squares sense of smallest norm, x = A^+ b,
by a singular value decomposition (n <= 256) or by products with A and its transpose.
The answer is accepted if the residual is zero, which means that a solution exists; and
for the transposed system, if the parameters cannot push against the free directions:

    A^T w = v,   gradient (dT/dtheta)^T w;   u^T dT/dtheta = 0 for all u with A^T u = 0
"""

import functools as ft
from collections.abc import Callable
from typing import Any

import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Bool, Float

from .. import _loop, _tree
from .._solution import RESULTS
from . import _dense, _krylov, _neumann


Vector = Float[Array, " n"]
Answer = tuple[Vector, Bool[Array, ""]]
DIRECT_LIMIT = 16
DENSE_LIMIT = 256
FACTORISED_LIMIT = 2048
_MAX_PRODUCTS = 10_000


def solve(
    matvec: Callable[[Vector], Vector],
    b: Vector,
    tolerances: _loop.Tolerances,
    linear_solver: lx.AbstractLinearSolver | None,
    throw: bool,
    moves: Callable[[Vector], Float[Array, ""]] | None = None,
) -> Vector:
    """Solve `A x = b` for the linear `matvec(x) = A x`, `A = I - J`; to any order.

    Differentiable in every mode with respect to `b` and to what `matvec` closes over.

    Args:
        matvec: the product with A.
        b: the right-hand side.
        tolerances: those of the solve that the derivative belongs to.
        linear_solver: a lineax solver, or None for the choice by size.
        throw: whether failure raises; if not, it gives NaN.
        moves: from u to the norm of `(dT/dtheta)^T u`. Not differentiated.
    """
    if b.size == 0:
        return b

    def run(matvec, b, is_cotangent=False):
        # A long constant, such as the cotangent of a sum, would be folded by the
        # compiler, slowly.
        b = jax.lax.optimization_barrier(b)
        # The square of a very small cotangent would vanish.
        scale = jnp.max(jnp.abs(b))
        scale = jnp.where(scale == 0, 1, scale)
        b = b / scale
        free = ft.partial(_is_free, moves) if is_cotangent else None
        if linear_solver is None:
            x, solved = _by_size(matvec, b, tolerances.rtol, free)
        else:
            x, solved = _lineax(matvec, b, linear_solver, is_cotangent)
        x = x * scale
        if throw:
            return RESULTS.adjoint_failed.error_if(x, ~solved)
        return jnp.where(solved, x, jnp.nan)

    transposed = ft.partial(run, is_cotangent=True)
    return jax.lax.custom_linear_solve(matvec, b, run, transposed)


def _by_size(matvec, b, rtol, free) -> Answer:
    n = b.size
    if n <= DIRECT_LIMIT:
        return _by_matrix(matvec, b, free)
    rtol = _tree.scale_like(rtol, b)
    rtol = jnp.maximum(rtol, 4 * float(jnp.finfo(b.dtype).eps)).astype(b.dtype)
    # What forming and factorising A costs, in products.
    most = min(n, max(160, n // 4))
    target, state = _neumann.Target(rtol, _neumann.norm(b)), _neumann.start(b)

    def by_matrix():
        return _by_matrix(matvec, b, free)

    def by_products(most=_MAX_PRODUCTS):
        return _krylov.solve(matvec, b, state, target, most, _MAX_PRODUCTS)

    if n <= DENSE_LIMIT:
        state = _neumann.run(matvec, state, target, most, unrolled=2)
        resort = by_matrix
    else:
        state = _neumann.run(matvec, state, target, _MAX_PRODUCTS, _krylov.SLOW)
        if n <= FACTORISED_LIMIT:
            resort = lambda: _or_else(*by_products(most), by_matrix)
        else:
            least_squares = lambda: _by_least_squares(matvec, b, free)
            resort = lambda: _or_else(*by_products(), least_squares)
    return _or_else(_neumann.finish(state), state.done, resort)


def _or_else(x, solved, retry: Callable[[], Answer]) -> Answer:
    """What `retry` gives where `x` is not solved; computed only if that is anywhere."""

    def again():
        y, solved_again = retry()
        return jnp.where(solved, x, y), solved | solved_again

    return jax.lax.cond(eqxi.unvmap_any(~solved), again, lambda: (x, solved))


def _by_matrix(matvec, b, free) -> Answer:
    matrix = _dense.matrix_of(matvec, b)

    def by_values():
        x, null, finite = _dense.smallest(matrix, b)
        return x, finite & _is_derivative(matrix @ x, x, b, null, free)

    def by_products():
        return _by_least_squares(matvec, b, free)

    resort = by_values if b.size <= DENSE_LIMIT else by_products
    return _or_else(*_dense.factorised(matrix, b), resort)


def _by_least_squares(matvec, b, free) -> Answer:
    epsilon = float(jnp.finfo(b.dtype).eps)
    try:
        jax.eval_shape(jax.linear_transpose(matvec, b), b)
    except (ValueError, NotImplementedError):
        # A map that can be differentiated in forward mode only has no transpose.
        return b, jnp.array(False)
    generic = _dense.generic(b)
    rhs = jnp.stack([b, matvec(generic)])
    x, inside = jax.vmap(
        lambda b: _krylov.least_squares(matvec, b, epsilon**0.75, _MAX_PRODUCTS // 2)
    )(rhs)
    ax = matvec(x)
    answers = _is_derivative(ax, x, b, generic - inside, free)
    return x, answers & (_normal_accuracy(matvec, ax, x, b) <= epsilon**0.5)


def _is_derivative(ax, x, b, null, free) -> Bool[Array, ""]:
    """Whether the least-squares solution may stand for a derivative."""
    if free is None:
        return _dense.accuracy(ax, x, b) <= 10 * _dense.limit(b)
    # A cotangent may point along a direction in which the solution is free, where the
    # system has no solution: the least-squares one leaves that part out.
    return free(null)


def _is_free(moves, null) -> Bool[Array, ""]:
    """Whether the parameters leave a null vector of the transposed system alone."""
    if moves is None:
        return jnp.array(True)
    epsilon = float(jnp.finfo(null.dtype).eps)
    try:
        size, of_generic = jax.vmap(moves)(jnp.stack([null, _dense.generic(null)]))
    except ValueError:
        # The map cannot be transposed. Then nor can this derivative, and nobody will
        # ask for the cotangent.
        return jnp.array(True)
    tiny = jnp.finfo(null.dtype).tiny
    return size / jnp.maximum(of_generic, tiny) <= epsilon ** (1 / 3)


def _normal_accuracy(matvec, ax, x, b) -> Float[Array, ""]:
    """The residual of the normal equations, `A^T (A x - b)`, relative."""
    (normal,) = jax.linear_transpose(matvec, b)(ax - b)
    size = jnp.max(jnp.abs(b)) + jnp.max(jnp.abs(x))
    return jnp.where(size == 0, 0, jnp.max(jnp.abs(normal)) / size)


def _lineax(matvec, b, linear_solver, is_cotangent) -> tuple[Vector, Any]:
    operator = lx.FunctionLinearOperator(matvec, jax.eval_shape(lambda: b))
    solution = lx.linear_solve(operator, b, linear_solver, throw=False)
    x = solution.value
    # How accurate it is to be is the solver's choice; that it is a solution is not.
    loose = float(jnp.finfo(b.dtype).eps) ** 0.25
    ax = matvec(x)
    accurate = _dense.accuracy(ax, x, b) <= loose
    if is_cotangent:
        accurate = accurate | (_normal_accuracy(matvec, ax, x, b) <= loose)
    return x, (solution.result == lx.RESULTS.successful) & accurate
