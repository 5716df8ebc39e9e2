"""The single loop in which every map is run.

The carry is the whole state of a solve, so that a solve can stop and go on anywhere.
Nothing here is differentiated: derivatives come from the fixed point, see `implicit`.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int, PyTree, Scalar

from . import _tree
from ._iteration import AbstractIteration
from ._progress import report
from ._solution import RESULTS
from ._xla import stored


# Divisible by every period up to 6, so that such a cycle repeats itself exactly.
_WINDOW = 60
_PATIENCE = 16
_DIVERGENCE = 1e8


class Tolerances(eqx.Module):
    """When a point counts as fixed: `norm(T(z) - z) <= atol + rtol * norm(z)`.

    `atol=None` stands for `rtol * min(1, scale)` with `scale` the size of the problem
    as it starts, `max(norm(z0), norm(T(z0) - z0))`: a problem whose unknowns are all
    around 1e-6 must not pass for solved at once.
    """

    rtol: float | Scalar
    atol: float | Scalar | None
    norm: Callable[[PyTree], Scalar] = eqx.field(static=True)

    def measure(self, residual: PyTree, z: PyTree) -> tuple[Scalar, Scalar]:
        """The norms of a residual and of its point."""
        if self.norm is _tree.max_norm:
            return _tree.max_norm_pair(residual, z)
        if self.norm is _tree.two_norm:
            return _tree.two_norm_pair(residual, z)
        return self.norm(residual), self.norm(z)

    def allowed(self, size: Scalar, initial_size: Scalar) -> Scalar:
        """The largest residual at which a point of norm `size` counts as fixed."""
        rtol = _tree.scale_like(self.rtol, size)
        if self.atol is None:
            return rtol * (jnp.minimum(initial_size, 1) + size)
        return _tree.scale_like(self.atol, size) + rtol * size


def default_rtol(z: PyTree) -> float:
    """What the coarsest dtype of `z` can reach: eps^(3/4).

    That is 6.4e-6 in float32 (54 machine epsilons) and 1.8e-12 in float64 (8192).
    """
    return _tree.coarsest_epsilon(z) ** 0.75


class Watch(eqx.Module):
    """What is kept of the past to tell slow progress from none.

    The residual and two norms of `z` at the end of the last window of steps. In a cycle
    all come back exactly; in a slow convergence, or a search, they do not. And the
    smallest of such residuals: where it is all rounding it soon gets no smaller.
    """

    residual: Float[Array, ""]
    best: Float[Array, ""]
    size: Float[Array, ""]
    two_norm: Float[Array, ""]
    score: Int[Array, ""]


class LoopState(eqx.Module):
    """Everything that a solve needs to go on."""

    z: PyTree
    iteration_state: Any
    num_steps: Int[Array, ""]
    initial_size: Float[Array, ""]
    residual: Float[Array, ""]  # of the last point that was evaluated,
    size: Float[Array, ""]  # and its norm
    watch: Watch


def init(iteration: AbstractIteration, z0: PyTree) -> LoopState:
    """The state before the first step."""
    dtype = _tree.norm_dtype(z0)
    zero, none = jnp.zeros((), dtype), jnp.zeros((), jnp.int32)
    return LoopState(
        z=z0,
        iteration_state=iteration.init(z0),
        num_steps=none,
        initial_size=zero,
        residual=jnp.full((), jnp.inf, dtype),
        size=zero,
        watch=Watch(zero, jnp.full((), jnp.inf, dtype), zero, zero, none),
    )


class _Closed(AbstractIteration):
    """An iteration whose functions have been converted."""

    inner: AbstractIteration
    convert: Callable

    def init(self, z: PyTree) -> Any:
        return self.inner.init(z)

    def step(self, z: PyTree, fz: PyTree, state: Any) -> tuple[PyTree, Any]:
        return self.convert(z, fz, state)


def closed(iteration: AbstractIteration, z0: PyTree) -> AbstractIteration:
    """The iteration of a problem of its own, cut from differentiation.

    What its functions close over becomes leaves of it first.
    """
    state = jax.eval_shape(lambda: iteration.init(z0))
    like = jax.eval_shape(lambda: z0)
    step = eqx.filter_closure_convert(iteration.step, like, like, state)
    return _tree.stop_gradient(_Closed(iteration, step))


def run(
    apply: Callable[[PyTree], PyTree],
    iteration: AbstractIteration,
    state: LoopState,
    tolerances: Tolerances,
    max_steps: int | Int[Array, ""],
    *,
    history: Float[Array, " steps"] | None = None,
    while_loop: Callable = jax.lax.while_loop,
    progress: Int[Array, ""] | None = None,
    start: Int[Array, ""] | None = None,
) -> tuple[LoopState, RESULTS, Float[Array, " steps"] | None]:
    """Run a map until it is fixed, fails, or has been evaluated `max_steps` times.

    Steps are counted from `start`, by default from those that the state has made.

    Returns:
        The state, the result, and the history with the residuals of this call's steps
        written into it. When `successful`, `state.residual` is that of `state.z`
        itself; when steps ran out, `state.z` is the point to be evaluated next.
    """
    # Until something else is known, running out of steps is how a solve will end.
    running = RESULTS.max_steps_reached
    start = state.num_steps if start is None else start

    def keep_on(carry):
        state, result, _ = carry
        return (result == running) & (state.num_steps - start < max_steps)

    def step(carry):
        state, _, _, history = carry
        z = state.z
        fz = jtu.tree_map(lambda f, x: f.astype(x.dtype), apply(z), z)
        fz = stored(fz, state.num_steps)
        residual, size = tolerances.measure(_tree.subtract(fz, z), z)
        residual = residual.astype(state.residual.dtype)
        size = size.astype(residual.dtype)
        is_first = state.num_steps == 0
        initial_size = jnp.where(
            is_first, jnp.maximum(size, residual), state.initial_size
        )
        finite = jnp.isfinite(residual)
        # Twice in a row: an iteration may take back a single step that went astray. An
        # infinity is judged apart.
        limit = _DIVERGENCE * jnp.maximum(initial_size, 1)
        grown = (jnp.minimum(residual, state.residual) > limit) & finite
        result = RESULTS.where(grown, RESULTS.diverged, running)
        converged = (residual <= tolerances.allowed(size, initial_size)) & finite
        result = RESULTS.where(converged, RESULTS.successful, result)
        # A norm is not negative, but that is how all reading of `fz` above comes before
        # the step, which may then write over it.
        counter = state.num_steps + (residual < 0).astype(state.num_steps.dtype)
        fz = stored(fz, counter)
        z_next, iteration_state = iteration.step(z, fz, state.iteration_state)
        if history is not None:
            history = history.at[state.num_steps - start].set(residual)
        num_steps = state.num_steps + 1
        if progress is not None:
            report(progress, num_steps - start, residual)
        pause = is_first | _is_multiple(num_steps, _WINDOW) | ~finite
        # The point whose residual was measured is the one to return.
        z = _tree.where(result == running, z_next, z)
        state = LoopState(
            z,
            iteration_state,
            num_steps,
            state.initial_size,
            residual,
            size,
            state.watch,
        )
        return state, result, pause, history

    def window(carry):
        # What need not be looked at in every step is kept out of the inner loop: on a
        # CPU a branch there costs as much as a pass over a thousand numbers.
        state, result, history = carry
        state, result, _, history = while_loop(
            lambda carry: keep_on((carry[0], carry[1], carry[3])) & ~carry[2],
            step,
            (state, result, jnp.array(False), history),
        )
        initial_size = jnp.where(
            state.num_steps == 1,
            jnp.maximum(state.size, state.residual),
            state.initial_size,
        )
        finite = jnp.isfinite(state.residual) & jnp.isfinite(state.size)
        due = (result == running) & (_is_multiple(state.num_steps, _WINDOW) | ~finite)
        watch, result = jax.lax.cond(
            due, lambda: _judge(running, state), lambda: (state.watch, result)
        )
        state = eqx.tree_at(
            lambda s: (s.initial_size, s.watch), state, (initial_size, watch)
        )
        return state, result, history

    return while_loop(keep_on, window, (state, running, history))


def _is_multiple(number: Int[Array, ""], of: int) -> Array:
    return jax.lax.rem(number, jnp.full_like(number, of)) == 0


def _judge(running: RESULTS, state: LoopState) -> tuple[Watch, RESULTS]:
    """The watch at the end of a window, and whether the solve has failed."""
    last, residual, size = state.watch, state.residual, state.size
    epsilon = float(jnp.finfo(residual.dtype).eps)
    two_norm = _tree.two_norm(state.z).astype(size.dtype)

    def same(a, b):
        return jnp.abs(a - b) <= 8 * epsilon * a

    repeats = same(residual, last.residual)
    lower = residual < 0.99 * last.best
    best = jnp.where(lower, residual, last.best)
    # Between curved sets the speed of a drift tends to a constant, slowly, and far from
    # the start it is rounded as coarsely as the iterate.
    noise = max(8 * epsilon, 1e-6) * residual + 2 * epsilon * size
    steady = jnp.abs(residual - last.residual) <= noise
    drifts = steady & ~lower & (size - last.size > _WINDOW / 4 * residual)
    cycles = repeats & same(two_norm, last.two_norm)
    rounding = (residual <= 64 * epsilon * size) & ~lower
    # A search that moves on at constant speed may yet arrive: it gets more time.
    points = jnp.where(drifts, 1, jnp.where(rounding, _PATIENCE // 8, 0))
    points = jnp.where(cycles, _PATIENCE // 4, points)
    points = points.astype(last.score.dtype)
    score = jnp.where(points > 0, last.score + points, 0)
    idle = score >= _PATIENCE
    result = RESULTS.where(idle, RESULTS.stagnated, running)
    result = RESULTS.where(idle & drifts, RESULTS.diverged, result)
    # An iteration that left the map's domain may know a way back.
    finite = jnp.isfinite(residual)
    lost = ~finite & ~jnp.isfinite(_tree.max_norm(state.z)) | ~jnp.isfinite(size)
    result = RESULTS.where(finite, result, running)
    result = RESULTS.where(lost, RESULTS.nonfinite, result)
    watch = Watch(residual, best, size, two_norm, score)
    return _tree.where(finite, watch, last), result
