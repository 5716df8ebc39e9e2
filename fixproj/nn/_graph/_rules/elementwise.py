"""Elementwise nodes: sums, multiples, rectifiers and maxima, each in closed form.

An operand of size 1 along an axis (jax broadcasts those implicitly) stands for n equal
copies, each with the weight w / n. Sums with one such operand, and multiples, are
exact; elsewhere each copy is projected on its own and the operand moves by their mean.
"""

import jax.numpy as jnp

from fixproj.nn._graph._registry import register_projection
from fixproj.nn._graph._rules._scalar import product_of_two
from fixproj.projections._relu import maximum_displacement, relu_displacement


def _copies(aval, out_aval) -> int:
    return max(1, out_aval.size // max(1, aval.size))


def _copied_axes(aval, ndim):
    """The axes that the operand is broadcast along, in the output of a node."""
    return tuple(i for i in range(ndim) if not aval.shape or aval.shape[i] == 1)


def _gather_copies(displacement, aval, gather=jnp.mean):
    """The mean (or sum) over the axes that the operand is broadcast along."""
    axes = _copied_axes(aval, displacement.ndim)
    return gather(displacement, axis=axes, keepdims=True).reshape(aval.shape)


def _copy_weights(operation, weights):
    out = operation.out_avals[0]
    pairs = zip(weights.inputs, operation.avals, strict=True)
    return [weight / _copies(aval, out) for weight, aval in pairs]


def _linear_pair(operation, displacement, weights, signs):
    """Graph {z = s x + t y}, s and t = +-1: each operand takes its share."""
    copied = _copy_weights(operation, weights)
    ease = [1 / w if f else 0.0 for w, f in zip(copied, operation.free, strict=True)]
    shape = displacement.shape
    moved: list = [None] * len(ease)
    # An operand with copies goes first: it cannot follow every entry, and the other
    # takes what it leaves.
    order = sorted(range(len(ease)), key=lambda i: operation.avals[i].shape == shape)
    for i in order:
        if operation.free[i]:
            # A weak projection: each follows as if alone.
            total = 1 / weights.output + (0.0 if weights.weak else sum(ease))
            share = ease[i] / total
            moved[i] = _gather_copies(
                signs[i] * share * displacement, operation.avals[i]
            )
            if not weights.weak:
                displacement = displacement - signs[i] * moved[i]
            ease[i] = 0.0
    return tuple(moved)


@register_projection("add")
def project_sum(operation, inputs, output, displacement, weights):
    """{z = x + y}."""
    return _linear_pair(operation, displacement, weights, (1, 1))


@register_projection("sub")
def project_difference(operation, inputs, output, displacement, weights):
    """{z = x - y}."""
    return _linear_pair(operation, displacement, weights, (1, -1))


@register_projection("neg")
def project_negative(operation, inputs, output, displacement, weights):
    """{z = -x}."""
    return _linear_pair(operation, displacement, weights, (-1,))


def _multiple(operation, position, factor, displacement, weights):
    """{z = c x}, c constant: dx = sum c d / (sum c^2 + weight of x / weight of z)."""
    aval = operation.avals[position]
    factor = jnp.broadcast_to(factor, displacement.shape)
    ridge = weights.inputs[position] / weights.output
    total = _gather_copies(factor * displacement, aval, jnp.sum)
    if weights.weak:
        return total / ridge
    return total / (_gather_copies(factor**2, aval, jnp.sum) + ridge)


@register_projection("mul")
def project_product(operation, inputs, output, displacement, weights):
    """{z = c x} or {z = x c}, c constant; or {z = x y}, as gates do."""
    if all(operation.free):
        a, b = _copy_weights(operation, weights)
        x, y = (jnp.broadcast_to(value, displacement.shape) for value in inputs)
        moved = product_of_two(x, y, displacement, a, b, weights.output, weights.weak)
        return _gather_both(operation, moved)
    position = operation.free.index(True)
    factor = inputs[1 - position]
    moved = _multiple(operation, position, factor, displacement, weights)
    return (moved, None) if position == 0 else (None, moved)


@register_projection("div")
def project_quotient(operation, inputs, output, displacement, weights):
    """{z = x / c}, c constant; or {z = x / y}, one Gauss-Newton step that descends."""
    if not operation.free[1]:
        return _multiple(operation, 0, 1 / inputs[1], displacement, weights), None
    a, b = _copy_weights(operation, weights)
    x, y = (jnp.broadcast_to(value, displacement.shape) for value in inputs)
    c = weights.output
    to_x, to_y = 1 / y, -output / y
    ease_x = 1 / a if operation.free[0] else 0.0
    bend = 0.0 if weights.weak else ease_x * to_x**2 + to_y**2 / b
    multiplier = displacement / (bend + 1 / c)
    dx, dy = ease_x * to_x * multiplier, to_y * multiplier / b
    if not weights.weak:
        # The divisor may lose at most half of itself, and the point must get nearer.
        shrink = jnp.minimum(1, 0.5 * jnp.abs(y) / jnp.maximum(jnp.abs(dy), 1e-30))
        dx, dy = _descending(
            lambda dx, dy: (dx - output * dy) / (y + dy), displacement, dx, dy, shrink
        )
    moved = _gather_both(operation, (dx, dy))
    return tuple(m if f else None for m, f in zip(moved, operation.free, strict=True))


def _descending(rise, displacement, dx, dy, length):
    """The step, halved until z is nearer to where it is wanted (else none)."""
    best = jnp.zeros_like(length)
    for halvings in reversed(range(6)):
        t = length * 0.5**halvings
        gap = jnp.abs(rise(t * dx, t * dy) - displacement)
        best = jnp.where(gap < jnp.abs(displacement), t, best)
    return best * dx, best * dy


def _gather_both(operation, moved):
    pairs = zip(moved, operation.avals, strict=True)
    return tuple(_gather_copies(m, aval) for m, aval in pairs)


@register_projection("min")
def project_minimum(operation, inputs, output, displacement, weights):
    """{z = min(x, y)} = {-z = max(-x, -y)}."""
    moved = project_maximum(
        operation, [-value for value in inputs], -output, -displacement, weights
    )
    return tuple(None if m is None else -m for m in moved)


@register_projection("max")
def project_maximum(operation, inputs, output, displacement, weights):
    """{z = max(x, c)}, c constant (c = 0 is relu), or {z = max(x, y)}."""
    copied = _copy_weights(operation, weights)
    if all(operation.free):
        x, y = (jnp.broadcast_to(value, displacement.shape) for value in inputs)
        moved = maximum_displacement(
            x, y, displacement, copied[0], copied[1], weights.output
        )
        return _gather_both(operation, moved)
    position = operation.free.index(True)
    above = jnp.broadcast_to(
        inputs[position] - inputs[1 - position], displacement.shape
    )
    moved = relu_displacement(above, displacement, copied[position], weights.output)
    moved = _gather_copies(moved, operation.avals[position])
    return (moved, None) if position == 0 else (None, moved)


@register_projection("sum_relu")
def project_sum_relu(operation, inputs, output, displacement, weights):
    """{z = max(x_1 + ... + x_n, 0)}: only the sum matters, eased by all of them."""
    rest = list(inputs)
    total = rest.pop()
    for term in rest:
        total = total + term
    ease = [1 / weight for weight in weights.inputs]
    moved = relu_displacement(total, displacement, 1 / sum(ease), weights.output)
    return tuple(e / sum(ease) * moved for e in ease)


@register_projection("identity")
def project_identity(operation, inputs, output, displacement, weights):
    """{z = x}."""
    share = weights.output / (weights.inputs[0] + weights.output)
    return (share * displacement,)
