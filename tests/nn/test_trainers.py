import importlib

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import fixproj as fp
from fixproj import nn
from fixproj.nn._graph import split
from fixproj.nn._graph._curvature import no_curvature
from fixproj.nn._trainers import loss_named
from fixproj.projections import CrossEntropy

from .models import SkipAndConcat, eqx_mlp, plain_mlp, rings


pytestmark = pytest.mark.slow_in_x64


TRAINERS = {
    "pure": lambda: nn.Projections(),
    "outer": lambda: nn.Projections(outer=optax.adam(3e-3)),
    "gradient": lambda: nn.Gradient(optax.adam(3e-3)),
}
SMALL = (2, 32, 32, 2)


@pytest.mark.one_precision
@pytest.mark.parametrize("name", TRAINERS)
@pytest.mark.slow
def test_skip_and_concat_train(getkey, name):
    data = rings(getkey())
    model = SkipAndConcat(getkey())
    before = nn.evaluate(model, data)["accuracy"]
    history = nn.fit(model, TRAINERS[name](), data, epochs=30, progress=False)
    after = nn.evaluate(history.model, data)["accuracy"]
    assert before < 0.9 and after > 0.95
    assert history.metrics["loss"][-1] < history.metrics["loss"][0] / 2


@pytest.mark.parametrize("name", TRAINERS)
def test_protocol_under_jit(getkey, name):
    x, y = rings(getkey(), 32)
    model = plain_mlp(getkey(), SMALL)
    trainer = TRAINERS[name]()
    state = trainer.init(model)
    plain = trainer.update(model, state, x, y)
    jitted = eqx.filter_jit(trainer.update)(model, state, x, y)
    structure = jax.tree.structure((model, state))
    assert jax.tree.structure(plain[:2]) == structure
    for a, b in zip(split(plain[0]).leaves, split(jitted[0]).leaves, strict=True):
        assert a.dtype == b.dtype == jnp.result_type(float)
        np.testing.assert_allclose(a, b, atol=1e-3)
    outputs = model[0](model[1], x)
    np.testing.assert_allclose(
        plain[2]["loss"], CrossEntropy(y)(outputs) / 32, rtol=1e-5
    )
    hits = np.mean(np.argmax(outputs, 1) == np.asarray(y))
    np.testing.assert_allclose(plain[2]["accuracy"], hits, rtol=1e-6)


@jax.custom_jvp
def _poisoned(x):
    return x


@_poisoned.defjvp
def _poisoned_jvp(primals, tangents):
    raise AssertionError("a derivative was taken")


def test_no_derivative_of_a_poisoned_model(getkey):
    """The output refuses to be differentiated; projections train all the same."""
    fn, params = plain_mlp(getkey(), SMALL)
    model = (lambda params, x: _poisoned(fn(params, x)), params)
    data = rings(getkey())
    trainer = nn.Projections()
    history = nn.fit(model, trainer, data, epochs=15, progress=False)
    assert nn.evaluate(history.model, data)["accuracy"] > 0.95
    with pytest.raises(AssertionError, match="derivative was taken"):
        nn.fit(model, nn.Gradient(optax.adam(3e-3)), data, epochs=1, progress=False)


@pytest.mark.one_precision
@pytest.mark.parametrize("outer", [None, optax.adam(1e-3)])
def test_no_derivative_is_asked_of_jax(getkey, monkeypatch, outer):
    """Tracing an update never enters JAX's differentiation."""
    ad = importlib.import_module("jax._src.interpreters.ad")
    entered = []

    def poison(name):
        def refuse(*arguments, **options):
            entered.append(name)
            raise AssertionError(f"{name} was called")

        return refuse

    x, y = rings(getkey(), 32)
    model = eqx_mlp(getkey(), SMALL)
    trainer = nn.Projections(outer=outer)
    state, other = trainer.init(model), nn.Gradient(optax.sgd(0.1))
    other_state = other.init(model)
    names = ("grad", "value_and_grad", "vjp", "jvp", "linearize", "jacfwd", "jacrev")
    for name in names:
        monkeypatch.setattr(jax, name, poison(name))
    # What all of those go through, also from inside JAX.
    monkeypatch.setattr(ad.JVPTrace, "process_primitive", poison("JVPTrace"))
    monkeypatch.setattr(ad.LinearizeTrace, "process_primitive", poison("Linearize"))
    new, _, info = trainer.update(model, state, x, y)
    assert entered == [] and bool(jnp.isfinite(info["loss"]))
    assert any(
        bool(jnp.any(a != b))
        for a, b in zip(split(model).leaves, split(new).leaves, strict=True)
    )
    with pytest.raises(AssertionError, match="was called"):
        other.update(model, other_state, x, y)
    assert entered


def test_outer_feeds_the_damped_gradient_in_the_weak_limit(getkey):
    """One layer, weak sweep, small loss step: the gradient of the mean loss."""
    model = plain_mlp(getkey(), (2, 3))
    x, y = jr.normal(getkey(), (16, 2)), jr.randint(getkey(), (16,), 0, 3)
    rate = 0.1
    weak = nn.Projections(outer=optax.sgd(rate), parameter_weight=1e7, loss_step=1e-3)
    gradient = nn.Gradient(optax.sgd(rate))
    moved, _, _ = weak.update(model, weak.init(model), x, y)
    expected, _, _ = gradient.update(model, gradient.init(model), x, y)
    trios = zip(*(split(m).leaves for m in (model, moved, expected)), strict=True)
    for a, b, c in trios:
        np.testing.assert_allclose(b - a, c - a, rtol=2e-2, atol=1e-5)


@pytest.mark.one_precision
@pytest.mark.slow
def test_more_sweeps_fit_the_minibatch_better(getkey):
    x, y = rings(getkey(), 32)
    model = eqx_mlp(getkey(), SMALL)
    losses = []
    for sweeps in (1, 3, 6):
        trainer = nn.Projections(sweeps=sweeps)
        new, _, _ = eqx.filter_jit(trainer.update)(model, trainer.init(model), x, y)
        losses.append(nn.evaluate(new, (x, y))["loss"])
    assert losses[2] < losses[1] < losses[0] < nn.evaluate(model, (x, y))["loss"]


@pytest.mark.one_precision
@pytest.mark.parametrize("name", TRAINERS)
def test_squared_loss(getkey, name):
    """Regression, without an accuracy; and integer classes, with one."""
    x = jr.normal(getkey(), (128, 2))
    y = jnp.abs(x[:, :1] - x[:, 1:])
    trainer = {
        "pure": lambda: nn.Projections(loss="squared"),
        "outer": lambda: nn.Projections(loss="squared", outer=optax.adam(1e-2)),
        "gradient": lambda: nn.Gradient(optax.adam(1e-2), loss="squared"),
    }[name]()
    model = eqx_mlp(getkey(), (2, 32, 32, 1))
    history = nn.fit(model, trainer, (x, y), epochs=20, batch_size=32, progress=False)
    assert "accuracy" not in history.metrics
    assert history.metrics["loss"][-1] < 0.1 * history.metrics["loss"][0]
    classes = (y[:, 0] > 1).astype(int)
    model = eqx_mlp(getkey(), SMALL)
    history = nn.fit(model, trainer, (x, classes), epochs=20, progress=False)
    assert history.metrics["accuracy"][-1] > 0.9


def test_squared_loss_values():
    loss = loss_named("squared")
    outputs, y = (
        jnp.array([[1.0, 2.0], [3.0, 4.0]]),
        jnp.array([[0.0, 0.0], [3.0, 2.0]]),
    )
    np.testing.assert_allclose(loss.mean(outputs, y), (5 + 4) / 4)
    moved = loss.displacement(outputs, y, 3.0)
    # Stationarity of 3 |z - y|^2 / 2 + |z - outputs|^2 / 2.
    np.testing.assert_allclose(3 * (outputs + moved - y) + moved, 0, atol=1e-6)


@pytest.mark.one_precision
def test_half_precision(getkey):
    x, y = rings(getkey(), 64)
    model = eqx_mlp(getkey(), SMALL)
    low = jax.tree.map(
        lambda a: a.astype(jnp.bfloat16) if eqx.is_inexact_array(a) else a, model
    )
    trainer = nn.Projections()
    update = eqx.filter_jit(trainer.update)
    new, _, info = update(low, trainer.init(low), x.astype(jnp.bfloat16), y)
    assert all(leaf.dtype == jnp.bfloat16 for leaf in split(new).leaves)
    assert bool(jnp.isfinite(info["loss"]))


def test_unused_parameters_and_integers_stay(getkey):
    w = jr.normal(getkey(), (2, 2))
    params = {"w": w, "unused": jnp.ones(3), "steps": jnp.arange(2)}
    model = (lambda p, x: x @ p["w"], params)
    trainer = nn.Projections()
    x, y = rings(getkey(), 16)
    (_, new), _, _ = eqx.filter_jit(trainer.update)(model, trainer.init(model), x, y)
    np.testing.assert_array_equal(new["unused"], params["unused"])
    np.testing.assert_array_equal(new["steps"], params["steps"])
    assert bool(jnp.any(new["w"] != w))


@pytest.mark.one_precision
def test_numpy_parameters_are_trained(getkey):
    model = (lambda p, x: x @ p, np.zeros((2, 2), jnp.result_type(float)))
    data = rings(getkey(), 64)
    history = nn.fit(model, nn.Projections(), data, epochs=1, progress=False)
    assert bool(jnp.any(history.model[1] != 0))


@pytest.mark.one_precision
@pytest.mark.parametrize(
    "make,error,words",
    [
        (lambda: nn.Projections("weight"), ValueError, "granularity.*'layer'"),
        (lambda: nn.Projections(numerics="pjax"), ValueError, "numerics.*'neuron'"),
        (lambda: nn.Projections(method="ap"), TypeError, "method.*got str"),  # pyright: ignore
        (lambda: nn.Projections(sweeps=0), ValueError, "sweeps"),
        (
            lambda: nn.Projections(loss="l3"),
            ValueError,
            "'cross_entropy', .*'squared'",
        ),
        (lambda: nn.Projections(loss_prox="newton"), ValueError, "loss_prox"),
        (lambda: nn.Projections(loss_step=0.0), ValueError, "loss_step"),
        (lambda: nn.Projections(activation_weight=-1.0), ValueError, "activation_w"),
        (lambda: nn.Projections(parameter_weight=float("nan")), ValueError, "param"),
        (lambda: nn.Projections(elementwise_weight=0.0), ValueError, "elementwise_w"),
        (lambda: nn.Projections(outer="adam"), TypeError, "outer"),  # pyright: ignore
        (lambda: nn.Gradient("adam"), TypeError, "optimiser"),  # pyright: ignore
        (lambda: nn.Projections(label_smoothing=1.0), ValueError, "label_smoothing"),
        (lambda: nn.Projections(label_smoothing="1"), ValueError, "smoothing.*'1'"),  # pyright: ignore
        (lambda: nn.Projections(relaxation=2.0), ValueError, "relaxation.*2.0"),
        (
            lambda: nn.Projections(relaxation=1.5, outer=optax.sgd(0.1)),
            ValueError,
            "relaxation is for sweeps",
        ),
        (
            lambda: nn.Projections(loss="hinge", label_smoothing=0.1),
            ValueError,
            "label_smoothing.*'cross_entropy'; got 'hinge'",
        ),
        (lambda: nn.Gradient(optax.sgd(0.1), loss="l3"), ValueError, "'squared'; got"),
    ],
)
def test_bad_arguments(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize("weak", [False, True])
def test_relaxed_projections(getkey, weak):
    x, y = rings(getkey(), 32)
    model = plain_mlp(getkey(), SMALL)

    def moved(relaxation):
        trainer = nn.Projections(weak=weak, relaxation=relaxation)
        new, _, _ = trainer.update(model, trainer.start(model, x, y), x, y)
        pairs = zip(split(new).leaves, split(model).leaves, strict=True)
        return [a - b for a, b in pairs]

    for a, b in zip(moved(1.5), moved(1.0), strict=True):
        assert float(jnp.max(jnp.abs(b))) > 1e-4
        np.testing.assert_allclose(a, 1.5 * b, rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda s: nn.Projections(label_smoothing=s),
        lambda s: nn.Projections(outer=optax.sgd(0.1), label_smoothing=s),
        lambda s: nn.Projections(method=fp.AlternatingProjections(), label_smoothing=s),
        lambda s: nn.Gradient(optax.sgd(0.1), label_smoothing=s),
    ],
    ids=["pure", "outer", "method", "gradient"],
)
def test_smoothed_labels(getkey, make):
    """The same as labels that were smoothed by hand."""
    x, y = rings(getkey(), 32)
    model = plain_mlp(getkey(), SMALL)
    by_hand = 0.8 * jax.nn.one_hot(y, 2) + 0.2 / 2

    def updated(trainer, y):
        new, _, info = trainer.update(model, trainer.init(model), x, y)
        return split(new).leaves, info

    leaves, info = updated(make(0.2), y)
    wanted, wanted_info = updated(make(0.0), by_hand)
    plain, _ = updated(make(0.0), y)
    for a, b in zip(leaves, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    np.testing.assert_allclose(info["loss"], wanted_info["loss"], rtol=1e-5)
    moved = [jnp.max(jnp.abs(a - b)) for a, b in zip(leaves, plain, strict=True)]
    assert max(moved) > 1e-3


@pytest.mark.one_precision
@pytest.mark.parametrize("name", TRAINERS)
def test_labels_that_do_not_fit(getkey, name):
    model, x = eqx_mlp(getkey(), SMALL), jnp.ones((8, 2))
    trainer = TRAINERS[name]()
    with pytest.raises(ValueError, match=r"\(8, 2\); got .* \(8, 3\)"):
        trainer.update(model, trainer.init(model), x, jnp.ones((8, 3)))


@pytest.mark.one_precision
def test_averaged_weights_are_the_mean_of_those_visited(getkey):
    x = jr.normal(getkey(), (32, 3))
    y = (x[:, 0] > 0).astype(int)
    model = eqx.nn.MLP(3, 2, 4, 1, key=getkey())
    plain = nn.Gradient(optax.sgd(0.1))
    averaged = nn.Averaged(plain, decay=0.6)
    last, state = model, plain.init(model)
    mean, averaged_state = model, averaged.init(model)
    expected = model.layers[0].weight
    for t in range(12):
        last, state, _ = plain.update(last, state, x, y)
        mean, averaged_state, _ = averaged.update(mean, averaged_state, x, y)
        keep = min(0.6, (1 + t) / (10 + t))
        expected = keep * expected + (1 - keep) * last.layers[0].weight
    np.testing.assert_allclose(mean.layers[0].weight, expected, rtol=1e-5)
    # Training does not go on from the average.
    weight = averaged_state.arrays.layers[0].weight
    np.testing.assert_allclose(weight, last.layers[0].weight, rtol=1e-5)
    with pytest.raises(ValueError, match="decay"):
        nn.Averaged(plain, decay=1.5)
    with pytest.raises(TypeError, match="trainer"):
        nn.Averaged("adam")


@pytest.mark.one_precision
def test_averaged_fits_and_goes_on(getkey, tmp_path):
    x = jr.normal(getkey(), (64, 3))
    y = (x[:, 0] > 0).astype(int)
    model = eqx.nn.MLP(3, 2, 8, 1, key=getkey())
    trainer = nn.Averaged(nn.Projections(outer=optax.adam(1e-2)), decay=0.9)
    options = {"batch_size": 16, "progress": False}
    whole = nn.fit(model, trainer, (x, y), epochs=6, **options)
    assert whole.metrics["accuracy"][-1] > 0.8
    path = tmp_path / "saved"
    nn.fit(model, trainer, (x, y), epochs=3, checkpoint=path, **options)
    rest = nn.fit(model, trainer, (x, y), epochs=6, checkpoint=path, **options)
    for a, b in zip(
        jax.tree.leaves(eqx.filter(whole.model, eqx.is_array)),
        jax.tree.leaves(eqx.filter(rest.model, eqx.is_array)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.one_precision
def test_running_second_moments(getkey):
    """Exact where their rank is full: the mean over minibatches, and its damping."""
    first, second = jr.normal(getkey(), (2, 2, 40, 6))
    known = no_curvature((2, 6), first.dtype, 48).renewed(first, 0.0)
    known = known.renewed(second, 0.5)
    second_moments = [
        jnp.matmul(rows.swapaxes(1, 2), rows) / 40 for rows in (first, second)
    ]
    mean = (second_moments[0] + second_moments[1]) / 2
    g = jr.normal(getkey(), (2, 6, 3))
    expected = jnp.linalg.solve(jnp.eye(6)[None] + 0.7 * mean, g)
    np.testing.assert_allclose(known.damped(g, 0.7), expected, rtol=1e-4, atol=1e-5)
    # Fewer directions than rows: the leading ones. Rows of zeros have none.
    low = no_curvature((2, 6), first.dtype, 2).renewed(first, 0.0)
    values = jnp.linalg.eigvalsh(second_moments[0])[:, -2:]
    np.testing.assert_allclose(low.moments, values, rtol=1e-4)
    none = no_curvature((2, 6), first.dtype, 2).renewed(jnp.zeros((2, 40, 6)), 0.9)
    np.testing.assert_array_equal(none.damped(g, 0.7), g)


@pytest.mark.one_precision
def test_running_moments_of_one_minibatch_are_those_of_it(getkey):
    """All rows in the sample and full rank: the two settings agree."""
    x, y = rings(getkey(), 32)
    model = eqx_mlp(getkey(), (2, 8, 2))
    found = []
    for curvature in ("running", "minibatch"):
        trainer = nn.Projections(outer=optax.sgd(1.0), curvature=curvature)
        state = trainer.start(model, x, y)
        found.append(eqx.filter_jit(trainer.update)(model, state, x, y)[0])
    moved = 0.0
    for a, b, c in zip(*(split(m).leaves for m in (*found, model)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
        moved = max(moved, float(jnp.max(jnp.abs(a - c))))
    assert moved > 1e-3
    with pytest.raises(ValueError, match="'running', 'minibatch'"):
        nn.Projections(curvature="none")


@pytest.mark.one_precision
def test_a_weak_sweep_without_an_optimiser_is_a_projection(getkey):
    """Of one product: nearest to (W, Y + D) in the metric of the weights."""
    x, y = jr.normal(getkey(), (20, 4)), jnp.arange(20) % 3
    w = jr.normal(getkey(), (4, 3))
    trainer = nn.Projections(weak=True, parameter_weight=50.0, curvature="minibatch")
    (_, moved), _, _ = trainer.update((lambda w, x: x @ w, w), None, x, y)
    wanted = jax.nn.one_hot(y, 3) - jax.nn.softmax(x @ w)
    c, b = 4.0, 50.0 * 20 / 256
    expected = jnp.linalg.solve(b * jnp.eye(4) + c * x.T @ x, c * x.T @ wanted)
    np.testing.assert_allclose(moved - w, expected, rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match="one sweep"):
        nn.Projections(weak=True, sweeps=2)
