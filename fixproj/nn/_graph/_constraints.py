"""A traced model and a loss as constraints on the inputs of all nodes.

Every node has copies of its own of its inputs; they are the unknowns. Its output is no
unknown, it is what the inputs of its users should be. Projecting a node moves its
inputs to the nearest point of its graph, where the value wanted of it is the mean of
its users' copies; then its users' copies are set to the new value, for all of them are
on the other side of the edge. So the nodes are split into two sets without an edge
inside of either (two colours), or into levels, from the loss to the inputs, for a
cyclic sweep. Where the graph has no two colours, identities are put on its edges. A
trainable array is a node without inputs, the loss one without an output.

Bergmeister et al., 2025 (PJAX): this is its formulation, on the nodes of any JAX model.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, PyTree

from fixproj.nn._graph import _neuron
from fixproj.nn._graph._colours import with_two_colours
from fixproj.nn._graph._operation import Operation, Weights
from fixproj.nn._graph._registry import rule_of
from fixproj.nn._graph._sweep import _PRODUCTS
from fixproj.nn._graph._trace import Trace
from fixproj.nn._graph._wires import pull, pull_counts


LOSS = -1


@dataclasses.dataclass(frozen=True, eq=False)
class Numerics:
    """How nodes are projected.

    Attributes:
        neurons: each dot product is a constraint of its own.
        newton: number of unsafeguarded Newton steps for it; None is the exact solve.
        even: users count alike whatever their number of copies, and a node's output
            weighs as much as an input (PJAX); else all copies are weighted.
    """

    neurons: bool
    newton: int | None = None
    even: bool = False


class Constraints:
    """The constraints of one model, for batches of one shape.

    Attributes:
        trace: the model, with identities where `bipartite`.
        nodes: variables that nodes make: parameters, outputs of operations, `LOSS`.
        parents: the nodes that each node's inputs come from.
        users: the nodes that take from each.
    """

    def __init__(self, trace: Trace, numerics: Numerics, bipartite: bool = True):
        self.numerics = numerics
        self.trace = with_two_colours(trace) if bipartite else trace
        self.makers = {op.outputs[0]: op for op in self.trace.nodes}
        self.parameters = dict(
            zip(self.trace.parameters, range(len(trace.parameters)), strict=True)
        )
        self.nodes = (*self.trace.parameters, *self.makers, LOSS)
        self.parents = self._parents()
        self.users: dict[int, list[int]] = {number: [] for number in self.nodes}
        for child, parents in self.parents.items():
            for parent in parents:
                self.users[parent].append(child)

    def _parents(self) -> dict[int, tuple[int, ...]]:
        """The nodes that each node's inputs come from, through wires."""
        sources: dict[int, tuple[int, ...]] = {
            number: (number,) for number in self.trace.parameters
        }
        parents: dict[int, tuple[int, ...]] = {}

        def union(numbers):
            found: dict[int, None] = {}
            for number in numbers:
                found.update(dict.fromkeys(sources.get(number, ())))
            return tuple(found)

        for op in self.trace.operations:
            moving = [i for i, f in zip(op.inputs, op.free, strict=True) if f]
            if op.kind == "node":
                parents[op.outputs[0]] = union(moving)
                sources[op.outputs[0]] = op.outputs
            elif op.kind == "wire":
                sources.update(dict.fromkeys(op.outputs, union(moving)))
        parents[LOSS] = sources.get(self.trace.output, ())
        return parents

    def two_sets(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The nodes by colour; the loss is in the first set."""
        colours = {LOSS: 0}
        for child in (LOSS, *reversed(list(self.makers))):
            if child in colours:
                for parent in self.parents[child]:
                    assert (
                        colours.setdefault(parent, 1 - colours[child])
                        != (colours[child])
                    )
        sets = [[n for n in self.nodes if colours.get(n) == c] for c in (0, 1)]
        return tuple(sets[0]), tuple(sets[1])

    def levels(self) -> list[tuple[int, ...]]:
        """The loss, the nodes it takes from, those that they take from, and so on."""
        levels: list[tuple[int, ...]] = [(LOSS,)]
        while any(self.parents.get(node) for node in levels[-1]):
            before: dict[int, None] = {}
            for node in levels[-1]:
                before.update(dict.fromkeys(self.parents.get(node, ())))
            levels.append(tuple(before))
        return levels

    def start(self, leaves: list[Array], x: Array) -> PyTree:
        """The state of a forward pass: all copies agree, every node has its value."""
        values = self.trace.evaluate(leaves, x)
        inputs = {n: self._agreeing(op, values) for n, op in self.makers.items()}
        inputs[LOSS] = (values[self.trace.output],)
        return {"parameters": list(leaves), "inputs": inputs}

    def lasting(self, state: PyTree) -> PyTree:
        """What of a state is not tied to examples, None for the rest."""
        inputs = {}
        for number, copies in state["inputs"].items():
            op = self.makers.get(number)
            if op is None:
                inputs[number] = tuple(None for _ in copies)
            elif self._is_neuron(op):
                lasting = [i not in self.trace.data for i in op.inputs]
                inputs[number] = copies.frame(*lasting)
            else:
                moving = [i for i, f in zip(op.inputs, op.free, strict=True) if f]
                inputs[number] = tuple(
                    None if i in self.trace.data else copy
                    for i, copy in zip(moving, copies, strict=True)
                )
        return {"parameters": state["parameters"], "inputs": inputs}

    def _is_neuron(self, op: Operation) -> bool:
        return self.numerics.neurons and op.name == "dot_general"

    def _may_move(self, op: Operation) -> tuple[bool, bool]:
        """Which operands of a dot product move: PJAX moves data too, then resets it."""
        return (True, True) if self.numerics.even else (op.free[0], op.free[1])

    def _agreeing(self, op: Operation, values: dict[int, Any]) -> Any:
        inputs = [values[i] for i in op.inputs]
        if self._is_neuron(op):
            return _neuron.agreeing(_neuron.Form(op), inputs[0], inputs[1], op.free)
        return tuple(v for v, free in zip(inputs, op.free, strict=True) if free)

    def _inputs(self, op: Operation, copies: Any, known: dict[int, Any]) -> list[Any]:
        """All inputs of a node: its copies, and what cannot move."""
        moving = iter(copies)
        pairs = zip(op.inputs, op.free, strict=True)
        return [next(moving) if free else known[i] for i, free in pairs]

    def _factors(self, op, copies, values):
        """The matrices X and W of copies of a product."""
        form = _neuron.Form(op)
        pairs = enumerate((copies.left, copies.right))
        x, w = (
            form.matrix(values[op.inputs[side]], side) if factor is None else factor
            for side, factor in pairs
        )
        return form, x, w

    def _values(self, state: PyTree, known: dict[int, Any]) -> dict[int, Any]:
        """The value of every variable: nodes from their copies, wires from those."""
        values = dict(known)
        values.update(zip(self.trace.parameters, state["parameters"], strict=True))
        for op in self.trace.operations:
            if op.kind == "node":
                copies = state["inputs"][op.outputs[0]]
                if self._is_neuron(op):
                    form, x, w = self._factors(op, copies, values)
                    out = _neuron.value(copies, x, w).reshape(form.out)
                    values[op.outputs[0]] = out
                    continue
                results = op.evaluate(self._inputs(op, copies, values))
            elif all(out in known for out in op.outputs):
                continue
            else:
                results = op.evaluate([values[i] for i in op.inputs])
            values.update(zip(op.outputs, results, strict=True))
        return values

    def known(self, x: Array) -> dict[int, Any]:
        """The value of everything that no parameter moves."""
        values = {**self.trace.constants, self.trace.input: x}
        for op in self.trace.operations:
            if op.kind == "known" and all(i in values for i in op.inputs):
                results = op.evaluate([values[i] for i in op.inputs])
                values.update(zip(op.outputs, results, strict=True))
        return values

    def project(
        self, state: PyTree, members: tuple[int, ...], x: Array, prox: Any, metric: Any
    ) -> PyTree:
        """Projects some nodes, no two of them neighbours, and informs their users.

        Args:
            state: as `start` makes it.
            members: the nodes.
            x: the batch.
            prox: the projection or prox of the loss, a function of the output.
            metric: weights of the inputs of nodes, `(activation, parameter)` for those
                of products; others have weight 1.
        """
        known = self.known(x)
        values = self._values(state, known)
        wanted = self._gather(state, values, metric)
        parameters, inputs = list(state["parameters"]), dict(state["inputs"])
        for node in members:
            if node == LOSS:
                (output,) = inputs[LOSS]
                inputs[LOSS] = (prox(output),)
            elif node in self.parameters:
                if node in wanted:
                    parameters[self.parameters[node]] = wanted[node][0]
            elif node in wanted:
                op = self.makers[node]
                copies = inputs[node]
                inputs[node] = self._move(op, copies, values, *wanted[node], metric)
        state = {"parameters": parameters, "inputs": inputs}
        values = self._values(state, known)
        for child in {c: None for node in members for c in self.users[node]}:
            if child == LOSS:
                inputs[LOSS] = (values[self.trace.output],)
            else:
                inputs[child] = self._agreeing(self.makers[child], values)
        return {"parameters": parameters, "inputs": inputs}

    def _move(self, op, copies, values, wanted, weight, metric):
        """The projection of one node."""
        if self._is_neuron(op):
            form, x, w = self._factors(op, copies, values)
            moved = _neuron.project(
                copies,
                x,
                w,
                form.product(wanted),
                self._may_move(op),
                weight,
                self.numerics.newton,
            )
            free = op.free
            return dataclasses.replace(
                moved,
                left=copies.left if free[0] else None,
                right=copies.right if free[1] else None,
            )
        inputs = self._inputs(op, copies, values)
        (output,) = op.evaluate(inputs)
        rule = self._rule(op)
        weights = Weights(tuple(self._weights(op, metric)), weight)
        moved = rule(op, inputs, output, wanted - output, weights)
        return tuple(v + m for v, m, f in zip(inputs, moved, op.free, strict=True) if f)

    def _rule(self, op):
        if self.numerics.even and op.name == "sum_relu":
            return _pjax_sum_relu
        rule = rule_of(op.name)
        assert rule is not None, op.name
        return rule

    def _weights(self, op, metric):
        """The weight of each input of a node in the metric."""
        if self.numerics.even or self._is_neuron(op) or op.name not in _PRODUCTS:
            return [1.0 for _ in op.inputs]
        activation, parameter = metric
        data = self.trace.data
        return [activation if i in data else parameter for i in op.inputs]

    def _gather(self, state, values, metric) -> dict[int, tuple[Any, Any]]:
        """For each node, the mean of its users' copies, and their total weight."""
        pending: dict[int, list[tuple[Any, Any]]] = {}
        result: dict[int, tuple[Any, Any]] = {}

        def add(number, mean, weight):
            pending.setdefault(number, []).append((mean, weight))

        def settle(number):
            """The mean at a variable of all that was asked of it."""
            asked = pending.pop(number, None)
            if asked is None:
                return None
            if self.numerics.even:
                return sum(m for m, _ in asked) / len(asked), 1.0
            if len(asked) == 1:
                return asked[0]
            weight = sum(w for _, w in asked)
            total: Any = sum(_scaled(m, w) for m, w in asked)
            return _divided(total, weight, values[number]), weight

        add(self.trace.output, state["inputs"][LOSS][0], 1.0)
        for op in reversed(self.trace.operations):
            if op.kind == "known":
                continue
            found = [settle(out) for out in op.outputs]
            if all(f is None for f in found):
                continue
            if op.kind == "wire":
                for number, mean, weight in self._pull(op, values, found):
                    add(number, mean, weight)
                continue
            (out,) = op.outputs
            assert found[0] is not None
            mean, weight = found[0]
            result[out] = (mean, _scalar(weight))
            copies = state["inputs"][out]
            if self._is_neuron(op):
                form, x, w = self._factors(op, copies, values)
                means = (_neuron.mean_left, _neuron.mean_right)
                for side in (0, 1):
                    if op.free[side]:
                        mean = form.operand(means[side](copies, x, w), side)
                        add(op.inputs[side], mean, float(form.kept[1 - side]))
                continue
            weights = self._weights(op, metric)
            moving = [i for i, f in zip(op.inputs, op.free, strict=True) if f]
            eased = [w for w, f in zip(weights, op.free, strict=True) if f]
            for i, copy, weight in zip(moving, copies, eased, strict=True):
                add(i, copy, weight)
        for number in self.trace.parameters:
            found = settle(number)
            if found is not None:
                result[number] = found
        return result

    def _pull(self, op, values, found):
        """What a wire's inputs are asked for, by the users of its outputs."""
        inputs = [values[i] for i in op.inputs]
        moving = [i for i, free in zip(op.inputs, op.free, strict=True) if free]
        # Entries nobody uses are asked to stay, with weight 0.
        means = [
            values[out] if f is None else f[0]
            for out, f in zip(op.outputs, found, strict=True)
        ]
        weights = [0.0 if f is None else f[1] for f in found]
        totals = pull(
            op, inputs, [_scaled(m, w) for m, w in zip(means, weights, strict=True)]
        )
        counts = pull_counts(op, inputs, weights)
        for i, total, count in zip(moving, totals, counts, strict=True):
            yield i, _divided(total, count, values[i]), count


def _scaled(value: Array, weight: Any) -> Array:
    if isinstance(weight, float):
        return value if weight == 1.0 else value * weight
    return value * weight


def _divided(total: Array, weight: Any, otherwise: Array) -> Array:
    if isinstance(weight, float):
        return otherwise if weight == 0.0 else total / weight
    return jnp.where(weight > 0, total / jnp.where(weight > 0, weight, 1), otherwise)


def _scalar(weight: Any) -> Any:
    """Rules take one weight of the output: the mean over its entries."""
    if isinstance(weight, float):
        return weight
    return jnp.maximum(jnp.mean(weight), jnp.finfo(weight.dtype).tiny)


def _pjax_sum_relu(operation, inputs, output, displacement, weights):
    """PJAX's own candidates for {z = max(sum of x, 0)}, which may miss the nearest."""
    wanted, n = output + displacement, len(inputs)
    total = sum(inputs[1:], inputs[0])
    flat, slope = total / n, (wanted - total) / (n + 1)
    first = jnp.where(total < 0, wanted**2, wanted**2 + n * flat**2)
    risen = jnp.maximum(0, wanted - slope)
    second = jnp.where(wanted == 0, wanted**2 + n * flat**2, (n + 1) * slope**2)
    to_first = jnp.where(total < 0, 0, -flat)
    to_second = jnp.where(risen == 0, -flat, slope)
    moved = jnp.where(first < second, to_first, to_second)
    return tuple(moved for _ in inputs)
