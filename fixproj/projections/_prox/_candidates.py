"""The best of several candidates for a one-dimensional minimiser."""

import jax.numpy as jnp
from jaxtyping import Array


def best(cost, *candidates: Array) -> Array:
    """Entry by entry the candidate of least cost, the first one at ties."""
    chosen, least = candidates[0], cost(candidates[0])
    for z in candidates[1:]:
        value = cost(z)
        better = value < least
        chosen, least = jnp.where(better, z, chosen), jnp.where(better, value, least)
    return chosen


def clip(x: Array, low: Array, high: Array) -> Array:
    """`x` within bounds, with the derivative of the bound where it is reached."""
    return jnp.where(x <= low, low, jnp.where(x >= high, high, x))
