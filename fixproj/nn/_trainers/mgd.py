"""Training by perturbations of the cost: multiplexed gradient descent.

Time runs in steps, in each of which the cost is measured under one perturbation:

    every tau_p steps the perturbation changes,
    every tau_theta steps the parameters do, by what was correlated since,
    every tau_x steps the sample does, which is one minibatch of `nn.fit`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, PyTree

from fixproj._check import check_between, check_positive_int
from fixproj.nn._adapt import in_training, with_new_state
from fixproj.nn._graph import batched, split
from fixproj.nn._mgd._device import Evaluator, any_traced, host_evaluator
from fixproj.nn._mgd._epsilon import check_scheme, default_epsilon, warn_if_lost
from fixproj.nn._mgd._estimate import Estimate, Keys, Plan, draw, estimate
from fixproj.nn._mgd._families import (
    AbstractPerturbation,
    Rademacher,
    Sinusoidal,
    Walsh,
    perturbation_named,
)
from fixproj.nn._mgd._noise import AbstractNoise, apply_noise, check_noise, has_stage
from fixproj.nn._mgd._per_example import (
    estimate_examples,
    estimate_nodes,
    node_epsilon,
)
from fixproj.nn._mgd._synapses import synapses
from fixproj.nn._trainers._loss import AbstractLoss, loss_named
from fixproj.nn._trainers._optimiser import check_optimiser, descend
from fixproj.nn._trainers._trainer import AbstractTrainer
from fixproj.projections._precision import at_least_single


PERTURBED = ("weights", "nodes", "examples")


class MGDState(NamedTuple):
    """What `MGD` carries from step to step.

    Attributes:
        optimiser: the optimiser's state.
        gradient: the sum of the estimates since the last update; the low-pass filter's
            value with `highpass`. Nothing where every step is an update.
        usable: the number of estimates in the sum.
        step: the time.
        epsilon: the amplitude.
        loss: the last finite loss.
        previous: the cost one step ago, for the high-pass filter.
        filtered: the high-pass filter's value.
    """

    optimiser: PyTree
    gradient: list[Array]
    usable: Array
    step: Array
    epsilon: Array
    loss: Array
    previous: Array
    filtered: Array


class MGD(AbstractTrainer):
    """Multiplexed gradient descent: all parameters perturbed at once, no derivatives.

    The change of the cost under a perturbation is correlated with it; what results is
    the gradient in the mean and goes to an optimiser. Nothing but costs is needed, so
    sign activations, quantised models and devices can be trained.

    Args:
        optimiser: an optax gradient transformation. Default `optax.adam(1e-3)`.
        perturb: what is perturbed. "weights": all parameters, the same for all examples
            of a minibatch. "nodes": the result of every layer, for each example by
            itself; far less noise, needs the layers' inputs. Nodes whose perturbation
            their own nonlinearity stops, such as a rectifier that is off, are left out.
            "examples": the parameters, for each example by itself with signs of rank
            one (flipout). The last two trace the model (and never differentiate through
            it), and need examples that do not depend on each other, so no batch norm.
        perturbation: the family, see `nn.mgd_value_and_grad`. Default "walsh" for
            weights, "rademacher" for the others. "examples" takes these two only.
        probes: perturbations per step.
        scheme: "central" or "forward" differences. The forward differences of one step
            share the cost without perturbation, so that n of them take n + 1 costs
            where n central ones take 2 n.
        epsilon: amplitude; None chooses it at `init` from dtype, number and size of the
            parameters (or, with "nodes", of the nodes).
        tau_p: steps for which a perturbation lasts.
        tau_theta: steps between updates of the parameters, which take the mean estimate
            since the last one.
        tau_x: steps for which a sample, that is a minibatch, lasts.
        highpass: None for the discrete algorithm. A time constant in steps for the
            analog one: one cost per step goes through a high-pass filter with it, its
            product with the perturbation through a low-pass filter with `tau_theta`,
            and the parameters follow continuously. For weights only.
        noise: imperfections to simulate, `nn.mgd.AbstractNoise`, in order. For nodes
            and examples those of costs, perturbations (nodes only) and updates.
        loss: "cross_entropy" (integer or one-hot labels) or "squared".
        device: `device(params, x, y)` returns the cost of a minibatch: any Python
            callable, called on the host with NumPy arrays, never traced; `params` is
            the model, or of a pair `(fn, params)` the second. Measurements that are not
            finite are left out, see `nn.mgd.Device`. For weights only.
        seed: of perturbations and noise.
        warn: warn when the measured differences are mere rounding.

    Raises:
        ValueError: for unknown names, numbers out of range, or options that do not go
            together.
        TypeError: if the optimiser is not an optax transformation.

    References:
        McCaughan et al., "Multiplexed gradient descent: Fast online training of modern
        datasets on hardware neural networks without backpropagation", APL Machine
        Learning 1, 026118, 2023.

    Examples:
        >>> import equinox as eqx, jax, optax
        >>> from fixproj import nn
        >>> x = jax.random.normal(jax.random.key(0), (64, 2))
        >>> y = (x[:, 0] > x[:, 1]).astype(int)
        >>> mlp = eqx.nn.MLP(2, 2, 16, depth=1, key=jax.random.key(1))
        >>> trainer = nn.MGD(optax.adam(0.02), perturb="nodes")
        >>> history = nn.fit(mlp, trainer, (x, y), epochs=50, progress=False)
        >>> history.metrics["accuracy"][-1] > 0.9
        True
    """

    optimiser: optax.GradientTransformation
    objective: AbstractLoss
    plan: Plan
    epsilon: float | Float[Array, ""] | None
    highpass: float | Float[Array, ""] | None
    perturb: str = eqx.field(static=True)
    tau_p: int = eqx.field(static=True)
    tau_theta: int = eqx.field(static=True)
    tau_x: int = eqx.field(static=True)
    device: Callable[..., Any] | None = eqx.field(static=True)
    seed: int = eqx.field(static=True)
    warn: bool = eqx.field(static=True)

    def __init__(
        self,
        optimiser: optax.GradientTransformation | None = None,
        *,
        perturb: str = "weights",
        perturbation: str | AbstractPerturbation | None = None,
        probes: int = 1,
        scheme: str = "central",
        epsilon: float | Float[Array, ""] | None = None,
        tau_p: int = 1,
        tau_theta: int = 1,
        tau_x: int = 1,
        highpass: float | Float[Array, ""] | None = None,
        noise: AbstractNoise | Sequence[AbstractNoise] = (),
        loss: str = "cross_entropy",
        device: Callable[..., Any] | None = None,
        seed: int = 0,
        warn: bool = True,
    ):
        optimiser = optax.adam(1e-3) if optimiser is None else optimiser
        check_optimiser("optimiser", optimiser)
        if perturb not in PERTURBED:
            known = ", ".join(map(repr, PERTURBED))
            raise ValueError(f"perturb must be one of {known}; got {perturb!r}.")
        if perturbation is None:
            perturbation = "walsh" if perturb == "weights" else "rademacher"
        family = perturbation_named(perturbation)
        for name, value in (
            ("probes", probes),
            ("tau_p", tau_p),
            ("tau_theta", tau_theta),
            ("tau_x", tau_x),
        ):
            check_positive_int("MGD", name, value)
        check_scheme(scheme)
        for name, value in (("epsilon", epsilon), ("highpass", highpass)):
            if value is not None:
                check_between("MGD", name, value, 0.0)
        if perturb != "weights":
            for name, value in (("highpass", highpass), ("device", device)):
                if value is not None:
                    raise ValueError(f"{name} goes with perturb='weights' only.")
            if family.joint:
                raise ValueError(
                    f"perturb={perturb!r} draws one direction at a time, so it cannot "
                    f"take {type(family).__name__}."
                )
        if perturb == "examples" and not isinstance(family, Rademacher | Walsh):
            raise ValueError(
                "perturb='examples' makes signs of rank one, so perturbation must be "
                f"'rademacher' or 'walsh'; got {perturbation!r}."
            )
        if highpass is not None and (probes != 1 or family.joint):
            raise ValueError("The analog algorithm (highpass) has one probe at a time.")
        if device is not None and not callable(device):
            raise TypeError(f"device must be callable, got {type(device).__name__}.")
        if highpass is not None and isinstance(family, Walsh | Sinusoidal):
            family = type(family)(constant=False)
        noise = check_noise(noise)
        stages = {"nodes": ("parameters",), "examples": ("parameters", "perturbation")}
        for stage in stages.get(perturb, ()):
            if has_stage(noise, stage):
                raise ValueError(f"noise on {stage} goes with perturb='weights' only.")
        self.optimiser = optimiser
        self.objective = loss_named(loss)
        self.plan = Plan(family, noise, probes, scheme, None, device is not None)
        self.epsilon = epsilon
        self.highpass = highpass
        self.perturb = perturb
        self.tau_p, self.tau_theta, self.tau_x = tau_p, tau_theta, tau_x
        self.device = device
        self.seed = seed
        self.warn = warn

    def init(self, model: PyTree) -> MGDState:
        """The state at time 0; see `AbstractTrainer.init`."""
        leaves = split(model).leaves
        work = jnp.result_type(float)
        epsilon = self.epsilon
        if epsilon is None:
            scheme = "forward" if self.highpass is not None else self.plan.scheme
            # That of nodes needs to know them, which an input has to be seen for.
            nodes = self.perturb == "nodes"
            epsilon = (
                0.0 if nodes else default_epsilon(self.plan.family, scheme, leaves)
            )
        return MGDState(
            optimiser=self.optimiser.init(leaves),
            gradient=[
                jnp.zeros(x.shape, at_least_single(x.dtype))
                for x in leaves
                if self._accumulates
            ],
            usable=jnp.zeros((), work),
            step=jnp.zeros((), jnp.int32),
            epsilon=jnp.asarray(epsilon, work),
            loss=jnp.asarray(jnp.nan, work),
            previous=jnp.asarray(jnp.nan, work),
            filtered=jnp.zeros((), work),
        )

    @property
    def _accumulates(self) -> bool:
        return self.highpass is not None or self.tau_theta > 1

    def update(
        self, model: PyTree, state: MGDState, x: Array, y: Array
    ) -> tuple[PyTree, MGDState, dict[str, Any]]:
        """`tau_x` steps of time on one minibatch; see `AbstractTrainer.update`."""
        traced = any_traced((model, state, x, y))
        # A device has its own state. Perturbed by themselves, examples must not depend
        # on each other, so there normalisation is by the running statistics.
        after = model if self.device is not None else with_new_state(model, x)
        seen = in_training(model) if self.perturb == "weights" else after
        leaves, _, rebuild = split(after)
        measure = self._measure(seen, x, y, traced)

        def step(carry, _):
            leaves, state = carry
            leaves, state, info = self._step(measure, leaves, state)
            return (leaves, state), info

        if self.tau_x == 1:
            (leaves, state), info = step((leaves, state), None)
            return rebuild(leaves), state, info
        if self.device is not None and not traced:
            infos = []
            for _ in range(self.tau_x):
                (leaves, state), info = step((leaves, state), None)
                infos.append(info)
            infos = jax.tree.map(lambda *values: jnp.stack(values), *infos)
        else:
            (leaves, state), infos = jax.lax.scan(
                step, (leaves, state), length=self.tau_x
            )
        return rebuild(leaves), state, {k: jnp.mean(v) for k, v in infos.items()}

    def _measure(self, model, x, y, traced):
        """(leaves, state) to the estimate of one step and, if analog, its cost."""
        rebuild = split(model).rebuild
        if self.perturb != "weights":
            graph = synapses(model, x)
            nodes = self.perturb == "nodes"
            method = estimate_nodes if nodes else estimate_examples

            def per_example(leaves, state):
                keys, start = self._keys(state)
                epsilon = state.epsilon
                if nodes and self.epsilon is None:
                    epsilon = node_epsilon(graph, self.plan.scheme, self.plan)
                return method(
                    graph,
                    self.objective,
                    leaves,
                    x,
                    y,
                    keys,
                    start,
                    epsilon,
                    self.plan,
                )

            return per_example
        if self.device is None:
            call = batched(model, x)

            def on_model(points):
                outputs = [call(rebuild(point), x) for point in points]
                costs = [self.objective.mean(o, y) for o in outputs]
                high = jnp.stack([c.astype(at_least_single(c.dtype)) for c in costs])
                metrics = self.objective.metrics(outputs[0], y)
                return high, jnp.zeros_like(high), metrics

            evaluate: Evaluator = on_model
        else:
            part = (lambda new: new[1]) if isinstance(model, tuple) else (lambda n: n)
            evaluate = host_evaluator(
                self.device, lambda leaves: part(rebuild(leaves)), (x, y), traced
            )
        return lambda leaves, state: self._estimate(evaluate, leaves, state, traced)

    def _keys(self, state):
        key, for_noise = jr.split(jr.key(self.seed))
        turn = state.step // self.tau_p
        keys = Keys(key, jr.fold_in(for_noise, state.step))
        return keys, turn.astype(jnp.uint32) * jnp.uint32(self.plan.probes)

    def _estimate(self, evaluate: Evaluator, leaves, state, traced) -> Estimate:
        keys, start = self._keys(state)
        noise = self.plan.noise
        inner = evaluate
        if has_stage(noise, "parameters"):
            inner = lambda points: evaluate(
                [apply_noise(noise, "parameters", keys.noise, p) for p in points]
            )
        if self.highpass is not None:
            return self._filtered(inner, leaves, state, keys, start)
        found = estimate(
            inner,
            leaves,
            keys,
            start,
            state.epsilon,
            self.plan,
            on_host=self.device is not None and not traced,
        )
        if self.warn and self.plan.family.dense and self.device is None:
            unit = max(float(jnp.finfo(leaf.dtype).eps) for leaf in leaves)
            warn_if_lost(
                found.difference, found.value, state.epsilon, unit, self.plan.scheme
            )
        return found

    def _filtered(self, evaluate, leaves, state, keys, start) -> Estimate:
        """The analog algorithm's cost, filtered and multiplied by the perturbation."""
        times, family = start[None], self.plan.family
        directions = [d[0] for d in draw(family, keys.directions, times, leaves)]
        moved = apply_noise(self.plan.noise, "perturbation", keys.noise, directions)
        point = [
            x + state.epsilon.astype(x.dtype) * m
            for x, m in zip(leaves, moved, strict=True)
        ]
        high, _, metrics = evaluate([point])
        (cost,) = apply_noise(self.plan.noise, "cost", keys.noise, [high[0]])
        cost = cost.astype(state.previous.dtype)
        # A device that does not answer leaves the filter where it is.
        usable = jnp.isfinite(cost)
        cost = jnp.where(usable, cost, state.previous)
        change = jnp.where(
            jnp.isfinite(state.previous), cost - state.previous, jnp.zeros_like(cost)
        )
        constant = jnp.asarray(self.highpass, cost.dtype)
        value = constant / (constant + 1) * (state.filtered + change)
        scale = value * family.weight(sum(x.size for x in leaves)) / state.epsilon
        gradient = [scale.astype(d.dtype) * d for d in directions]
        return Estimate(cost, gradient, value, usable.astype(cost.dtype), metrics)

    def _step(self, measure, leaves, state):
        found = measure(leaves, state)
        work = state.loss.dtype
        usable = (found.usable > 0).astype(work)
        value = found.value.astype(work)
        loss = jnp.where(jnp.isfinite(value) | (usable > 0), value, state.loss)
        info = {**found.metrics, "loss": loss}
        if self.device is not None:
            info["skipped"] = self.plan.probes - found.usable
        analog = self.highpass is not None
        share = 1 / self.tau_theta
        estimates = found.gradient if self._accumulates else []
        gradient = [
            total + share * (g.astype(total.dtype) - total)
            if analog
            else total + g.astype(total.dtype)
            for total, g in zip(state.gradient, estimates, strict=True)
        ]
        state = state._replace(
            gradient=gradient,
            usable=state.usable + usable,
            step=state.step + 1,
            loss=loss,
            previous=value,
            filtered=found.difference.astype(work) if analog else state.filtered,
        )
        if analog:
            return *self._move(leaves, state, state.gradient), info
        if not self._accumulates:
            return *self._write(leaves, state, found.gradient), info
        due = jax.lax.rem(state.step, jnp.int32(self.tau_theta)) == 0
        leaves, state = jax.lax.cond(
            due, self._write_mean, lambda leaves, state: (leaves, state), leaves, state
        )
        return leaves, state, info

    def _write_mean(self, leaves, state):
        """An update by the mean estimate."""
        count = jnp.maximum(state.usable, 1)
        mean = [total / count.astype(total.dtype) for total in state.gradient]
        zeros = [jnp.zeros_like(total) for total in state.gradient]
        leaves, state = self._write(leaves, state, mean)
        return leaves, state._replace(gradient=zeros)

    def _write(self, leaves, state, gradient):
        """An update, none if nothing was measured."""
        new, after = self._move(leaves, state, gradient)
        if self.device is not None:
            keep = lambda a, b: jnp.where(state.usable > 0, a, b)
            new, after = jax.tree.map(keep, (new, after), (leaves, state))
        return new, after._replace(usable=jnp.zeros_like(state.usable))

    def _move(self, leaves, state, gradient):
        gradient = [
            g.astype(leaf.dtype) for g, leaf in zip(gradient, leaves, strict=True)
        ]
        new, optimiser = descend(self.optimiser, gradient, state.optimiser, leaves)
        if has_stage(self.plan.noise, "update"):
            keys, _ = self._keys(state)
            change = [n - leaf for n, leaf in zip(new, leaves, strict=True)]
            change = apply_noise(self.plan.noise, "update", keys.noise, change)
            new = [leaf + c for leaf, c in zip(leaves, change, strict=True)]
        return new, state._replace(optimiser=optimiser)
