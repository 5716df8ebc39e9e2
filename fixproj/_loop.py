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
from jaxtyping import Array, Bool, Float, Int, PyTree, Scalar

from . import _tree
from ._iteration import AbstractIteration
from ._progress import report
from ._solution import RESULTS


_WINDOW = 64
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
    """What is kept of past residuals to tell slow progress from none.

    The smallest and the largest residual of the current and of the last window of
    steps. A cycle repeats both exactly; a slow convergence does not.
    """

    low: Float[Array, ""]
    high: Float[Array, ""]
    last_low: Float[Array, ""]
    last_high: Float[Array, ""]
    last_size: Float[Array, ""]
    still: Int[Array, ""]  # windows in a row that changed nothing
    drifting: Int[Array, ""]  # windows in a row in which z moved on at constant speed


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
    zero, infinity = jnp.zeros((), dtype), jnp.full((), jnp.inf, dtype)
    none = jnp.zeros((), jnp.int32)
    return LoopState(
        z=z0,
        iteration_state=iteration.init(z0),
        num_steps=none,
        initial_size=zero,
        residual=infinity,
        watch=Watch(infinity, zero, infinity, zero, zero, none, none),
    )


class _Carry(eqx.Module):
    state: LoopState
    steps: Int[Array, ""]
    stop: Bool[Array, ""]
    result: RESULTS


def run(
    apply: Callable[[PyTree], PyTree],
    iteration: AbstractIteration,
    state: LoopState,
    tolerances: Tolerances,
    max_steps: int,
    *,
    while_loop: Callable = jax.lax.while_loop,
    progress: Int[Array, ""] | None = None,
) -> tuple[LoopState, Int[Array, ""], RESULTS]:
    """Run a map until it is fixed, fails, or has been evaluated `max_steps` times.

    Returns:
        The state, the number of steps taken by this call, and the result. When
        `successful`, `state.residual` is that of `state.z` itself; when steps ran out,
        `state.z` is the point that would be evaluated next.
    """

    def keep_on(carry):
        return ~carry.stop & (carry.steps < max_steps)

    def body(carry):
        state = carry.state
        z = state.z
        fz = jtu.tree_map(lambda f, x: f.astype(x.dtype), apply(z), z)
        residual = tolerances.norm(_tree.subtract(fz, z)).astype(state.residual.dtype)
        size = tolerances.norm(z).astype(residual.dtype)
        initial_size = jnp.where(
            state.num_steps == 0, jnp.maximum(size, residual), state.initial_size
        )
        allowed = tolerances.allowed(size, initial_size)
        converged = (residual <= allowed) & jnp.isfinite(residual)
        watch = _observe(state.watch, residual, size, state.num_steps)
        result = _judge(residual, initial_size, watch)
        result = RESULTS.where(converged, RESULTS.successful, result)
        stop = converged | (result != RESULTS.successful)
        z_next, iteration_state = iteration.step(z, fz, state.iteration_state)
        if progress is not None:
            report(progress, carry.steps + 1, residual)
        return _Carry(
            LoopState(
                # The point whose residual was measured is the one to return.
                z=_tree.where(stop, z, z_next),
                iteration_state=iteration_state,
                num_steps=state.num_steps + 1,
                initial_size=initial_size,
                residual=residual,
                watch=watch,
            ),
            carry.steps + 1,
            stop,
            result,
        )

    carry = _Carry(
        state, jnp.zeros((), jnp.int32), jnp.array(False), RESULTS.successful
    )
    carry = while_loop(keep_on, body, carry)
    result = RESULTS.where(carry.stop, carry.result, RESULTS.max_steps_reached)
    return carry.state, carry.steps, result


def _observe(watch: Watch, residual: Scalar, size: Scalar, step: Array) -> Watch:
    epsilon = float(jnp.finfo(residual.dtype).eps)
    low = jnp.minimum(watch.low, residual)
    high = jnp.maximum(watch.high, residual)
    full = step % _WINDOW == _WINDOW - 1

    def same(a, b):
        return jnp.abs(a - b) <= 8 * epsilon * b

    repeats = same(low, watch.last_low) & same(high, watch.last_high)
    rounding = (high <= 64 * epsilon * size) & (low >= watch.last_low)
    still = jnp.where(repeats | rounding, watch.still + 1, 0)
    drifts = repeats & (size - watch.last_size > 0.25 * _WINDOW * low)
    drifting = jnp.where(drifts, watch.drifting + 1, 0)
    closed = Watch(
        jnp.full_like(low, jnp.inf),
        jnp.zeros_like(high),
        low,
        high,
        size,
        still,
        drifting,
    )
    still_open = Watch(
        low,
        high,
        watch.last_low,
        watch.last_high,
        watch.last_size,
        watch.still,
        watch.drifting,
    )
    return _tree.where(full, closed, still_open)


def _judge(residual: Scalar, initial_size: Scalar, watch: Watch) -> RESULTS:
    finite = jnp.isfinite(residual)
    grown = residual > _DIVERGENCE * jnp.maximum(initial_size, 1)
    # A search that moves at constant speed may yet arrive: it gets more time.
    cycles = (watch.still >= 4) & (watch.drifting == 0)
    drifts = watch.drifting >= 16
    result = RESULTS.where(cycles, RESULTS.stagnated, RESULTS.successful)
    result = RESULTS.where(grown | drifts, RESULTS.diverged, result)
    return RESULTS.where(finite, result, RESULTS.nonfinite)
