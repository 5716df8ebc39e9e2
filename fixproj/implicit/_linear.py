r"""Linear systems A x = b, A = I - J, where J is known by its products with vectors.

Which way is taken depends on the number n of real unknowns:

    n <= 16             A is formed and factorised
    16 < n <= 256       the plain iteration, if n / 3 steps will do, else as above
    256 < n <= 2048     a Krylov iteration, if n / 3 products will do, else as above
    2048 < n            a Krylov iteration

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
from . import _krylov


Vector = Float[Array, " n"]
DIRECT_LIMIT = 16
DENSE_LIMIT = 256
FACTORISED_LIMIT = 2048
_MAX_PRODUCTS = 10_000
# Columns of a matrix that are found at once; bounds the memory a map needs for it.
_COLUMNS = 256


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

    def run(matvec, b, is_cotangent=False):
        if linear_solver is not None:
            x, solved = _lineax(matvec, b, linear_solver, is_cotangent)
        else:
            x, solved = _by_size(matvec, b, tolerances)
            retry = ft.partial(_smallest_norm, matvec, b, is_cotangent, moves)
            x, solved = _or_else(x, solved, retry)
        if throw:
            return RESULTS.adjoint_failed.error_if(x, ~solved)
        return jnp.where(solved, x, jnp.nan)

    transposed = ft.partial(run, is_cotangent=True)
    return jax.lax.custom_linear_solve(matvec, b, run, transposed)


def _by_size(matvec, b, tolerances) -> tuple[Vector, Bool[Array, ""]]:
    factorised = ft.partial(_factorised, matvec, b)
    if b.size <= DIRECT_LIMIT:
        return factorised()
    rtol = _tree.scale_like(tolerances.rtol, b)
    rtol = jnp.minimum(rtol, _loop.default_rtol(b)).astype(b.dtype)
    # What forming and factorising A costs, in products.
    most = b.size // 3
    if b.size <= DENSE_LIMIT:
        return _or_else(*_krylov.solve_plainly(matvec, b, rtol, most), factorised)
    # What one tolerance leaves of the residual can be many of the solution's.
    rtol = jnp.maximum(rtol / 10, 4 * float(jnp.finfo(b.dtype).eps))
    if b.size <= FACTORISED_LIMIT:
        found = _krylov.solve(matvec, b, rtol, most, _MAX_PRODUCTS)
        return _or_else(*found, factorised)
    return _krylov.solve(matvec, b, rtol, _MAX_PRODUCTS, _MAX_PRODUCTS)


def _or_else(x, solved, retry) -> tuple[Vector, Bool[Array, ""]]:
    """What `retry` gives where `x` is not solved; computed only if that is anywhere."""
    again, solved_again = jax.lax.cond(
        eqxi.unvmap_any(~solved), retry, lambda: (x, solved)
    )
    return jnp.where(solved, x, again), solved | solved_again


def _accuracy(matvec, x, b) -> Float[Array, ""]:
    """The residual relative to what rounding alone would leave of terms this large."""
    size = jnp.max(jnp.abs(b)) + jnp.max(jnp.abs(x))
    error = jnp.max(jnp.abs(matvec(x) - b))
    # 0 <= 0 holds for b = 0, and NaN fails every comparison.
    return jnp.where(error == 0, 0, error / size)


def _limit(b) -> float:
    return min(b.size, 2048) * 1e3 * float(jnp.finfo(b.dtype).eps)


def _matrix(matvec, like) -> Float[Array, "n n"]:
    identity = jnp.eye(like.size, dtype=like.dtype)
    if like.size <= _COLUMNS:
        return jax.vmap(matvec, out_axes=1)(identity)
    return jax.lax.map(matvec, identity, batch_size=_COLUMNS).T


def _generic(like) -> Vector:
    """A vector that is in no special position."""
    position = jnp.arange(like.size, dtype=like.dtype)
    return jnp.sin(1 + position * position)


def _factorised(matvec, b) -> tuple[Vector, Bool[Array, ""]]:
    matrix = _matrix(matvec, b)
    x, probe = jnp.linalg.solve(matrix, jnp.stack([b, _generic(b)], axis=1)).T
    # The solution of a singular system can look right; that of a second one is huge.
    bound = float(jnp.finfo(b.dtype).eps) ** -0.75
    regular = jnp.max(jnp.abs(probe)) <= bound
    return x, regular & (_accuracy(matvec, x, b) <= _limit(b))


def _smallest_norm(matvec, b, is_cotangent, moves) -> tuple[Vector, Bool[Array, ""]]:
    """`A^+ b`, and whether it may stand for a derivative."""
    epsilon = float(jnp.finfo(b.dtype).eps)
    if b.size <= DENSE_LIMIT:
        matrix = _matrix(matvec, b)
        # The cut is far above rounding, far below a true singular value.
        pseudo = lambda b: jnp.linalg.lstsq(matrix, b, rcond=epsilon**0.75)[0]
    else:
        pseudo = lambda b: _krylov.least_squares(
            matvec, b, epsilon**0.75, _MAX_PRODUCTS // 2
        )
    if not is_cotangent:
        x = pseudo(b)
        return x, _accuracy(matvec, x, b) <= 10 * _limit(b)
    # A cotangent may point along a direction in which the solution is free, where the
    # system has no solution: the least-squares one leaves that part out.
    x = pseudo(b)
    solved = _normal_accuracy(matvec, x, b) <= epsilon**0.5
    if moves is None:
        return x, solved
    generic = _generic(b)
    null = generic - pseudo(matvec(generic))
    try:
        ratio = moves(null) / jnp.maximum(moves(generic), jnp.finfo(b.dtype).tiny)
    except ValueError:
        # The map cannot be transposed. Then nor can this derivative, and nobody will
        # ask for the cotangent.
        return x, solved
    return x, solved & (ratio <= epsilon ** (1 / 3))


def _normal_accuracy(matvec, x, b) -> Float[Array, ""]:
    """The residual of the normal equations, `A^T (A x - b)`, relative."""
    (normal,) = jax.linear_transpose(matvec, b)(matvec(x) - b)
    size = jnp.max(jnp.abs(b)) + jnp.max(jnp.abs(x))
    return jnp.where(size == 0, 0, jnp.max(jnp.abs(normal)) / size)


def _lineax(matvec, b, linear_solver, is_cotangent) -> tuple[Vector, Any]:
    operator = lx.FunctionLinearOperator(matvec, jax.eval_shape(lambda: b))
    solution = lx.linear_solve(operator, b, linear_solver, throw=False)
    x = solution.value
    # How accurate it is to be is the solver's choice; that it is a solution is not.
    loose = float(jnp.finfo(b.dtype).eps) ** 0.25
    accurate = _accuracy(matvec, x, b) <= loose
    if is_cotangent:
        accurate = accurate | (_normal_accuracy(matvec, x, b) <= loose)
    return x, (solution.result == lx.RESULTS.successful) & accurate
