import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from fixproj import nn

from ..models import rings


def _gram_solution(rows, targets, ridge):
    """The ridge regression that ZORB's last layer is, in float64."""
    rows = np.concatenate([np.asarray(rows, float), np.ones((len(rows), 1))], 1)
    gram = rows.T @ rows
    shift = ridge * np.trace(gram) / len(gram)
    return np.linalg.solve(gram + shift * np.eye(len(gram)), rows.T @ targets)


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
