"""Fuses `add -> ... -> add -> max(., 0)` into one node y = relu(x_1 + ... + x_n).

As one constraint instead of several, a bias, the products and what skips a layer are
tied to the activation directly, as PJAX's `sum_relu` does. Used at the granularity of
neurons, where a bias is not fused with its product.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from fixproj.nn._graph._operation import Operation


def fuse_sums(
    operations: list[Operation], output: int, constants: dict, fresh: int
) -> list[Operation]:
    """Replaces each such group by one operation named "sum_relu".

    Args:
        operations: in the order of evaluation.
        output: the variable that the model returns.
        constants: value of each constant variable.
        fresh: a number that no variable has, nor any number above it.

    Returns:
        The operations; what is no longer needed is left for dead-code elimination.
    """
    maker = {out: op for op in operations for out in op.outputs}
    uses: dict[int, int] = {output: 1}
    for op in operations:
        for number in op.inputs:
            uses[number] = uses.get(number, 0) + 1

    def terms(number, shape):
        """The terms of the sum that a variable is, if it is used here only."""
        op = maker.get(number)
        if op is None or op.name != "add" or not all(op.free) or uses[number] != 1:
            return [number]
        if op.out_avals[0].shape != shape:
            return [number]
        return [t for i in op.inputs for t in terms(i, shape)]

    result = []
    for op in operations:
        position = _rectified(op, maker, constants)
        if position is None:
            result.append(op)
            continue
        shape = op.out_avals[0].shape
        found = terms(op.inputs[position], shape)
        avals = {op.inputs[position]: op.avals[position]}
        for other in operations:
            avals.update(zip(other.inputs, other.avals, strict=True))
        full = []
        for number in found:
            if avals[number].shape != shape:
                result.append(_broadcast(op, number, avals[number], fresh))
                number, fresh = fresh, fresh + 1
            full.append(number)
        result.append(_sum_relu(op, tuple(full)))
    return result


def _rectified(op, maker, constants) -> int | None:
    """Which input of a maximum with zero is rectified."""
    if op.name != "max" or op.kind != "node" or sum(op.free) != 1:
        return None
    position = op.free.index(True)
    if op.avals[position].shape != op.out_avals[0].shape:
        return None
    number = op.inputs[1 - position]
    while (other := maker.get(number)) is not None:
        if other.name not in ("broadcast_in_dim", "convert_element_type"):
            return None
        number = other.inputs[0]
    value = constants.get(number)
    return position if value is not None and np.all(np.asarray(value) == 0) else None


def _broadcast(op, number, aval, fresh) -> Operation:
    shape = op.out_avals[0].shape
    return dataclasses.replace(
        op,
        name="broadcast_in_dim",
        kind="wire",
        inputs=(number,),
        outputs=(fresh,),
        free=(True,),
        params={},
        evaluate=lambda values: [jnp.broadcast_to(values[0], shape)],
        avals=(aval,),
        out_avals=(jax.ShapeDtypeStruct(shape, aval.dtype),),
    )


def _sum_relu(op, inputs) -> Operation:
    def evaluate(values):
        return [jnp.maximum(sum(values[1:], values[0]), 0)]

    return dataclasses.replace(
        op,
        name="sum_relu",
        kind="node",
        inputs=inputs,
        free=(True,) * len(inputs),
        params={},
        evaluate=evaluate,
        avals=(op.out_avals[0],) * len(inputs),
    )
