"""Agreement between the lanes of `jax.vmap`, so that they can share a factorisation.

Under `jax.vmap` a loop whose condition or step size differs from lane to lane makes
everything in it differ, the factor of a matrix that all lanes have in common as well.
These functions are the identity on a single problem, and give all lanes the same value
where they are batched: what only depends on such values is computed once.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool, Float


@custom_vmap
def any_lane(flag: Bool[Array, ""]) -> Bool[Array, ""]:
    """Whether the flag is set in any lane."""
    return flag


@any_lane.def_vmap
def _(axis_size: int, in_batched: Any, flag: Array):
    del axis_size, in_batched
    return jnp.any(flag, axis=0), False


@custom_vmap
def every_lane(flags: Bool[Array, " m"], matrices: Any) -> Bool[Array, " m"]:
    """The flags that are set in every lane, if lanes have the matrices in common."""
    del matrices
    return flags


@every_lane.def_vmap
def _(axis_size: int, in_batched: Any, flags: Array, matrices: Any):
    del axis_size, matrices
    if _own_matrices(in_batched):
        return flags, in_batched[0]
    return jnp.all(flags, axis=0), False


@custom_vmap
def mean_of_lanes(
    value: Float[Array, ""], counts: Bool[Array, ""], matrices: Any
) -> Float[Array, ""]:
    """The geometric mean of all lanes that count, if they share the matrices."""
    del counts, matrices
    return value


@mean_of_lanes.def_vmap
def _(axis_size: int, in_batched: Any, value: Array, counts: Array, matrices: Any):
    del matrices
    if _own_matrices(in_batched):
        return value, in_batched[0]
    value = jnp.broadcast_to(jnp.reshape(value, (-1,)), (axis_size,))
    counts = jnp.broadcast_to(jnp.reshape(counts, (-1,)), (axis_size,))
    total = jnp.sum(jnp.where(counts, jnp.log(value), 0))
    count = jnp.maximum(jnp.sum(counts), 1).astype(value.dtype)
    return jnp.exp(total / count), False


def _own_matrices(in_batched: Any) -> bool:
    """Whether the last argument, a tuple of numbers, differs between lanes."""
    return any(in_batched[-1])


def marks(*matrices: Any) -> tuple[Array, ...]:
    """A number of every array in the matrices, which is batched if the array is."""
    leaves = jax.tree.leaves(eqx.filter(matrices, eqx.is_inexact_array))
    return tuple(jnp.sum(leaf) for leaf in leaves)
