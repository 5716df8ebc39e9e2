"""Fuses primitives that make one scalar function, and those that make a softmax.

A value that depends on a single array, entry by entry, through any number of
primitives (gelu, silu, softplus, leaky relu, hard swish, a user's own) is one scalar
function y = f(x). Projected primitive by primitive, copies of x would pull against each
other; as one node its nearest point is a scalar problem.
"""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np

from fixproj.nn._graph._operation import Operation
from fixproj.nn._graph._rules.activation import UNARY


COMPARISONS = frozenset(
    {"and", "eq", "ge", "gt", "is_finite", "le", "lt", "ne", "not", "or", "xor"}
)
_PLAIN = frozenset({"add", "convert_element_type", "copy", "div", "mul", "neg", "sub"})
_BENDS = frozenset({"max", "min"})
_CURVED = (frozenset(UNARY) | {"select_n"}) - _BENDS
ELEMENTWISE = _PLAIN | _BENDS | _CURVED | COMPARISONS
_SPREADING = frozenset({"broadcast_in_dim", "expand_dims", "reshape"})


def fuse_elementwise(
    operations: list[Operation], output: int, constants: dict
) -> list[Operation]:
    """Replaces each such group by one operation named "elementwise".

    Args:
        operations: in the order of evaluation.
        output: the variable that the model returns.
        constants: value of each constant variable.

    Returns:
        The operations; what is no longer needed is left for dead-code elimination.
    """
    free = _free(operations)
    root: dict[int, int] = {}
    members: dict[int, list[Operation]] = {}
    for op in operations:
        source = _single_source(op, free, root)
        if source is None:
            continue
        parts = []
        for i in op.inputs:
            parts += [part for part in members.get(i, []) if part not in parts]
        (out,) = op.outputs
        root[out], members[out] = source, [*parts, op]

    wanted = {output}
    for op in operations:
        out = op.outputs[0]
        for i in op.inputs:
            if i in root and root.get(out) != root[i]:
                wanted.add(i)
    fused = []
    for op in operations:
        out = op.outputs[0]
        group = members.get(out, [])
        if op.kind != "known" and out in wanted and _is_worth_it(group):
            op = _join(op, root[out], group, constants)
        fused.append(op)
    return fused


def _free(operations) -> set[int]:
    free = set()
    for op in operations:
        free.update(i for i, f in zip(op.inputs, op.free, strict=True) if f)
        if op.kind != "known":
            free.update(op.outputs)
    return free


def _single_source(op, free, root) -> int | None:
    """The array that all of the operation depends on, of the shape of its result."""
    if op.name not in ELEMENTWISE or len(op.outputs) != 1:
        return None
    if op.kind == "known" and op.name not in COMPARISONS:
        return None
    sources, shape = set(), op.out_avals[0].shape
    for i, aval in zip(op.inputs, op.avals, strict=True):
        if i in free or i in root:
            sources.add(root.get(i, i))
            if aval.shape != shape:
                return None
    return sources.pop() if len(sources) == 1 else None


def _is_worth_it(group) -> bool:
    curved = any(op.name in _CURVED for op in group)
    bends = sum(op.name in _BENDS for op in group)
    return len(group) > 1 and (curved or bends > 1)


def _join(last, source, group, constants) -> Operation:
    made = {out for op in group for out in op.outputs}
    avals = {i: a for op in group for i, a in zip(op.inputs, op.avals, strict=True)}
    given = [i for i in avals if i not in made and i != source]

    def evaluate(values):
        known = dict(zip((source, *given), values, strict=True))
        for op in group:
            results = op.evaluate([known[i] for i in op.inputs])
            known.update(zip(op.outputs, results, strict=True))
        return [known[last.outputs[0]]]

    return dataclasses.replace(
        last,
        name="elementwise",
        kind="node",
        inputs=(source, *given),
        free=(True, *(False for _ in given)),
        params={
            "parts": tuple(op.name for op in group),
            "kinks": _kinks(source, group, constants),
        },
        evaluate=evaluate,
        avals=(avals[source], *(avals[i] for i in given)),
    )


def _kinks(source, group, constants) -> tuple[float, ...]:
    """Constants that the source is compared with, and 0 for an absolute value."""
    found = set()
    for op in group:
        if source not in op.inputs:
            continue
        if op.name == "abs":
            found.add(0.0)
        elif op.name in _BENDS | COMPARISONS | {"clamp"}:
            for i in op.inputs:
                value = constants.get(i)
                if value is not None and np.ndim(value) == 0:
                    found.add(float(value))
    return tuple(sorted(k for k in found if math.isfinite(k)))


def fuse_softmax(operations: list[Operation]) -> list[Operation]:
    """Replaces exp(x) / sum(exp(x)) by one operation named "softmax"."""
    maker = {out: op for op in operations for out in op.outputs}
    return [_softmax(op, maker) or op for op in operations]


def _softmax(division, maker) -> Operation | None:
    if division.name != "div" or not all(division.free):
        return None
    exponential, spread = (maker.get(i) for i in division.inputs)
    wires = []
    while spread is not None and spread.name in _SPREADING and len(spread.inputs) == 1:
        wires.insert(0, spread)
        spread = maker.get(spread.inputs[0])
    if exponential is None or exponential.name != "exp" or spread is None:
        return None
    if spread.name != "reduce_sum" or spread.inputs != exponential.outputs:
        return None
    axes = tuple(spread.params["axes"])
    shape = exponential.out_avals[0].shape
    kept = tuple(i for i in range(len(shape)) if i not in axes)
    one = tuple(1 if i in axes else n for i, n in enumerate(shape))
    for wire in wires:
        to = wire.out_avals[0].shape
        dims = wire.params.get("broadcast_dimensions")
        if dims is None:
            if to != one:
                return None
        elif tuple(dims) not in (kept, tuple(range(len(shape)))):
            return None
    if not wires or not jnp.issubdtype(exponential.avals[0].dtype, jnp.floating):
        return None

    def evaluate(values):
        (powers,) = exponential.evaluate(values)
        (total,) = spread.evaluate([powers])
        for wire in wires:
            (total,) = wire.evaluate([total])
        return division.evaluate([powers, total])

    return dataclasses.replace(
        division,
        name="softmax",
        inputs=exponential.inputs,
        free=exponential.free,
        params={"axes": axes},
        evaluate=evaluate,
        avals=exponential.avals,
    )
