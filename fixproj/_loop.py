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
    all come back exactly; in a slow convergence, or a search, they do not.
    """

    residual: Float[Array, ""]
    size: Float[Array, ""]
    two_norm: Float[Array, ""]
    score: Int[Array, ""]


class LoopState(eqx.Module):
    """Everything that a solve needs to go on."""

    z: PyTree
    iteration_state: Any
    num_steps: Int[Array, ""]
    initial_size: Float[Array, ""]
    residual: Float[Array, ""]
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
        watch=Watch(zero, zero, zero, none),
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

    def body(carry):
        state, _, history = carry
        z = state.z
        fz = jtu.tree_map(lambda f, x: f.astype(x.dtype), apply(z), z)
        residual, size = tolerances.measure(_tree.subtract(fz, z), z)
        residual = residual.astype(state.residual.dtype)
        size = size.astype(residual.dtype)
        initial_size = jnp.where(
            state.num_steps == 0, jnp.maximum(size, residual), state.initial_size
        )
        allowed = tolerances.allowed(size, initial_size)
        watch, result = _judge(running, state, residual, size, initial_size)
        converged = (residual <= allowed) & jnp.isfinite(residual)
        result = RESULTS.where(converged, RESULTS.successful, result)
        z_next, iteration_state = iteration.step(z, fz, state.iteration_state)
        # An iteration that left the map's domain may know a way back.
        lost = jax.lax.cond(
            jnp.isfinite(residual),
            lambda z: jnp.array(False),
            lambda z: ~jnp.isfinite(_tree.max_norm(z)),
            z_next,
        )
        lost = lost | ~jnp.isfinite(size)
        result = RESULTS.where(lost, RESULTS.nonfinite, result)
        if history is not None:
            history = history.at[state.num_steps - start].set(residual)
        num_steps = state.num_steps + 1
        if progress is not None:
            report(progress, num_steps - start, residual)
        # The point whose residual was measured is the one to return.
        z = _tree.where(result == running, z_next, z)
        state = LoopState(z, iteration_state, num_steps, initial_size, residual, watch)
        return state, result, history

    return while_loop(keep_on, body, (state, running, history))


def _judge(
    running: RESULTS, state: LoopState, residual: Scalar, size: Scalar, initial_size
) -> tuple[Watch, RESULTS]:
    """The watch after this step, and whether the solve has failed."""
    last = state.watch
    epsilon = float(jnp.finfo(residual.dtype).eps)

    def close_window():
        two_norm = _tree.two_norm(state.z).astype(size.dtype)
        same = lambda a, b: jnp.abs(a - b) <= 8 * epsilon * a
        repeats = same(residual, last.residual)
        # Between curved sets the speed of a drift tends to a constant, slowly, and far
        # from the start it is rounded as coarsely as the iterate.
        noise = max(8 * epsilon, 1e-6) * residual + 2 * epsilon * size
        steady = jnp.abs(residual - last.residual) <= noise
        drifts = steady & (size - last.size > _WINDOW / 4 * residual)
        cycles = repeats & same(two_norm, last.two_norm)
        rounding = (residual <= 64 * epsilon * size) & (residual > last.residual / 2)
        # A search that moves on at constant speed may yet arrive: it gets more time.
        points = jnp.where(cycles | rounding, _PATIENCE // 4, jnp.where(drifts, 1, 0))
        score = jnp.where(points > 0, last.score + points, 0)
        idle = score >= _PATIENCE
        result = RESULTS.where(idle, RESULTS.stagnated, running)
        result = RESULTS.where(idle & drifts, RESULTS.diverged, result)
        return Watch(residual, size, two_norm, score), result

    step = state.num_steps
    window_ends = jax.lax.rem(step, jnp.full_like(step, _WINDOW)) == _WINDOW - 1
    watch, result = jax.lax.cond(window_ends, close_window, lambda: (last, running))
    # Twice in a row: an iteration may take back a single step that went astray. An
    # infinity is judged apart.
    limit = _DIVERGENCE * jnp.maximum(initial_size, 1)
    grown = (jnp.minimum(residual, state.residual) > limit) & jnp.isfinite(residual)
    return watch, RESULTS.where(grown, RESULTS.diverged, result)
