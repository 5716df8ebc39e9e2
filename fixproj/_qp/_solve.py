"""`solve` for programs: scale, iterate, polish, differentiate."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from .. import _progress, _tree
from .._check import is_traced
from .._iteration import AbstractIteration
from .._loop import Tolerances
from .._solution import RESULTS, Solution
from . import _canonical, _derivative, _equilibrate, _polish, _splitting
from ._conic import ConicProgram
from ._conic_solve import solve_conic
from ._convex import is_convex
from ._interior_point import InteriorPoint
from ._plan import plan
from ._polish import Pair
from ._problem import QuadraticProgram, dtype_of
from ._splitting import OperatorSplitting
from ._state import ProgramState, default_rtol, direction


def solve_program(
    problem: QuadraticProgram | ConicProgram,
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
    """What `fixproj.solve` does with a program; arguments as there.

    The default method is chosen here, because it depends on how matrices are kept.
    """
    how = plan(problem)
    if method is None:
        splits = isinstance(problem, ConicProgram) or not how.factorises
        method = OperatorSplitting() if splits else InteriorPoint()
    if iteration is not None:
        if not isinstance(iteration, AbstractIteration):
            raise TypeError(
                "solve: `iteration` must be an iteration of fixproj, got "
                f"{type(iteration).__name__}."
            )
        if isinstance(method, InteriorPoint):
            raise TypeError(
                "solve: InteriorPoint is no fixed map, and takes no `iteration`; "
                "`method=fixproj.OperatorSplitting()` does."
            )
    if state is not None and not isinstance(state, ProgramState):
        raise TypeError(
            "solve: `state` must be the `state` of a program's solution, got "
            f"{type(state).__name__}."
        )
    bar = _progress.open_bar(max_steps) if progress else None
    final = ()
    try:
        common = (
            method,
            iteration,
            (rtol, atol),
            np.asarray(max_steps, np.int32),
            adjoint,
            state,
            throw,
            None if bar is None else jnp.asarray(bar),
        )
        if isinstance(problem, ConicProgram):
            solution, failed = solve_conic(problem, *common, how)
        else:
            only_equations = problem.lower is problem.upper or _all_equal(problem)
            solution, failed = _solve(problem, *common, how, only_equations)
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
    method,
    iteration,
    tolerances,
    max_steps,
    adjoint,
    state,
    throw,
    progress,
    plan,
    only_equations,
):
    dtype = dtype_of(problem)
    rtol, atol = tolerances
    rtol = default_rtol(dtype) if rtol is None else rtol
    program, _ = _canonical.canonical(problem, plan)
    layout = plan.layout
    frozen = _tree.stop_gradient(program)
    share = isinstance(method, OperatorSplitting)
    scaled, scaling = _equilibrate.equilibrate(frozen, share=share)
    polish = lambda pair: _polish.polish(scaled, scaling, pair, rtol, atol)
    start, done, guess = None, jnp.array(False), None
    if state is not None or only_equations:
        guess = _guess(problem, layout, scaled, scaling, _tree.stop_gradient(state))
        guess, figures = polish(guess)
        done = figures.merit <= 1
        start = guess.x, guess.y
    options = start if state is not None else None, (rtol, atol), max_steps, done
    if isinstance(method, InteriorPoint):
        pair, result, steps = method.run(scaled, scaling, *options, progress)
    else:
        x, y, result, steps = _splitting.run(
            method, iteration, scaled, scaling, *options, progress
        )
        pair = _pair(scaled, x, y)
    ray = pair
    if guess is not None:
        pair = _tree.where(done, guess, pair)
    pair, figures = polish(pair)
    result = _judge(frozen, figures, result)
    # An equation is held by the bound towards which its multiplier pushes.
    equal, pushed_up = scaled.domain.lower >= scaled.domain.upper, pair.y > 0
    pair = Pair(
        scaling.x * pair.x,
        scaling.rows * pair.y / scaling.cost,
        jnp.where(equal, ~pushed_up, pair.lower),
        jnp.where(equal, pushed_up, pair.upper),
    )
    held = Tolerances(jnp.asarray(rtol, dtype), None, _tree.max_norm)
    x, y = _derivative.attach(program, scaled, scaling, pair, adjoint, held, throw)
    y = _canonical.original_dual(y, problem, layout)
    ray_x = direction(result == RESULTS.unbounded, scaling.x * ray.x)
    ray_y = _canonical.original_dual(scaling.rows * ray.y, problem, layout)
    ray_y = direction(result == RESULTS.infeasible, ray_y)
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
    equal = scaled.domain.lower >= scaled.domain.upper
    if state is None:
        zero = jnp.zeros_like(scaled.q), jnp.zeros_like(scaled.domain.lower)
        return Pair(*zero, equal, jnp.zeros_like(equal))
    x = state.x.astype(scaled.q.dtype) / scaling.x
    y = _canonical.canonical_dual(state.y.astype(x.dtype), problem, layout)
    y = y * scaling.cost / scaling.rows
    return _pair(scaled, x, y)


def _pair(scaled, x, y) -> Pair:
    """The rows with a multiplier are the active ones."""
    equal = scaled.domain.lower >= scaled.domain.upper
    lower = (y < 0) & jnp.isfinite(scaled.domain.lower)
    upper = (y > 0) & jnp.isfinite(scaled.domain.upper)
    return Pair(x, y, lower | equal, upper & ~equal)


def _judge(program, figures, result):
    """What the problem was, over what became of the iteration."""
    result = RESULTS.where(figures.merit <= 1, RESULTS.successful, result)
    failed_late = (result == RESULTS.successful) & ~(figures.merit <= 1)
    result = RESULTS.where(failed_late, RESULTS.stagnated, result)
    crossed = program.domain.lower > program.domain.upper
    crossed = (
        crossed | (program.domain.lower == jnp.inf) | (program.domain.upper == -jnp.inf)
    )
    result = RESULTS.where(jnp.any(crossed), RESULTS.infeasible, result)
    result = RESULTS.where(~is_convex(program), RESULTS.nonconvex, result)
    finite = [jnp.all(jnp.isfinite(program.q))]
    finite += [program.P.is_finite(), program.G.is_finite()]
    finite += [
        ~jnp.any(jnp.isnan(b)) for b in (program.domain.lower, program.domain.upper)
    ]
    return RESULTS.where(~jnp.all(jnp.stack(finite)), RESULTS.nonfinite, result)
