"""Perturbing each example on its own: inside the network, where parameters meet data.

A *meeting* is an operation of the traced model between a value that depends on the
parameters only and one that depends on the example: a product with a weight, the sum
with a bias. Two ways to perturb at meetings, each with a cost per example:

- nodes: the result z of a layer (its product and bias together) becomes z + e xi with
  signs xi. The slope times xi estimates dC/dz, and the layer's own inputs turn that
  into a gradient of its parameters. The variance grows with the number of units, not
  with that of the parameters. Of a node whose perturbation its own nonlinearity does
  not pass on, the estimate is zero;
- examples: the weight W becomes W + e r s^T with signs r and s of every example, so
  that each example is a probe of its own at the price of one (flipout).

No derivative passes from one layer to another: a gradient is taken of a layer with
respect to its own parameters only, which for a product is its transpose.

References:
    Hiratani et al., "On the stability and scalability of node perturbation learning",
    NeurIPS 2022; Wen et al., "Flipout", ICLR 2018; Oripov et al., 2025.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from fixproj.nn._graph import batched, split
from fixproj.nn._graph._flatten import Equation, Flat, flatten
from fixproj.nn._mgd._responses import response


_WIRES = {
    "broadcast_in_dim",
    "convert_element_type",
    "reshape",
    "squeeze",
    "transpose",
    "copy",
}
_SUMS = {"add", "add_any", "sub"}


class Meeting(NamedTuple):
    """One meeting: where its equation stands, and its operand of parameters."""

    place: int
    operand: int


class Synapses(NamedTuple):
    """A model for one example, as equations.

    Attributes:
        flat: the equations.
        alone: whether the equation of that index depends on no example.
        meetings: all of them.
        layers: those after which a layer is complete.
    """

    flat: Flat
    alone: tuple[bool, ...]
    meetings: tuple[Meeting, ...]
    layers: tuple[Meeting, ...]

    @property
    def node_shapes(self) -> list[jax.ShapeDtypeStruct]:
        """Shape and dtype, for one example, of what nodes perturb."""
        equations = self.flat.equations
        return [self.flat.avals[equations[m.place].outputs[0]] for m in self.layers]


def synapses(model: PyTree, x: Any) -> Synapses:
    """Finds the meetings of a model.

    Args:
        model: a model whose examples do not depend on each other.
        x: a batch; only its shape and dtype are read.

    Raises:
        ValueError: if no parameter meets data.
    """
    leaves, _, rebuild = split(model)
    call = batched(model, x)
    closed = jax.make_jaxpr(
        lambda leaves, example: call(rebuild(leaves), example[None])[0]
    )(
        [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves],
        jax.ShapeDtypeStruct(x.shape[1:], x.dtype),
    )
    flat = flatten(closed)
    parameters, data = set(flat.inputs[:-1]), {flat.inputs[-1]}
    uses: dict[int, int] = {flat.output: 1}
    for eqn in flat.equations:
        for number in eqn.inputs:
            uses[number] = uses.get(number, 0) + 1
    alone, meetings = [], []
    layers: dict[int, Meeting] = {}
    # The layer that a variable is the result of, up to wires.
    origin: dict[int, int] = {}
    for index, eqn in enumerate(flat.equations):
        of_data = [i for i in eqn.inputs if i in data]
        of_parameters = [k for k, i in enumerate(eqn.inputs) if i in parameters]
        alone.append(not of_data)
        if not of_data:
            if of_parameters:
                parameters.update(eqn.outputs)
            continue
        data.update(eqn.outputs)
        before = origin.get(of_data[0]) if uses[of_data[0]] == 1 else None
        if of_parameters:
            meeting = Meeting(index, of_parameters[0])
            meetings.append(meeting)
            if eqn.primitive.name in _SUMS and before is not None:
                del layers[before]
            layers[index] = meeting
            origin[eqn.outputs[0]] = index
        elif eqn.primitive.name in _WIRES and before is not None:
            origin[eqn.outputs[0]] = before
    if not meetings:
        raise ValueError(
            "No parameter of the model meets its input, so there is nothing to perturb "
            "for an example; use perturb='weights'."
        )
    return Synapses(flat, tuple(alone), tuple(meetings), tuple(layers.values()))


def run_nodes(
    graph: Synapses, leaves: list[Array], example: Array, offsets: list[Array]
) -> tuple[list[Array], Array]:
    """The model with offsets to the results of its layers.

    Returns:
        The result of every layer, as a function of its own parameters only, and the
        model's output.
    """
    at = {m.place: k for k, m in enumerate(graph.layers)}
    results: list[Any] = [None] * len(at)

    def changed(index, eqn, inputs):
        out = _bind(eqn, inputs)
        if index in at:
            results[at[index]] = out[0]
            out[0] = jax.lax.stop_gradient(out[0] + offsets[at[index]])
        return out

    output = _run(graph, leaves, example, changed)
    return results, output


def felt_nodes(
    graph: Synapses,
    leaves: list[Array],
    results: list[Array],
    moved: list[Array],
) -> list[Array]:
    """1 where the perturbation of a layer's result is felt behind it, 0 elsewhere.

    Args:
        graph: the model.
        leaves: the parameters.
        results: those of the layers, with an axis for examples in front.
        moved: the perturbations, alike.
    """
    known = _alone_values(graph, leaves)
    places = {m.place for m in graph.meetings}
    out = []
    for meeting, result, change in zip(graph.layers, results, moved, strict=True):
        number = graph.flat.equations[meeting.place].outputs[0]
        felt = response(graph.flat, graph.alone, number, known, places)
        out.append(jax.vmap(felt)(result, change))
    return out


def operands(graph: Synapses, leaves: list[Array]) -> list[Array]:
    """The operand of parameters of every meeting."""
    values = _alone_values(graph, leaves)
    equations = graph.flat.equations
    return [values[equations[m.place].inputs[m.operand]] for m in graph.meetings]


def sign_shapes(graph: Synapses, batch: int) -> list[list[jax.ShapeDtypeStruct]]:
    """Shapes of the signs of a batch for every meeting: two factors, or one array."""
    out = []
    for meeting in graph.meetings:
        eqn = graph.flat.equations[meeting.place]
        aval = graph.flat.avals[eqn.inputs[meeting.operand]]
        dims = _product_dims(eqn, meeting, aval)
        shapes = [aval.shape]
        if dims is not None:
            shapes = [tuple(aval.shape[d] for d in part) for part in dims]
        out.append(
            [jax.ShapeDtypeStruct((batch, *shape), aval.dtype) for shape in shapes]
        )
    return out


def run_examples(
    graph: Synapses,
    leaves: list[Array],
    example: Array,
    signs: list[list[Array]],
    amplitude: Array,
) -> Array:
    """The model's output with every operand W moved by amplitude times its signs."""
    at = {m.place: k for k, m in enumerate(graph.meetings)}

    def changed(index, eqn, inputs):
        if index not in at:
            return _bind(eqn, inputs)
        meeting, own = graph.meetings[at[index]], signs[at[index]]
        operand = inputs[meeting.operand]
        scale = amplitude.astype(operand.dtype)
        if len(own) == 1:
            inputs = list(inputs)
            inputs[meeting.operand] = operand + scale * own[0]
            return _bind(eqn, inputs)
        # x (W + e r s^T) = x W + e (x . r) s^T
        (out,) = _bind(eqn, inputs)
        contracting, _ = eqn.params["dimension_numbers"]
        value = inputs[1 - meeting.operand]
        mine = contracting[1 - meeting.operand]
        along = jnp.tensordot(value, own[0], (mine, tuple(range(own[0].ndim))))
        sides = (along, own[1]) if meeting.operand == 1 else (own[1], along)
        return [out + scale * jnp.tensordot(*sides, axes=0).astype(out.dtype)]

    return _run(graph, leaves, example, changed)


def correlate_examples(
    graph: Synapses, signs: list[list[Array]], slopes: Array
) -> list[Array]:
    """Sum over examples of slope times signs, one array per meeting's operand."""
    out = []
    for meeting, own in zip(graph.meetings, signs, strict=True):
        eqn = graph.flat.equations[meeting.place]
        aval = graph.flat.avals[eqn.inputs[meeting.operand]]
        slope = slopes.astype(aval.dtype)
        if len(own) == 1:
            out.append(jnp.tensordot(slope, own[0], 1))
            continue
        rows, columns = own
        batch = rows.shape[0]
        product = (slope[:, None] * rows.reshape(batch, -1)).T @ columns.reshape(
            batch, -1
        )
        dims = _product_dims(eqn, meeting, aval)
        assert dims is not None
        order = [*dims[0], *dims[1]]
        product = product.reshape([aval.shape[d] for d in order])
        out.append(jnp.transpose(product, [order.index(d) for d in range(len(order))]))
    return out


def count_nodes(graph: Synapses) -> int:
    """How many numbers nodes perturb in one example."""
    return sum(math.prod(shape.shape) for shape in graph.node_shapes)


def _product_dims(eqn: Equation, meeting: Meeting, aval):
    """Contracted and free dimensions of a weight in a product; None if it is none."""
    if eqn.primitive.name != "dot_general":
        return None
    contracting, batch = eqn.params["dimension_numbers"]
    if batch[0]:
        return None
    mine = tuple(contracting[meeting.operand])
    free = tuple(d for d in range(len(aval.shape)) if d not in mine)
    return mine, free


def _values(graph, leaves):
    values = dict(graph.flat.constants)
    values.update(zip(graph.flat.inputs[:-1], leaves, strict=True))
    return values


def _alone_values(graph, leaves):
    """All values that depend on no example."""
    values = _values(graph, leaves)
    for index, eqn in enumerate(graph.flat.equations):
        if graph.alone[index]:
            found = _bind(eqn, [values[i] for i in eqn.inputs])
            values.update(zip(eqn.outputs, found, strict=True))
    return values


def _run(graph, leaves, example, changed):
    values = {**_values(graph, leaves), graph.flat.inputs[-1]: example}
    for index, eqn in enumerate(graph.flat.equations):
        out = changed(index, eqn, [values[i] for i in eqn.inputs])
        values.update(zip(eqn.outputs, out, strict=True))
    return values[graph.flat.output]


def _bind(eqn, inputs):
    result = eqn.primitive.bind(*inputs, **eqn.params)
    return list(result) if eqn.primitive.multiple_results else [result]
