"""`solve` for programs: scale, iterate, polish, differentiate."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import _progress, _tree
from .._check import is_traced
from .._loop import Tolerances
from .._solution import RESULTS, Solution
from . import _canonical, _derivative, _equilibrate, _optimality, _polish
from ._polish import Pair
from ._problem import QuadraticProgram, dtype_of


class ProgramState(eqx.Module):
    """A primal and dual point, from which a solve of a program can start.

    Attributes:
        x: `(n,)`.
        y: `(m,)`, the multipliers of the rows of `A`.
    """

    x: Float[Array, " n"]
    y: Float[Array, " m"]


def default_rtol(dtype: Any) -> float:
    """The square root of the machine epsilon, for residuals before the polish."""
    return float(jnp.finfo(dtype).eps) ** 0.5


def solve_program(
    problem: QuadraticProgram,
    method: Any,
    iteration: Any,
    rtol: Any,
    atol: Any,
    max_steps: int,
    adjoint: Any,
    state: Any,
    throw: bool,
    progress: bool,
) -> Solution:
    """What `fixproj.solve` does with a program; arguments as there."""
    if iteration is not None:
        raise TypeError(
            f"solve: {type(method).__name__} is no fixed map, and takes no `iteration`."
        )
    if state is not None and not isinstance(state, ProgramState):
        raise TypeError(
            "solve: `state` must be the `state` of a program's solution, got "
            f"{type(state).__name__}."
        )
    bar = _progress.open_bar(max_steps) if progress else None
    final = ()
    try:
        solution, failed = _solve(
            problem,
            _canonical.layout(problem),
            method,
            (rtol, atol),
            np.asarray(max_steps, np.int32),
            adjoint,
            state,
            throw,
            None if bar is None else jnp.asarray(bar),
            problem.lower is problem.upper or _all_equal(problem),
        )
        figures = solution.stats["num_steps"], solution.stats["residual"]
        final = () if is_traced(figures[0]) or figures[0].ndim else figures
        solution.stats["max_steps"] = max_steps
    finally:
        if bar is not None:
            _progress.close_bar(bar, *final)
    return _raise_on_failure(solution, failed) if throw else solution


def _raise_on_failure(solution: Solution, failed: Any) -> Solution:
    if is_traced(failed):
        return solution.result.error_if(solution, failed)
    if np.asarray(failed).any():
        stats = solution.stats
        raise eqx.EquinoxRuntimeError(
            f"{RESULTS[solution.result]} (after {stats['num_steps']} steps, residual "
            f"{stats['residual']:.2e}, violation {stats['violation']:.2e}, gap "
            f"{stats['gap']:.2e})"
        )
    return solution


def _all_equal(problem: QuadraticProgram) -> bool:
    lower, upper = problem.lower, problem.upper
    if lower.size == 0:
        return True
    if is_traced(lower) or is_traced(upper):
        return False
    return bool(np.all(np.asarray(lower) == np.asarray(upper)))


@eqx.filter_jit
def _solve(
    problem,
    layout,
    method,
    tolerances,
    max_steps,
    adjoint,
    state,
    throw,
    progress,
    only_equations,
):
    dtype = dtype_of(problem)
    rtol, atol = tolerances
    rtol = default_rtol(dtype) if rtol is None else rtol
    program = _canonical.canonical(problem, layout)
    frozen = _tree.stop_gradient(program)
    scaled, scaling = _equilibrate.equilibrate(frozen)
    polish = lambda pair: _polish.polish(scaled, scaling, pair, rtol, atol)
    start, done, guess = None, jnp.array(False), None
    if state is not None or only_equations:
        guess = _guess(problem, layout, scaled, scaling, _tree.stop_gradient(state))
        guess, figures = polish(guess)
        done = figures.merit <= 1
        start = guess.x, guess.y
    pair, result, steps = method.run(
        scaled,
        scaling,
        start if state is not None else None,
        (rtol, atol),
        max_steps,
        done,
        progress,
    )
    ray = pair
    if guess is not None:
        pair = _tree.where(done, guess, pair)
    pair, figures = polish(pair)
    result = _judge(frozen, figures, result)
    # An equation is held by the bound towards which its multiplier pushes.
    equal, pushed_up = scaled.lower >= scaled.upper, pair.y > 0
    pair = Pair(
        scaling.x * pair.x,
        scaling.rows * pair.y / scaling.cost,
        jnp.where(equal, ~pushed_up, pair.lower),
        jnp.where(equal, pushed_up, pair.upper),
    )
    held = Tolerances(jnp.asarray(rtol, dtype), None, _tree.max_norm)
    x, y = _derivative.attach(program, scaled, scaling, pair, adjoint, held, throw)
    y = _canonical.original_dual(y, problem, layout)
    ray_x = _direction(result == RESULTS.unbounded, scaling.x * ray.x)
    ray_y = _canonical.original_dual(scaling.rows * ray.y, problem, layout)
    ray_y = _direction(result == RESULTS.infeasible, ray_y)
    stats = {
        "num_steps": steps,
        "residual": figures.dual,
        "violation": figures.violation,
        "gap": figures.gap,
        "dual": y,
        "certificate": {"x": ray_x, "dual": ray_y},
    }
    state = ProgramState(*_tree.stop_gradient((x, y)))
    solution = Solution(value=x, result=result, stats=stats, state=state)
    return solution, result != RESULTS.successful


def _guess(problem, layout, scaled, scaling, state) -> Pair:
    """The active rows of a state, or the equations alone."""
    equal = scaled.lower >= scaled.upper
    if state is None:
        zero = jnp.zeros_like(scaled.q), jnp.zeros_like(scaled.lower)
        return Pair(*zero, equal, jnp.zeros_like(equal))
    x = state.x.astype(scaled.q.dtype) / scaling.x
    y = _canonical.canonical_dual(state.y.astype(x.dtype), problem, layout)
    y = y * scaling.cost / scaling.rows
    lower = (y < 0) & jnp.isfinite(scaled.lower)
    return Pair(x, y, lower | equal, (y > 0) & jnp.isfinite(scaled.upper) & ~equal)


def _judge(program, figures, result):
    """What the problem was, over what became of the iteration."""
    result = RESULTS.where(figures.merit <= 1, RESULTS.successful, result)
    failed_late = (result == RESULTS.successful) & ~(figures.merit <= 1)
    result = RESULTS.where(failed_late, RESULTS.stagnated, result)
    crossed = program.lower > program.upper
    crossed = crossed | (program.lower == jnp.inf) | (program.upper == -jnp.inf)
    result = RESULTS.where(jnp.any(crossed), RESULTS.infeasible, result)
    result = RESULTS.where(~_is_convex(program.P), RESULTS.nonconvex, result)
    given = [program.P, program.q, program.G]
    finite = [jnp.all(jnp.isfinite(a)) for a in given]
    finite += [~jnp.any(jnp.isnan(b)) for b in (program.lower, program.upper)]
    return RESULTS.where(~jnp.all(jnp.stack(finite)), RESULTS.nonfinite, result)


def _is_convex(P: Float[Array, "n n"]) -> Array:
    """Whether `P`, scaled to unit diagonal and shifted by rounding, factorises."""
    diagonal = jnp.diagonal(P)
    largest = jnp.max(jnp.abs(P), initial=0)
    epsilon = float(jnp.finfo(P.dtype).eps)
    # A zero on the diagonal allows nothing else in its row.
    least = jnp.where(largest > 0, largest, 1) * epsilon
    scale = 1 / jnp.sqrt(jnp.maximum(diagonal, least))
    shifted = P * scale[:, None] * scale[None, :]
    shifted = shifted + epsilon**0.5 * jnp.eye(P.shape[0], dtype=P.dtype)
    factor = jax.lax.linalg.cholesky(shifted)
    return jnp.all(jnp.isfinite(factor)) & jnp.all(diagonal >= -1e2 * least)


def _direction(wanted: Array, ray: Float[Array, " k"]) -> Float[Array, " k"]:
    size = jnp.max(jnp.abs(ray), initial=0)
    return jnp.where(wanted, ray / jnp.where(size > 0, size, 1), jnp.zeros_like(ray))
