"""The running second moments of the inputs of all products of a model."""

from typing import Any

import jax
from jaxtyping import Array

from fixproj.nn._graph._curvature import Curvature, no_curvature
from fixproj.nn._graph._operation import Operation
from fixproj.nn._graph._rules.contraction import rows_of_inputs
from fixproj.nn._graph._rules.convolution import rows_of_patches
from fixproj.nn._graph._trace import Trace


_RANK = 48
_ROWS = 64


def no_curvatures(trace: Trace) -> dict[int, Curvature]:
    """By the variable that each product with a trainable matrix makes."""
    result = {}
    for op in _products(trace):
        rows = jax.eval_shape(lambda *values, op=op: _rows(op, values), *op.avals)
        shape = rows.shape[0], rows.shape[2]
        result[op.outputs[0]] = no_curvature(shape, rows.dtype, _RANK)
    return result


def renewed_curvatures(
    trace: Trace, values: dict[int, Any], curvatures: dict[int, Curvature], keep: Array
) -> dict[int, Curvature]:
    """With a sample of this minibatch at the weight 1 - keep.

    Args:
        trace: the model.
        values: of every variable, as `Trace.evaluate` gives them.
        curvatures: as `no_curvatures` makes them.
        keep: the weight of the past.
    """
    result = dict(curvatures)
    for op in _products(trace):
        (out,) = op.outputs
        if out in curvatures:
            rows = _rows(op, [values[i] for i in op.inputs])
            result[out] = curvatures[out].renewed(rows, keep)
    return result


def _products(trace: Trace) -> list[Operation]:
    return [op for op in trace.nodes if _has_rows(op)]


def _has_rows(op: Operation) -> bool:
    """Whether it is a product of examples with a matrix that can move."""
    if op.name == "conv_general_dilated":
        return op.params["batch_group_count"] == 1 and op.rows == 0 and op.free[1]
    if op.name not in ("affine", "dot_general"):
        return False
    return op.free[1 - op.rows] and not op.params["dimension_numbers"][1][0]


def _rows(op: Operation, inputs) -> Array:
    if op.name == "conv_general_dilated":
        return rows_of_patches(op, inputs, _ROWS)
    return rows_of_inputs(op, inputs, _ROWS)
