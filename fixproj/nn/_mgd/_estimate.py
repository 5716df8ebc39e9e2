"""The gradient of a cost from values of the cost alone.

With directions v_k of a family with weight w, n of them, and amplitude e,

    central:  s_k = (C(theta + e v_k) - C(theta - e v_k)) / (2 e)
    forward:  s_k = (C(theta + e v_k) - C(theta)) / e
    gradient ~ (w / n) sum_k s_k v_k.

Directions are functions of a key and a time and are made where they are used, so that
beside the running sum no more is kept than the costs need.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array

from fixproj.nn._mgd._device import Evaluator
from fixproj.nn._mgd._families import AbstractPerturbation
from fixproj.nn._mgd._noise import AbstractNoise, apply_noise, has_stage
from fixproj.projections._precision import at_least_single


# Entries of directions that are held at a time.
BUDGET = 1 << 22


class Estimate(NamedTuple):
    """What was measured.

    Attributes:
        value: the mean of the costs (central), or the cost (forward).
        gradient: one real array per leaf.
        difference: root mean square of the differences of two costs.
        usable: number of probes that gave a finite difference.
        metrics: what the evaluator tells beside costs, its mean over probes.
    """

    value: Array
    gradient: list[Array]
    difference: Array
    usable: Array
    metrics: dict[str, Array]


class Plan(eqx.Module):
    """How to perturb: what does not change from call to call."""

    family: AbstractPerturbation
    noise: tuple[AbstractNoise, ...]
    probes: int = eqx.field(static=True)
    scheme: str = eqx.field(static=True)
    chunk: int | None = eqx.field(static=True)
    skip: bool = eqx.field(static=True)


class Keys(NamedTuple):
    """The key of directions, and that of the noise."""

    directions: Array
    noise: Array


def draw(family: AbstractPerturbation, key, times, leaves) -> list[Array]:
    """The directions of some times for leaves like these."""
    like = tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in leaves)
    return _draw(family, key, times, like)


@eqx.filter_jit
def _draw(family, key, times, like):
    return family.draw(key, times, like)


def estimate(
    evaluate: Evaluator,
    leaves: list[Array],
    keys: Keys,
    start: Array,
    epsilon: Array,
    plan: Plan,
    on_host: bool = False,
) -> Estimate:
    """Perturbs, measures and correlates.

    Args:
        evaluate: costs (high, low) of a list of points, see `_device`, and a
            dictionary of other numbers about the first of them.
        leaves: the parameters.
        keys: of the directions and of the noise.
        start: time of the first probe.
        epsilon: amplitude, a float32 or float64 scalar.
        plan: the rest.
        on_host: whether costs are measured one by one, without tracing.

    Returns:
        An `Estimate`; the gradient has the dtypes of the leaves.
    """
    times = start.astype(jnp.uint32) + jnp.arange(plan.probes, dtype=jnp.uint32)
    size = sum(leaf.size for leaf in leaves)
    measured = _with_cost_noise(evaluate, plan.noise)
    base = None
    if plan.scheme == "forward":
        base = measured([leaves], jr.fold_in(keys.noise, (1 << 32) - 1), 0)

    def slope(time, directions):
        """Half or whole difference, difference, cost and metrics along a direction."""
        noise_key = jr.fold_in(keys.noise, time)
        points = _moved(leaves, directions, epsilon, noise_key, plan)
        high, low, metrics = measured(points, noise_key, 1)
        if base is None:
            difference = (high[0] - high[1]) + (low[0] - low[1])
            return difference / 2, difference, (high[0] + high[1]) / 2, metrics
        difference = (high[0] - base[0][0]) + (low[0] - base[1][0])
        return difference, difference, base[0][0], base[2]

    drawn = None
    if plan.family.joint:
        drawn = draw(plan.family, keys.directions, times, leaves)
    if on_host:
        found = []
        for k in range(plan.probes):
            found.append(slope(times[k], _row(plan, keys, drawn, times, k, leaves)))
        found = jax.tree.map(lambda *column: jnp.stack(column), *found)
        gradient = _regenerated(plan, keys, drawn, times, found[0], leaves)
        return _finish(gradient, found, leaves, epsilon, size, plan)

    chunk = 1 if plan.skip else _chunk(plan, size)
    count = -(-plan.probes // chunk)

    def part(times, drawn, valid):
        """The sum over one chunk, and its costs."""
        if drawn is None:
            drawn = draw(plan.family, keys.directions, times, leaves)
        if chunk == 1:
            found = slope(times[0], [d[0] for d in drawn])
            found = jax.tree.map(lambda column: column[None], found)
        else:
            found = jax.vmap(slope)(times, drawn)
        return _correlate(found[0], drawn, valid, plan.skip), found

    valid = jnp.ones(plan.probes, bool)
    if count == 1:
        gradient, found = part(times, drawn, valid)
        return _finish(gradient, found, leaves, epsilon, size, plan)

    padding = count * chunk - plan.probes
    chunked = lambda a: jnp.pad(
        a, [(0, padding)] + [(0, 0)] * (a.ndim - 1), mode="edge"
    ).reshape(count, chunk, *a.shape[1:])
    valid = jnp.arange(count * chunk).reshape(count, chunk) < plan.probes

    def step(total, item):
        gradient, found = part(*item)
        return [t + g for t, g in zip(total, gradient, strict=True)], found

    zeros = [jnp.zeros(x.shape, _work(x)) for x in leaves]
    rows = None if drawn is None else [chunked(d) for d in drawn]
    gradient, found = jax.lax.scan(step, zeros, (chunked(times), rows, valid))
    found = jax.tree.map(lambda column: column.reshape(-1)[: plan.probes], found)
    return _finish(gradient, found, leaves, epsilon, size, plan)


def _with_cost_noise(evaluate, noise):
    def measured(points, key, offset):
        high, low, metrics = evaluate(points)
        noisy = [
            apply_noise(noise, "cost", jr.fold_in(key, offset + j), [high[j]])[0]
            for j in range(len(points))
        ]
        return jnp.stack(noisy), low, metrics

    if has_stage(noise, "cost"):
        return measured
    return lambda points, key, offset: evaluate(points)


def _moved(leaves, directions, epsilon, key, plan):
    """The points at which one probe measures."""
    directions = apply_noise(plan.noise, "perturbation", key, directions)
    steps = [epsilon.astype(d.dtype) * d for d in directions]
    plus = [x + s for x, s in zip(leaves, steps, strict=True)]
    if plan.scheme == "forward":
        return [plus]
    return [plus, [x - s for x, s in zip(leaves, steps, strict=True)]]


def _correlate(slopes, drawn, valid, skip):
    """sum_k s_k v_k over the probes that count."""
    if skip:
        valid = valid & jnp.isfinite(slopes)
    slopes = jnp.where(valid, slopes, jnp.zeros((), slopes.dtype))
    total = []
    for d in drawn:
        work = _work(d)
        s = slopes.astype(work)
        total.append(
            s[0] * d[0].astype(work)
            if d.shape[0] == 1
            else jnp.tensordot(s, d.astype(work), 1)
        )
    return total


def _finish(gradient, found, leaves, epsilon, size, plan) -> Estimate:
    _, differences, costs, metrics = found
    usable = jnp.isfinite(differences) if plan.skip else jnp.ones_like(costs, bool)
    count = jnp.sum(usable.astype(costs.dtype))
    mean = lambda values: (
        jnp.sum(jnp.where(usable, values, jnp.zeros((), values.dtype))) / count
    )
    factor = plan.family.weight(size) / jnp.maximum(count, 1)
    out = []
    for total, leaf in zip(gradient, leaves, strict=True):
        scale = (factor / epsilon.astype(leaf.dtype).astype(factor.dtype)).astype(
            total.dtype
        )
        out.append((total * scale).astype(leaf.dtype))
    difference = jnp.sqrt(mean(differences**2))
    metrics = {name: jnp.mean(values) for name, values in metrics.items()}
    return Estimate(mean(costs), out, difference, count, metrics)


def _row(plan, keys, drawn, times, k, leaves):
    if drawn is not None:
        return [d[k] for d in drawn]
    return [d[0] for d in draw(plan.family, keys.directions, times[k : k + 1], leaves)]


@eqx.filter_jit
def _regenerated(plan, keys, drawn, times, slopes, leaves):
    """The sum over all probes, with the directions made anew from their times."""

    def step(total, item):
        time, slope, row = item
        if row is None:
            rows = draw(plan.family, keys.directions, time[None], leaves)
        else:
            rows = [r[None] for r in row]
        more = _correlate(slope[None], rows, jnp.ones(1, bool), plan.skip)
        return [t + m for t, m in zip(total, more, strict=True)], None

    zeros = [jnp.zeros(x.shape, _work(x)) for x in leaves]
    return jax.lax.scan(step, zeros, (times, slopes, drawn))[0]


def _chunk(plan: Plan, size: int) -> int:
    """Probes at a time; a divisor of the probes if there is one close by."""
    most = plan.chunk or max(1, BUDGET // max(1, size))
    if plan.probes <= most:
        return plan.probes
    return -(-plan.probes // -(-plan.probes // most))


def _work(leaf) -> Any:
    return at_least_single(leaf.dtype)
