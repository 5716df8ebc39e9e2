"""What a method's variable holds beyond its answer, from one minibatch to the next."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree


class Kept(eqx.Module):
    """The optimiser's state, and what a method's variable has beyond the answer."""

    state: PyTree
    offsets: PyTree


def zeros(shapes):
    """Arrays of zeros of those shapes and dtypes."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def shifted(point, offsets, sign):
    """Point + sign offsets, where there is an offset."""
    return jax.tree.map(
        lambda o, p: p if o is None else p + sign * o,
        offsets,
        point,
        is_leaf=lambda leaf: leaf is None,
    )
