"""Training by projections: the loss is not differentiated through the network.

Each minibatch runs the model forward, moves its output by the prox of the loss, and
carries that displacement back to the parameters by projecting onto the graph of one
node after the other, output to input.
"""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from fixproj._check import check_between, is_traced
from fixproj._map import AbstractMethod
from fixproj._method import (
    AlternatingProjections,
    CyclicDouglasRachford,
    CyclicProjections,
)
from fixproj.nn._adapt import in_training, with_new_state
from fixproj.nn._graph import Metric, propagate, reconcile, split, trace
from fixproj.nn._graph._constraints import LOSS
from fixproj.nn._graph._rules.moments import no_curvatures
from fixproj.nn._graph._sweep import MINIBATCH
from fixproj.nn._trainers._kept import Kept, shifted, zeros
from fixproj.nn._trainers._loss import AbstractLoss, loss_named
from fixproj.nn._trainers._optimiser import check_optimiser, descend
from fixproj.nn._trainers._remembering import Remembering, renewed
from fixproj.nn._trainers._strengths import METHOD, OUTER, PURE, PURE_WEAK
from fixproj.nn._trainers._trainer import AbstractTrainer
from fixproj.nn._trainers.training_problem import NUMERICS, TrainingProblem
from fixproj.projections._weights import check_weight


GRANULARITIES = ("layer", "neuron")
CURVATURES = ("running", "minibatch")
_CYCLIC = (CyclicProjections, CyclicDouglasRachford)


class Projections(AbstractTrainer):
    """Training by projections onto the graphs of the model's layers.

    Per minibatch: a forward pass; the prox of the loss displaces the output; one sweep
    from output to input turns that into displacements of all activations and
    parameters, each layer Y = X W (+ bias) and each activation function being projected
    once. More sweeps start from the projected activations. A matrix product is one set
    (damped Gauss-Newton, see `projections.MatrixProduct`); the functions have exact
    projections.

    With `outer=None` the parameters become the projected ones ("pure" projections).
    With an optax transformation, minus the displacement of one weak sweep is fed to it
    in place of a gradient and in its unit. What that displacement is: to first order,
    as the weights of inputs grow, it is the gradient, on any graph. At the default
    weights it differs from it by the damping by the Gram matrix of each layer's inputs,
    (I + s X'X)^-1 (half of K-FAC), by a slight damping by W'W, and where piecewise
    linear functions switch. Backpropagated gradients with the same damping train about
    as well. With `sweeps` above 1, displacements are strong ones and not rescaled.

    The metric sets how strong a sweep is: what is heavier moves less. The defaults are
    settings that did well on Fashion-MNIST with two hidden layers of 128 units and were
    then taken as they are.

    Args:
        granularity: "layer": each matrix product is one set. "neuron": each entry of it
            is one, PJAX's formulation, for comparison: by far less accurate.
        method: a method for feasibility problems, such as
            `fixproj.DouglasRachford()`: on each minibatch it takes `sweeps` steps on
            the [`fixproj.nn.TrainingProblem`][] of that minibatch. Cyclic methods
            go through the layers. None is the sweep described above; of neurons,
            alternating projections.
        numerics: "exact", or "pjax": of neurons, as PJAX computes it.
        keep_state: of a method, whether what its variable holds beyond the answer, such
            as Douglas-Rachford's offset from it, is kept from one minibatch to the
            next: for parameters and copies of them. What belongs to examples starts
            from a forward pass. Not for methods whose variable is the answer. Of
            layers, a parameter that is used once has one copy: nothing is remembered.
        curvature: of a weak sweep: "running", the second moments of the
            inputs of each product are kept over past minibatches, by their 48 leading
            eigenpairs, and renewed every 10; or "minibatch", they are those of a sample
            of the minibatch. Running ones need the shapes of a minibatch: `nn.fit`
            begins with `start`; a state from `init` has none.
        sweeps: sweeps per minibatch. Default 3, with `outer` 1; with a method 50 steps.
        loss: "cross_entropy" (integer or one-hot labels), "squared", "hinge", "margin"
            (the label's output exceeds the others by 1) or "exact_class" (it is the
            largest).
        label_smoothing: of the cross-entropy, the share of each label that is spread
            evenly over all classes, in [0, 1).
        loss_prox: "exact", or "linearised": a step along minus the slope of the loss.
            Default "exact", with `outer` and one sweep "linearised".
        outer: None, or the optax transformation that displacements are fed to.
        weak: whether a sweep is weak: it goes by linearised steps, which carry unit
            displacements, so that it is cheap and its parameters move little. Default:
            if there is `outer`, one sweep and no method. Without `outer`, weak sweeps
            learn slower and end higher than strong ones; average their weights
            ([`fixproj.nn.Averaged`][]).
        relaxation: without `outer` and method, how far the parameters go towards the
            projected ones, in (0, 2): beyond them if above 1.
        activation_weight: weight of the input of a matrix product. Default 0.03, with
            `outer` 300.
        parameter_weight: weight of the parameters. Strong sweeps (small weight) fit
            each minibatch closely and learn fast; weak ones are steadier. Default 10,
            with `outer` 1e4 (for 256 rows; it grows with the number of rows).
        output_weight: weight of the output of a matrix product. Default 4.
        elementwise_weight: weight of the output of every other node, whose activations
            have weight 1. Default 1, with `outer` 0.05.
        loss_step: the factor of the loss (summed over examples) in its prox. Default 5,
            with `outer` 1.

    Raises:
        ValueError: for an unknown granularity or loss, `label_smoothing` that is not in
            [0, 1) or of another loss than the cross-entropy, weights that are not
            positive, `sweeps < 1`, or `relaxation` out of its range or out of place.
        TypeError: if `outer` is not an optax transformation.

    References:
        Elser, "Learning without loss", 2021; Bergmeister et al., 2025 (PJAX).

    Examples:
        >>> import optax
        >>> from fixproj import nn
        >>> pure = nn.Projections()
        >>> fed_to_adam = nn.Projections(outer=optax.adam(3e-3))
    """

    method: AbstractMethod | None
    granularity: str = eqx.field(static=True)
    numerics: str = eqx.field(static=True)
    keep_state: bool = eqx.field(static=True)
    curvature: str = eqx.field(static=True)
    loss: str = eqx.field(static=True)
    label_smoothing: float = eqx.field(static=True)
    metric: Metric
    loss_step: float | Float[Array, ""]
    sweeps: int = eqx.field(static=True)
    relaxation: float
    outer: optax.GradientTransformation | None
    objective: AbstractLoss
    loss_prox: str = eqx.field(static=True)

    def __init__(
        self,
        granularity: str = "layer",
        method: AbstractMethod | None = None,
        *,
        numerics: str = "exact",
        keep_state: bool = False,
        curvature: str = "running",
        sweeps: int | None = None,
        loss: str = "cross_entropy",
        label_smoothing: float = 0.0,
        loss_prox: str | None = None,
        outer: optax.GradientTransformation | None = None,
        weak: bool | None = None,
        relaxation: float = 1.0,
        activation_weight: float | None = None,
        parameter_weight: float | None = None,
        output_weight: float | None = None,
        elementwise_weight: float | None = None,
        loss_step: float | None = None,
    ):
        if granularity not in GRANULARITIES:
            raise ValueError(
                f"granularity must be one of {', '.join(map(repr, GRANULARITIES))}; "
                f"got {granularity!r}."
            )
        if numerics not in NUMERICS or (numerics == "pjax" and granularity == "layer"):
            raise ValueError(
                "numerics must be 'exact', or, if granularity is 'neuron', 'pjax'; got "
                f"{numerics!r}."
            )
        if method is not None and not isinstance(method, AbstractMethod):
            raise TypeError(
                "method must be a method such as fixproj.DouglasRachford(), got "
                f"{type(method).__name__}."
            )
        if method is None and granularity == "neuron":
            method = AlternatingProjections()
        if curvature not in CURVATURES:
            raise ValueError(
                f"curvature must be one of {', '.join(map(repr, CURVATURES))}; "
                f"got {curvature!r}."
            )
        if keep_state and method is None:
            raise ValueError("keep_state needs a method, such as DouglasRachford().")
        check_between("Projections", "relaxation", relaxation, 0, 2)
        relaxed = is_traced(relaxation) or relaxation != 1
        if relaxed and (outer is not None or method is not None):
            raise ValueError(
                "relaxation is for sweeps whose parameters become the projected ones: "
                "with `outer` its step, with `method` the relaxation of that counts."
            )
        once = sweeps in (None, 1) and method is None
        if weak is None:
            weak = outer is not None and once
        elif weak and not once:
            raise ValueError("weak: a weak sweep is one sweep, and not of a method.")
        default = PURE if outer is None else OUTER
        if method is not None:
            default = METHOD
        elif weak and outer is None:
            default = PURE_WEAK
        given = {
            "activation_weight": activation_weight,
            "parameter_weight": parameter_weight,
            "output_weight": output_weight,
            "elementwise_weight": elementwise_weight,
            "loss_step": loss_step,
        }
        chosen = {k: default[k] if v is None else v for k, v in given.items()}
        for name, value in chosen.items():
            check_weight(name, value)
        if outer is not None:
            check_optimiser("outer", outer)
        sweeps = default["sweeps"] if sweeps is None else sweeps
        if sweeps < 1:
            raise ValueError(f"sweeps must be at least 1, got {sweeps}.")
        loss_prox = loss_prox or ("linearised" if weak else "exact")
        if loss_prox not in ("exact", "linearised"):
            raise ValueError(
                f"loss_prox must be 'exact' or 'linearised', got {loss_prox!r}."
            )
        self.method, self.granularity = method, granularity
        self.numerics, self.loss = numerics, loss
        self.keep_state, self.curvature = keep_state, curvature
        self.loss_prox = loss_prox
        self.metric = Metric(
            chosen["activation_weight"],
            chosen["parameter_weight"],
            chosen["output_weight"],
            chosen["elementwise_weight"],
            weak=weak,
        )
        self.loss_step = chosen["loss_step"]
        self.sweeps, self.relaxation = sweeps, relaxation
        self.outer = outer
        self.objective = loss_named(loss, label_smoothing)
        self.label_smoothing = label_smoothing

    def init(self, model: PyTree) -> PyTree:
        """The outer optimiser's state, or nothing; see `AbstractTrainer.init`."""
        return None if self.outer is None else self.outer.init(split(model).leaves)

    def start(self, model: PyTree, x: Array, y: Array) -> PyTree:
        """As `init`, with room for what is kept; see `AbstractTrainer.start`."""
        state = self.init(model)
        if self.metric.weak and self.curvature == "running":
            curvatures = no_curvatures(trace(in_training(model), x))
            return Remembering(state, curvatures, jnp.zeros((), jnp.int32))
        if not self.keep_state:
            return state

        def offsets(model, x, y):
            problem = self._problem(model, x, y)
            return problem.sets[0].constraints.lasting(problem.y0)

        return Kept(state, zeros(eqx.filter_eval_shape(offsets, model, x, y)))

    def update(
        self, model: PyTree, state: PyTree, x: Array, y: Array
    ) -> tuple[PyTree, PyTree, dict[str, Any]]:
        """The sweeps of one minibatch; see `AbstractTrainer.update`."""
        if self.method is not None:
            return self._solve(model, state, x, y)
        start, _, rebuild = split(with_new_state(model, x))
        graph = trace(in_training(model), x)
        metric = self._metric(x.shape[0])
        values = graph.evaluate(start, x)
        info = self.objective.metrics(values[graph.output], y)
        memory, curvatures = None, None
        if isinstance(state, Remembering):
            memory = renewed(state, graph, values)
            curvatures, state = memory.curvatures, memory.state

        def sweep(values, gaps):
            outputs = values[graph.output]
            if self.loss_prox == "exact":
                wanted = self.objective.displacement(outputs, y, self.loss_step)
            else:
                step = jnp.asarray(-self.loss_step, outputs.dtype)
                wanted = step * self.objective.slope(outputs, y)
            return propagate(graph, values, wanted, metric, gaps, curvatures)

        def sweep_again(carry, _):
            # The sum of displacements is carried as well as the point: late in the
            # training it is far smaller, and the difference of points would lose it.
            total, projected = carry
            leaves = [leaf + t for leaf, t in zip(start, total, strict=True)]
            values, gaps = reconcile(graph, leaves, x, projected)
            moved, projected = sweep(values, gaps)
            total = [t + m for t, m in zip(total, moved, strict=True)]
            return (total, projected), None

        carry = sweep(values, None)
        if self.sweeps > 1:
            carry, _ = jax.lax.scan(sweep_again, carry, length=self.sweeps - 1)
        total, _ = carry
        if self.outer is None:
            share = self.relaxation * self._share(x.shape[0])
            leaves = [leaf + share * t for leaf, t in zip(start, total, strict=True)]
        else:
            feed = [self._as_gradient(t, x.shape[0]) for t in total]
            leaves, state = descend(self.outer, feed, state, start)
        if memory is not None:
            state = Remembering(state, memory.curvatures, memory.count)
        return rebuild(leaves), state, info

    def _problem(self, model, x, y):
        return TrainingProblem(
            in_training(model),
            x,
            y,
            self.loss,
            label_smoothing=self.label_smoothing,
            granularity=self.granularity,
            split="levels" if isinstance(self.method, _CYCLIC) else "two",
            numerics=self.numerics,
            loss_step=self.loss_step,
            activation_weight=self.metric.activation,
            parameter_weight=self.metric.parameter,
        )

    def _solve(self, model, state, x, y):
        """Steps of a method on the feasibility problem of a minibatch."""
        start, _, rebuild = split(with_new_state(model, x))
        problem = self._problem(model, x, y)
        (outputs,) = problem.y0["inputs"][LOSS]
        info = self.objective.metrics(outputs, y)
        assert self.method is not None
        kept = isinstance(state, Kept)
        if kept:
            moved = shifted(problem.y0, state.offsets, 1)
            problem = eqx.tree_at(lambda p: p.y0, problem, moved)
            state = state.state
        steps = self.method.make_map(problem)
        z = steps.init()
        if kept and jax.tree.structure(z) != jax.tree.structure(problem.y0):
            name = type(self.method).__name__
            raise ValueError(f"keep_state is not for {name}: its variable is another.")
        z, _ = jax.lax.scan(lambda z, _: (steps.apply(z), None), z, length=self.sweeps)
        leaves = steps.readout(z)["parameters"]
        offsets = None
        if kept:
            constraints = problem.sets[0].constraints
            # What a start from the answer would be, on the same examples.
            answer = constraints.lasting(constraints.start(leaves, x))
            offsets = shifted(constraints.lasting(z), answer, -1)
        if self.outer is not None:
            feed = [a - b for a, b in zip(start, leaves, strict=True)]
            leaves, state = descend(self.outer, feed, state, start)
        if kept:
            state = Kept(state, offsets)
        return rebuild(leaves), state, info

    def _metric(self, examples):
        """Without an outer optimiser a parameter has one weight in all products."""
        if self.outer is not None or not self.metric.weak:
            return self.metric
        return dataclasses.replace(self.metric, examples=examples)

    def _share(self, examples):
        """What a unit displacement of a parameter is in the metric."""
        if not self.metric.weak:
            return 1
        parameter = self.metric.parameter * (examples / MINIBATCH)
        return self.metric.output / parameter

    def _as_gradient(self, displacement, batch):
        unit = 1 / (self.loss_step * batch)
        if not self.metric.weak:
            unit = unit * self.metric.parameter / self.metric.output
        return displacement * jnp.asarray(-unit, displacement.dtype)
