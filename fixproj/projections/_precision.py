"""The one choice of a dtype to compute in."""

import jax.numpy as jnp


def at_least_single(dtype) -> jnp.dtype:
    """The dtype itself, or float32 for one of half precision."""
    return jnp.dtype(dtype if jnp.finfo(dtype).bits >= 32 else jnp.float32)
