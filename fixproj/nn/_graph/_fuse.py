"""Fuses `dot_general -> rearranging wires -> add a broadcast parameter` into one layer.

Whether the added parameter is a bias, the same for all rows of the product, is not read
off the axes but found by following numbered entries through the wires: exact for any
combination of transposes, reshapes and broadcasts, and evaluated once, when tracing.
"""

import dataclasses
from typing import Any

import jax
import numpy as np

from fixproj.nn._graph._operation import Operation
from fixproj.nn._graph._rules.contraction import MatrixForm
from fixproj.nn._graph._wires import REARRANGING


_BIAS_WIRES = REARRANGING | {"broadcast_in_dim"}


def fuse_biases(operations: list[Operation], output: int) -> list[Operation]:
    """Replaces each such pattern by one operation named "affine".

    Args:
        operations: in the order of evaluation.
        output: the variable that the model returns.

    Returns:
        The operations, with the fused ones where the additions were; those that no
        result needs any more are left for dead-code elimination.
    """
    maker = {out: op for op in operations for out in op.outputs}
    uses: dict[int, int] = {output: 1}
    for op in operations:
        for number in op.inputs:
            uses[number] = uses.get(number, 0) + 1

    def back(number, allowed, only_use):
        """Follows wires backwards: the source variable and the wires, first to last."""
        wires = []
        while (op := maker.get(number)) is not None:
            if op.kind != "wire" or op.name not in allowed or sum(op.free) != 1:
                break
            if only_use and uses[op.inputs[0]] != 1:
                break
            wires.insert(0, op)
            number = op.inputs[0]
        return number, wires

    result = []
    for op in operations:
        fused = _fused(op, maker, uses, back) if op.name == "add" else None
        result.append(op if fused is None else fused)
    return result


def _fused(add, maker, uses, back) -> Operation | None:
    if not all(add.free):
        return None
    for position in (0, 1):
        if uses[add.inputs[position]] != 1:
            continue
        product, wires = back(add.inputs[position], REARRANGING, True)
        dot = maker.get(product)
        if dot is None or dot.name != "dot_general" or uses[product] != 1:
            continue
        if add.out_avals[0].shape != add.avals[position].shape:
            continue
        bias, bias_wires = back(add.inputs[1 - position], _BIAS_WIRES, False)
        if bias in maker:
            continue
        if not dot.free[1 - dot.rows]:
            continue
        columns = _bias_columns(add, position, dot, wires, bias_wires)
        if columns is not None:
            return _affine(add, position, dot, wires, bias, bias_wires, columns)
    return None


def _bias_columns(add, position, dot, wires, bias_wires) -> np.ndarray | None:
    """Which entry of the bias each column of the product adds; None if rows differ."""
    try:
        form = MatrixForm(dot.params, dot.avals, dot.rows)
    except NotImplementedError:
        return None
    shape = dot.out_avals[0].shape
    first = (bias_wires[0].avals if bias_wires else [add.avals[1 - position]])[0]
    places = _follow(wires, np.arange(np.prod(shape, dtype=int)).reshape(shape))
    entries = _follow(bias_wires, np.arange(first.size).reshape(first.shape))
    entries = np.broadcast_to(entries, places.shape)
    added = np.empty(places.size, int)
    added[places.reshape(-1)] = entries.reshape(-1)
    table = form.product(added.reshape(shape))
    if table.size == 0 or not (table == table[:1]).all():
        return None
    return table[0]


def _follow(wires: list[Operation], numbers: np.ndarray) -> np.ndarray:
    with jax.ensure_compile_time_eval():
        for wire in wires:
            if wire.name != "convert_element_type":
                (moved,) = wire.evaluate([numbers.astype(np.int32)])
                numbers = np.asarray(moved)
    return numbers


def _affine(add, position, dot, wires, bias, bias_wires, columns) -> Operation:
    def evaluate(values):
        (y,) = dot.evaluate(values[:2])
        for wire in wires:
            (y,) = wire.evaluate([y])
        b = values[2]
        for wire in bias_wires:
            (b,) = wire.evaluate([b])
        return add.evaluate([y, b] if position == 0 else [b, y])

    def to_product(displacement: Any):
        for wire in reversed(wires):
            transpose = jax.linear_transpose(
                lambda y, wire=wire: wire.evaluate([y])[0], wire.avals[0]
            )
            (displacement,) = transpose(displacement)
        return displacement

    bias_aval = (bias_wires[0].avals if bias_wires else [add.avals[1 - position]])[0]
    return dataclasses.replace(
        dot,
        name="affine",
        inputs=(*dot.inputs, bias),
        outputs=add.outputs,
        free=(*dot.free, True),
        params={**dot.params, "bias_columns": columns, "to_product": to_product},
        evaluate=evaluate,
        avals=(*dot.avals, bias_aval),
        out_avals=add.out_avals,
    )
