"""What a weak sweep remembers of past minibatches: curvature."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from fixproj.nn._graph._curvature import Curvature
from fixproj.nn._graph._rules.moments import renewed_curvatures


_RENEWED_EVERY = 10
_KEEP = 0.9


class Remembering(eqx.Module):
    """The optimiser's state, and what is known of the inputs of products."""

    state: PyTree
    curvatures: dict[int, Curvature]
    count: Int[Array, ""]


def renewed(memory: Remembering, graph, values) -> Remembering:
    """With what this minibatch tells, if it is one of those that are asked."""
    turns = memory.count // _RENEWED_EVERY
    # A plain mean at first.
    keep = jnp.minimum(_KEEP, turns / (turns + 1)).astype(jnp.float32)
    curvatures = jax.lax.cond(
        memory.count % _RENEWED_EVERY == 0,
        lambda: renewed_curvatures(graph, values, memory.curvatures, keep),
        lambda: memory.curvatures,
    )
    return Remembering(memory.state, curvatures, memory.count + 1)
