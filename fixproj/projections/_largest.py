"""Which entries are the k largest, ties going to the first ones."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float


def as_count(k: int, name: str = "k") -> int:
    """Returns a static number of entries, or says that it is none."""
    if isinstance(k, bool) or not isinstance(k, int):
        raise TypeError(f"`{name}` must be an integer, but was {k!r}.")
    if k < 1:
        raise ValueError(f"`{name}` must be at least 1, but was {k}.")
    return k


def are_largest(x: Float[Array, "... n"], k: int) -> Bool[Array, "... n"]:
    """True for exactly k entries (all, if there are fewer) along the last axis."""
    if k >= x.shape[-1]:
        return jnp.ones(x.shape, bool)
    least = lax.top_k(x, k)[0][..., -1:]
    above = x > least
    tied = x == least
    room = k - jnp.sum(above, -1, keepdims=True, dtype=jnp.int32)
    return above | (tied & (jnp.cumsum(tied, -1, dtype=jnp.int32) <= room))
