"""Nodes that are linear in each input: one Gauss-Newton step by conjugate gradients.

For y = f(x_1, ..., x_k) with f linear in each argument and J_i the map in the i-th,
the linearised nearest point of (x, y + d) is

    dx_i = J_i' L / w_i,   (sum_i J_i J_i' / w_i + I / c) L = d.

If there is one input, or only one that may move, nothing is left out. J_i' is the
transpose of a linear map; nothing is differentiated.
"""

import jax
import jax.numpy as jnp
from jax import lax


# Enough for single precision where c |J_i|^2 / w_i is at most about 10.
_STEPS = 16


def linear_displacement(operation, inputs, displacement, weights):
    """How far each input moves, None for those that cannot."""
    moving = [i for i, free in enumerate(operation.free) if free]
    maps, transposes = [], []
    for i in moving:

        def apply(value, i=i):
            full = [*inputs[:i], value, *inputs[i + 1 :]]
            return operation.evaluate(full)[0]

        maps.append(apply)
        transposes.append(jax.linear_transpose(apply, operation.avals[i]))

    def back(multiplier):
        return [transpose(multiplier)[0] for transpose in transposes]

    def over(value, i):
        return value / jnp.asarray(weights.inputs[i], value.dtype)

    if weights.weak:
        multiplier = displacement * jnp.asarray(weights.output, displacement.dtype)
    else:

        def normal(multiplier):
            total = multiplier / jnp.asarray(weights.output, multiplier.dtype)
            for i, apply, value in zip(moving, maps, back(multiplier), strict=True):
                total = total + apply(over(value, i))
            return total

        multiplier = conjugate_gradients(normal, displacement, _STEPS)
    moved: list = [None] * len(inputs)
    for i, value in zip(moving, back(multiplier), strict=True):
        moved[i] = over(value, i)
    return tuple(moved)


def conjugate_gradients(operator, right, steps):
    """Solves a symmetric positive definite system by a fixed number of steps."""

    def step(_, carry):
        solution, residual, direction, square = carry
        image = operator(direction)
        bend = jnp.sum(direction * image)
        length = jnp.where(bend > 0, square / jnp.where(bend > 0, bend, 1), 0)
        solution = solution + length * direction
        residual = residual - length * image
        new = jnp.sum(residual**2)
        ratio = jnp.where(square > 0, new / jnp.where(square > 0, square, 1), 0)
        return solution, residual, residual + ratio * direction, new

    start = (jnp.zeros_like(right), right, right, jnp.sum(right**2))
    return lax.fori_loop(0, steps, step, start)[0]
