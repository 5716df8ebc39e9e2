"""What the entropies share: z with z / s + log z = x / s + log t.

z = s omega(x / s + log t - log s), with omega Wright's omega function: the solution of
omega + log omega = u. Differentiated,

    dz = z / (z + s) (dx + s dlog t - (x - z) / s ds).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from fixproj.projections._cross_entropy import _log_omega


@jax.custom_jvp
def entropic_prox(x: Array, step: Array, log_reference: Array) -> Array:
    """The minimiser of s (z log z - z - z log t) + (z - x)^2 / 2, entry by entry."""
    u = x / step + log_reference - jnp.log(step)
    # An exponent this low is zero in every dtype, and has no infinities on its way.
    finite = jnp.maximum(u, -1e4)
    return step * jnp.exp(_log_omega(jnp.where(jnp.isnan(u), u, finite)))


@entropic_prox.defjvp
def _entropic_prox_jvp(primals, tangents):
    x, step, log_reference = primals
    dx, dstep, dlog = tangents
    z = entropic_prox(x, step, log_reference)
    moved = dx + step * dlog - (x - z) / step * dstep
    return z, z / (z + step) * moved


def x_log_x(x: Array) -> Array:
    """The convex function x log x, 0 at 0 and infinite below."""
    safe = jnp.where(x > 0, x, 1)
    return jnp.where(x > 0, x * jnp.log(safe), jnp.where(x < 0, jnp.inf, 0 * x))
