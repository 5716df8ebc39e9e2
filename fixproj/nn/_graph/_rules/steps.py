"""Steps: sign, rounding, floor and ceiling, which have no useful derivative.

The graph of a step is flat, and its nearest point lies on another step only if the
wanted value is far away: with small displacements nothing ever moves. They are
therefore projected onto the graph of a continuous function that they cut up: sign onto
that of clip(x, -1, 1), the others onto y = x. The forward pass keeps the step.

Source: the clip graph is the feasibility counterpart of the hard-tanh straight-through
estimator of Hubara et al., "Binarized neural networks", 2016, section 1.3.
"""

import jax.numpy as jnp

from fixproj.nn._graph._registry import register_projection


def clip_displacement(x, displacement, a, c):
    """How far x moves when (x, clip(x, -1, 1) + displacement) is projected."""
    y = jnp.clip(x, -1, 1)
    above = y - x + displacement
    share = c / (a + c)
    inner = jnp.clip(share * above, -1 - x, 1 - x)
    low, high = jnp.minimum(-1 - x, 0), jnp.maximum(1 - x, 0)
    candidates = (
        (inner, a * inner**2 + c * (inner - above) ** 2),
        (low, a * low**2 + c * (y + displacement + 1) ** 2),
        (high, a * high**2 + c * (y + displacement - 1) ** 2),
    )
    best, least = candidates[0]
    for moved, cost in candidates[1:]:
        best = jnp.where(cost < least, moved, best)
        least = jnp.minimum(cost, least)
    return best


@register_projection("sign")
def project_sign(operation, inputs, output, displacement, weights):
    """{y = clip(x, -1, 1)} in place of {y = sign(x)}."""
    moved = clip_displacement(
        inputs[0], displacement, weights.inputs[0], weights.output
    )
    return (moved,)


@register_projection("round")
@register_projection("floor")
@register_projection("ceil")
def project_rounding(operation, inputs, output, displacement, weights):
    """{y = x} in place of the staircase."""
    share = weights.output / (weights.inputs[0] + weights.output)
    return (share * displacement,)
