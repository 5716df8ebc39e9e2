r"""The softmax as one node, {p = softmax(x)}.

Its Jacobian J = diag(p) - p p' is symmetric with eigenvalues in [0, 1/2], so the
linearised nearest point, dx = J L / a with (J J / a + I / c) L = d, takes few steps of
conjugate gradients, row by row. The step is halved until the point is nearer than the
one it started from. Taken apart into exp, sum and division the same function
overflows and its pieces pull against each other.
"""

import jax
import jax.numpy as jnp

from fixproj.nn._graph._registry import register_projection


_STEPS = 8
_HALVINGS = 6
_SMALL = 1e-3


@register_projection("softmax")
def project_softmax(operation, inputs, output, displacement, weights):
    """{p = softmax(x)}, over the axes of the sum."""
    (x,) = inputs
    axes = operation.params["axes"]
    a, c = (jnp.asarray(w, x.dtype) for w in (weights.inputs[0], weights.output))

    def total(value):
        return jnp.sum(value, axis=axes, keepdims=True)

    def jacobian(value):
        return output * (value - total(output * value))

    if weights.weak:
        return (c / a * jacobian(displacement),)
    # Conjugate gradients in every row at once.
    solution, residual = jnp.zeros_like(x), displacement
    direction, square = residual, total(residual**2)
    for _ in range(_STEPS):
        image = jacobian(jacobian(direction)) / a + direction / c
        bend = total(direction * image)
        length = jnp.where(bend > 0, square / jnp.where(bend > 0, bend, 1), 0)
        solution = solution + length * direction
        residual = residual - length * image
        new = total(residual**2)
        ratio = jnp.where(square > 0, new / jnp.where(square > 0, square, 1), 0)
        direction, square = residual + ratio * direction, new
    full = jacobian(solution) / a
    best, least = jnp.zeros_like(x), c * total(displacement**2)
    for halvings in reversed(range(_HALVINGS)):
        step = full * 0.5**halvings
        # The difference of two points would lose a small movement.
        small = jnp.max(jnp.abs(step), axis=axes, keepdims=True) < _SMALL
        rise = jax.nn.softmax(x + step, axis=axes) - output
        rise = jnp.where(small, jacobian(step), rise)
        cost = a * total(step**2) + c * total((rise - displacement) ** 2)
        # Where rounding hides the difference the longer step is as good.
        best = jnp.where(cost <= least * (1 + 8 * jnp.finfo(x.dtype).eps), step, best)
        least = jnp.minimum(cost, least)
    return (best,)
