"""Many solves at once, where a lane that is done leaves the batch.

Under `jax.vmap` every lane waits for the slowest one. Here the lanes that still run are
gathered into a smaller batch, and the loop goes on, as soon as

    running <= size / 2   and   idle > useful / 4

where `useful` counts the lane-steps so far that a lane needed and `idle` all others. So
every step has idle <= useful / 4 before it, or more than half of its lanes running, and
less than 2.25 times the useful steps are computed, and one step of the first batch more
at most. The second condition saves sizes, each of which is a program to compile: most
lanes tend to end at nearly the same step. Sizes are powers of two, so that N lanes are
served by at most 1 + ceil(log2(N)) of them.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import PyTree, Scalar

from . import _loop, _solve, _tree
from ._check import check_positive_int, is_traced
from ._dispatch import default_method
from ._iteration import AbstractIteration, Picard
from ._loop import Tolerances
from ._map import AbstractMethod
from ._problem import Feasibility, FixedPoint, Root
from ._solution import RESULTS, Solution


_LANES = "fixproj_lanes"
_IDLE = 0.25


def solve_batch(
    make_problem: Callable[[Any], FixedPoint | Root | Feasibility],
    parameters: PyTree,
    method: AbstractMethod | None = None,
    iteration: AbstractIteration | None = None,
    *,
    rtol: float | Scalar | None = None,
    atol: float | Scalar | None = None,
    max_steps: int = 10_000,
    norm: Callable[[PyTree], Scalar] = _tree.max_norm,
    throw: bool = True,
    chunk_steps: int = 256,
) -> Solution:
    """Solve many independent problems of equal shape; lanes that are done leave.

    Gives what `jax.vmap(lambda p: fixproj.solve(make_problem(p), ...))(parameters)`
    gives, up to rounding, for less work if some lanes need many more steps than others:
    about 2.25 times the sum of the steps of all lanes at worst, where `jax.vmap` does
    the number of lanes times the steps of the slowest. It compiles several loops, at
    most `1 + ceil(log2(lanes))`, so it pays when the solves are long or the same
    function is solved for again.

    It looks at values on the way, so it runs outside of `jax.jit`, `jax.vmap` and
    `jax.grad` only. For gradients, go on from its states, which takes one step a lane:
    `jax.vmap(lambda p, s: fixproj.solve(make_problem(p), state=s))(parameters, states)`
    with `states = solution.state` can be differentiated.

    Args:
        make_problem: from the parameters of one lane to its problem. Traced; what is
            common to all lanes, it may close over. Programs are compiled for a function
            object: define it once rather than in a loop.
        parameters: a pytree whose arrays all have the lanes as their leading axis. May
            have zero lanes, which gives a solution with zero lanes. Leaves that are not
            numeric (strings, functions) go to every lane as they are.
        method: as for [`fixproj.solve`][], the same for all lanes.
        iteration: as for [`fixproj.solve`][], the same for all lanes, but no optimistix
            solver. A `Root` has no default here and needs one.
        rtol: as for [`fixproj.solve`][].
        atol: as for [`fixproj.solve`][].
        max_steps: the largest number of map evaluations of every lane, at least 1.
        norm: as for [`fixproj.solve`][].
        throw: whether a failed lane raises, once all lanes are done. If not, look at
            `Solution.result`.
        chunk_steps: the largest number of steps without a return to the host, at least
            1. Changes no answer; Ctrl-C is heard in between.

    Returns:
        A [`fixproj.Solution`][] with the lanes as leading axis of `value`, `result`,
        `state`, and of `num_steps`, `residual` and `violation` in `stats`. Two more
        are single integers: `max_steps`, and `lane_steps`, the lane-steps computed,
        idle and padding lanes included (under `jax.vmap`: lanes times the largest of
        `num_steps`).

    Raises:
        equinox.EquinoxRuntimeError: (a `RuntimeError`) if a lane fails and `throw` is
            true; the message says how many, which is the first, and why.
        ValueError: if an argument is out of range, or an array of `parameters` has no
            leading axis or one of another length.
        TypeError: if an argument is of the wrong kind, or traced.

    Examples:
        >>> import fixproj as fp, jax.numpy as jnp
        >>> def make_problem(rate):
        ...     return fp.FixedPoint(lambda y, rate: rate * y + 1, 0.0, rate)
        >>> rates = jnp.array([0.5, 0.5, 0.99, 0.5])
        >>> solution = fp.solve_batch(make_problem, rates, rtol=1e-4)
        >>> print(solution.stats["num_steps"])
        [ 13  13 460  13]
        >>> print(solution.stats["lane_steps"], 4 * 460)
        514 1840
    """
    check_positive_int("solve_batch", "max_steps", max_steps)
    check_positive_int("solve_batch", "chunk_steps", chunk_steps)
    if any(
        map(is_traced, jtu.tree_leaves((parameters, method, iteration, rtol, atol)))
    ):
        raise TypeError(_TRACED)
    arrays, static, lanes = _split_lanes(parameters)
    problem = _problem_structure(make_problem, arrays, static)
    method = default_method(problem) if method is None else method
    _solve._check_arguments(problem, method, iteration, rtol, atol, None, norm)
    if iteration is None and not isinstance(problem, Root):
        iteration = Picard()
    if not isinstance(iteration, AbstractIteration):
        raise TypeError(
            "solve_batch: `iteration` must be one of fixproj's own such as "
            "fixproj.Anderson(), because it has to stop and go on (None does not "
            f"serve for a Root); got {iteration!r}."
        )
    setup = _Setup(make_problem, static, method, iteration, (rtol, atol, norm))
    state, result = _start(setup, arrays, lanes)
    running, size, taken, lane_steps, spare = np.arange(lanes), lanes, 0, 0, 0.0
    while running.size > 0 and taken < max_steps:
        if running.size <= _next_size(size) and spare < 0:
            size = _power_of_two(running.size)
        # Out of range stands for padding.
        index = np.full(size, lanes, np.int32)
        index[: running.size] = running
        steps = np.asarray(min(chunk_steps, max_steps - taken), np.int32)
        state, result, unfinished, steps = _go_on(
            setup, arrays, state, result, index, steps, np.asarray(spare, np.float32)
        )
        if is_traced(steps):
            raise TypeError(_TRACED)
        taken += int(steps)
        lane_steps += size * int(steps)
        running = np.flatnonzero(np.asarray(unfinished))
        useful = int(np.sum(np.asarray(state.num_steps), dtype=np.int64))
        spare = _IDLE * useful - (lane_steps - useful)
    solution, failed = _finish(setup, arrays, state, result)
    if is_traced(failed):
        raise TypeError(_TRACED)
    solution.stats["max_steps"] = max_steps
    solution.stats["lane_steps"] = lane_steps
    if throw:
        _raise_on_failure(solution, np.flatnonzero(np.asarray(failed)))
    return solution


_TRACED = (
    "solve_batch: looks at values on the host, so it cannot be used inside of jax.jit, "
    "jax.vmap or jax.grad. Use jax.vmap of fixproj.solve there; for gradients, with "
    "`state=` from solve_batch outside."
)


class _Setup(eqx.Module):
    """What is the same for all lanes."""

    make_problem: Callable[[Any], Any]
    static: PyTree
    method: AbstractMethod
    iteration: AbstractIteration
    tolerances: tuple

    def lane(self, arrays: PyTree) -> Any:
        """The map of one lane, its start, and its tolerances; as in `solve`."""
        problem = self.make_problem(eqx.combine(arrays, self.static))
        map_ = self.method.make_map(problem)
        z0 = map_.init()
        rtol, atol, norm = self.tolerances
        rtol = _loop.default_rtol(z0) if rtol is None else rtol
        return map_, z0, Tolerances(rtol, atol, norm)


@eqx.filter_jit
def _start(setup, arrays, lanes):
    def lane(arrays):
        _, z0, _ = setup.lane(arrays)
        return _loop.init(setup.iteration, z0)

    every = lambda x: jnp.broadcast_to(jnp.asarray(x), (lanes,))
    return jax.vmap(lane)(arrays), jtu.tree_map(every, RESULTS.max_steps_reached)


@eqx.filter_jit
def _go_on(setup, arrays, state, result, index, max_steps, spare):
    """Run the lanes at `index` until a smaller batch is due, or `max_steps` steps."""
    (lanes,) = jtu.tree_leaves(result)[0].shape
    (size,) = index.shape
    nearest = jnp.minimum(index, lanes - 1)
    gather = lambda tree: jtu.tree_map(lambda x: x[nearest], tree)

    def lane(arrays, state, is_real):
        map_, z0, tolerances = setup.lane(arrays)
        apply = eqx.filter_closure_convert(map_.apply, z0)
        before = state.num_steps

        def while_loop(keep_on, body, carry):
            def stays(carry):
                runs = keep_on(carry) & is_real
                steps = carry[0].num_steps - before
                # In float32, which does not overflow. Rounding is harmless: with the
                # host's sizes the first step is always taken, so no call is in vain.
                useful = jax.lax.psum(steps.astype(jnp.float32), _LANES)
                total = size * jax.lax.pmax(steps, _LANES).astype(jnp.float32)
                may_idle = total - useful <= spare + _IDLE * useful
                count = jax.lax.psum(runs.astype(jnp.int32), _LANES)
                return runs & (may_idle | (count > _next_size(size)))

            return jax.lax.while_loop(stays, body, carry)

        state, result, _ = _loop.run(
            apply, setup.iteration, state, tolerances, max_steps, while_loop=while_loop
        )
        return state, result, state.num_steps - before

    part_state, part_result, steps = jax.vmap(lane, axis_name=_LANES)(
        gather(arrays), gather(state), index < lanes
    )
    state, result = jtu.tree_map(
        lambda whole, part: whole.at[index].set(part, mode="drop"),
        (state, result),
        (part_state, part_result),
    )
    return state, result, result == RESULTS.max_steps_reached, jnp.max(steps)


@eqx.filter_jit
def _finish(setup, arrays, state, result):
    def lane(arrays, state, result):
        map_, _, tolerances = setup.lane(arrays)
        value = map_.readout(map_.core(state.z))
        violation, result = _solve._check_constraints(
            map_, value, result, tolerances, state.initial_size, state.residual
        )
        return value, violation, result

    value, violation, result = jax.vmap(lane)(arrays, state, result)
    stats = {
        "num_steps": state.num_steps,
        "residual": state.residual,
        "violation": violation,
    }
    solution = Solution(value=value, result=result, stats=stats, state=state)
    return solution, result != RESULTS.successful


def _next_size(size: int) -> int:
    """The largest power of two below `size`; 0 below 1."""
    return _power_of_two(size) // 2


def _power_of_two(n: int) -> int:
    """The smallest power of two that is at least `n`."""
    return 1 << (n - 1).bit_length()


def _split_lanes(parameters: PyTree) -> tuple[PyTree, PyTree, int]:
    """The arrays, the other leaves, and the number of lanes."""
    numeric = (bool, int, float, complex, np.generic)
    lanes, first = None, ""
    for path, leaf in jtu.tree_leaves_with_path(parameters):
        name = f"solve_batch: `parameters{jtu.keystr(path)}`"
        is_array = eqx.is_array(leaf) or isinstance(leaf, np.ndarray)
        if isinstance(leaf, numeric) or (is_array and leaf.ndim == 0):
            raise ValueError(
                f"{name} must be an array with the lanes as leading axis, got the "
                f"scalar {leaf!r}. What is common to all lanes belongs into "
                "`make_problem`."
            )
        if not is_array:
            continue
        if lanes is not None and leaf.shape[0] != lanes:
            raise ValueError(
                f"{name} must have the {lanes} lanes of `parameters{first}` as leading "
                f"axis, got the shape {leaf.shape}."
            )
        lanes, first = leaf.shape[0], jtu.keystr(path)
    if lanes is None:
        raise ValueError(
            "solve_batch: `parameters` must hold an array with the lanes as leading "
            f"axis, got {parameters!r}."
        )
    to_jax = lambda x: jnp.asarray(x) if isinstance(x, np.ndarray) else x
    arrays, static = eqx.partition(jtu.tree_map(to_jax, parameters), eqx.is_array)
    return arrays, static, lanes


def _problem_structure(make_problem: Any, arrays: PyTree, static: PyTree) -> Any:
    """The problem of a lane, with structs in the place of arrays."""
    if not callable(make_problem):
        raise TypeError(
            "solve_batch: `make_problem` must be a function from the parameters of a "
            f"lane to its problem, got {type(make_problem).__name__}."
        )
    structs = jtu.tree_map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), arrays)
    problem = eqx.filter_eval_shape(
        lambda arrays: make_problem(eqx.combine(arrays, static)), structs
    )
    if not isinstance(problem, FixedPoint | Root | Feasibility):
        raise TypeError(
            "solve_batch: `make_problem` must return a fixproj.FixedPoint, "
            f"fixproj.Root or fixproj.Feasibility, got {type(problem).__name__}."
        )
    return problem


def _raise_on_failure(solution: Solution, failed: np.ndarray) -> None:
    if failed.size == 0:
        return
    first = int(failed[0])
    result = jtu.tree_map(lambda x: x[first], solution.result)
    count, residual, violation = (
        np.asarray(solution.stats[name])[first]
        for name in ("num_steps", "residual", "violation")
    )
    lanes = solution.stats["num_steps"].shape[0]
    raise eqx.EquinoxRuntimeError(
        f"solve_batch: {failed.size} of {lanes} lanes failed, the first is lane "
        f"{first}: {RESULTS[result]} (after {count} steps, residual {residual:.2e}, "
        f"violation {violation:.2e})"
    )
