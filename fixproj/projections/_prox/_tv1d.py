r"""Total variation of a sequence: f(x) = w sum |x_{i+1} - x_i|.

The prox is found by dynamic programming (Johnson, 2013). With c = s w, let m_k be the
derivative of the least cost of x_1 .. x_k as a function of z_k:

    m_1(z) = z - x_1,     m_{k+1}(z) = clip(m_k(z), -c, c) + z - x_{k+1}

Each is increasing and piecewise linear, so it is kept as a queue of knots, where
slope and intercept change. Clipping removes knots at both ends and adds one at each:
the points low_k, high_k where m_k is -c and c. In all there are 2 n knots. The last
entry is the root of m_n; backwards, z_k = clip(z_{k+1}, low_k, high_k).

The result is constant on segments. Given those, and the signs of the jumps between
them, it is linear in x and c: on a segment S

    z = mean_S(x) + c (sign of the jump after S - sign of the jump before S) / |S|

which gives the last digits and all derivatives.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import (
    as_axis,
    as_floating,
    computing_dtype,
    per_point,
    position,
)
from fixproj.projections._function import AbstractFunction, as_step, as_weight


class TV1D(AbstractFunction):
    """Total variation along one axis; its prox (the fused lasso signal approximator).

    Exact, in a number of operations proportional to the length, one after the other.

    Args:
        weight: a factor, a scalar or an array that broadcasts to the batch: the shape
            of `x` without `axis`.
        axis: the axis of `x` along which a sequence lies.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if `weight` is negative or not finite (a runtime error when traced).

    References:
        N. A. Johnson (2013), A dynamic programming algorithm for the fused lasso and
        L0-segmentation. L. Condat (2013), A direct algorithm for 1D total variation
        denoising.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import TV1D
        >>> print(TV1D().prox(jnp.array([0.0, 1.0, 8.0, 9.0])))
        [1. 1. 8. 8.]
    """

    weight: Float[Array, "..."]
    axis: int = eqx.field(static=True)

    def __init__(self, weight: ArrayLike = 1.0, axis: int = -1):
        self.weight = as_weight(weight)
        self.axis = as_axis(axis)

    def __call__(self, x: Float[ArrayLike, "..."]) -> Float[Array, ""]:
        """Returns the weighted sum of the moduli of the differences."""
        x, weight = self._prepare(x)
        return jnp.sum(weight * jnp.abs(jnp.diff(x, axis=-1)))

    def prox(self, x: Float[ArrayLike, "..."], step: Any = 1.0) -> Float[Array, "..."]:
        """Returns the minimiser. A sequence with a NaN gives NaNs."""
        dtype = as_floating(x, "x").dtype
        x, weight = self._prepare(x)
        if x.shape[-1] > 1 and x.size > 0:
            strength = as_step(step, x.dtype) * weight
            rows = x.reshape(-1, x.shape[-1])
            strengths = jnp.broadcast_to(strength, (*x.shape[:-1], 1)).reshape(-1)
            x = jax.vmap(_denoise)(rows, strengths).reshape(x.shape)
        return jnp.moveaxis(x, -1, self.axis).astype(dtype)

    def _prepare(self, x):
        x = as_floating(x, "x")
        axis = position(self.axis, x)
        dtype = computing_dtype(x)
        x = jnp.moveaxis(x.astype(dtype), axis, -1)
        return x, per_point("weight", self.weight.astype(dtype), x, -1)


def _denoise(x, strength):
    # Differences from one entry: a large offset costs no digits.
    offset = lax.stop_gradient(x[0])
    x = x - offset
    jumps = jnp.sign(jnp.diff(_solve(*lax.stop_gradient((x, strength)))))
    starts = jnp.concatenate([jnp.zeros(1, bool), jumps != 0])
    segment = jnp.cumsum(starts, dtype=jnp.int32)
    none = jnp.zeros(1, x.dtype)
    pull = jnp.concatenate([jumps, none]) - jnp.concatenate([none, jumps])
    n = x.shape[0]
    sums = jax.ops.segment_sum(x + strength * pull, segment, n)
    sizes = jax.ops.segment_sum(jnp.ones_like(x), segment, n)
    z = (sums / jnp.maximum(sizes, 1))[segment] + offset
    bad = ~jnp.isfinite(jnp.sum(x) + strength)
    return jnp.where(bad, jnp.nan, z)


def _solve(x, c):
    n = x.shape[0]
    put, get = lax.dynamic_update_index_in_dim, lax.dynamic_index_in_dim
    at = lambda array, i: get(array, i, 0, keepdims=False)

    def walk(knots, first, left, right, target, sign):
        """Walks from one end to the piece a z + b on which m reaches the target."""
        place, slope, rise = knots

        def before(state):
            i, a, b = state
            open_ = (i <= right) if sign > 0 else (i >= left)
            short = (a * at(place, i) + b - target) * sign <= 0
            return open_ & short

        def advance(state):
            i, a, b = state
            return i + sign, a + sign * at(slope, i), b + sign * at(rise, i)

        i, a, b = lax.while_loop(before, advance, (left if sign > 0 else right, *first))
        return i, a, b

    def body(k, state):
        knots, left, right, lows, highs = state
        # Beyond all knots clip(m) is -c or c, to which z - x_k is added.
        here = at(x, k)
        one = jnp.ones((), x.dtype)
        i, a, b = walk(knots, (one, -here - c), left, right, -c, 1)
        j, d, e = walk(knots, (one, -here + c), i, right, c, -1)
        low, high = (-c - b) / a, (c - e) / d
        left, right = i - 1, j + 1
        place, slope, rise = knots
        place = put(put(place, low, left, 0), high, right, 0)
        # Crossing `low` upward turns the constant -c into a z + b, `high` back into c.
        slope = put(put(slope, a, left, 0), -d, right, 0)
        rise = put(put(rise, b + c, left, 0), c - e, right, 0)
        lows, highs = put(lows, low, k, 0), put(highs, high, k, 0)
        return (place, slope, rise), left, right, lows, highs

    knots = (jnp.zeros(2 * n + 2, x.dtype),) * 3
    place, slope, rise = knots
    one = jnp.ones((), x.dtype)
    low, high = x[0] - c, x[0] + c
    place = put(put(place, low, n, 0), high, n + 1, 0)
    slope = put(put(slope, one, n, 0), -one, n + 1, 0)
    rise = put(put(rise, c - x[0], n, 0), c + x[0], n + 1, 0)
    lows = put(jnp.zeros_like(x), low, 0, 0)
    highs = put(jnp.zeros_like(x), high, 0, 0)
    left = jnp.asarray(n, jnp.int32)
    state = ((place, slope, rise), left, left + 1, lows, highs)
    state = lax.fori_loop(1, n - 1, body, state)
    knots, left, right, lows, highs = state
    _, a, b = walk(knots, (one, -x[-1] - c), left, right, jnp.zeros_like(c), 1)
    last = -b / a

    def back(z, bounds):
        low, high = bounds
        z = jnp.clip(z, low, high)
        return z, z

    _, z = lax.scan(back, last, (lows[:-1], highs[:-1]), reverse=True)
    return jnp.concatenate([z, last[None]])
