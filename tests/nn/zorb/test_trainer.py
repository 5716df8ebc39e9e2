import os
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import lineax as lx
import numpy as np
import pytest

from fixproj import nn
from fixproj.nn._zorb._convert import as_layers

from ..models import rings


def _gram_solution(rows, targets, ridge):
    """The ridge regression that ZORB's last layer is, in float64."""
    rows = np.concatenate([np.asarray(rows, float), np.ones((len(rows), 1))], 1)
    gram = rows.T @ rows
    shift = ridge * np.trace(gram) / len(gram)
    return np.linalg.solve(gram + shift * np.eye(len(gram)), rows.T @ targets)


@pytest.mark.slow_in_x64
def test_one_layer_is_ridge_regression(getkey):
    x, w = jr.normal(getkey(), (50, 4)), jr.normal(getkey(), (4, 2))
    y = x @ w + 1
    model = eqx.nn.Sequential([eqx.nn.Linear(4, 2, key=getkey())])
    trainer = nn.ZORB(loss="squared", ridge=1e-2, memory=1.0)
    state = trainer.init(model)
    # Two minibatches add up to all the data.
    for part in (slice(0, 20), slice(20, 50)):
        model, state, _ = trainer.update(model, state, x[part], y[part])
    expected = _gram_solution(x, np.asarray(y, float), 1e-2)
    layer = model.layers[0]
    found = np.concatenate([np.asarray(layer.weight).T, np.asarray(layer.bias)[None]])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


MODELS = {
    "tanh": lambda key: eqx.nn.MLP(2, 2, 32, 1, jnp.tanh, key=key),
    "sigmoid": lambda key: eqx.nn.MLP(2, 2, 32, 2, jax.nn.sigmoid, key=key),
    "relu, five layers": lambda key: eqx.nn.MLP(2, 2, 32, 4, jax.nn.relu, key=key),
    "sign": lambda key: nn.parse_network("Dense[64] Sign Dense[2]", (2,), key=key),
    "leaky, softmax": lambda key: nn.parse_network(
        "Dense[32] LeakyReLU Dense[16] Tanh Dense[2] Softmax", (2,), key=key
    ),
}


@pytest.mark.one_precision
@pytest.mark.parametrize("name", MODELS)
def test_rings(name):
    data, test = rings(jr.key(0)), rings(jr.key(1))
    history = nn.fit(
        MODELS[name](jr.key(2)),
        nn.ZORB(),
        data,
        epochs=8,
        batch_size=256,
        progress=False,
    )
    assert nn.evaluate(history.model, test)["accuracy"] > 0.8


@pytest.mark.one_precision
@pytest.mark.slow
def test_hidden_rank_is_kept():
    """The published algorithm leaves rank <= outputs + 1 before the activation."""
    data = rings(jr.key(0))
    net = nn.parse_network("Dense[16] Tanh Dense[2]", (8,), key=jr.key(1))
    x = jr.normal(jr.key(2), (200, 8))
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    ours, _, _ = nn.ZORB().update(net, nn.ZORB().init(net), x, y)
    theirs, _, _ = nn.ReferenceZORB(rcond=1e-4).update(net, None, x, y)

    def rank(model):
        s = jnp.linalg.svd(model.layers[0].weight, compute_uv=False)
        return int(jnp.sum(s > 1e-3 * s[0]))

    assert rank(theirs) <= 2 < rank(ours) == 8
    assert data[0].shape == (256, 2)


@pytest.mark.one_precision
def test_solve_does_not_depend_on_the_batches():
    with jax.enable_x64(True):
        x, y = rings(jr.key(0), 300)
        model = MODELS["tanh"](jr.key(1))
        trainer = nn.ZORB(sweeps=2, ridge=1e-6)
        one = trainer.solve(model, (np.asarray(x), np.asarray(y)))
        batches = [(x[i : i + 100], y[i : i + 100]) for i in range(0, 300, 100)]
        many = trainer.solve(model, batches)
        found, expected = (np.asarray(jax.vmap(m)(x)) for m in (many, one))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    batches = [(np.asarray(a, np.float32), np.asarray(b)) for a, b in batches]
    model = MODELS["tanh"](jr.key(1))
    trainer = nn.ZORB(sweeps=2)
    many = trainer.solve(model, batches)
    x, y = (np.concatenate(part) for part in zip(*batches, strict=True))
    assert nn.evaluate(many, (x, y))["accuracy"] > 0.93
    with pytest.raises(ValueError, match="run through only once"):
        trainer.solve(model, iter(batches))
    with pytest.raises(ValueError, match="NaN"):
        trainer.solve(model, [(np.full_like(x, np.nan), y)])
    with pytest.raises(ValueError, match="empty"):
        trainer.solve(model, [])


@pytest.mark.one_precision
@pytest.mark.slow
def test_convolutional_equinox_model():
    k1, k2, k3 = jr.split(jr.key(0), 3)
    model = eqx.nn.Sequential(
        [
            eqx.nn.Conv2d(1, 6, 3, key=k1),
            eqx.nn.Lambda(jax.nn.relu),
            eqx.nn.AvgPool2d(2, 2),
            eqx.nn.Lambda(jnp.ravel),
            eqx.nn.Linear(54, 3, key=k2),
        ]
    )
    x = jr.normal(k3, (300, 1, 8, 8))
    # Which of three places has the largest bump.
    place = jnp.arange(300) % 3
    x = x.at[jnp.arange(300), 0, 2 + place, 2 + place].add(4.0)
    new = nn.ZORB(sweeps=2).solve(model, (x[:200], place[:200]))
    assert jax.tree.structure(new) == jax.tree.structure(model)
    assert nn.evaluate(new, (x[200:], place[200:]))["accuracy"] > 0.75


@pytest.mark.one_precision
def test_user_activation():
    softsign = nn.Activation(
        "softsign", lambda z: z / (1 + jnp.abs(z)), lambda z, h: (1 - jnp.abs(h)) ** 2
    )
    net = nn.parse_network(["Dense[32]", softsign, "Dense[2]"], (2,), key=jr.key(0))
    x, y = rings(jr.key(1))
    trained = nn.ZORB(sweeps=3).solve(net, (x, y))
    assert nn.evaluate(trained, (x, y))["accuracy"] > 0.9


@pytest.mark.one_precision
def test_bad_input():
    with pytest.raises(ValueError, match="sweeps"):
        nn.ZORB(0)
    with pytest.raises(ValueError, match="ridge"):
        nn.ZORB(ridge=-1.0)
    with pytest.raises(ValueError, match="loss must be one of"):
        nn.ZORB(loss="l3")
    with pytest.raises(TypeError, match="mish"):
        nn.ZORB().init(eqx.nn.MLP(2, 2, 4, 1, jax.nn.mish, key=jr.key(0)))
    with pytest.raises(TypeError, match="MLP or .*got dict"):
        nn.ZORB().init({})
    with pytest.raises(ValueError, match="no layer with weights"):
        nn.ZORB().init(nn.parse_network("Flatten", (2,), key=jr.key(0)))
    model = MODELS["tanh"](jr.key(0))
    with pytest.raises(ValueError, match=r"\(3, 2\).*got float32 of shape \(3, 5\)"):
        nn.ZORB(loss="squared").solve(model, (jnp.ones((3, 2)), jnp.ones((3, 5))))


@pytest.mark.one_precision
def test_solvers_agree(getkey):
    """All are the ridge regression of the last layer, also of badly scaled inputs."""
    with jax.enable_x64(True):
        x = jr.normal(getkey(), (60, 5)) * jnp.asarray([[1.0, 1e3, 1e-3, 1.0, 10.0]])
        y = x @ jr.normal(getkey(), (5, 2)) + jnp.sin(x[:, :2])
        expected = _gram_solution_without_bias_ridge(x, np.asarray(y), 1e-9)
        for solver in ("cholesky", "eigh", "qr", lx.Cholesky()):
            model = eqx.nn.Sequential([eqx.nn.Linear(5, 2, key=jr.key(0))])
            trainer = nn.ZORB(loss="squared", ridge=1e-9, solver=solver)
            batches = [(x[:25], y[:25]), (x[25:], y[25:])]
            found = jax.vmap(trainer.solve(model, batches))(x)
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
            state = trainer.init(model)
            updated, _, _ = trainer.update(model, state, x, y)
            near = np.mean((np.asarray(jax.vmap(updated)(x)) - expected) ** 2)
            assert near < 1e-3 * np.var(expected)
    with pytest.raises(ValueError, match="solver.*'cholesky'.*got 'lu'"):
        nn.ZORB(solver="lu")
    with pytest.raises(ValueError, match="start.*got 'zeros'"):
        nn.ZORB(start="zeros")


def _gram_solution_without_bias_ridge(x, y, ridge):
    x, y = np.asarray(x), np.asarray(y)
    rows = x - np.mean(x, 0)
    gram = rows.T @ rows
    shift = ridge * np.trace(gram) / len(gram)
    weights = np.linalg.solve(
        gram + shift * np.eye(len(gram)), rows.T @ (y - y.mean(0))
    )
    return rows @ weights + y.mean(0)


@pytest.mark.one_precision
def test_qr_chooses_the_ridge_that_the_sums_choose():
    with jax.enable_x64(True):
        x = jr.normal(jr.key(0), (80, 30))
        y = x[:, :1] + jr.normal(jr.key(1), (80, 1))
        model = eqx.nn.Sequential([eqx.nn.Linear(30, 1, key=jr.key(0))])
        by_sums, by_qr = (
            nn.ZORB(loss="squared", solver=s).solve(model, (x, y)).layers[0].weight
            for s in ("cholesky", "qr")
        )
    np.testing.assert_allclose(by_qr, by_sums, rtol=1e-6)


@pytest.mark.one_precision
@pytest.mark.slow
def test_models_of_the_package():
    x, y = rings(jr.key(0))
    model = nn.Sequential(nn.Linear(48), jax.nn.gelu, nn.Linear(2)).init(0, x)
    trained = nn.ZORB(3).solve(model, (x, y))
    assert isinstance(trained, nn.Sequential)
    assert nn.evaluate(trained, (x, y))["accuracy"] > 0.9
    mlp = nn.MLP([32, 32, 2], activation=jnp.tanh).init(0, x)
    trained = nn.ZORB(3).solve(mlp, (x, y))
    assert nn.evaluate(trained, (x, y))["accuracy"] > 0.9
    images = jr.normal(jr.key(1), (60, 6, 6, 2))
    labels = (images[:, 2, 2, 0] > 0).astype(int)
    net = nn.Sequential(
        nn.Conv(4, (3, 3)), jnp.tanh, nn.AvgPool((2, 2), 2), nn.Flatten(), nn.Linear(2)
    ).init(0, images)
    # The same function before and after the way to layers and back.
    layered = as_layers(net)
    again = layered.rebuild(layered.layers)
    np.testing.assert_allclose(again(images), net(images), atol=1e-6)
    h = images
    for layer in layered.layers:
        h = layer(h)
    np.testing.assert_allclose(h, net(images), atol=1e-6)
    assert (
        nn.evaluate(nn.ZORB().solve(net, (images, labels)), (images, labels))[
            "accuracy"
        ]
        > 0.8
    )


@pytest.mark.one_precision
def test_pairs_and_targets_that_may_be_exceeded():
    x, y = rings(jr.key(0))
    net = nn.parse_network("Dense[24] Sigmoid Dense[2]", (2,), key=jr.key(1))
    plain = nn.ZORB(start="pairs").solve(net, (x, y))
    trained = nn.ZORB(start="pairs", rounds=8).solve(net, (x, y))
    np.testing.assert_array_equal(trained.layers[0].weight, plain.layers[0].weight)

    def missed(model):
        wanted = jnp.where(jax.nn.one_hot(y, 2) > 0, 1.0, -1.0)
        out = model(x) - jnp.where(wanted > 0, 8.0, 0.0)
        return float(jnp.mean(jnp.where(out * wanted < 0, out, 0) ** 2))

    assert missed(trained) < 0.9 * missed(plain)
    assert nn.evaluate(trained, (x, y))["accuracy"] > 0.9


@pytest.mark.one_precision
def test_targets_of_the_user_and_by_an_inverse():
    x, y = rings(jr.key(1))
    cube = nn.Activation("cube", lambda z: z**3, None, jnp.cbrt)
    z = jnp.asarray([[-1.0, 0.5]])
    np.testing.assert_allclose(
        z + cube.pull(z, z**3, 0.1 + 0 * z), jnp.cbrt(z**3 + 0.1)
    )
    pushed = nn.Activation(
        "steps", lambda z: jnp.round(3 * z), target=lambda z, out, moved: moved / 3
    )
    net = nn.parse_network(["Dense[64]", pushed, "Dense[2]"], (2,), key=jr.key(0))
    trained = nn.ZORB(3).solve(net, (x, y))
    assert nn.evaluate(trained, (x, y))["accuracy"] > 0.8


_SHARDED = """
import jax, numpy as np, equinox as eqx
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from fixproj import nn
assert len(jax.devices()) == 8
x = jax.random.normal(jax.random.key(0), (64, 4))
y = (x[:, 0] * x[:, 1] > 0).astype(int)
mlp = eqx.nn.MLP(4, 2, 16, 1, jax.numpy.tanh, key=jax.random.key(1))
there = NamedSharding(Mesh(np.array(jax.devices()), ("rows",)), P("rows"))
whole = [(x[:32], y[:32]), (x[32:], y[32:])]
parts = [tuple(jax.device_put(a, there) for a in pair) for pair in whole]
one, many = (nn.ZORB(2).solve(mlp, data) for data in (whole, parts))
for a, b in zip(jax.tree.leaves(eqx.filter(one, eqx.is_array)),
                jax.tree.leaves(eqx.filter(many, eqx.is_array))):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)
"""


@pytest.mark.slow
@pytest.mark.one_precision
def test_batches_sharded_over_devices():
    flags = "--xla_force_host_platform_device_count=8"
    env = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", _SHARDED], check=True, env=env)
