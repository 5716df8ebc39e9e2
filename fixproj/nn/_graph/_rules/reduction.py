"""Sums, means and maxima over axes and windows (pooling), and cumulative sums."""

import itertools

import jax
import jax.numpy as jnp
from jax import lax

from fixproj.nn._graph._registry import register_projection
from fixproj.nn._graph._rules._linear import linear_displacement


@register_projection("reduce_sum")
def project_sum(operation, inputs, output, displacement, weights):
    """{y = sum of x}: every entry moves by d / (n + weight of x / weight of y)."""
    (x,) = inputs
    kept = [i for i in range(x.ndim) if i not in operation.params["axes"]]
    count = 0 if weights.weak else x.size // max(1, displacement.size)
    each = displacement / (count + weights.inputs[0] / weights.output)
    return (lax.broadcast_in_dim(each, x.shape, kept),)


@register_projection("reduce_max")
def project_max(operation, inputs, output, displacement, weights):
    """{y = max of x}."""
    (x,) = inputs
    axes = operation.params["axes"]
    kept = [i for i in range(x.ndim) if i not in axes]
    order = (*axes, *kept)
    stack = x.transpose(order).reshape(-1, *displacement.shape)
    moved = maximum_of_stack(stack, displacement, weights.inputs[0], weights.output)
    moved = moved.reshape([x.shape[i] for i in order])
    inverse = sorted(range(x.ndim), key=lambda i: order[i])
    return (moved.transpose(inverse),)


@register_projection("reduce_min")
def project_min(operation, inputs, output, displacement, weights):
    """{y = min of x} = {-y = max of -x}."""
    (moved,) = project_max(operation, [-inputs[0]], -output, -displacement, weights)
    return (-moved,)


@register_projection("reduce_window_max")
def project_max_pool(operation, inputs, output, displacement, weights):
    """{y = max of a window of x}; an entry in m windows is m copies of weight / m."""
    (x,) = inputs

    def windows(x):
        return _windows(x, operation.params, -jnp.inf)

    def gather(x):
        return _windows(x, operation.params, 0.0)

    (spread,) = (jax.linear_transpose(gather, x),)
    dims = operation.params["window_dimensions"]
    strides = operation.params["window_strides"]
    disjoint = all(s >= d for s, d in zip(strides, dims, strict=True))
    if disjoint or weights.weak:
        weight = weights.inputs[0]
        stack = maximum_of_stack(windows(x), displacement, weight, weights.output)
        return (spread(stack)[0],)
    ones = jnp.ones((len(windows(x)), *displacement.shape), x.dtype)
    count = jnp.maximum(spread(ones)[0], 1)
    shared = weights.inputs[0] / _windows(count, operation.params, 1.0)
    stack = maximum_of_stack(windows(x), displacement, shared, weights.output)
    return (spread(stack)[0] / count,)


@register_projection("reduce_window_sum")
@register_projection("cumsum")
def project_linear(operation, inputs, output, displacement, weights):
    """{y = A x}: sums over windows (average pooling) and running sums."""
    return linear_displacement(operation, inputs, displacement, weights)


def _windows(x, params, fill):
    """The entries of each window along a new first axis, `fill` outside of x."""
    dims, strides = params["window_dimensions"], params["window_strides"]
    if any(d != 1 for d in params["base_dilation"]):
        raise NotImplementedError("a window over dilated inputs")
    dilation = params["window_dilation"]
    spread = [(d - 1) * g + 1 for d, g in zip(dims, dilation, strict=True)]
    pads = [(lo, hi, 0) for lo, hi in params["padding"]]
    padded = lax.pad(x, jnp.asarray(fill, x.dtype), pads)
    counts = [
        (n - w) // s + 1 for n, w, s in zip(padded.shape, spread, strides, strict=True)
    ]
    parts = []
    for corner in itertools.product(*(range(d) for d in dims)):
        start = [k * g for k, g in zip(corner, dilation, strict=True)]
        stop = [
            b + (n - 1) * s + 1 for b, n, s in zip(start, counts, strides, strict=True)
        ]
        parts.append(lax.slice(padded, start, stop, strides))
    return jnp.stack(parts)


# Up to so many entries Newton's iteration is written out: 14 times faster on a CPU than
# a loop, which goes through memory for every term.
_UNROLLED = 16


def maximum_of_stack(stack, displacement, a, c):
    """How far each x_i moves when (x, max x + d) is projected; i along the first axis.

    Upwards only the (first) largest rises. Downwards all that are above the level t
    below the maximum sink to it, where t solves the increasing, convex equation
    sum_i a_i max(t - gap_i, 0) = c (|d| - t), gap_i = max x - x_i: Newton's iteration
    from above ends after finitely many steps.
    """
    a = jnp.broadcast_to(jnp.asarray(a, stack.dtype), stack.shape)
    c = jnp.asarray(c, stack.dtype)
    if 0 < len(stack) <= _UNROLLED:
        return jnp.stack(_maximum_of_parts(list(stack), displacement, list(a), c))
    first = jnp.argmax(stack, axis=0)[None]
    numbers = lax.broadcasted_iota(first.dtype, stack.shape, 0)
    largest = numbers == first
    # Zero by definition: a compiler that recomputes the stack may round it otherwise.
    gaps = jnp.max(stack, axis=0, keepdims=True) - stack
    gaps = jnp.where(largest, 0, gaps)
    top = jnp.sum(jnp.where(largest, a, 0), axis=0)
    rise = c * jnp.maximum(displacement, 0) / (top + c)
    wanted = jnp.maximum(-displacement, 0)

    def newton(carry):
        t, _, count = carry
        sinks = (gaps < t[None]) | largest
        total = jnp.sum(jnp.where(sinks, a * gaps, 0), axis=0)
        bend = jnp.sum(jnp.where(sinks, a, 0), axis=0)
        new = jnp.minimum((c * wanted + total) / (c + bend), t)
        return new, jnp.any(new < t), count + 1

    def unfinished(carry):
        return carry[1] & (carry[2] <= stack.shape[0])

    start = (c * wanted / (top + c), jnp.array(True), 0)
    level, _, _ = lax.while_loop(unfinished, newton, start)
    sink = -jnp.maximum(level[None] - gaps, 0)
    return jnp.where(largest, rise[None], 0) + jnp.where(jnp.isfinite(gaps), sink, 0)


def _maximum_of_parts(parts, displacement, a, c):
    """`maximum_of_stack` of a few entries, entry by entry."""
    highest = parts[0]
    for part in parts[1:]:
        highest = jnp.maximum(highest, part)
    found = jnp.zeros(displacement.shape, bool)
    largest, gaps = [], []
    top = jnp.zeros_like(displacement)
    for part, weight in zip(parts, a, strict=True):
        here = (part == highest) & ~found
        found = found | here
        top = top + jnp.where(here, weight, 0)
        largest.append(here)
        gaps.append(jnp.where(here, 0, highest - part))
    rise = c * jnp.maximum(displacement, 0) / (top + c)
    wanted = jnp.maximum(-displacement, 0)
    level = c * wanted / (top + c)
    for _ in range(len(parts) - 1):
        total, bend = c * wanted, c
        for gap, here, weight in zip(gaps, largest, a, strict=True):
            sinks = (gap < level) | here
            total = total + jnp.where(sinks, weight * gap, 0)
            bend = bend + jnp.where(sinks, weight, 0)
        level = jnp.minimum(total / bend, level)
    moved = []
    for gap, here in zip(gaps, largest, strict=True):
        sink = jnp.where(jnp.isfinite(gap), -jnp.maximum(level - gap, 0), 0)
        moved.append(jnp.where(here, rise, 0) + sink)
    return moved
