"""Two colours for the nodes of a network, so that neighbours differ."""

import dataclasses

import jax

from fixproj.nn._graph._operation import Operation
from fixproj.nn._graph._trace import Trace


def with_two_colours(trace: Trace) -> Trace:
    """Puts an identity where neighbours would have the same colour.

    Backwards from the loss, each variable takes the colour that its last user asks its
    maker to have; a user that asks for the other one gets an identity in between.
    """
    fresh = 1 + max(
        [trace.input, trace.output, *trace.parameters, *trace.constants]
        + [i for op in trace.operations for i in (*op.inputs, *op.outputs)]
    )
    asked: dict[int, int] = {trace.output: 1}
    data = set(trace.data)
    # In the order of `reversed`: what an operation needs comes after it.
    result: list[Operation] = []

    def between(aval, before: int, after: int, source: str) -> Operation:
        if before in data:
            data.add(after)
        return _identity(aval, before, after, source)

    for op in reversed(trace.operations):
        used = [out for out in op.outputs if out in asked]
        if op.kind == "known" or not used:
            result.append(op)
            continue
        colour, outputs = asked[used[0]], list(op.outputs)
        for k, out in enumerate(op.outputs):
            # Parts of a split whose users disagree.
            if asked.get(out, colour) != colour:
                outputs[k], fresh = fresh, fresh + 1
                if out in data:
                    data.add(outputs[k])
                aval = op.out_avals[k]
                result.append(between(aval, outputs[k], out, op.source))
        wants = 1 - colour if op.kind == "node" else colour
        inputs, identities = list(op.inputs), []
        for k, (i, free) in enumerate(zip(op.inputs, op.free, strict=True)):
            if free and asked.setdefault(i, wants) != wants:
                inputs[k], fresh = fresh, fresh + 1
                identities.append(between(op.avals[k], i, inputs[k], op.source))
        result.append(
            dataclasses.replace(op, inputs=tuple(inputs), outputs=tuple(outputs))
        )
        result += identities
    operations = tuple(reversed(result))
    return dataclasses.replace(trace, operations=operations, data=frozenset(data))


def _identity(aval, before: int, after: int, source: str) -> Operation:
    aval = jax.ShapeDtypeStruct(aval.shape, aval.dtype)
    return Operation(
        name="identity",
        kind="node",
        inputs=(before,),
        outputs=(after,),
        free=(True,),
        params={},
        evaluate=list,
        avals=(aval,),
        out_avals=(aval,),
        source=source,
    )
