"""`solve`: problem x method x iteration x adjoint -> Solution."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import PyTree, Scalar

from . import _loop, _progress, _tree
from ._check import check_positive_int, is_traced
from ._dispatch import check_method, default_method
from ._iteration import AbstractIteration, Picard
from ._loop import Tolerances
from ._map import AbstractMethod
from ._problem import Feasibility, Root
from ._qp import ConicProgram, QuadraticProgram, solve_program
from ._solution import RESULTS, Solution
from .implicit import Implicit
from .implicit._as_adjoint import as_adjoint


# How many times the allowed residual an answer may miss a constraint by.
_SLACK = 10


def solve(
    problem: Any,
    method: AbstractMethod | None = None,
    iteration: Any = None,
    *,
    rtol: float | Scalar | None = None,
    atol: float | Scalar | None = None,
    max_steps: int = 10_000,
    norm: Callable[[PyTree], Scalar] = _tree.max_norm,
    adjoint: optx.AbstractAdjoint | None = None,
    state: PyTree | None = None,
    throw: bool = True,
    history: bool = False,
    progress: bool = False,
) -> Solution:
    """Solve a problem; the solution can be differentiated.

    The method turns the problem into a map `z -> T(z)`, the iteration runs it in one
    compiled loop until `norm(T(z) - z) <= atol + rtol * norm(z)`, and the adjoint gives
    the fixed point its derivative.

    Args:
        problem: what is asked: [`fixproj.FixedPoint`][], [`fixproj.Root`][],
            [`fixproj.Feasibility`][], [`fixproj.Composite`][],
            [`fixproj.Constrained`][], [`fixproj.competitive.Game`][] or
            [`fixproj.competitive.MinMax`][], or a program:
            [`fixproj.QuadraticProgram`][] or [`fixproj.ConicProgram`][], whose
            tolerances are on the residuals of its optimality conditions (the root of
            the machine epsilon by default).
        method: how it becomes a map; None is the problem's default
            ([`fixproj.DouglasRachford`][] for `Feasibility`; for `Composite` by its
            terms; [`fixproj.SQP`][] for `Constrained`, and
            [`fixproj.competitive.ImplicitEuler`][] for games). A `FixedPoint` or a
            `Root` is a map already and takes none.
        iteration: how the map is run; None is [`fixproj.Picard`][], for a conic program
            [`fixproj.Anderson`][], and for a `Root` `optimistix.Newton` with the
            tolerances given here. An optimistix fixed-point or root solver is taken as
            it is, with its own tolerances.
        rtol: relative tolerance, a scalar >= 0; None is eps^(3/4) of the coarsest dtype
            in the iterate: 6.4e-6 in float32, 1.8e-12 in float64. A `Feasibility`
            problem is `successful` only if its answer also meets every set to ten times
            the tolerance, or as closely as rounding lets it: the loop goes on for that.
        atol: absolute tolerance, a scalar >= 0; None is `rtol * min(1, s)`, where `s`
            is the larger one of `norm(z0)` and `norm(T(z0) - z0)`.
        max_steps: the largest number of map evaluations of this call, at least 1.
        norm: from a pytree to a real scalar: [`fixproj.max_norm`][],
            [`fixproj.rms_norm`][], [`fixproj.two_norm`][] or your own.
        adjoint: how derivatives go through the solution; None is
            [`fixproj.implicit.Implicit`][], which supports every mode. An adjoint of
            optimistix is taken too: `ImplicitAdjoint` as it is, and
            `RecursiveCheckpointAdjoint` as [`fixproj.implicit.Unroll`][].
        state: the `Solution.state` of an earlier call with the same problem structure,
            method and iteration: goes on exactly where that one stopped. `y0` is then
            not used.
        throw: whether failure raises. If not, look at `Solution.result`. A derivative
            that fails is then NaN instead of an error.
        history: keep the residual of every step in `stats["residual_history"]`, of
            length `max_steps`, NaN from `num_steps` on. Not for optimistix solvers.
        progress: show a live bar with steps and residual (needs tqdm).

    Returns:
        A [`fixproj.Solution`][].

    Raises:
        equinox.EquinoxRuntimeError: (a `RuntimeError`) if the solve fails and `throw`
            is true; the message says why and what to do. Inside of a traced function it
            is raised when the compiled program runs.
        ValueError: if an argument is out of range, `y0` is not finite, or the map
            changes the structure, a shape or a dtype of its argument.
        TypeError: if an argument is of the wrong kind.
    """
    given, method = method, default_method(problem) if method is None else method
    _check_arguments(problem, method, iteration, rtol, atol, adjoint, norm)
    check_positive_int("solve", "max_steps", max_steps)
    if isinstance(problem, QuadraticProgram | ConicProgram):
        if history or norm is not _tree.max_norm:
            name = "history" if history else "norm"
            raise TypeError(f"solve: `{name}` does not apply to a program.")
        options = (rtol, atol, max_steps, adjoint, state, throw, progress)
        return solve_program(problem, given, iteration, *options)
    brings_iteration = method.make_iteration(problem) is not None
    if brings_iteration and iteration is not None:
        raise TypeError(
            f"solve: `method` {type(method).__name__} brings its own iteration; "
            "`iteration` must be None."
        )
    if iteration is None and not isinstance(problem, Root) and not brings_iteration:
        iteration = Picard()
    is_ours = brings_iteration or isinstance(iteration, AbstractIteration)
    if not is_ours and (state is not None or history):
        name = "history" if state is None else "state"
        raise TypeError(f"solve: `{name}` cannot be used with an optimistix solver.")
    bar = _progress.open_bar(max_steps) if progress else None
    final = ()
    try:
        solution, failed = _solve(
            problem,
            method,
            iteration,
            (rtol, atol, norm),
            # As an array it is not compiled in, so that it can change freely.
            np.asarray(max_steps, np.int32) if is_ours else max_steps,
            as_adjoint(adjoint),
            state,
            throw,
            max_steps if history else None,
            None if bar is None else jnp.asarray(bar),
        )
        figures = solution.stats["num_steps"], solution.stats["residual"]
        final = () if is_traced(figures[0]) or figures[0].ndim else figures
        solution.stats["max_steps"] = max_steps
    finally:
        if bar is not None:
            _progress.close_bar(bar, *final)
    return _raise_on_failure(solution, failed, problem) if throw else solution


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
    history,
    bar,
):
    map_ = method.make_map(problem)
    z0 = map_.init()
    rtol, atol, norm = tolerances
    rtol = method.default_rtol(z0) if rtol is None else rtol
    rtol = _loop.default_rtol(z0) if rtol is None else rtol
    tolerances = Tolerances(rtol, atol, norm)
    own = method.make_iteration(problem)
    iteration = iteration if own is None else _loop.closed(own, z0)
    miss, pursued = None, False
    # All that the map depends on, closed-over tracers included, becomes its leaves.
    apply = eqx.filter_closure_convert(map_.apply, z0)
    frozen, z0 = _tree.stop_gradient((apply, z0))
    if isinstance(iteration, AbstractIteration):
        if state is None:
            state = _loop.init(iteration, z0)
        state = _tree.stop_gradient(state)
        before = state.num_steps
        if history is not None:
            history = jnp.full((history,), jnp.nan, state.residual.dtype)
        if isinstance(problem, Feasibility):
            miss = _how_far(map_, z0, tolerances)
        state, result, history, exhausted = _run(
            frozen, iteration, state, tolerances, max_steps, history, bar, miss
        )
        pursued = miss is not None and ~exhausted
        steps = state.num_steps - before
        z, residual, scale = state.z, state.residual, state.initial_size
    else:
        if iteration is None:
            iteration = _newton(rtol, atol)
        z, state, steps, result = _run_optimistix(frozen, iteration, z0, max_steps)
        residual = norm(_tree.subtract(frozen(z), z))
        scale = jnp.maximum(norm(z0), residual)
    z = _tree.stop_gradient(z)
    if isinstance(adjoint, Implicit):
        z = map_.core(z)
        apply = eqx.filter_closure_convert(map_.equation(), z)
        z = adjoint.attach(apply, z, tolerances, throw)
    else:
        z = map_.core(adjoint.attach(apply, z, tolerances, throw))
    value = map_.readout(z)
    violation, result = _check_constraints(
        map_, value, result, tolerances, scale, residual, pursued
    )
    stats = {"num_steps": steps, "residual": residual, "violation": violation}
    stats |= map_.report(z)
    if history is not None:
        stats["residual_history"] = history
    solution = Solution(value=value, result=result, stats=stats, state=state)
    return solution, result != RESULTS.successful


def _how_far(map_, z0, tolerances):
    """From `z` to the answer's violation and norm; None without constraints."""

    def look(z):
        value = map_.readout(map_.core(z))
        violation = map_.violation(value)
        return None if violation is None else (violation, tolerances.norm(value))

    if jax.eval_shape(look, z0) is None:
        return None
    return _tree.stop_gradient(eqx.filter_closure_convert(look, z0))


def _run(frozen, iteration, state, tolerances, max_steps, history, bar, miss):
    """The loop; goes on with a smaller tolerance while the answer misses a constraint.

    The residual of a projection method can be of higher order than the distance to the
    sets, where these are tangent, or meet at a small angle.
    """
    start, run = state.num_steps, _loop.run
    if miss is None:
        options = {"history": history, "progress": bar, "start": start}
        out = run(frozen, iteration, state, tolerances, max_steps, **options)
        return *out, False

    def body(carry):
        state, _, history, share, _, _ = carry
        given = tolerances.rtol, tolerances.atol
        scaled = [None if t is None else jnp.asarray(t) for t in given]
        scaled = [None if t is None else t * share.astype(t.dtype) for t in scaled]
        tighter = Tolerances(scaled[0], scaled[1], tolerances.norm)  # pyright: ignore[reportArgumentType]
        options = {"history": history, "progress": bar, "start": start}
        state, result, history = run(
            frozen, iteration, state, tighter, max_steps, **options
        )
        violation, size = miss(state.z)
        allowed, size = _allowed(tolerances, size, state.initial_size)
        within_reach = violation <= jnp.sqrt(allowed * size)
        # The given tolerance was met before, and rounding stands in the way of more.
        exhausted = (result == RESULTS.stagnated) & (share < 1) & within_reach
        result = RESULTS.where(exhausted, RESULTS.successful, result)
        again = (result == RESULTS.successful) & ~exhausted
        again = again & (violation > _SLACK * allowed)
        again = again & within_reach & (state.residual > 0)
        factor = jnp.clip(allowed / violation, 1e-3, 0.1)
        return state, result, history, share * factor, again, exhausted

    share = jnp.ones((), state.residual.dtype)
    yes, no = jnp.array(True), jnp.array(False)
    carry = state, RESULTS.max_steps_reached, history, share, yes, no
    carry = jax.lax.while_loop(lambda c: c[4], body, carry)
    state, result, history, _, _, exhausted = carry
    return state, result, history, exhausted


def _allowed(tolerances, size, scale):
    """The largest residual for an answer of norm `size`, and the size it is for."""
    size = jnp.minimum(scale, 1) + size
    return tolerances.allowed(size, scale), size


def _check_constraints(
    map_, value, result, tolerances, scale, residual, pursued: Any = False
):
    """A fixed point of the map of an infeasible problem is no solution of it.

    `pursued` says that the loop went on for the sake of the constraints.
    """
    map_, value = _tree.stop_gradient((map_, value))
    violation = map_.violation(value)
    if violation is None:
        return jnp.zeros_like(scale), result
    # A violation is of first order where the residual can be of second (tangent sets).
    allowed, size = _allowed(tolerances, tolerances.norm(value), scale)
    unmet = violation > jnp.sqrt(allowed * size)
    missed = violation > _SLACK * allowed
    # A residual that is small only beside iterates which ran away excuses nothing.
    ran_away = (residual > allowed) & (result != RESULTS.stagnated)
    unmet = unmet | (ran_away & missed)
    settled = (result == RESULTS.successful) | (result == RESULTS.diverged)
    if map_.settles:
        settled = settled | (result == RESULTS.stagnated)
    early = (result == RESULTS.successful) & missed & pursued
    result = RESULTS.where(early, RESULTS.stagnated, result)
    return violation, RESULTS.where(
        unmet & settled, RESULTS.infeasible_suspected, result
    )


def _newton(rtol, atol):
    return optx.Newton(rtol=rtol, atol=rtol if atol is None else atol)


def _run_optimistix(apply, solver, z0, max_steps):
    solution = optx.fixed_point(
        lambda z, args: apply(z), solver, z0, max_steps=max_steps, throw=False
    )
    result = RESULTS.promote(solution.result)
    out_of_steps = result == RESULTS.nonlinear_max_steps_reached
    result = RESULTS.where(out_of_steps, RESULTS.max_steps_reached, result)
    return solution.value, solution.state, solution.stats["num_steps"], result


def _check_arguments(problem, method, iteration, rtol, atol, adjoint, norm) -> None:
    if not isinstance(method, AbstractMethod):
        hint = (
            " (is it an iteration? then pass `iteration=`)"
            if isinstance(method, AbstractIteration)
            else ""
        )
        raise TypeError(
            "solve: `method` must be a method such as fixproj.DouglasRachford(), got "
            f"{method!r}{hint}."
        )
    check_method(problem, method)
    solvers = (AbstractIteration, optx.AbstractFixedPointSolver)
    solvers += (optx.AbstractRootFinder, optx.AbstractLeastSquaresSolver)
    if iteration is not None and not isinstance(iteration, solvers):
        raise TypeError(
            "solve: `iteration` must be an iteration such as fixproj.Anderson(), or an "
            f"optimistix fixed-point or root solver, got {iteration!r}."
        )
    if adjoint is not None and not isinstance(adjoint, optx.AbstractAdjoint):
        raise TypeError(
            "solve: `adjoint` must be a member of fixproj.implicit such as "
            "fixproj.implicit.TwoPhase(), or an adjoint of optimistix, got "
            f"{adjoint!r}."
        )
    if not callable(norm):
        raise TypeError(f"solve: `norm` must be a function, got {norm!r}.")
    for name, value in (("rtol", rtol), ("atol", atol)):
        if value is None or is_traced(value):
            continue
        if isinstance(value, str) or jnp.ndim(value) != 0 or not float(value) >= 0:
            raise ValueError(f"solve: `{name}` must be a scalar >= 0, got {value!r}.")


def _raise_on_failure(solution: Solution, failed: Any, problem: Any) -> Solution:
    if is_traced(failed):
        return solution.result.error_if(solution, failed)
    # NumPy, because an operation of JAX would have to be compiled first.
    if np.asarray(failed).any():
        for name in ("x0", "y0"):
            start = getattr(problem, name, None)
            path = None if is_traced(start) else _tree.first_nonfinite(start)
            if path is not None:
                raise ValueError(
                    f"solve: `{name}{path}` has an entry that is NaN or infinite."
                )
        stats = solution.stats
        raise eqx.EquinoxRuntimeError(
            f"{RESULTS[solution.result]} (after {stats['num_steps']} steps, residual "
            f"{stats['residual']:.2e}, violation {stats['violation']:.2e})"
        )
    return solution
