import subprocess
import sys

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from fixproj import nn
from fixproj.nn._graph import split

from .models import eqx_mlp, rings


pytestmark = pytest.mark.slow_in_x64


SIZES = (2, 16, 2)


def _fit(getkey, data, **options):
    options = {"epochs": 3, "progress": False, **options}
    return nn.fit(eqx_mlp(getkey(), SIZES), nn.Projections(), data, **options)


def test_history(getkey):
    data, held_out = rings(getkey()), rings(getkey(), 64)
    history = _fit(getkey, data, epochs=4, validation=held_out)
    assert set(history.metrics) == {
        "epoch",
        "loss",
        "accuracy",
        "validation_loss",
        "validation_accuracy",
        "seconds",
    }
    assert history.metrics["epoch"] == [1, 2, 3, 4]
    assert all(len(column) == 4 for column in history.metrics.values())
    assert all(seconds > 0 for seconds in history.metrics["seconds"])
    found = nn.evaluate(history.model, held_out)
    assert found["loss"] == pytest.approx(history.metrics["validation_loss"][-1])
    assert found["accuracy"] == pytest.approx(
        history.metrics["validation_accuracy"][-1]
    )
    with pytest.raises(AttributeError):
        history.model = None  # pyright: ignore[reportAttributeAccessIssue]


def test_evaluate_by_hand(getkey, monkeypatch):
    model = (lambda p, x: x * p, jnp.asarray(2.0))
    x, y = jr.normal(getkey(), (10, 3)), jr.randint(getkey(), (10,), 0, 3)
    logits = 2 * np.asarray(x, float)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    # Chunks that do not divide the data count by their sizes.
    monkeypatch.setattr("fixproj.nn._evaluate._CHUNK", 4)
    found = nn.evaluate(model, (x, y))
    assert found["loss"] == pytest.approx(-log_p[np.arange(10), y].mean(), rel=1e-5)
    assert found["accuracy"] == pytest.approx(
        np.mean(logits.argmax(1) == np.asarray(y)), rel=1e-6
    )


def test_one_hot_and_integer_labels_agree(getkey):
    x, y = rings(getkey())
    model = eqx_mlp(getkey(), SIZES)
    both = [
        nn.fit(model, nn.Projections(), (x, labels), epochs=2, progress=False)
        for labels in (y, jnp.eye(2)[y])
    ]
    for a, b in zip(*(split(h.model).leaves for h in both), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert both[0].metrics["accuracy"] == both[1].metrics["accuracy"]


def test_numpy_data_is_cast_and_seed_decides(getkey):
    x, y = rings(getkey())
    wide = (np.asarray(x, np.float64), np.asarray(y))
    model = eqx_mlp(getkey(), SIZES)

    def run(seed):
        history = nn.fit(
            model, nn.Projections(), wide, epochs=2, seed=seed, progress=False
        )
        return split(history.model).leaves

    first, again, other = run(0), run(0), run(1)
    assert all(leaf.dtype == jnp.result_type(float) for leaf in first)
    assert all(bool(jnp.all(a == b)) for a, b in zip(first, again, strict=True))
    assert any(bool(jnp.any(a != b)) for a, b in zip(first, other, strict=True))


class _Counting(nn.AbstractTrainer):
    """Changes nothing and records which examples it has seen, through its state."""

    objective: object = nn.Projections().objective

    def init(self, model):
        return jnp.zeros(10, int), jnp.zeros((), int)

    def update(self, model, state, x, y):
        seen, steps = state
        seen = seen.at[x[:, 0].astype(int)].add(1)
        return model, (seen, steps + 1), {"loss": jnp.zeros(())}


@pytest.mark.parametrize("batch_size,steps,size", [(4, 2, 8), (5, 2, 10), (64, 1, 10)])
def test_every_epoch_is_shuffled_and_drops_the_remainder(
    getkey, batch_size, steps, size
):
    x = jnp.stack([jnp.arange(10.0), jnp.zeros(10)], 1)
    model = eqx_mlp(getkey(), SIZES)
    seen = []

    def look(history):
        seen.append(np.asarray(history.state[0]))
        assert int(history.state[1]) == steps * len(seen)

    nn.fit(
        model,
        _Counting(),
        (x, jnp.zeros(10, int)),
        epochs=8,
        batch_size=batch_size,
        callbacks=[look],
        progress=False,
    )
    per_epoch = np.diff(np.stack([0 * seen[0], *seen]), axis=0)
    assert (per_epoch.sum(1) == size).all() and per_epoch.max() == 1
    # What one epoch leaves out, another takes.
    assert (seen[-1] > 0).all()


def test_iterables(getkey):
    x, y = rings(getkey())
    batches = [(x[:100], y[:100]), (np.asarray(x[100:]), np.asarray(y[100:]))]
    history = _fit(getkey, batches, epochs=10)
    assert nn.evaluate(history.model, (x, y))["accuracy"] > 0.9
    assert len(history.metrics["loss"]) == 10

    once = _fit(getkey, (batch for batch in batches), epochs=1)
    assert once.metrics["epoch"] == [1]
    with pytest.raises(ValueError, match="generator.* only once"):
        _fit(getkey, (batch for batch in batches), epochs=2)


def test_two_batches_are_not_a_pair_of_arrays(getkey):
    """A tuple of two batches is an iterable, a tuple of two arrays is the data."""
    x, y = rings(getkey(), 32)
    history = _fit(getkey, ((x, y), (x, y)), epochs=1)
    assert history.metrics["epoch"] == [1]


def test_callbacks_stop(getkey):
    calls = []

    def stop_at_two(history):
        calls.append(len(history.metrics["loss"]))
        return len(calls) == 2

    history = _fit(getkey, rings(getkey()), epochs=9, callbacks=[stop_at_two])
    assert calls == [1, 2] and history.metrics["epoch"] == [1, 2]


@pytest.mark.parametrize("as_batches", [False, True])
def test_not_finite_keeps_the_last_good_model(getkey, as_batches):
    model = eqx_mlp(getkey(), SIZES)
    good, y = rings(getkey(), 32)
    if as_batches:
        data = [(good, y), (good.at[3, 0].set(jnp.nan), y), (good, y)]
        place = "epoch 1, minibatch 2"
    else:
        data, place = (good.at[3, 0].set(jnp.inf), y), "epoch 1, minibatch"
    trainer = nn.Projections()
    with pytest.raises(nn.NonFiniteUpdateError, match=place) as caught:
        nn.fit(model, trainer, data, epochs=3, batch_size=4, progress=False)
    kept = split(caught.value.history.model).leaves
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in kept)
    if as_batches:
        expected, _, _ = eqx.filter_jit(trainer.update)(model, None, good, y)
        for a, b in zip(kept, split(expected).leaves, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-3)


def test_diverging_optimiser_stops(getkey):
    with pytest.raises(nn.NonFiniteUpdateError, match="last good model"):
        nn.fit(
            eqx_mlp(getkey(), SIZES),
            nn.Gradient(optax.sgd(1e38), loss="squared"),
            rings(getkey()),
            epochs=5,
            progress=False,
        )


def _bad(words, error: type[Exception] = ValueError, **changes):
    return pytest.param(changes, error, words, id=words.split(".*")[0])


@pytest.mark.parametrize(
    "changes,error,words",
    [
        _bad("epochs", epochs=0),
        _bad("epochs must be an integer", epochs=1.5),
        _bad("batch_size", batch_size=0),
        _bad("same length, got 5 and 4", data=(np.ones((5, 2)), np.zeros(4, int))),
        _bad("data is empty", data=(np.ones((0, 2)), np.zeros(0, int))),
        _bad("gave no batch", data=[]),
        _bad("examples along its first", data=(np.ones(()), np.ones(()))),
        _bad("batch 0 of data must be a pair", data=[np.ones(3)]),
        _bad("pair .* or an iterable", TypeError, data=3),
        _bad("labels from 0 to 2", data=(np.ones((3, 2)), np.arange(3))),
        _bad("labels from -1 to 1", data=(np.ones((3, 2)), np.arange(3) - 1)),
        _bad(r"\(4, 2\); got .* \(4, 3\)", data=(np.ones((4, 2)), np.ones((4, 3)))),
        _bad("maps neither a batch", data=(np.ones((4, 3)), np.zeros(4, int))),
        _bad("validation is empty", validation=(np.ones((0, 2)), np.zeros(0, int))),
        _bad("validation must be a pair", validation=np.ones(3)),
    ],
)
def test_bad_input(getkey, changes, error, words):
    options = {"data": rings(getkey(), 8), **changes}
    with pytest.raises(error, match=words):
        _fit(getkey, options.pop("data"), **options)


@pytest.mark.one_precision
def test_progress(getkey, capsys, monkeypatch):
    _fit(getkey, rings(getkey(), 8), epochs=2, progress=True)
    assert "2/2" in capsys.readouterr().err
    _fit(getkey, rings(getkey(), 8), epochs=2, progress=False)
    assert capsys.readouterr().err == ""
    monkeypatch.setitem(sys.modules, "tqdm", None)
    _fit(getkey, rings(getkey(), 8), epochs=1, progress=None)
    with pytest.raises(ImportError, match=r"fixproj\[nn\]"):
        _fit(getkey, rings(getkey(), 8), epochs=1, progress=True)


@pytest.mark.one_precision
def test_plot(getkey, monkeypatch):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    data = rings(getkey(), 32)
    history = _fit(getkey, data, validation=data)
    axes = history.plot()
    drawn = axes[1].lines[1].get_ydata()
    np.testing.assert_array_equal(drawn, history.metrics["validation_accuracy"])
    assert axes[0].get_ylabel() == "loss"
    _, axis = plt.subplots()
    assert history.plot(axis) is axis and axis.get_ylabel() == "accuracy"
    plt.close("all")
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"fixproj\[nn\]"):
        history.plot()


@pytest.mark.one_precision
def test_import_is_light():
    code = (
        "import sys, fixproj.nn; "
        "print([m for m in ('matplotlib', 'sklearn', 'tqdm') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.one_precision
def test_an_iterable_is_run_through_once_for_each_epoch(getkey):
    """Though the trainer's state is made for its first batch."""
    x, y = rings(getkey(), 24)
    passes = []

    class Loader:
        def __iter__(self):
            passes.append(0)
            for k in range(3):
                passes[-1] += 1
                yield x[8 * k : 8 * k + 8], y[8 * k : 8 * k + 8]

    model = eqx_mlp(getkey(), (2, 4, 2))
    nn.fit(model, nn.Projections(), Loader(), epochs=2, progress=False)
    assert passes == [3, 3]


@pytest.mark.one_precision
def test_batches_of_an_iterable_share_one_program(getkey):
    x, y = rings(getkey(), 24)
    traced = []

    class Counting(nn.Gradient):
        def update(self, model, state, x, y):
            traced.append(x.shape)
            return super().update(model, state, x, y)

    data = [(x[8 * k : 8 * k + 8], y[8 * k : 8 * k + 8]) for k in range(3)] * 2
    trainer = Counting(optax.sgd(0.1))
    nn.fit(eqx_mlp(getkey(), (2, 4, 2)), trainer, data, epochs=2, progress=False)
    # Twice: what comes back from a step has other weak types than what was given.
    assert len(traced) <= 2
