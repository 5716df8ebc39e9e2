"""The sum over copies of a point."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from fixproj.projections._precision import at_least_single


_FEW = 32


def sum_of_copies(x: Array, axis: int) -> Array:
    """`jnp.sum(x, axis)`.

    For few copies as a product, because XLA's sum over a few long rows takes 10 to 20
    times as long on a CPU; for many not, because the copies would be kept in memory,
    where a sum is taken as they are made. The precision is that of a sum on
    accelerators as well.
    """
    if x.shape[axis] > _FEW:
        return jnp.sum(x, axis)
    ones = jnp.ones(x.shape[axis], x.dtype)
    work = at_least_single(x.dtype)
    exact = {"precision": lax.Precision.HIGHEST, "preferred_element_type": work}
    total = jnp.tensordot(ones, x, (0, axis), **exact)
    return total.astype(x.dtype)
