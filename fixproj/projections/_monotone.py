"""Monotone vectors: {x : x_1 <= ... <= x_n}, the isotonic regression of x.

Halves are solved first and merged: with u and v the solutions of the left and the right
half, that of both is min(u, m) and max(v, m), where the pooled mean m is the root of

    sum_i max(u_i - m, 0) = sum_i max(m - v_i, 0)

if u_n > v_1, and any number between u_n and v_1 otherwise. (Pooling is confined to the
end of u and the start of v, as in the pool-adjacent-violators algorithm: R. E. Barlow
and others, "Statistical inference under order restrictions", 1972.) All pairs of one
level are merged at once, so the whole costs log2(n) levels of a few passes each, and no
running sum, in which digits would be lost, occurs.
"""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import (
    as_axis,
    as_floating,
    computing_dtype,
    position,
)
from fixproj.projections._set import AbstractSet


class Monotone(AbstractSet):
    """The points whose entries never decrease (or never increase).

    The derivative averages over every run of equal entries of the result.

    Args:
        increasing: whether entries never decrease; otherwise they never increase.
        axis: the axis of `x` along which a point lies.

    Raises:
        TypeError: if an argument has the wrong type.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Monotone
        >>> print(Monotone().project(jnp.array([1.0, 4.0, 2.0, 6.0])))
        [1. 3. 3. 6.]
        >>> print(Monotone(increasing=False).project(jnp.array([1.0, 4.0, 2.0])))
        [2.5 2.5 2. ]
    """

    increasing: bool = eqx.field(static=True)
    axis: int = eqx.field(static=True)

    def __init__(self, increasing: bool = True, axis: int = -1):
        if not isinstance(increasing, bool):
            raise TypeError(f"`increasing` must be a boolean, but was {increasing!r}.")
        self.increasing = increasing
        self.axis = as_axis(axis)

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns the nearest monotone point.

        Args:
            x: the point or points, of any length along `axis`.

        Returns:
            An array of the shape and dtype of `x`. A point with a NaN gives NaNs.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if `x` has no such axis.
        """
        x = as_floating(x, "x")
        axis = position(self.axis, x)
        if x.size == 0:
            return x
        sign = 1 if self.increasing else -1
        wide = sign * jnp.moveaxis(x.astype(computing_dtype(x)), axis, -1)
        y = _increasing(wide.reshape(-1, x.shape[axis])).reshape(wide.shape)
        return (sign * jnp.moveaxis(y, -1, axis)).astype(x.dtype)


@jax.custom_jvp
@jax.jit
def _increasing(x):
    """Row by row the nearest increasing vector."""
    batch, n = x.shape
    levels = (n - 1).bit_length()
    # What is appended is too large to be pooled.
    largest = jnp.max(x, -1, keepdims=True)
    padding = jnp.broadcast_to(largest, (batch, 2**levels - n))
    y = jnp.concatenate([x, padding], -1)
    for level in range(levels):
        pairs = y.reshape(-1, 2, 2**level)
        y = _merge(pairs).reshape(batch, 2**levels)
    return jnp.where(jnp.isnan(largest), jnp.nan, y[:, :n])


def _merge(pairs):
    left, right = pairs[:, 0], pairs[:, 1]
    last, first = left[:, -1:], right[:, :1]
    violated = last > first
    middle = 0.5 * last + 0.5 * first
    if left.shape[-1] == 1:
        mean = middle
    else:
        mean = _pooled_mean(left, right, middle, first, last)
    left = jnp.where(violated, jnp.minimum(left, mean), left)
    right = jnp.where(violated, jnp.maximum(right, mean), right)
    return jnp.stack([left, right], 1)


def _pooled_mean(left, right, start, lower, upper):
    """The root m, by Newton's method inside a bracket."""
    eps = float(jnp.finfo(left.dtype).eps)

    def step(state):
        m, lower, upper, count, _ = state
        above, below = jnp.maximum(left - m, 0), jnp.maximum(m - right, 0)
        surplus, lack = (
            jnp.sum(above, -1, keepdims=True),
            jnp.sum(below, -1, keepdims=True),
        )
        pooled = jnp.sum(left > m, -1, keepdims=True, dtype=jnp.int32) + jnp.sum(
            right < m, -1, keepdims=True, dtype=jnp.int32
        )
        excess = surplus - lack
        new = m + excess / jnp.maximum(pooled, 1).astype(m.dtype)
        lower = jnp.where(excess > 0, m, lower)
        upper = jnp.where(excess > 0, upper, m)
        inside = (lower < new) & (new < upper)
        # Newton's steps leave the bracket rarely, so halving it then is enough.
        middle = 0.5 * lower + 0.5 * upper
        done = jnp.abs(excess) <= 4 * eps * (surplus + lack)
        new = jnp.where(inside | done, new, middle)
        active = ~done & (new != m) & (lower < upper)
        return new, lower, upper, count + 1, active

    def unfinished(state):
        *_, count, active = state
        return jnp.any(active) & (count < 100)

    active = jnp.ones(start.shape, bool)
    state = (start, lower, upper, jnp.zeros((), jnp.int32), active)
    mean, *_ = lax.while_loop(unfinished, step, state)
    return mean


@_increasing.defjvp
def _increasing_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    y = _increasing(x)
    return y, _average(lax.stop_gradient(y), dx)


def _average(y, dx):
    """Means of dx over the runs of equal entries in the rows of y."""
    starts = jnp.concatenate([jnp.ones_like(y[:, :1], bool), y[:, 1:] != y[:, :-1]], -1)
    runs = jnp.cumsum(starts.reshape(-1), dtype=jnp.int32) - 1
    sums = partial(
        jax.ops.segment_sum,
        segment_ids=runs,
        num_segments=y.size,
        indices_are_sorted=True,
    )
    sizes = sums(jnp.ones(y.size, y.dtype))
    means = sums(dx.reshape(-1)) / jnp.maximum(sizes, 1)
    average = means[runs].reshape(y.shape)
    return jnp.where(jnp.isnan(y), jnp.nan, average)
