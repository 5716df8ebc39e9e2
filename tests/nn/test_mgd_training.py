import importlib.util
import multiprocessing
import pathlib
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from fixproj import nn
from fixproj.nn._graph import split
from fixproj.nn._mgd._synapses import felt_nodes, synapses
from fixproj.nn._trainers import loss_named

from .models import SkipAndConcat, eqx_mlp, plain_mlp, rings


pytestmark = pytest.mark.slow_in_x64


def _example(name):
    path = pathlib.Path(__file__).parents[2] / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _flat(model):
    return jnp.concatenate([leaf.reshape(-1) for leaf in split(model).leaves])


def _gradient(model, x, y):
    leaves, _, rebuild = split(model)
    objective = loss_named("cross_entropy")
    cost = lambda leaves: objective.mean(jax.vmap(rebuild(leaves))(x), y)
    return jnp.concatenate([g.reshape(-1) for g in jax.grad(cost)(leaves)])


@pytest.mark.slow
@pytest.mark.one_precision
@pytest.mark.parametrize("perturb", ["weights", "nodes", "examples"])
def test_estimates_have_the_gradient_as_their_mean(perturb):
    model, (x, y) = SkipAndConcat(jr.key(0), width=8), rings(jr.key(1), 32)
    gradient = _gradient(model, x, y)
    trainer = nn.MGD(
        optax.sgd(1.0), perturb=perturb, probes=4000, perturbation="rademacher"
    )
    state = trainer.init(model)
    new, _, info = eqx.filter_jit(trainer.update)(model, state, x, y)
    found = _flat(model) - _flat(new)
    error = jnp.linalg.norm(found - gradient) / jnp.linalg.norm(gradient)
    # The variance of one probe is at most that of the weights, one for all examples.
    assert error < 1.3 * (gradient.size / 4000) ** 0.5
    assert 0 < info["loss"] < 2 and 0 <= info["accuracy"] <= 1


@pytest.mark.one_precision
@pytest.mark.parametrize("scheme", ["central", "forward"])
def test_every_node_in_turn_is_the_gradient(scheme):
    """Also through nodes that their rectifier silences, which are left out."""
    model, (x, y) = plain_mlp(jr.key(0), (2, 5, 3, 2)), rings(jr.key(1), 3)
    objective = loss_named("cross_entropy")
    gradient = jax.grad(lambda params: objective.mean(model[0](params, x), y))(model[1])
    trainer = nn.MGD(
        optax.sgd(1.0),
        perturb="nodes",
        perturbation="sequential",
        probes=3 * (5 + 3 + 2),
        scheme=scheme,
        epsilon=1e-3,
    )
    new, _, _ = eqx.filter_jit(trainer.update)(model, trainer.init(model), x, y)
    found = jax.tree.map(jnp.subtract, model[1], new[1])
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(gradient), strict=True):
        np.testing.assert_allclose(a, b, atol=3e-3)


@pytest.mark.one_precision
def test_perturbations_that_a_nonlinearity_stops():
    w = jnp.asarray([[1.0, 1.0, 1.0]])
    x = jnp.asarray([[-1.0], [0.05], [1.0]])
    everywhere = [[1, 1, 1]] * 3
    above, near_zero = [[0] * 3, [1] * 3, [1] * 3], [[0] * 3, [1] * 3, [0] * 3]
    cases = (
        (lambda z: jax.nn.relu(z), above),
        (lambda z: jnp.sign(z), near_zero),
        (lambda z: jnp.clip(z, -0.5, 0.5), near_zero),
        (lambda z: jax.nn.silu(z) * 2, everywhere),
        # Something else sees the result as well.
        (lambda z: jax.nn.relu(z) + z[:, ::-1], everywhere),
        (lambda z: jax.nn.relu(z - jnp.mean(z)), everywhere),
        (lambda z: z, everywhere),
    )
    for function, expected in cases:
        graph = synapses((lambda p, x, f=function: f(x @ p), w), x)
        results, moved = [(x @ w)[:, None]], [jnp.full((3, 1, 3), 0.1)]
        (felt,) = felt_nodes(graph, [w], results, moved)
        np.testing.assert_array_equal(felt[:, 0], expected)


@pytest.mark.slow
@pytest.mark.one_precision
def test_nodes_have_less_noise_than_weights():
    model, (x, y) = eqx_mlp(jr.key(0), (2, 16, 16, 2)), rings(jr.key(1), 64)
    gradient = _gradient(model, x, y)
    errors = {}
    for perturb in ("weights", "nodes"):
        trainer = nn.MGD(optax.sgd(1.0), perturb=perturb, probes=100)
        new, _, _ = eqx.filter_jit(trainer.update)(model, trainer.init(model), x, y)
        errors[perturb] = jnp.linalg.norm(_flat(model) - _flat(new) - gradient)
    assert errors["nodes"] < errors["weights"] / 3


@pytest.mark.one_precision
def test_time_constants_are_independent():
    """A full period within tau_theta is one exact step, however samples last."""
    target = jr.normal(jr.key(0), (1, 4))
    model = (lambda params, x: x * params["w"][None], {"w": jnp.ones(4)})
    x, y = jnp.ones((1, 4)), target
    exact = 0.9 * jnp.ones(4) + 0.1 * target[0]
    for tau_p, tau_theta, tau_x in ((1, 4, 1), (1, 4, 8), (2, 8, 2), (1, 8, 4)):
        trainer = nn.MGD(
            optax.sgd(0.1),
            loss="squared",
            tau_p=tau_p,
            tau_theta=tau_theta,
            tau_x=tau_x,
            epsilon=0.1,
        )
        update = eqx.filter_jit(trainer.update)
        state, now = trainer.init(model), model
        for call in range(1, max(tau_theta // tau_x, 1) + 1):
            before = now
            now, state, _ = update(now, state, x, y)
            if call * tau_x < tau_theta:
                np.testing.assert_array_equal(now[1]["w"], before[1]["w"])
        moves = max(1, tau_x // tau_theta)
        expected = exact if moves == 1 else 0.9 * exact + 0.1 * target[0]
        np.testing.assert_allclose(now[1]["w"], expected, atol=1e-4)
        assert state.step == max(tau_theta, tau_x)


# What trains with a few updates.
TRAINERS = {
    "weights": lambda: nn.MGD(optax.adam(0.02), probes=8, warn=False),
    "nodes": lambda: nn.MGD(optax.adam(0.02), perturb="nodes"),
    "examples": lambda: nn.MGD(optax.adam(0.02), perturb="examples"),
}


@pytest.mark.one_precision
@pytest.mark.parametrize(
    "name", [pytest.param("weights", marks=pytest.mark.slow), "nodes", "examples"]
)
def test_trains_with_fit(name):
    data = rings(jr.key(0))
    model = plain_mlp(jr.key(1), (2, 16, 2))
    before = nn.evaluate(model, data)["accuracy"]
    history = nn.fit(model, TRAINERS[name](), data, epochs=60, progress=False)
    after = nn.evaluate(history.model, data)["accuracy"]
    assert before < 0.8 and after > 0.9


@pytest.mark.one_precision
@pytest.mark.parametrize("perturbation", ["walsh", "sinusoidal"])
def test_analog(perturbation):
    target = jnp.asarray([[1.0, -2.0, 0.5]])
    model = (lambda params, x: x * params["w"][None], {"w": jnp.zeros(3)})
    trainer = nn.MGD(
        optax.sgd(0.01),
        loss="squared",
        perturbation=perturbation,
        highpass=4.0,
        tau_theta=20,
        tau_x=3000,
        epsilon=0.05,
    )
    new, _, info = eqx.filter_jit(trainer.update)(
        model, trainer.init(model), jnp.ones((1, 3)), target
    )
    np.testing.assert_allclose(new[1]["w"], target[0], atol=0.1)
    assert info["loss"] < 2.6


@pytest.mark.slow
@pytest.mark.one_precision
@pytest.mark.parametrize("kind", ["sign", "quantised", "bfloat16"])
def test_models_without_a_useful_derivative(kind):
    (x, y), dtype = rings(jr.key(0)), jnp.float32

    def fn(params, x):
        if kind == "quantised":
            params = jax.tree.map(lambda p: jnp.round(p * 16) / 16, params)
        (w, b), (v, c) = params
        h = x.astype(w.dtype) @ w + b[None]
        h = jnp.sign(h) if kind == "sign" else jax.nn.relu(h)
        return h @ v + c[None]

    _, params = plain_mlp(jr.key(1), (2, 24, 2))
    epsilon = None
    if kind == "bfloat16":
        dtype = jnp.bfloat16
    else:
        epsilon = 0.1
    params = jax.tree.map(lambda p: p.astype(dtype), params)
    trainer = nn.MGD(optax.adam(0.02), probes=16, epsilon=epsilon, warn=False)
    history = nn.fit((fn, params), trainer, (x, y), epochs=60, progress=False)
    before = nn.evaluate((fn, params), (x, y))["accuracy"]
    after = nn.evaluate(history.model, (x, y))["accuracy"]
    assert before < 0.8 and after > 0.87
    assert split(history.model).leaves[0].dtype == dtype


@pytest.mark.one_precision
def test_two_bit_parity():
    example = _example("mgd_parity")
    times = example.solve_times(example.perturbed(), 40, 5000)
    assert np.mean(times < 5000) >= 0.7


@pytest.mark.slow
@pytest.mark.one_precision
def test_two_bit_parity_of_many_starts():
    example = _example("mgd_parity")
    times = example.solve_times(example.perturbed(), 1000, 10_000)
    reference = example.solve_times(example.backpropagated, 1000, 10_000)
    assert np.mean(times < 10_000) >= 0.8
    ratio = np.median(times) / np.median(reference)
    assert 0.7 < ratio < 1.4


@pytest.mark.one_precision
def test_the_images_of_the_letters():
    (x, y), held_out = _example("mgd_letters").letters()
    assert len(x) + len(held_out[0]) == 44_136 and x.shape[1:] == (49,)
    assert set(np.unique(x)) == {0, 1}
    # Most of a letter's images are its own, so they can be told apart.
    owners: dict[bytes, set[int]] = {}
    for image, label in zip(x, y, strict=True):
        owners.setdefault(image.tobytes(), set()).add(int(label))
    assert sum(len(labels) > 1 for labels in owners.values()) < 0.01 * len(x)


@pytest.mark.slow
@pytest.mark.one_precision
def test_letters_are_learned_from_costs():
    example = _example("mgd_letters")
    times = example.solve_times(example.perturbed(), 4, 60_000)
    assert np.mean(times < 60_000) >= 0.75


@pytest.mark.one_precision
def test_noise_in_the_trainer():
    model = (lambda params, x: x * params["w"][None], {"w": jnp.zeros(4)})
    x, y = jnp.ones((1, 4)), jnp.ones((1, 4))
    noise = [nn.mgd.QuantisedUpdates(0.125), nn.mgd.UpdateNoise(0.0)]
    trainer = nn.MGD(optax.sgd(0.3), loss="squared", noise=noise, tau_x=200, warn=False)
    new, _, _ = eqx.filter_jit(trainer.update)(model, trainer.init(model), x, y)
    np.testing.assert_array_equal(new[1]["w"] % 0.125, 0)
    np.testing.assert_allclose(new[1]["w"], 1.0, atol=0.3)


def _device(pipe):
    """A chip in another process: noisy, now and then late, mute or NaN."""
    draw = np.random.default_rng(0)
    count = 0
    while (request := pipe.recv()) is not None:
        number, w = request
        count += 1
        if count % 23 == 0:
            continue
        value = float(np.sum((w - 1) ** 2) + 1e-4 * draw.normal())
        pipe.send((number, float("nan") if count % 17 == 0 else value))


@pytest.mark.one_precision
@pytest.mark.parametrize("jitted", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_chip_in_another_process(jitted):
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_device, args=(there,), daemon=True)
    process.start()
    number = [0]

    def measure(params, x, y):
        number[0] += 1
        here.send((number[0], np.asarray(params)))
        # The first reply waits for the process to start.
        while here.poll(60 if number[0] == 1 else 1.0):
            of, value = here.recv()
            if of == number[0]:
                return value
        raise TimeoutError("no reply")

    device = nn.mgd.Device(measure)
    trainer = nn.MGD(
        optax.sgd(0.1), device=device, perturbation="walsh", probes=2, epsilon=0.1
    )
    model = (None.__class__, jnp.zeros(2))
    x = y = jnp.zeros((1, 1))
    try:
        state, update = trainer.init(model), trainer.update
        update = eqx.filter_jit(update) if jitted else update
        for _ in range(25):
            model, state, info = update(model, state, x, y)
        jax.block_until_ready(state)
    finally:
        here.send(None)
        process.join(10)
    np.testing.assert_allclose(model[1], 1.0, atol=0.05)
    assert device.report["failures"] >= 5 and device.report["skipped"] == 0
    assert info["skipped"] == 0 and jnp.isfinite(info["loss"])


@pytest.mark.one_precision
def test_bad_options():
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"perturb": "activations"}, "perturb must be"),
        ({"tau_x": 0}, "tau_x"),
        ({"perturb": "nodes", "highpass": 2.0}, "highpass goes with"),
        ({"perturb": "examples", "perturbation": "gaussian"}, "rank one"),
        ({"perturb": "nodes", "perturbation": "orthogonal"}, "one direction"),
        ({"perturb": "nodes", "noise": [nn.mgd.Defects()]}, "noise on parameters"),
        ({"highpass": 2.0, "probes": 2}, "one probe"),
        ({"loss": "l3"}, "loss must be"),
    )
    for options, match in cases:
        with pytest.raises(ValueError, match=match):
            nn.MGD(**options)
    with pytest.raises(TypeError, match="optimiser"):
        nn.MGD(0.1)  # pyright: ignore
    with pytest.raises(ValueError, match="meets its input"):
        nn.MGD(perturb="nodes").update(
            (lambda p, x: x, jnp.ones(2)),
            nn.MGD(perturb="nodes").init((lambda p, x: x, jnp.ones(2))),
            jnp.ones((3, 2)),
            jnp.ones((3, 2)),
        )


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.one_precision
@pytest.mark.parametrize("name, least", [("weights", 0.68), ("nodes", 0.81)])
def test_fashion_mnist_at_equal_forward_passes(name, least):
    from benchmarks import mgd

    make, per_update = mgd.METHODS[name]
    (found,) = mgd.curve(make, 11_700, 0, mgd.split(False), per_update)
    assert found >= least
