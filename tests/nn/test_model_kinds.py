# pyright: reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportArgumentType=false, reportIndexIssue=false
# pyright: reportOptionalMemberAccess=false
"""Every trainer on every kind of model."""

import flax.linen as linen
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from flax import nnx

from fixproj import nn

from .models import eqx_mlp, plain_mlp, rings


pytestmark = pytest.mark.one_precision


class NNX(nnx.Module):
    def __init__(self, norm=False):
        rngs = nnx.Rngs(0)
        self.a, self.b = nnx.Linear(2, 16, rngs=rngs), nnx.Linear(16, 2, rngs=rngs)
        self.norm = nnx.BatchNorm(16, rngs=rngs) if norm else None
        self.dropout = nnx.Dropout(0.1, rngs=rngs) if norm else None

    def __call__(self, x):
        h = nnx.relu(self.a(x))
        if self.norm is not None and self.dropout is not None:
            h = self.dropout(self.norm(h))
        return self.b(h)


class Linen(linen.Module):
    norm: bool = False

    @linen.compact
    def __call__(self, x, train=False):
        h = linen.relu(linen.Dense(16)(x))
        if self.norm:
            h = linen.BatchNorm(use_running_average=not train)(h)
            h = linen.Dropout(0.1, deterministic=not train)(h)
        return linen.Dense(2)(h)


def linen_model(norm, bare=False):
    module = Linen(norm)
    variables = module.init(jr.key(0), jnp.ones((1, 2)))
    return module, (variables["params"] if bare else variables)


def own(norm):
    extra = (nn.BatchNorm(), nn.Dropout(0.1)) if norm else ()
    model = nn.Sequential(nn.Linear(16), jax.nn.relu, *extra, nn.Linear(2))
    return model.init(0, jnp.ones((1, 2)))


MODELS = {
    "fixproj": lambda: own(False),
    "fixproj with state": lambda: own(True),
    "equinox": lambda: eqx_mlp(jr.key(0), (2, 16, 2)),
    "nnx": lambda: NNX(),
    "nnx with state": lambda: NNX(True),
    "linen": lambda: linen_model(False),
    "linen, bare": lambda: linen_model(False, bare=True),
    "linen with state": lambda: linen_model(True),
    "function": lambda: plain_mlp(jr.key(0), (2, 16, 2)),
}
TRAINERS = {
    "gradient": lambda: nn.Gradient(optax.adam(2e-2)),
    "projections": lambda: nn.Projections(),
    "projections fed to adam": lambda: nn.Projections(outer=optax.adam(2e-2)),
    "mgd": lambda: nn.MGD(optax.adam(2e-2)),
    "mgd of nodes": lambda: nn.MGD(optax.adam(2e-2), perturb="nodes"),
}
# The others of the matrix are slow tests: each compiles a training of its own.
QUICK = {
    ("gradient", "fixproj with state"),
    ("gradient", "nnx with state"),
    ("gradient", "linen with state"),
    ("projections fed to adam", "fixproj with state"),
    ("mgd of nodes", "function"),
}


@pytest.mark.parametrize(
    "trainer,kind",
    [
        pytest.param(t, k, marks=() if (t, k) in QUICK else pytest.mark.slow)
        for t in TRAINERS
        for k in MODELS
    ],
)
def test_trainer_on_model(trainer, kind, getkey):
    data, model = rings(getkey(), 512), MODELS[kind]()
    before = nn.evaluate(model, data)
    history = nn.fit(
        model, TRAINERS[trainer](), data, epochs=20, validation=data, progress=False
    )
    assert type(history.model) is type(model)
    after = nn.evaluate(history.model, data)
    assert after["loss"] < 0.7 * before["loss"] and after["accuracy"] > 0.8
    assert after["loss"] == pytest.approx(history.metrics["validation_loss"][-1])
    if "with state" in kind:
        _check_state(kind, model, history.model, data[0])


def _check_state(kind, before, after, x):
    """Running statistics have become those of the data; the model given has not."""
    if kind.startswith("fixproj"):
        hidden = after.layers[1](after.layers[0](x))
        means = (before.layers[2].mean, after.layers[2].mean)
        assert (after.layers[3].rng != before.layers[3].rng).all()
        assert after.training
    elif kind.startswith("nnx"):
        hidden = nnx.relu(after.a(x))
        means = (before.norm.mean[...], after.norm.mean[...])
    else:
        params = after[1]["params"]["Dense_0"]
        hidden = jax.nn.relu(x @ params["kernel"] + params["bias"][None])
        means = tuple(
            m[1]["batch_stats"]["BatchNorm_0"]["mean"] for m in (before, after)
        )
    assert not means[0].any()
    share = np.dot(means[1], hidden.mean(0)) / np.dot(hidden.mean(0), hidden.mean(0))
    assert 0.3 < share < 1.1


@pytest.mark.parametrize("kind", MODELS)
def test_zorb_names_the_models_that_it_trains(kind, getkey):
    """Least squares has to know the layers; others than known ones are refused."""
    data = rings(getkey(), 64)
    if kind in ("equinox", "fixproj"):
        options = {"epochs": 1, "batch_size": 64, "progress": False}
        history = nn.fit(MODELS[kind](), nn.ZORB(), data, **options)
        assert nn.evaluate(history.model, data)["accuracy"] > 0.8
    else:
        with pytest.raises(TypeError, match="ZORB trains an nn.Network"):
            nn.fit(MODELS[kind](), nn.ZORB(), data, epochs=1, progress=False)


def test_frozen_parameters_stay(getkey):
    model = own(False)
    model = nn.at(model, lambda m: m.layers[0]).apply(lambda m: m.freeze())
    for trainer in (TRAINERS["gradient"](), nn.Projections(sweeps=1)):
        history = nn.fit(model, trainer, rings(getkey()), epochs=1, progress=False)
        new = history.model
        np.testing.assert_array_equal(new.layers[0].kernel, model.layers[0].kernel)
        assert (new.layers[2].kernel != model.layers[2].kernel).any()
        assert new.layers[0].frozen and not new.layers[2].frozen
