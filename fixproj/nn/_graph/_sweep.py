"""The sweep: how a displacement of the output moves everything before it.

From the output to the input, each node projects its inputs and the wanted value of its
output onto its graph; a variable that several nodes use moves by the mean of what they
want; wires hand displacements through. The loss enters as the first displacement. No
derivative is taken but that of a scalar function (tanh, gelu, ...) inside its own
projection.

A weak sweep carries unit displacements instead. Where inputs are heavy (weights a >> c)
a projection moves them by little, c / a times J' d to first order, and the factors
c / a of the nodes on the way differ: a path of many nodes would fade against a shorter
one beside it, such as a skip connection or a later step of a recurrence. So each
movement is divided by the factor of its node, and a variable takes the sum of what its
users ask, which is the mean weighted by their number. What arrives is then J' d to
first order on any graph, whatever its depth; what the projections add is damping, and
switches of the piecewise linear functions.
"""

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from fixproj.nn._graph._curvature import Curvature
from fixproj.nn._graph._operation import Operation, Weights
from fixproj.nn._graph._registry import rule_of
from fixproj.nn._graph._trace import Trace
from fixproj.nn._graph._wires import mean_of_copies, pull, pull_counts


_PRODUCTS = ("affine", "conv_general_dilated", "dot_general")
# Piecewise linear nodes are projected exactly also in a weak sweep: on a slope of 1
# their factor is c / (a + c).
_UNIT_SLOPE = (
    "ceil",
    "floor",
    "max",
    "min",
    "reduce_max",
    "reduce_min",
    "reduce_window_max",
    "round",
    "sign",
)
MINIBATCH = 256


class Metric(eqx.Module):
    """Weights of the metric in which nodes are projected: heavier moves less.

    Args:
        activation: of an activation that goes into a matrix product.
        parameter: of a trainable array.
        output: of the output of a matrix product.
        elementwise: of the output of any other node, whose activations have weight 1.
        weak: carry unit displacements, see above. The weight of a parameter in a
            matrix product is then for 256 rows, and grows with their number.
        examples: if given, it grows with this in place of the number of rows.
    """

    activation: float | Float[Array, ""]
    parameter: float | Float[Array, ""]
    output: float | Float[Array, ""]
    elementwise: float | Float[Array, ""]
    weak: bool = eqx.field(static=True, default=False)
    examples: int | None = eqx.field(static=True, default=None)

    def weights(
        self,
        operation: Operation,
        trace: Trace,
        curvature: Curvature | None = None,
    ) -> Weights:
        """The weights for one node."""
        product = operation.name in _PRODUCTS
        activation = self.activation if product else 1.0
        parameter = self.parameter
        if product and self.weak:
            parameter = parameter * ((self.examples or _rows(operation)) / MINIBATCH)
        inputs = tuple(
            (activation if i in trace.data else parameter) / trace.copies.get(i, 1)
            for i in operation.inputs
        )
        output = self.output if product else self.elementwise
        return Weights(inputs, output, self.weak, curvature)


def _rows(operation) -> float:
    """How many rows the product has: examples, and positions or steps of each."""
    weight = operation.avals[1 - operation.rows]
    out = operation.out_avals[0]
    if operation.name == "conv_general_dilated":
        features = weight.shape[operation.params["dimension_numbers"].rhs_spec[0]]
        return max(1, out.size // max(1, features))
    contract, batch = operation.params["dimension_numbers"]
    at = 1 - operation.rows
    inner = math.prod(weight.shape[i] for i in (*contract[at], *batch[at]))
    return max(1, out.size * inner // max(1, weight.size))


def propagate(
    trace: Trace,
    values: dict[int, Any],
    displacement: Array,
    metric: Metric,
    gaps: dict[int, Array] | None = None,
    curvatures: dict[int, Curvature] | None = None,
) -> tuple[list[Array], dict[int, Array]]:
    """One sweep from the output to the parameters.

    Args:
        trace: the model.
        values: of every variable, as `Trace.evaluate` gives them.
        displacement: how the output is to move.
        metric: the weights of the projections.
        gaps: the current value of each node's output minus the node's function of its
            current inputs; None where all are zero.
        curvatures: by the variable that a product makes, what is known of its inputs.

    Returns:
        The displacement of every trainable leaf, and the value of every node at its
        projected inputs (empty for a weak sweep, which is never followed by another).
    """
    pending: dict[int, tuple[Any, Any]] = {trace.output: (displacement, 1)}
    projected = {}

    def add(number, total, count):
        if number in pending:
            old_total, old_count = pending[number]
            total, count = old_total + total, old_count + count
        pending[number] = (total, count)

    for op in reversed(trace.operations):
        if op.kind == "known":
            continue
        inputs = [values[i] for i in op.inputs]
        moving = [i for i, free in zip(op.inputs, op.free, strict=True) if free]
        arrived = [
            pending.pop(out, (jnp.zeros(aval.shape, aval.dtype), 0))
            for out, aval in zip(op.outputs, op.out_avals, strict=True)
        ]
        if op.kind == "wire":
            totals = pull(op, inputs, [total for total, _ in arrived])
            counts = (
                [1 for _ in moving]
                if metric.weak
                else pull_counts(op, inputs, [count for _, count in arrived])
            )
            for i, total, count in zip(moving, totals, counts, strict=True):
                add(i, total, count)
            continue
        wanted = arrived[0][0] if metric.weak else mean_of_copies(*arrived[0])
        (out,) = op.outputs
        output = values[out]
        if gaps is not None:
            wanted, output = wanted + gaps[out], output - gaps[out]
        known = (curvatures or {}).get(out)
        moved = project_node(op, trace, inputs, output, wanted, metric, known)
        if not metric.weak:
            shifted = [
                v if m is None else v + m for v, m in zip(inputs, moved, strict=True)
            ]
            (projected[out],) = op.evaluate(shifted)
        for i, m, free in zip(op.inputs, moved, op.free, strict=True):
            if free:
                add(i, m, 1)

    leaves = []
    for number in trace.parameters:
        zero = jnp.zeros_like(values[number])
        total, count = pending.get(number, (zero, 1))
        leaves.append(total if metric.weak else mean_of_copies(total, count))
    return leaves, projected


def project_node(
    operation, trace, inputs, output, wanted, metric, curvature: Curvature | None = None
):
    """The movements of a node's inputs; unit displacements if the sweep is weak."""
    rule = rule_of(operation.name)
    assert rule is not None, operation.name
    weights = metric.weights(operation, trace, curvature)
    moved = rule(operation, inputs, output, wanted, weights)
    return _to_unit(operation, moved, weights) if metric.weak else moved


def _to_unit(operation, moved, weights):
    """Divides movements by the factor of a weak projection at slope 1."""
    extra = weights.output if operation.name in _UNIT_SLOPE else 0.0
    scaled: list = []
    for m, weight in zip(moved, weights.inputs, strict=True):
        if m is not None:
            m = m * jnp.asarray((weight + extra) / weights.output, m.dtype)
        scaled.append(m)
    return scaled


def reconcile(
    trace: Trace, leaves: list[Array], x: Array, projected: dict[int, Array]
) -> tuple[dict[int, Any], dict[int, Array]]:
    """Values for another sweep: nodes keep their projected outputs, wires follow.

    Args:
        trace: the model.
        leaves: the moved parameters.
        x: the batch.
        projected: the value of every node after the last sweep.

    Returns:
        The value of every variable, and the gaps as `propagate` takes them.
    """
    values = {**trace.constants, trace.input: x}
    values.update(zip(trace.parameters, leaves, strict=True))
    gaps = {}
    for op in trace.operations:
        results = op.evaluate([values[i] for i in op.inputs])
        if op.kind == "node":
            (out,) = op.outputs
            values[out] = projected[out]
            gaps[out] = projected[out] - results[0]
        else:
            values.update(zip(op.outputs, results, strict=True))
    return values, gaps
