"""Estimates in which every example of a batch is a probe of its own."""

import functools

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array

from fixproj.nn._mgd._epsilon import default_epsilon
from fixproj.nn._mgd._estimate import Estimate, Keys, Plan, draw
from fixproj.nn._mgd._noise import apply_noise
from fixproj.nn._mgd._synapses import (
    Synapses,
    correlate_examples,
    operands,
    run_examples,
    run_nodes,
    sign_shapes,
)


def node_epsilon(graph: Synapses, scheme: str, plan: Plan) -> Array:
    """The amplitude for what nodes perturb; it does not depend on parameters."""
    zeros = [jnp.zeros(shape.shape, shape.dtype) for shape in graph.node_shapes]
    return default_epsilon(plan.family, scheme, zeros)


def estimate_nodes(
    graph: Synapses, objective, leaves, x, y, keys: Keys, start, epsilon, plan: Plan
) -> Estimate:
    """Perturbs the results of layers; the rest of the arguments as for `estimate`."""
    batch = x.shape[0]
    like = [
        jnp.zeros((batch, *shape.shape), shape.dtype) for shape in graph.node_shapes
    ]
    weight = plan.family.weight(sum(leaf.size for leaf in like))

    def forward(leaves, offsets):
        run = functools.partial(run_nodes, graph, leaves)
        results, outputs = jax.vmap(run)(x, offsets)
        return results, outputs

    def one(time):
        key = jr.fold_in(keys.noise, time)
        directions = [
            d[0] for d in draw(plan.family, keys.directions, time[None], like)
        ]
        moved = apply_noise(plan.noise, "perturbation", key, directions)
        moved = [epsilon.astype(d.dtype) * d for d in moved]
        central = plan.scheme == "central"
        here = moved if central else like
        # The layers' own inputs are those of the first pass; no third one is needed.
        _, of_layers, outputs = jax.vjp(
            lambda leaves: forward(leaves, here), leaves, has_aux=True
        )
        there = [-m for m in moved] if central else moved
        _, others = forward(leaves, there)
        costs = [
            _costs(objective, o, y, key, j, plan)
            for j, o in enumerate([outputs, others])
        ]
        difference = costs[0] - costs[1] if central else costs[1] - costs[0]
        width = 2 if central else 1
        slopes = difference / (width * epsilon.astype(difference.dtype))
        scaled = [
            (weight / batch)
            * slopes.reshape(-1, *[1] * (d.ndim - 1)).astype(d.dtype)
            * d
            for d in directions
        ]
        (gradient,) = of_layers(scaled)
        return _report(objective, gradient, costs, difference, outputs, y, central)

    return _mean(one, start, plan)


def estimate_examples(
    graph: Synapses, objective, leaves, x, y, keys: Keys, start, epsilon, plan: Plan
) -> Estimate:
    """Perturbs parameters by signs of rank one, other ones for every example."""
    batch = x.shape[0]
    shapes = sign_shapes(graph, batch)
    like = [jnp.zeros(s.shape, s.dtype) for own in shapes for s in own]
    _, to_leaves = jax.vjp(lambda leaves: operands(graph, leaves), leaves)

    def one(time):
        key = jr.fold_in(keys.noise, time)
        flat = [d[0] for d in draw(plan.family, keys.directions, time[None], like)]
        flat = iter(flat)
        signs = [[next(flat) for _ in own] for own in shapes]
        central = plan.scheme == "central"

        def forward(amplitude):
            run = lambda example, own: run_examples(
                graph, leaves, example, own, amplitude
            )
            return jax.vmap(run)(x, signs)

        outputs = forward(epsilon if central else jnp.zeros_like(epsilon))
        others = forward(-epsilon if central else epsilon)
        costs = [
            _costs(objective, o, y, key, j, plan)
            for j, o in enumerate([outputs, others])
        ]
        difference = costs[0] - costs[1] if central else costs[1] - costs[0]
        width = 2 if central else 1
        slopes = difference / (width * batch * epsilon.astype(difference.dtype))
        (gradient,) = to_leaves(correlate_examples(graph, signs, slopes))
        return _report(objective, gradient, costs, difference, outputs, y, central)

    return _mean(one, start, plan)


def _costs(objective, outputs, y, key, place, plan):
    costs = jax.vmap(lambda o, t: objective.mean(o[None], t[None]))(outputs, y)
    return apply_noise(plan.noise, "cost", jr.fold_in(key, place), [costs])[0]


def _report(objective, gradient, costs, difference, outputs, y, central):
    value = jnp.mean(costs[0] + costs[1]) / 2 if central else jnp.mean(costs[0])
    rms = jnp.sqrt(jnp.mean(difference**2))
    metrics = objective.metrics(outputs, y)
    return Estimate(value, gradient, rms, jnp.ones_like(rms), metrics)


def _mean(one, start, plan) -> Estimate:
    """The mean over probes, one after the other."""
    if plan.probes == 1:
        return one(start)
    times = start + jnp.arange(plan.probes, dtype=jnp.uint32)
    shape = jax.eval_shape(one, times[0])
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shape)
    add = lambda total, time: (jax.tree.map(jnp.add, total, one(time)), None)
    total, _ = jax.lax.scan(add, zeros, times)
    return jax.tree.map(lambda t: t / plan.probes, total)
