r"""The projection onto {y : 0 <= y <= c, sum y = k c}, for the sums of large entries.

y = clip(x - t, 0, c), where t is the root of the decreasing, piecewise linear function
sum clip(x - t, 0, c) - k c. It lies within c below the k-th largest entry. Newton's
method, held inside of that bracket, finds its piece.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array


_MAX_STEPS = 100


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def capped_sum_projection(k: int, x: Array, cap: Array) -> Array:
    """The projection, for points along the last axis.

    Args:
        k: between 1 and the length of the last axis.
        x: the points, float32 or float64.
        cap: c, of length 1 along the last axis.
    """
    if k >= x.shape[-1]:
        return cap + 0 * x
    top = jax.lax.top_k(x, k)[0][..., -1:]
    # Relative to the bracket's upper end large offsets cancel exactly.
    x = x - top

    def body(state):
        low, high, threshold, _, count = state
        y = x - threshold
        excess = jnp.sum(jnp.clip(y, 0, cap), -1, keepdims=True) - k * cap
        slope = jnp.sum((y > 0) & (y < cap), -1, keepdims=True).astype(x.dtype)
        low = jnp.where(excess >= 0, threshold, low)
        high = jnp.where(excess <= 0, threshold, high)
        newton = threshold + excess / jnp.maximum(slope, 1)
        middle = low + (high - low) / 2
        inside = (slope > 0) & (newton > low) & (newton < high)
        chosen = jnp.where(inside, newton, middle)
        # At the root itself Newton's step is zero.
        chosen = jnp.where(excess == 0, threshold, chosen)
        return low, high, chosen, jnp.abs(chosen - threshold), count + 1

    def unfinished(state):
        *_, change, count = state
        eps = float(jnp.finfo(x.dtype).eps)
        return jnp.any(change > eps * cap) & (count < _MAX_STEPS)

    start = -cap
    state = (start, 0 * cap, start, jnp.full_like(cap, jnp.inf), 0)
    _, _, threshold, _, _ = lax.while_loop(unfinished, body, state)
    return jnp.clip(x - threshold, 0, cap)


@capped_sum_projection.defjvp
def _projection_jvp(k, primals, tangents):
    x, cap = primals
    dx, dcap = tangents
    y = capped_sum_projection(k, x, cap)
    full = y >= cap
    free = (y > 0) & ~full
    size = jnp.sum(free, -1, keepdims=True).astype(x.dtype)
    number = jnp.sum(full, -1, keepdims=True).astype(x.dtype)
    sum_dx = jnp.sum(jnp.where(free, dx, 0), -1, keepdims=True)
    shift = (sum_dx + (number - k) * dcap) / jnp.maximum(size, 1)
    dy = jnp.where(free, dx - shift, jnp.where(full, dcap, 0 * y))
    return y, dy
