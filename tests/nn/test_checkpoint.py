# pyright: reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportArgumentType=false, reportIndexIssue=false
# pyright: reportOptionalMemberAccess=false
"""Early stopping, the best model, and going on where a training was interrupted."""

import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from fixproj import nn

from .models import eqx_mlp, rings


pytestmark = pytest.mark.one_precision
OPTIONS = {"epochs": 4, "batch_size": 16, "progress": False, "monitor": "loss"}


def _model():
    """With a state and keys of its own, which a checkpoint must keep as well."""
    model = nn.Sequential(
        nn.Linear(2, 8), nn.BatchNorm(8), nn.Lambda(jnp.tanh), nn.Dropout(0.2)
    )
    return nn.Sequential(*model.layers, nn.Linear(8, 2)).init(0)


def _data(as_batches):
    x, y = rings(jr.key(0), 128)
    if not as_batches:
        return x, y
    return [(x[i : i + 16], y[i : i + 16]) for i in range(0, 128, 16)]


def _fit(as_batches, **options):
    trainer = nn.Gradient(optax.adam(1e-2))
    return nn.fit(_model(), trainer, _data(as_batches), **{**OPTIONS, **options})


def _numbers(history):
    """Everything but the time it took, bit by bit."""
    trees = (history.model, history.state, history.best_model)
    leaves = [
        jr.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        for x in jax.tree.leaves(trees)
    ]
    metrics = {k: v for k, v in history.metrics.items() if k != "seconds"}
    return [np.asarray(x).tobytes() for x in leaves], metrics, history.best_epoch


def test_early_stopping_and_best_model(getkey):
    data = rings(getkey(), 64)
    seen = {}

    def spoil(history):
        """Keeps the models, and lets the metric rise from the third epoch on."""
        epoch = history.metrics["epoch"][-1]
        seen[epoch] = history.model
        history.metrics["loss"][-1] = abs(epoch - 3) + 1.0

    history = nn.fit(
        eqx_mlp(getkey(), (2, 4, 2)),
        nn.Gradient(optax.sgd(0.1)),
        data,
        epochs=20,
        callbacks=[spoil, nn.EarlyStopping("loss", patience=2)],
        monitor="accuracy",
        progress=False,
    )
    assert history.metrics["epoch"] == [1, 2, 3, 4, 5]
    best = int(np.argmax(history.metrics["accuracy"])) + 1
    assert history.best_epoch == best
    for a, b in zip(
        jax.tree.leaves(history.best_model), jax.tree.leaves(seen[best]), strict=True
    ):
        assert a is b


@pytest.mark.parametrize("patience", [0, 1.5, True])
def test_patience_is_checked(patience):
    with pytest.raises(ValueError, match="patience must be"):
        nn.EarlyStopping(patience=patience)


def test_bad_checkpoints(tmp_path):
    path = tmp_path / "run"
    with pytest.raises(ValueError, match="no metric of this training.*loss"):
        _fit(False, epochs=1, monitor="f1")
    with pytest.raises(ValueError, match="backend must be 'equinox' or 'orbax'"):
        nn.Checkpoint(path, backend="pickle")
    with pytest.raises(ValueError, match="minibatches must be"):
        nn.Checkpoint(path, minibatches=0)
    done = _fit(False, epochs=1, checkpoint=path)
    assert _numbers(_fit(False, epochs=1, checkpoint=path)) == _numbers(done)
    with pytest.raises(ValueError, match="another training: seed was 0, is 1"):
        _fit(False, epochs=2, checkpoint=path, seed=1)
    with pytest.raises(ValueError, match="batch_size was 16, is 8"):
        _fit(False, epochs=2, checkpoint=path, batch_size=8)
    other = nn.MLP([3, 2], features_in=2).init(0)
    trainer = nn.Gradient(optax.adam(1e-2))
    with pytest.raises(ValueError, match="does not fit"):
        nn.fit(other, trainer, _data(False), checkpoint=path, **OPTIONS)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a file that nn.save wrote"):
        _fit(False, checkpoint=path)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["equinox", "orbax"])
def test_more_epochs_go_on(backend, tmp_path):
    checkpoint = nn.Checkpoint(tmp_path / "run", backend=backend)
    if backend == "orbax":
        # As a first saving leaves it that was killed.
        (tmp_path / "run" / "0.orbax-checkpoint-tmp").mkdir(parents=True)
    _fit(False, epochs=2, checkpoint=checkpoint)
    assert _numbers(_fit(False, checkpoint=checkpoint)) == _numbers(_fit(False))
    if backend == "orbax":
        assert len(list((tmp_path / "run").iterdir())) == 1


SCRIPT = """
import os, signal, sys
import fixproj.nn._checkpoint as checkpoint
from fixproj import nn
from tests.nn.test_checkpoint import _fit

saves, save = 0, checkpoint.save

def save_and_die(*arguments, **options):
    global saves
    saves += 1
    if saves == int(sys.argv[3]) + 1:
        os.kill(os.getpid(), signal.SIGKILL)
    save(*arguments, **options)

checkpoint.save = save_and_die
_fit(
    sys.argv[2] == "batches",
    checkpoint=nn.Checkpoint(sys.argv[1], minibatches=3, backend=sys.argv[4]),
)
"""


@pytest.mark.kill
@pytest.mark.slow
@pytest.mark.parametrize(
    "kind,backend",
    [("arrays", "equinox"), ("batches", "equinox"), ("arrays", "orbax")],
)
def test_killed_in_the_middle_of_an_epoch(kind, backend, tmp_path):
    """Eight minibatches make an epoch, saved after 3, 6 and 8 of them."""
    path = tmp_path / "run"
    command = [sys.executable, "-c", SCRIPT, str(path), kind, "4", backend]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = nn.load_info(path)
    assert (left["epoch"], left["minibatch"]) == (1, 3)
    checkpoint = nn.Checkpoint(path, minibatches=3, backend=backend)
    resumed = _fit(kind == "batches", checkpoint=checkpoint)
    fresh = nn.Checkpoint(tmp_path / "fresh", minibatches=3)
    whole = _fit(kind == "batches", checkpoint=fresh)
    assert _numbers(resumed) == _numbers(whole)
    # Nor does saving change anything, up to how XLA compiles shorter scans.
    for a, b in zip(
        jax.tree.leaves(nn.filter(whole.model, nn.Parameter)),
        jax.tree.leaves(nn.filter(_fit(kind == "batches").model, nn.Parameter)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
