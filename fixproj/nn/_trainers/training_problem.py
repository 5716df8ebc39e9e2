"""Training as a feasibility problem that every method of the library solves."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from fixproj._problem import Feasibility
from fixproj.nn._graph import batched, split as take_apart
from fixproj.nn._graph._constraints import Constraints, Numerics
from fixproj.nn._graph._trace import trace_at
from fixproj.nn._trainers._loss import AbstractLoss, loss_named
from fixproj.projections._weights import check_weight


GRANULARITIES = ("layer", "neuron")
NUMERICS = ("exact", "pjax")
SPLITS = ("two", "levels")
_PJAX_STEPS = 10
_PJAX_LAMBDA = 5.0


class NodeSet(eqx.Module):
    """The points at which some nodes of a network lie on their graphs.

    Attributes:
        members: the nodes; no two are neighbours.
        x: the batch of inputs.
        y: its labels.
        objective: the loss, whose node may be a member.
        step: the factor of the loss in its prox; None projects onto its set.
        metric: weights of activations and of parameters that go into products.
    """

    constraints: Constraints = eqx.field(static=True)
    members: tuple[int, ...] = eqx.field(static=True)
    x: Array
    y: Array
    objective: AbstractLoss
    step: Any
    metric: tuple[Any, Any]
    newton_loss: int | None = eqx.field(static=True)

    def project(self, x: PyTree) -> PyTree:
        """The nearest point; what the nodes' users see of them is their new value."""

        def prox(outputs):
            if self.newton_loss is not None:
                return _pjax_prox(self, outputs)
            step = float("inf") if self.step is None else self.step
            return outputs + self.objective.displacement(outputs, self.y, step)

        return self.constraints.project(x, self.members, self.x, prox, self.metric)


def _pjax_prox(node_set, outputs):
    """The fixed-point steps that PJAX takes for the prox of the cross-entropy."""
    moved = outputs
    for _ in range(node_set.newton_loss):
        slope = node_set.objective.slope(moved, node_set.y)
        moved = outputs - jnp.asarray(node_set.step, outputs.dtype) * slope
    return moved


class TrainingProblem(Feasibility):
    """Find parameters and activations that meet every constraint of a network.

    Each operation of the traced model has copies of its inputs. They must lie on its
    graph, agree with those that other operations have of the same variable, and the
    output must be what the loss asks. It is a [`fixproj.Feasibility`][], to be solved
    by any of its methods with any iteration; no derivative is taken. An answer's
    parameters make a model again by `model`.

    Two sets, `sets`: operations two edges apart project at the same time, so a step of
    any method takes the time of two layers whatever the depth of the network. With
    `split="levels"` there is one set for each level, from the loss to the inputs, for
    methods that go through many: `CyclicProjections` is then a sweep through the
    layers. (Methods for two sets would copy all of it for every level.)

    Args:
        model: a model as for `nn.trace`.
        x: a batch of inputs.
        y: its labels.
        loss: "margin" (the label's output exceeds the others by 1), "exact_class",
            "hinge" or "squared" (the output is the target): a set that the output must
            lie in. "cross_entropy": its prox, which no output is a fixed point of, so
            that a solve ends at `max_steps` or with a gap: use `throw=False`.
        label_smoothing: of the cross-entropy, the share of each label that is spread
            evenly over all classes, in [0, 1).
        granularity: "layer": a matrix product is one constraint. "neuron": each of
            its entries is one (PJAX's formulation), evaluated without their copies.
        split: "two" or "levels".
        numerics: "exact", or with "neuron" also "pjax": PJAX's projections where they
            differ from the nearest point, in order to compare.
        loss_step: the factor of the loss, summed over examples, in its prox. Default:
            none, the projection; for "cross_entropy" 5.
        activation_weight: weight of the input of a matrix product in the metric, if
            the granularity is "layer".
        parameter_weight: weight of a matrix. Default: as "neuron" has it in effect, a
            copy for each row.

    Raises:
        ValueError: for an unknown option, a weight that is not positive, labels that
            do not fit the output; and as `nn.trace`.
        UnsupportedPrimitiveError: as `nn.trace`.

    References:
        Elser, "Learning without loss", 2021; Bergmeister et al., 2025 (PJAX).

    Examples:
        >>> import equinox as eqx, fixproj as fp, jax
        >>> from fixproj import nn
        >>> x = jax.random.normal(jax.random.key(0), (32, 2))
        >>> y = (x[:, 0] > x[:, 1]).astype(int)
        >>> mlp = eqx.nn.MLP(2, 2, 16, depth=1, key=jax.random.key(1))
        >>> problem = nn.TrainingProblem(mlp, x, y)
        >>> solution = fp.solve(problem, fp.AlternatingProjections(), max_steps=2000,
        ...                     rtol=1e-4, throw=False)
        >>> nn.evaluate(problem.model(solution.value), (x, y))["accuracy"] > 0.9
        True
    """

    template: PyTree

    def __init__(
        self,
        model: PyTree,
        x: Array,
        y: Array,
        loss: str = "margin",
        *,
        label_smoothing: float = 0.0,
        granularity: str = "layer",
        split: str = "two",
        numerics: str = "exact",
        loss_step: float | Array | None = None,
        activation_weight: float | Array = 1.0,
        parameter_weight: float | Array | None = None,
    ):
        _one_of("granularity", granularity, GRANULARITIES)
        _one_of("split", split, SPLITS)
        _one_of("numerics", numerics, NUMERICS)
        pjax = numerics == "pjax"
        if pjax and granularity != "neuron":
            raise ValueError("numerics='pjax' needs granularity='neuron'.")
        objective = loss_named(loss, label_smoothing)
        x, y = jnp.asarray(x), jnp.asarray(y)
        _check_labels(model, x, y, objective)
        if parameter_weight is None:
            parameter_weight = float(max(1, x.shape[0]))
        check_weight("activation_weight", activation_weight)
        check_weight("parameter_weight", parameter_weight)
        if loss_step is None and loss == "cross_entropy":
            loss_step = _PJAX_LAMBDA
        if loss_step is not None:
            check_weight("loss_step", loss_step)
        iterated = pjax and loss == "cross_entropy"
        two = split == "two"
        constraints = constraints_of(model, x, granularity, numerics, two)
        groups = constraints.two_sets() if two else constraints.levels()
        sets = [
            NodeSet(
                constraints,
                members,
                x,
                y,
                objective,
                loss_step,
                (activation_weight, parameter_weight),
                _PJAX_STEPS if iterated else None,
            )
            for members in groups
            if members
        ]
        self.template = model
        start = constraints.start(take_apart(model).leaves, x)
        super().__init__(sets, start)

    def model(self, value: PyTree) -> PyTree:
        """The model with the parameters of a point, such as `Solution.value`."""
        return take_apart(self.template).rebuild(value["parameters"])


def _check_labels(model, x, y, objective):
    """Labels that do not fit the output are an error now, not in a solve."""
    outputs = jax.eval_shape(
        lambda leaves, x: batched(model, x)(take_apart(model).rebuild(leaves), x),
        take_apart(model).leaves,
        x,
    )
    jax.eval_shape(objective.metrics, outputs, y)


def constraints_of(model, x, granularity, numerics, two) -> Constraints:
    """The constraints of a model for batches like x."""
    pjax = numerics == "pjax"
    how = Numerics(granularity == "neuron", _PJAX_STEPS if pjax else None, pjax)
    return Constraints(trace_at(model, x, granularity), how, two)


def _one_of(name, value, known):
    if value not in known:
        options = ", ".join(map(repr, known))
        raise ValueError(f"{name} must be one of {options}; got {value!r}.")
