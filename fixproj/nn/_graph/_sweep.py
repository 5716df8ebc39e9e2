"""The sweep: how a displacement of the output moves everything before it.

From the output to the input, each node projects its inputs and the wanted value of its
output onto its graph; a variable that several nodes use moves by the mean of what they
want; wires hand displacements through. The loss enters as the first displacement. No
derivative of anything is taken.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from fixproj.nn._graph._operation import Operation, Weights
from fixproj.nn._graph._registry import rule_of
from fixproj.nn._graph._trace import Trace
from fixproj.nn._graph._wires import mean_of_copies, pull, pull_counts


_PRODUCTS = ("affine", "dot_general")


class Metric(eqx.Module):
    """Weights of the metric in which nodes are projected: heavier moves less.

    Args:
        activation: of an activation that goes into a matrix product.
        parameter: of a trainable array.
        output: of the output of a matrix product.
        elementwise: of the output of any other node, whose activations have weight 1.
    """

    activation: float | Float[Array, ""]
    parameter: float | Float[Array, ""]
    output: float | Float[Array, ""]
    elementwise: float | Float[Array, ""]

    def weights(self, operation: Operation, trace: Trace) -> Weights:
        """The weights for one node."""
        product = operation.name in _PRODUCTS
        activation = self.activation if product else 1.0
        inputs = tuple(
            (activation if i in trace.data else self.parameter) / trace.copies.get(i, 1)
            for i in operation.inputs
        )
        return Weights(inputs, self.output if product else self.elementwise)


def propagate(
    trace: Trace,
    values: dict[int, Any],
    displacement: Array,
    metric: Metric,
    gaps: dict[int, Array] | None = None,
) -> tuple[list[Array], dict[int, Array]]:
    """One sweep from the output to the parameters.

    Args:
        trace: the model.
        values: of every variable, as `Trace.evaluate` gives them.
        displacement: how the output is to move.
        metric: the weights of the projections.
        gaps: the current value of each node's output minus the node's function of its
            current inputs; None where all are zero.

    Returns:
        The displacement of every trainable leaf, and the value of every node at its
        projected inputs.
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
            counts = pull_counts(op, inputs, [count for _, count in arrived])
            for i, total, count in zip(moving, totals, counts, strict=True):
                add(i, total, count)
            continue
        wanted = mean_of_copies(*arrived[0])
        (out,) = op.outputs
        output = values[out]
        if gaps is not None:
            wanted, output = wanted + gaps[out], output - gaps[out]
        rule = rule_of(op.name)
        assert rule is not None, op.name
        moved = rule(op, inputs, output, wanted, metric.weights(op, trace))
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
        leaves.append(mean_of_copies(*pending.get(number, (zero, 1))))
    return leaves, projected


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
