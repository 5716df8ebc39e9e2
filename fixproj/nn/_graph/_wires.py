"""Wires: primitives that move numbers without computing.

A wire w copies some entries of its input, maybe several times, maybe never. The input
nearest to a set of wanted copies (least squares) is their mean, entry by entry:
w'(copies) / w'(ones), where w' is the transpose of the linear map w. A chain of wires
is one wire, so sums and counts are carried separately and divided only where a node or
a parameter ends the chain.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from fixproj.nn._graph._operation import Operation


# Each output entry is one input entry and none is lost: counts pass through unchanged.
REARRANGING = frozenset(
    {
        "convert_element_type",
        "copy",
        "copy_p",
        "expand_dims",
        "optimization_barrier",
        "reduce_precision",
        "reshape",
        "rev",
        "squeeze",
        "transpose",
    }
)
SELECTING = frozenset(
    {
        "broadcast_in_dim",
        "concatenate",
        "dynamic_slice",
        "dynamic_update_slice",
        "gather",
        "pad",
        "select_n",
        "slice",
        "split",
        "stack",
        "unstack",
    }
)
# Only these inputs of a wire carry numbers through; the others say where to.
_DATA_INPUTS = {
    "dynamic_slice": slice(0, 1),
    "dynamic_update_slice": slice(0, 2),
    "gather": slice(0, 1),
    "pad": slice(0, 1),
    "select_n": slice(1, None),
    "broadcast_in_dim": slice(0, 1),
    "reshape": slice(0, 1),
}


def is_wire(name: str, free: tuple[bool, ...], avals, out_avals) -> bool:
    """Whether a primitive, with these inputs free to move, is a wire."""
    if name not in REARRANGING and name not in SELECTING:
        return False
    data = _DATA_INPUTS.get(name, slice(None))
    where = [f for i, f in enumerate(free) if i not in range(len(free))[data]]
    floating = all(jnp.issubdtype(a.dtype, jnp.floating) for a in out_avals)
    moving = [a for a, f in zip(avals, free, strict=True) if f]
    return (
        not any(where)
        and floating
        and all(jnp.issubdtype(a.dtype, jnp.floating) for a in moving)
    )


def pull(operation: Operation, values: list[Any], copies: list[Array]) -> list[Array]:
    """The transpose of the wire applied to `copies`, for each free input in turn."""
    moving = [i for i, free in enumerate(operation.free) if free]

    def linear(*arguments):
        full = [_zero_if_floating(value) for value in values]
        for i, argument in zip(moving, arguments, strict=True):
            full[i] = argument
        return operation.evaluate(full)

    avals = [operation.avals[i] for i in moving]
    return list(jax.linear_transpose(linear, *avals)(copies))


def pull_counts(
    operation: Operation, values: list[Any], counts: list[Any]
) -> list[Any]:
    """Like `pull` for the numbers of copies; a Python number stands for all entries."""
    if operation.name in REARRANGING and isinstance(counts[0], int | float):
        return [counts[0]]
    full = [
        jnp.full(aval.shape, count, aval.dtype)
        if isinstance(count, int | float)
        else count
        for count, aval in zip(counts, operation.out_avals, strict=True)
    ]
    return pull(operation, values, full)


def mean_of_copies(total: Array, count: Any) -> Array:
    """The total over the count, and 0 where there is no copy."""
    if isinstance(count, int):
        return total if count <= 1 else total / count
    return jnp.where(count > 0, total / jnp.maximum(count, 1), 0)


def _zero_if_floating(value):
    # A constant that is joined to the moving entries makes the wire affine.
    if jnp.issubdtype(value.dtype, jnp.floating):
        return np.zeros(value.shape, value.dtype)
    return value
