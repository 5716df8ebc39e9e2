"""A model as nodes (computations with a projection rule) and wires (structure).

The jaxpr of the batched model, as a function of its trainable leaves and x, is
flattened; what does not depend on a leaf is evaluated as it is and may be any JAX code.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, Shaped

from fixproj.nn._graph._calling import batched, split
from fixproj.nn._graph._errors import UnsupportedPrimitiveError
from fixproj.nn._graph._flatten import Equation, Flat, flatten
from fixproj.nn._graph._fuse import fuse_biases
from fixproj.nn._graph._fuse_elementwise import fuse_elementwise, fuse_softmax
from fixproj.nn._graph._fuse_sums import fuse_sums
from fixproj.nn._graph._operation import Operation, Weights
from fixproj.nn._graph._patches import split_convolutions
from fixproj.nn._graph._registry import rule_of, supported
from fixproj.nn._graph._wires import is_wire


@dataclasses.dataclass(frozen=True)
class Trace:
    """A model taken apart into operations, in the order of evaluation.

    Printing it lists them.

    Attributes:
        operations: nodes, wires, and what is known without the parameters.
        parameters: variable of each trainable leaf.
        names: path of each trainable leaf in the model.
        input: variable of x.
        output: variable of the model's output.
        constants: value of each constant variable.
        copies: how many copies a variable is of the one it was broadcast from.
        data: variables that depend on x.
    """

    operations: tuple[Operation, ...]
    parameters: tuple[int, ...]
    names: tuple[str, ...]
    input: int
    output: int
    constants: dict[int, Any]
    copies: dict[int, float]
    data: frozenset[int]

    @property
    def nodes(self) -> tuple[Operation, ...]:
        """The operations that compute and have a projection rule."""
        return tuple(op for op in self.operations if op.kind == "node")

    @property
    def wires(self) -> tuple[Operation, ...]:
        """The structural operations, which are projected by averaging copies."""
        return tuple(op for op in self.operations if op.kind == "wire")

    def evaluate(self, leaves: list[Array], x: Array) -> dict[int, Any]:
        """The value of every variable.

        Args:
            leaves: the trainable leaves, in the order of `names`.
            x: a batch of the traced shape.

        Returns:
            A dictionary from variables to values; that of `output` is `model(x)`.
        """
        values = {**self.constants, self.input: x}
        values.update(zip(self.parameters, leaves, strict=True))
        for op in self.operations:
            results = op.evaluate([values[i] for i in op.inputs])
            values.update(zip(op.outputs, results, strict=True))
        return values

    def __str__(self):
        return "\n".join(str(op) for op in self.operations)


def trace(
    model: PyTree, x: Shaped[Array, "batch ..."] | Float[jax.ShapeDtypeStruct, "..."]
) -> Trace:
    """Takes a model apart into nodes and wires.

    Args:
        model: any callable pytree `model(x)`, or a pair `(fn, params)` with
            `fn(params, x)`. It may map a batch to a batch or, like `equinox.nn.MLP`,
            one example to one output; which one is found by abstract evaluation, the
            batch first. Real floating-point arrays are trainable, all else is static.
        x: a batch; only its shape and dtype are read.

    Returns:
        A `Trace`.

    Raises:
        UnsupportedPrimitiveError: if something that depends on a trainable array has no
            projection; the message names the primitive, its shapes and the source line.
        ValueError: if the model can be called neither way, its output is not
            floating-point, or none of its arrays is.
        TypeError: if the model is not callable.

    References:
        Bergmeister et al., 2025 (PJAX), train networks built of such primitives.

    Examples:
        >>> import equinox as eqx, jax
        >>> from fixproj import nn
        >>> mlp = eqx.nn.MLP(4, 3, 8, depth=1, key=jax.random.key(0))
        >>> [node.name for node in nn.trace(mlp, jax.numpy.ones((5, 4))).nodes]
        ['affine', 'max', 'affine']
    """
    return trace_at(model, x, "layer")


def trace_at(model: PyTree, x: Any, granularity: str) -> Trace:
    """`trace`; at the granularity "neuron" biases join the activation, not the product.

    Convolutions are then products of patches.
    """
    leaves, names, rebuild = split(model)
    if not leaves:
        raise ValueError(
            "The model has no trainable array: parameters must be real and "
            "floating-point (integers and complex numbers are not trained)."
        )
    call = batched(model, x)
    closed = jax.make_jaxpr(lambda leaves, x: call(rebuild(leaves), x))(
        [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves],
        jax.ShapeDtypeStruct(x.shape, x.dtype),
    )
    flat = flatten(closed)
    if not jnp.issubdtype(flat.avals[flat.output].dtype, jnp.floating):
        raise ValueError(
            "The model's output must be floating-point, got "
            f"{flat.avals[flat.output].dtype.name}."
        )
    parameters, inputs = flat.inputs[:-1], flat.inputs[-1]
    free, data = set(parameters), {inputs}
    operations = []
    alive = _alive(flat.equations, flat.output)
    used = {flat.output}.union(*(eqn.inputs for eqn in alive))
    for eqn in alive:
        op = _operation(eqn, flat, free, data, used)
        if op.kind != "known":
            free.update(op.outputs)
        if not data.isdisjoint(op.inputs):
            data.update(op.outputs)
        operations.append(op)
    operations = _settle(operations, flat.output)
    operations = _alive(fuse_softmax(operations), flat.output)
    operations = fuse_elementwise(operations, flat.output, flat.constants)
    operations = _alive(operations, flat.output)
    if granularity == "layer":
        operations = fuse_biases(operations, flat.output)
    else:
        operations, fresh = split_convolutions(operations, data, len(flat.avals))
        operations = fuse_sums(operations, flat.output, flat.constants, fresh)
    operations = _alive(operations, flat.output)
    for op in operations:
        _check(op)
    return Trace(
        operations=tuple(operations),
        parameters=tuple(parameters),
        names=tuple(names),
        input=inputs,
        output=flat.output,
        constants=flat.constants,
        copies=_count_copies(operations),
        data=frozenset(data),
    )


def _alive(items, output):
    """Those equations or operations that the output needs, in order."""
    needed, kept = {output}, []
    for item in reversed(items):
        if not needed.isdisjoint(item.outputs):
            needed.update(item.inputs)
            kept.append(item)
    return kept[::-1]


def _settle(operations: list[Operation], output: int) -> list[Operation]:
    """Marks as known what reaches the output through a stopped gradient only."""
    reached, settled = {output}, []
    for op in reversed(operations):
        if op.kind != "known":
            if reached.isdisjoint(op.outputs):
                op = dataclasses.replace(op, kind="known")
            else:
                reached.update(op.inputs)
        settled.append(op)
    return settled[::-1]


def _operation(
    eqn: Equation, flat: Flat, free: set[int], data: set[int], used: set[int]
) -> Operation:
    name = eqn.primitive.name
    avals = tuple(flat.avals[i] for i in eqn.inputs)
    out_avals = tuple(flat.avals[i] for i in eqn.outputs)
    moves = tuple(i in free for i in eqn.inputs)
    decides = not any(
        jnp.issubdtype(flat.avals[out].dtype, jnp.inexact)
        for out in eqn.outputs
        if out in used
    )
    if not any(moves) or name == "stop_gradient" or decides:
        # A decision (a comparison, an index) is taken as it is.
        kind = "known"
    elif is_wire(name, moves, avals, out_avals):
        kind = "wire"
    else:
        kind = "node"

    def evaluate(values):
        result = eqn.primitive.bind(*values, **eqn.params)
        return list(result) if eqn.primitive.multiple_results else [result]

    # The examples are rows: the operand that depends on x, the first if both do.
    rows = int(len(moves) > 1 and eqn.inputs[0] not in data and eqn.inputs[1] in data)
    return Operation(
        name=name,
        kind=kind,
        inputs=eqn.inputs,
        outputs=eqn.outputs,
        free=moves,
        params=eqn.params,
        evaluate=evaluate,
        avals=avals,
        out_avals=out_avals,
        source=eqn.source,
        rows=rows,
    )


def _check(op: Operation) -> None:
    """Runs a node's rule abstractly, so that what it cannot do is known now."""
    if op.kind != "node":
        return
    rule = rule_of(op.name)
    if rule is None:
        raise UnsupportedPrimitiveError(
            f"{_described(op)} has no projection rule. Rules exist for "
            f"{', '.join(supported())}; add one with nn.register_projection."
        )
    out = op.out_avals[0]
    weights = Weights(tuple(1.0 for _ in op.inputs), 1.0)

    def run(inputs, output, displacement):
        moved = rule(op, inputs, output, displacement, weights)
        return [m for m, free in zip(moved, op.free, strict=True) if free]

    try:
        jax.eval_shape(run, list(op.avals), out, out)
    except NotImplementedError as error:
        raise UnsupportedPrimitiveError(
            f"{_described(op)} cannot be projected: {error}."
        ) from error


def _described(op: Operation) -> str:
    shapes = ", ".join(f"{a.dtype.name}{list(a.shape)}" for a in op.avals)
    return f"The primitive '{op.name}' on {shapes}, from {op.source},"


def _count_copies(operations) -> dict[int, float]:
    copies: dict[int, float] = {}
    for op in operations:
        if op.kind == "wire":
            moving = (i for i, f in zip(op.inputs, op.free, strict=True) if f)
            most = max(copies.get(i, 1) for i in moving)
            if op.name == "broadcast_in_dim":
                most *= max(1, op.out_avals[0].size) / max(1, op.avals[0].size)
            copies.update({out: most for out in op.outputs})
    return copies
