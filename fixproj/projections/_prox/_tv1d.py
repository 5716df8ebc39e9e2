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

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int

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
            if rows.shape[0] == 1:
                x = _denoise(rows[0], strengths[0]).reshape(x.shape)
            else:
                x = jax.vmap(_denoise)(rows, strengths).reshape(x.shape)
        return jnp.moveaxis(x, -1, self.axis).astype(dtype)

    def _prepare(self, x):
        x = as_floating(x, "x")
        axis = position(self.axis, x)
        dtype = computing_dtype(x)
        x = jnp.moveaxis(x.astype(dtype), axis, -1)
        return x, per_point("weight", self.weight.astype(dtype), x, -1)


class Segments(NamedTuple):
    """The pieces on which a sequence of small variation is constant.

    Args:
        of: for every entry, which segment it is in.
        size: numbers of entries; n of them, zero beyond the last segment.
        pull: the sign of the jump after a segment less that of the jump before it.
    """

    of: Int[Array, " n"]
    size: Float[Array, " n"]
    pull: Float[Array, " n"]

    def mean(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """The mean of the entries of each segment."""
        return self._sum(x) / jnp.maximum(self.size, 1)

    def _sum(self, values):
        return jax.ops.segment_sum(values, self.of, values.shape[0])


def segments_of(x: Float[Array, " n"]) -> Segments:
    """Those of the sequence itself."""
    jumps = jnp.sign(jnp.diff(x))
    starts = jnp.concatenate([jnp.zeros(1, bool), jumps != 0])
    index = jnp.cumsum(starts, dtype=jnp.int32)
    none = jnp.zeros(1, x.dtype)
    pull = jnp.concatenate([jumps, none]) - jnp.concatenate([none, jumps])
    n = x.shape[0]
    size = jax.ops.segment_sum(jnp.ones_like(x), index, n)
    return Segments(index, size, jax.ops.segment_sum(pull, index, n))


def denoised(x: Float[Array, " n"], strength: Float[Array, ""]) -> Float[Array, " n"]:
    """The minimiser for a sequence of two entries or more; not differentiable."""
    return _solve(*lax.stop_gradient((x, strength)))


def _denoise(x, strength):
    # Differences from one entry: a large offset costs no digits.
    offset = lax.stop_gradient(x[0])
    x = x - offset
    on = segments_of(denoised(x, strength))
    level = on.mean(x) + strength * on.pull / jnp.maximum(on.size, 1)
    z = level[on.of] + offset
    bad = ~jnp.isfinite(jnp.sum(x) + strength)
    return jnp.where(bad, jnp.nan, z)


def _solve(x, c):
    """Forward in one flat loop, one knot passed or one entry done at a time.

    Every pass writes first and then reads what the next one needs: loops within the
    loop, or reading first, would have XLA copy all knots at every entry.
    """
    n = x.shape[0]
    put, get = lax.dynamic_update_index_in_dim, lax.dynamic_index_in_dim
    at = lambda array, i: get(array, i, 0, keepdims=False)
    one = jnp.ones((), x.dtype)
    # The last row of each array takes what is not to be kept.
    unused, beyond = 2 * n + 2, n

    def body(_, state):
        knots, bounds, left, right, k, here, walk, knot, low = state
        from_left, i, a, b, end = walk
        target = jnp.where(from_left, -c, c)
        value = a * knot[0] + b - target
        rising = (i <= right) & (value <= 0)
        passing = jnp.where(from_left, rising, (i >= end) & (value >= 0))
        turning = ~passing & from_left
        done = ~passing & ~from_left & (k < n - 1)

        # Clipping: `low` and `high` become the outermost knots.
        first, last = end - 1, i + 1
        low_at, slope, rise = low
        high = (c - b) / a
        # Crossing `low` upward turns the constant -c into a z + b, `high` back into c.
        lower = jnp.stack([low_at, slope, rise + c])
        upper = jnp.stack([high, -a, c - b])
        knots = put(knots, lower, jnp.where(done, first, unused), 0)
        knots = put(knots, upper, jnp.where(done, last, unused), 0)
        pair = jnp.stack([low_at, high])
        bounds = put(bounds, pair, jnp.where(done, k, beyond), 0)

        low = jax.tree.map(
            lambda new, old: jnp.where(turning, new, old), ((-c - b) / a, a, b), low
        )
        left, right = jnp.where(done, first, left), jnp.where(done, last, right)
        k = jnp.where(done, k + 1, k)
        upcoming = at(x, jnp.minimum(k, n - 1))
        # Towards the right a knot is entered, towards the left it is taken back.
        sign = jnp.where(from_left, one, -one)
        # Beyond all knots clip(m) is -c or c, to which z - x_k is added.
        restart = jnp.where(turning, c - here, -c - upcoming)
        a = jnp.where(passing, a + sign * knot[1], one)
        b = jnp.where(passing, b + sign * knot[2], restart)
        end = jnp.where(turning, i, end)
        step = jnp.where(from_left, 1, -1)
        i = jnp.where(passing, i + step, jnp.where(turning, right, left))
        from_left = passing == from_left
        walk = from_left, i, a, b, end
        return knots, bounds, left, right, k, upcoming, walk, at(knots, i), low

    low, high = x[0] - c, x[0] + c
    lower, upper = jnp.stack([low, one, c - x[0]]), jnp.stack([high, -one, c + x[0]])
    knots = jnp.zeros((2 * n + 3, 3), x.dtype)
    knots = put(put(knots, lower, n, 0), upper, n + 1, 0)
    bounds = put(jnp.zeros((n + 1, 2), x.dtype), jnp.stack([low, high]), 0, 0)
    left, k = jnp.asarray(n, jnp.int32), jnp.ones((), jnp.int32)
    walk = jnp.ones((), bool), left, one, -x[1] - c, left
    last = jnp.zeros_like(c), one, jnp.zeros_like(c)
    state = knots, bounds, left, left + 1, k, x[1], walk, lower, last
    # Every entry makes two knots and ends two walks; every knot is passed once.
    state = lax.fori_loop(0, 4 * n, body, state)
    knots, bounds, left, right, *_ = state

    def before(state):
        i, a, b = state
        return (i <= right) & (a * at(knots, i)[0] + b <= 0)

    def advance(state):
        i, a, b = state
        knot = at(knots, i)
        return i + 1, a + knot[1], b + knot[2]

    _, a, b = lax.while_loop(before, advance, (left, one, -x[-1] - c))
    last = -b / a

    def back(z, bounds):
        z = jnp.clip(z, bounds[0], bounds[1])
        return z, z

    _, z = lax.scan(back, last, bounds[: n - 1], reverse=True)
    return jnp.concatenate([z, last[None]])
