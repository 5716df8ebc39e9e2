"""Training with all layers at work at once, each on another minibatch.

A sweep goes from the output to the input, after a forward pass: its time grows with the
depth. Here every operation of the model sits on a level, the longest way from the
inputs, and in one step

- the operations of level l evaluate minibatch t - l, on what the level before gave in
  the last step, and
- they project minibatch t - 2 D + l (D is the deepest level), on the displacement that
  the level behind gave in the last step.

So no level waits for another one in the same step; what passes between them, values
on the way forward and displacements on the way back, is state. The price is delay: in
step t a parameter of level l moves by what minibatch t - 2 D + l asks for, and the
values of 2 (D - l) minibatches are kept.

Pipelines with delayed updates: Petrowski, Dreyfus & Girault, "Performance analysis of a
pipelined backpropagation parallel algorithm", 1993; Huo et al., "Decoupled parallel
backpropagation with convergence guarantee", 2018.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from fixproj.nn._adapt import in_training, with_new_state
from fixproj.nn._graph import Metric, Trace, split, trace
from fixproj.nn._graph._sweep import _PRODUCTS, project_node
from fixproj.nn._graph._wires import pull
from fixproj.nn._trainers._loss import AbstractLoss, loss_named
from fixproj.nn._trainers._optimiser import check_optimiser, descend
from fixproj.nn._trainers._trainer import AbstractTrainer


class LayerParallel(AbstractTrainer):
    """Weak projections as `Projections(outer=...)`, all layers at once.

    Nothing in a step depends on the depth of the network but the amount of work, all of
    which can be done at the same time: the longest chain of operations is that of the
    slowest layer, forward and back. The displacements that reach a parameter are those
    of a minibatch seen up to 2 depth steps ago. What `update` reports is the loss of
    the minibatch that comes out of the network in that step.

    Args:
        batch: a pair (x, y) of the shapes that will be trained on; only shapes and
            dtypes are read.
        outer: the optax transformation that displacements are fed to.
        mesh: devices that share the levels, a mesh with one axis. Each of them does the
            work of its own levels and hears of that of the others once in a step.
        loss: as for `Projections`.
        label_smoothing: as for `Projections`.
        activation_weight: as for `Projections`.
        parameter_weight: as for `Projections`.
        output_weight: as for `Projections`.
        elementwise_weight: as for `Projections`.

    Raises:
        ValueError: if the loss is not known, `label_smoothing` not in its range, or the
            mesh has more than one axis.
        TypeError: if `outer` is not an optax transformation.

    References:
        Huo et al., "Decoupled parallel backpropagation with convergence guarantee",
        2018, delay gradients in the same way.

    Examples:
        >>> import jax, optax
        >>> from fixproj import nn
        >>> x = jax.random.normal(jax.random.key(0), (256, 2))
        >>> y = (x[:, 0] > x[:, 1]).astype(int)
        >>> trainer = nn.LayerParallel((x[:32], y[:32]), optax.adam(1e-2))
    """

    batch: tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct] = eqx.field(static=True)
    outer: optax.GradientTransformation
    objective: AbstractLoss
    metric: Metric
    mesh: jax.sharding.Mesh | None = eqx.field(static=True)

    def __init__(
        self,
        batch: tuple[Array, Array],
        outer: optax.GradientTransformation,
        *,
        mesh: jax.sharding.Mesh | None = None,
        loss: str = "cross_entropy",
        label_smoothing: float = 0.0,
        activation_weight: float | Float[Array, ""] = 300.0,
        parameter_weight: float | Float[Array, ""] = 1e4,
        output_weight: float | Float[Array, ""] = 4.0,
        elementwise_weight: float | Float[Array, ""] = 0.05,
    ):
        check_optimiser("outer", outer)
        x, y = (jnp.asarray(part) for part in batch)
        self.batch = (
            jax.ShapeDtypeStruct(x.shape, x.dtype),
            jax.ShapeDtypeStruct(y.shape, y.dtype),
        )
        if mesh is not None and len(mesh.axis_names) != 1:
            raise ValueError(
                f"mesh must have one axis, the layers', got {mesh.axis_names}."
            )
        self.mesh = mesh
        self.outer = outer
        self.objective = loss_named(loss, label_smoothing)
        self.metric = Metric(
            activation_weight,
            parameter_weight,
            output_weight,
            elementwise_weight,
            weak=True,
        )

    def depth(self, model: PyTree) -> int:
        """How many steps a minibatch takes from the input to the output."""
        return _Plan(trace(in_training(model), self.batch[0])).depth

    def init(self, model: PyTree) -> PyTree:
        """An empty pipeline, and the optimiser's state; see `AbstractTrainer.init`."""
        leaves = split(model).leaves
        plan = _Plan(trace(in_training(model), self.batch[0]))
        _, y = self.batch
        return {
            "time": jnp.zeros((), jnp.int32),
            "values": plan.empty(plan.remembered),
            "asked": plan.empty(plan.postponed),
            "labels": jnp.zeros((plan.depth, *y.shape), y.dtype),
            "outer": self.outer.init(leaves),
        }

    def update(
        self, model: PyTree, state: PyTree, x: Array, y: Array
    ) -> tuple[PyTree, PyTree, dict[str, Any]]:
        """One step of all layers; see `AbstractTrainer.update`."""
        if x.shape != self.batch[0].shape:
            raise ValueError(
                "LayerParallel keeps minibatches of one shape, "
                f"{self.batch[0].shape}, from step to step; got {x.shape}."
            )
        leaves, _, rebuild = split(with_new_state(model, x))
        plan = _Plan(trace(in_training(model), x))
        labels = jnp.concatenate([state["labels"], y[None]])

        def work(levels, leaves, x, label, state):
            """What the operations of some levels do in this step."""
            still, new = plan.forward(leaves, x, state["values"], levels)
            info, wanted = self._ask(plan, new, label, state["time"])
            moved, asked = plan.backward(wanted, still, new, state, self.metric, levels)
            mine = {
                n: new[n]
                for n in state["values"]
                if n in new and plan.level[n] in levels
            }
            return mine, moved, asked, info

        share = (leaves, x, labels[0], state)
        if self.mesh is None:
            new, moved, asked, info = work(range(plan.depth + 1), *share)
        else:
            new, moved, asked, info = _spread(work, self.mesh, plan.depth + 1, share)
        asked = {
            number: jnp.concatenate([ring[1:], jnp.zeros_like(ring[:1])])
            + asked.get(number, 0)
            for number, ring in state["asked"].items()
        }
        unit = -1 / x.shape[0]
        feed = [
            unit * moved[number] if number in moved else jnp.zeros_like(leaf)
            for number, leaf in zip(plan.trace.parameters, leaves, strict=True)
        ]
        leaves, outer = descend(self.outer, feed, state["outer"], leaves)
        values = {
            number: jnp.concatenate([new[number][None], ring[:-1]])
            for number, ring in state["values"].items()
        }
        state = {
            "time": state["time"] + 1,
            "values": values,
            "asked": asked,
            "labels": labels[1:],
            "outer": outer,
        }
        return rebuild(leaves), state, info

    def _ask(self, plan, new, label, time):
        """The loss of the minibatch that comes out, and how its output is to move."""
        outputs = new.get(plan.trace.output)
        if outputs is None:
            return {}, None
        # Until the first minibatch comes out there is nothing to ask for, and what a
        # network makes of an empty pipeline need not be finite.
        filled = time >= plan.depth
        outputs = jnp.where(filled, outputs, jnp.zeros_like(outputs))
        wanted = -self.objective.slope(outputs, label)
        wanted = jnp.where(filled, wanted, jnp.zeros_like(wanted))
        return self.objective.metrics(outputs, label), wanted


def _spread(work, mesh, levels, share):
    """`work`, each device on its own levels; results are added up over the devices."""
    (axis,) = mesh.axis_names
    count = mesh.shape[axis]
    parts = [
        [n for n in range(levels) if n * count // levels == d] for d in range(count)
    ]
    tasks = [lambda share, part=part: work(part, *share) for part in parts]
    shapes = [jax.eval_shape(task, share) for task in tasks]
    whole = [{}, {}, {}, {}]
    for result in shapes:
        for known, found in zip(whole, result, strict=True):
            known.update(found)

    def complete(task):
        """The same keys from every device, with zeros where it has no part."""

        def run(share):
            return tuple(
                {
                    k: found[k] if k in found else jnp.zeros(like.shape, like.dtype)
                    for k, like in known.items()
                }
                for known, found in zip(whole, task(share), strict=True)
            )

        return run

    def local(share):
        mine = jax.lax.axis_index(axis)
        found = jax.lax.switch(mine, [complete(task) for task in tasks], share)
        return jax.lax.psum(found, axis)

    replicated = jax.sharding.PartitionSpec()
    return jax.shard_map(
        local, mesh=mesh, in_specs=(replicated,), out_specs=replicated, check_vma=False
    )(share)


class _Plan:
    """The level of every variable, and how long its values are needed.

    A level begins with each product; what follows it (biases, activation functions)
    belongs to it. What depends on parameters only has none, it is always up to date.

    Attributes:
        depth: the level of the output.
        remembered: for each variable that is needed later, for how many steps.
        postponed: for each variable that a later level takes from, how many levels
            there are in between at most.
    """

    def __init__(self, trace: Trace):
        self.trace = trace
        self.level = {trace.input: 0}
        self.avals: dict[int, Any] = {}
        entered: set[int] = set()
        for op in trace.operations:
            before = [i for i in op.inputs if i in self.level]
            self.avals.update(zip(op.inputs, op.avals, strict=True))
            self.avals.update(zip(op.outputs, op.out_avals, strict=True))
            if not before:
                continue
            level = max(self.level[i] for i in before)
            if op.name in _PRODUCTS and any(i in entered for i in before):
                level += 1
            self.level.update(dict.fromkeys(op.outputs, level))
            if op.name in _PRODUCTS or any(i in entered for i in before):
                entered.update(op.outputs)
        self.depth = self.level.get(trace.output, 0)
        self.remembered: dict[int, int] = {}
        self.postponed: dict[int, int] = {}
        for op in trace.operations:
            level = self.level.get(op.outputs[0])
            if level is None:
                continue
            for i, free in zip(op.inputs, op.free, strict=True):
                if i in self.level:
                    self._need(self.remembered, i, level - self.level[i])
                    if op.kind != "known":
                        age = 2 * self.depth - level - self.level[i]
                        self._need(self.remembered, i, age)
                    if free:
                        self._need(self.postponed, i, level - self.level[i])
            if op.kind == "node":
                age = 2 * (self.depth - level)
                self._need(self.remembered, op.outputs[0], age)

    @staticmethod
    def _need(table, number, steps):
        if steps > table.get(number, 0):
            table[number] = steps

    def empty(self, table: dict[int, int]) -> dict[int, Array]:
        """Rings of zeros."""
        return {
            number: jnp.zeros((length, *aval.shape), aval.dtype)
            for number, length in table.items()
            for aval in [self.avals[number]]
        }

    def forward(self, leaves, x, rings, levels):
        """What depends on the parameters only, and what every level evaluates now."""
        still = dict(self.trace.constants)
        still.update(zip(self.trace.parameters, leaves, strict=True))
        new = {self.trace.input: x}
        for op in self.trace.operations:
            level = self.level.get(op.outputs[0])
            if level is not None and level not in levels:
                continue
            if level is None:
                values, inputs = still, [still[i] for i in op.inputs]
            else:
                values = new
                inputs = [
                    self._past(i, level - self.level.get(i, level), still, new, rings)
                    for i in op.inputs
                ]
            values.update(zip(op.outputs, op.evaluate(inputs), strict=True))
        return still, new

    def _past(self, number, steps, still, new, rings):
        """A value, as its level made it that many steps ago."""
        if number not in self.level:
            return still[number]
        return new[number] if steps == 0 else rings[number][steps - 1]

    def backward(self, wanted, still, new, state, metric, levels):
        """Displacements of parameters, and of variables of earlier levels for later."""
        rings = state["values"]
        pending = {number: ring[0] for number, ring in state["asked"].items()}
        later: dict[int, Array] = {}
        if wanted is not None:
            pending[self.trace.output] = wanted
        for op in reversed(self.trace.operations):
            if op.kind == "known" or not any(out in pending for out in op.outputs):
                continue
            level = self.level.get(op.outputs[0])
            if level is not None and level not in levels:
                continue
            if level is None:
                level, filled = 0, True
            else:
                filled = state["time"] >= 2 * self.depth - level
            arrived = [
                pending.get(out, jnp.zeros(aval.shape, aval.dtype))
                for out, aval in zip(op.outputs, op.out_avals, strict=True)
            ]
            ages = [2 * self.depth - level - self.level.get(i, 0) for i in op.inputs]
            inputs = [
                self._past(i, age, still, new, rings)
                for i, age in zip(op.inputs, ages, strict=True)
            ]
            moving = [i for i, free in zip(op.inputs, op.free, strict=True) if free]
            if op.kind == "wire":
                found = pull(op, inputs, arrived)
            else:
                age = 2 * (self.depth - level)
                output = self._past(op.outputs[0], age, still, new, rings)
                found = project_node(op, self.trace, inputs, output, arrived[0], metric)
                found = [m for m, f in zip(found, op.free, strict=True) if f]
            for i, m in zip(moving, found, strict=True):
                # A quotient of empty slots is not finite, and asks for nothing.
                m = jnp.where(filled, m, jnp.zeros_like(m))
                gap = level - self.level.get(i, level)
                if gap == 0:
                    pending[i] = pending[i] + m if i in pending else m
                else:
                    empty = jnp.zeros_like(state["asked"][i])
                    later[i] = later.get(i, empty).at[gap - 1].add(m)
        moved = {n: pending[n] for n in self.trace.parameters if n in pending}
        return moved, later
