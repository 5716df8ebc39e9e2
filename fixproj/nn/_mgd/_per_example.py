"""Estimates in which every example of a batch is a probe of its own."""

import functools

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array

from fixproj.nn._mgd._epsilon import default_epsilon
from fixproj.nn._mgd._estimate import BUDGET, Estimate, Keys, Plan, draw
from fixproj.nn._mgd._noise import apply_noise
from fixproj.nn._mgd._synapses import (
    Synapses,
    correlate_examples,
    felt_nodes,
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
    """Perturbs the results of layers; the rest of the arguments as for `estimate`.

    Forward differences share one pass without perturbations.
    """
    batch = x.shape[0]
    like = [
        jnp.zeros((batch, *shape.shape), shape.dtype) for shape in graph.node_shapes
    ]
    weight = plan.family.weight(sum(leaf.size for leaf in like))

    def forward(leaves, offsets):
        run = functools.partial(run_nodes, graph, leaves)
        results, outputs = jax.vmap(run)(x, offsets)
        return results, outputs

    def at(offsets):
        """What layers make, outputs there, and slopes of nodes to a gradient."""
        results, back, outputs = jax.vjp(
            lambda leaves: forward(leaves, offsets), leaves, has_aux=True
        )
        return results, outputs, lambda slopes: back(slopes)[0]

    def perturbations(time):
        key = jr.fold_in(keys.noise, time)
        drawn = draw(plan.family, keys.directions, time[None], like)
        directions = [d[0] for d in drawn]
        moved = apply_noise(plan.noise, "perturbation", key, directions)
        return key, directions, [epsilon.astype(d.dtype) * d for d in moved]

    def slopes_of_nodes(difference, width, directions, results, moved):
        slopes = difference / (width * epsilon.astype(difference.dtype))
        felt = felt_nodes(graph, leaves, results, moved)
        return [
            (weight / batch)
            * slopes.reshape(-1, *[1] * (d.ndim - 1)).astype(d.dtype)
            * d
            * f
            for d, f in zip(directions, felt, strict=True)
        ]

    def central(time):
        key, directions, moved = perturbations(time)
        # The layers' own inputs are those of the first pass; no third one is needed.
        results, outputs, to_leaves = at(moved)
        _, others = forward(leaves, [-m for m in moved])
        costs = [
            _costs(objective, o, y, key, j, plan)
            for j, o in enumerate([outputs, others])
        ]
        difference = costs[0] - costs[1]
        slopes = slopes_of_nodes(difference, 2, directions, results, moved)
        return _report(
            objective, to_leaves(slopes), costs, difference, outputs, y, True
        )

    if plan.scheme == "central":
        return _mean(central, start, plan)

    results, outputs, to_leaves = at(like)
    key = jr.fold_in(keys.noise, (1 << 32) - 1)
    base = _costs(objective, outputs, y, key, 0, plan)

    def one_sided(time):
        key, directions, moved = perturbations(time)
        _, others = forward(leaves, moved)
        costs = [base, _costs(objective, others, y, key, 1, plan)]
        difference = costs[1] - costs[0]
        slopes = slopes_of_nodes(difference, 1, directions, results, moved)
        return _report(objective, slopes, costs, difference, outputs, y, False)

    found = _mean(one_sided, start, plan, sum(leaf.size for leaf in like))
    return found._replace(gradient=to_leaves(found.gradient))


def estimate_examples(
    graph: Synapses, objective, leaves, x, y, keys: Keys, start, epsilon, plan: Plan
) -> Estimate:
    """Perturbs parameters by signs of rank one, other ones for every example."""
    batch = x.shape[0]
    shapes = sign_shapes(graph, batch)
    like = [jnp.zeros(s.shape, s.dtype) for own in shapes for s in own]
    _, to_leaves = jax.vjp(lambda leaves: operands(graph, leaves), leaves)

    central = plan.scheme == "central"

    def forward(signs, amplitude):
        run = lambda example, own: run_examples(graph, leaves, example, own, amplitude)
        return jax.vmap(run)(x, signs)

    def rows(flat):
        flat = iter(flat)
        return [[next(flat) for _ in own] for own in shapes]

    if not central:
        unmoved = forward(rows(like), jnp.zeros_like(epsilon))
        key = jr.fold_in(keys.noise, (1 << 32) - 1)
        base = _costs(objective, unmoved, y, key, 0, plan)

    def one(time):
        key = jr.fold_in(keys.noise, time)
        flat = draw(plan.family, keys.directions, time[None], like)
        signs = rows([d[0] for d in flat])
        outputs = forward(signs, epsilon)
        costs = _costs(objective, outputs, y, key, 0, plan)
        if central:
            others = _costs(objective, forward(signs, -epsilon), y, key, 1, plan)
            pair, difference = [costs, others], costs - others
        else:
            outputs, pair, difference = unmoved, [base, costs], costs - base
        width = 2 if central else 1
        slopes = difference / (width * batch * epsilon.astype(difference.dtype))
        gradient = correlate_examples(graph, signs, slopes)
        return _report(objective, gradient, pair, difference, outputs, y, central)

    found = _mean(one, start, plan)
    (gradient,) = to_leaves(found.gradient)
    return found._replace(gradient=gradient)


def _costs(objective, outputs, y, key, place, plan):
    costs = jax.vmap(lambda o, t: objective.mean(o[None], t[None]))(outputs, y)
    return apply_noise(plan.noise, "cost", jr.fold_in(key, place), [costs])[0]


def _report(objective, gradient, costs, difference, outputs, y, central):
    value = jnp.mean(costs[0] + costs[1]) / 2 if central else jnp.mean(costs[0])
    rms = jnp.sqrt(jnp.mean(difference**2))
    metrics = objective.metrics(outputs, y)
    return Estimate(value, gradient, rms, jnp.ones_like(rms), metrics)


def _mean(one, start, plan, size=None) -> Estimate:
    """The mean over probes: at once where they are small, else one after the other.

    Args:
        one: the estimate of a time.
        start: the first time.
        plan: how many.
        size: entries that a probe holds; None if probes should not be held together.
    """
    if plan.probes == 1:
        return one(start)
    times = start + jnp.arange(plan.probes, dtype=jnp.uint32)
    if size is not None and plan.probes * size <= BUDGET:
        return jax.tree.map(lambda t: jnp.mean(t, 0), jax.vmap(one)(times))
    shape = jax.eval_shape(one, times[0])
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shape)
    add = lambda total, time: (jax.tree.map(jnp.add, total, one(time)), None)
    total, _ = jax.lax.scan(add, zeros, times)
    return jax.tree.map(lambda t: t / plan.probes, total)
