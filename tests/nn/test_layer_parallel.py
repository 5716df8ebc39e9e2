"""The pipeline: what it asks of parameters, and that its steps have no deep chain."""

import os
import pathlib
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from jax.extend import core as jex_core

from fixproj import nn
from fixproj.nn._graph import split

from .models import SkipAndConcat, eqx_mlp, rings


pytestmark = pytest.mark.one_precision

_ROOT = pathlib.Path(__file__).parents[2]


def _keep_last():
    """An optimiser that moves nothing and remembers what it was fed."""

    def init(params):
        return [jnp.zeros_like(p) for p in params]

    def update(fed, state, params=None):
        return [jnp.zeros_like(f) for f in fed], fed

    return optax.GradientTransformation(init, update)  # pyright: ignore


MODELS = {
    "mlp": lambda key: eqx_mlp(key, (2, 16, 16, 16, 2)),
    "skip": lambda key: SkipAndConcat(key, width=16),
    "linear": lambda key: eqx_mlp(key, (2, 2)),
}


@pytest.mark.parametrize("name", MODELS)
def test_full_pipeline_asks_what_a_sweep_asks(getkey, name):
    """With parameters that stand still, delay changes nothing, to the last bit."""
    x, y = rings(getkey(), 32)
    model = MODELS[name](getkey())
    sweep = nn.Projections(outer=_keep_last())
    expected = sweep.update(model, sweep.init(model), x, y)[1]
    parallel = nn.LayerParallel((x, y), _keep_last())
    update = eqx.filter_jit(parallel.update)
    state, seen = parallel.init(model), []
    for _ in range(8):
        _, state, _ = update(model, state, x, y)
        seen.append(state["outer"])
    for fed, wanted in zip(seen[-1], expected, strict=True):
        np.testing.assert_allclose(fed, wanted, rtol=1e-5, atol=1e-7)
    depth = parallel.depth(model)
    for number, leaf in enumerate(expected):
        if float(jnp.max(jnp.abs(leaf))) > 0 and depth > 0:
            # Nothing is asked before the first minibatch has come out.
            assert float(jnp.max(jnp.abs(seen[depth - 1][number]))) == 0


@pytest.mark.slow
def test_it_trains(getkey):
    data = rings(getkey())
    model = eqx_mlp(getkey(), (2, 32, 32, 2))
    batch = (data[0][:32], data[1][:32])
    trainer = nn.LayerParallel(batch, optax.adam(1e-2))
    history = nn.fit(model, trainer, data, epochs=60, batch_size=32, progress=False)
    assert nn.evaluate(history.model, data)["accuracy"] > 0.9


def _longest_chain(trainer, model, state, x, y):
    """The most matrix products that depend on each other in one update."""
    leaves, _, rebuild = split(model)

    def step(leaves, state):
        new, state, _ = trainer.update(rebuild(leaves), state, x, y)
        return split(new).leaves, state

    closed = jax.make_jaxpr(step)(leaves, state)
    return _chain(closed.jaxpr, [0] * len(closed.jaxpr.invars))


def _chain(jaxpr, before):
    depth = dict(zip(jaxpr.invars, before, strict=True))
    longest = 0
    for eqn in jaxpr.eqns:
        inputs = [
            depth.get(v, 0) for v in eqn.invars if not isinstance(v, jex_core.Literal)
        ]
        here = max(inputs, default=0) + (eqn.primitive.name == "dot_general")
        for v in eqn.outvars:
            depth[v] = here
        longest = max(longest, here)
    return longest


def test_chain_of_products_does_not_grow_with_depth(getkey):
    x, y = rings(getkey(), 8)
    chains = {"sweep": [], "parallel": []}
    for depth in (2, 6):
        model = eqx_mlp(getkey(), (2, *[4] * depth, 2))
        sweep = nn.Projections(outer=optax.sgd(0.1))
        parallel = nn.LayerParallel((x, y), optax.sgd(0.1))
        for name, trainer in (("sweep", sweep), ("parallel", parallel)):
            state = trainer.init(model)
            chains[name].append(_longest_chain(trainer, model, state, x, y))
    assert chains["parallel"][0] == chains["parallel"][1]
    assert chains["sweep"][1] >= chains["sweep"][0] + 8


def test_levels_on_devices(getkey):
    """The same as without; one device here, see below for eight."""
    x, y = rings(getkey(), 8)
    model = eqx_mlp(getkey(), (2, 4, 4, 2))
    mesh = jax.make_mesh((1,), ("layers",), (jax.sharding.AxisType.Auto,))
    results = []
    for where in (None, mesh):
        trainer = nn.LayerParallel((x, y), optax.sgd(0.1), mesh=where)
        state, new = trainer.init(model), model
        update = eqx.filter_jit(trainer.update)
        for _ in range(6):
            new, state, info = update(new, state, x, y)
        results.append([*split(new).leaves, info["loss"]])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    with pytest.raises(ValueError, match="one axis"):
        two = jax.make_mesh((1, 1), ("a", "b"), 2 * (jax.sharding.AxisType.Auto,))
        nn.LayerParallel((x, y), optax.sgd(0.1), mesh=two)


_FORCED = "--xla_force_host_platform_device_count=8"
_EIGHT = """
from benchmarks.projections_parallel import devices
assert devices(depth=7, steps=20) < 1e-5
"""


@pytest.mark.slow
def test_levels_on_eight_devices():
    flags = f"{os.environ.get('XLA_FLAGS', '')} {_FORCED}"
    env = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", _EIGHT], check=True, cwd=_ROOT, env=env)


@pytest.mark.one_precision
def test_an_empty_pipeline_may_be_divided_by(getkey):
    """What a network makes of zeros reaches neither parameters nor the report."""
    x, y = rings(getkey(), 8)

    def forward(p, x):
        h = x @ p[0]
        return (h / jnp.linalg.norm(h, axis=1, keepdims=True)) @ p[1]

    model = (forward, [jr.normal(getkey(), (2, 5)), jr.normal(getkey(), (5, 2))])
    trainer = nn.LayerParallel((x, y), optax.sgd(0.1))
    state, update = trainer.init(model), eqx.filter_jit(trainer.update)
    before = model
    for _ in range(2 * trainer.depth(model) + 1):
        model, state, info = update(model, state, x, y)
        assert bool(jnp.isfinite(info["loss"]))
    for a, b in zip(model[1], before[1], strict=True):
        assert bool(jnp.all(jnp.isfinite(a))) and float(jnp.max(jnp.abs(a - b))) > 0


def test_a_batch_of_another_shape(getkey):
    x, y = rings(getkey(), 8)
    model = eqx_mlp(getkey(), (2, 4, 2))
    trainer = nn.LayerParallel((x, y), optax.sgd(0.1))
    with pytest.raises(ValueError, match=r"\(8, 2\).*got \(4, 2\)"):
        trainer.update(model, trainer.init(model), x[:4], y[:4])
    with pytest.raises(TypeError, match="outer"):
        nn.LayerParallel((x, y), "adam")  # pyright: ignore
