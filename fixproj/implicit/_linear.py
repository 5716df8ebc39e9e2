r"""Linear systems (I - J) x = b, where J is only known by its products with vectors.

Small systems are solved densely, by LU, and in the least-squares sense of smallest norm
when that fails. Large ones are solved by iterating x <- J x + b with Anderson
acceleration, which for a linear map is equivalent to restarted GMRES (Walker & Ni,
2011, theorem 2.2) and needs no more than J to be applied.
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
from .._iteration import Anderson
from .._solution import RESULTS


Vector = Float[Array, " n"]
DENSE_LIMIT = 256
_MAX_STEPS = 10_000


def solve(
    matvec: Callable[[Vector], Vector],
    b: Vector,
    tolerances: _loop.Tolerances,
    linear_solver: lx.AbstractLinearSolver | None,
    throw: bool,
) -> Vector:
    """Solve `A x = b` for the linear `matvec(x) = A x`, `A = I - J`; to any order.

    Differentiable in every mode with respect to `b` and to what `matvec` closes over.
    """

    def run(matvec, b, is_cotangent=False):
        if linear_solver is not None:
            x, solved = _lineax(matvec, b, linear_solver)
        elif b.size <= DENSE_LIMIT:
            x, solved = _dense(matvec, b, is_cotangent)
        else:
            x, solved = _iterate(matvec, b, tolerances)
        if throw:
            return RESULTS.adjoint_failed.error_if(x, ~solved)
        return jnp.where(solved, x, jnp.nan)

    transposed = ft.partial(run, is_cotangent=True)
    return jax.lax.custom_linear_solve(matvec, b, run, transposed)


def _accuracy(matvec, x, b) -> Float[Array, ""]:
    """The residual relative to what rounding alone would leave of terms this large."""
    size = jnp.max(jnp.abs(b)) + jnp.max(jnp.abs(x))
    error = jnp.max(jnp.abs(matvec(x) - b))
    # 0 <= 0 holds for b = 0, and NaN fails every comparison.
    return jnp.where(error == 0, 0, error / size)


def _dense(matvec, b, is_cotangent) -> tuple[Vector, Bool[Array, ""]]:
    epsilon = float(jnp.finfo(b.dtype).eps)
    matrix = jax.vmap(matvec, out_axes=1)(jnp.eye(b.size, dtype=b.dtype))
    limit = b.size * 1e3 * epsilon
    x = jnp.linalg.solve(matrix, b)
    solved = _accuracy(matvec, x, b) <= limit

    def smallest_norm():
        # Of a whole set of fixed points only the part of the derivative that is
        # determined is wanted; the cut is far above rounding, far below a true pivot.
        return jnp.linalg.lstsq(matrix, b, rcond=float(epsilon**0.75))[0]

    retried = jax.lax.cond(
        eqxi.unvmap_any(~solved), smallest_norm, lambda: jnp.zeros_like(x)
    )
    x = jnp.where(solved, x, retried)
    solved = _accuracy(matvec, x, b) <= limit
    if is_cotangent:
        # A cotangent may point along a direction in which the solution is free, where
        # the system has no solution: the least-squares one leaves that part out.
        normal = matrix.T @ (matrix @ x - b)
        size = jnp.max(jnp.abs(b)) + jnp.max(jnp.abs(x))
        solved = solved | (jnp.max(jnp.abs(normal)) <= epsilon**0.5 * size)
    return x, solved


def _iterate(matvec, b, tolerances) -> tuple[Vector, Bool[Array, ""]]:
    iteration = Anderson(memory=10)
    rtol = jnp.minimum(_tree.scale_like(tolerances.rtol, b) / 10, _loop.default_rtol(b))
    rtol = jnp.maximum(rtol, 32 * float(jnp.finfo(b.dtype).eps))
    state, result, _ = _loop.run(
        lambda x: x - matvec(x) + b,
        iteration,
        _loop.init(iteration, jnp.zeros_like(b)),
        _loop.Tolerances(rtol, None, _tree.max_norm),
        _MAX_STEPS,
    )
    return state.z, result == RESULTS.successful


def _lineax(matvec, b, linear_solver) -> tuple[Vector, Any]:
    operator = lx.FunctionLinearOperator(matvec, jax.eval_shape(lambda: b))
    solution = lx.linear_solve(operator, b, linear_solver, throw=False)
    return solution.value, solution.result == lx.RESULTS.successful
