# pyright: reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportArgumentType=false, reportIndexIssue=false
# pyright: reportOptionalMemberAccess=false
"""Losses and metrics against scikit-learn and formulas in NumPy."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from sklearn import metrics as sk

from fixproj import nn


pytestmark = pytest.mark.one_precision


@pytest.fixture
def pair(getkey):
    return 1 + jr.normal(getkey(), (6, 3)), 1 + jr.normal(getkey(), (6, 3))


FORMULAS = {
    "mean_squared_error": lambda p, t: (p - t) ** 2,
    "mean_absolute_error": lambda p, t: np.abs(p - t),
    "mean_absolute_percentage_error": lambda p, t: (
        100 * np.abs(p - t) / np.maximum(np.abs(t), 1e-7)
    ),
    "mean_squared_logarithmic_error": lambda p, t: (
        (np.log1p(np.maximum(p, 0)) - np.log1p(np.maximum(t, 0))) ** 2
    ),
    "huber": lambda p, t: np.where(
        np.abs(p - t) <= 1, (p - t) ** 2 / 2, np.abs(p - t) - 0.5
    ),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_losses(name, pair):
    loss, (p, t) = getattr(nn.losses, name), pair
    values = FORMULAS[name](np.asarray(p), np.asarray(t)).mean(1)
    weights = jnp.arange(6.0)
    for reduction, fn in (("mean", np.mean), ("sum", np.sum), ("none", np.asarray)):
        np.testing.assert_allclose(loss(p, t, reduction=reduction), fn(values), 1e-4)
        weighed = loss(p, t, weights=weights, reduction=reduction)
        np.testing.assert_allclose(weighed, fn(values * np.arange(6)), 1e-4)
    with pytest.raises(ValueError, match="do not fit"):
        loss(p, t[:, :1])
    with pytest.raises(ValueError, match="one number per example"):
        loss(p, t, weights=weights[:2])
    with pytest.raises(ValueError, match="reduction must be"):
        loss(p, t, reduction="max")


def test_cross_entropy_and_cosine(pair):
    p, t = pair
    labels = jnp.arange(6) % 3
    probabilities = np.asarray(jax.nn.softmax(p))
    expected = -np.log(probabilities[np.arange(6), labels])
    for target in (labels, jnp.eye(3)[labels]):
        got = nn.losses.cross_entropy(p, target, reduction="none")
        np.testing.assert_allclose(got, expected, rtol=1e-5)
    got = nn.losses.cross_entropy(jnp.asarray(probabilities), labels, from_logits=False)
    np.testing.assert_allclose(got, expected.mean(), rtol=1e-5)
    smooth = nn.losses.cross_entropy(p, labels, label_smoothing=0.3)
    spread = -np.log(probabilities).mean(1)
    np.testing.assert_allclose(smooth, (0.7 * expected + 0.3 * spread).mean(), 1e-5)
    a, b = np.asarray(p), np.asarray(t)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(nn.losses.cosine_similarity(p, t), -cosine.mean(), 1e-5)
    grads = jax.grad(lambda p: nn.losses.cosine_similarity(p, t))(jnp.zeros_like(p))
    assert jnp.isfinite(grads).all()


def test_metrics_accumulate(getkey):
    logits, labels = jr.normal(getkey(), (30, 4)), jr.randint(getkey(), (30,), 0, 4)
    classes = np.asarray(logits).argmax(1)
    metric = nn.metrics.Metrics(
        {"accuracy": nn.metrics.Accuracy()},
        {str(a): nn.metrics.F1(4, average=a) for a in ("macro", "micro", None)},
    )
    step = jax.jit(lambda metric, p, t: metric(p, t))
    for part in (slice(0, 10), slice(10, 30)):
        batch, metric = step(metric, logits[part], labels[part])
        np.testing.assert_allclose(
            batch["accuracy"], sk.accuracy_score(labels[part], classes[part]), 1e-6
        )
    found = metric.compute()
    np.testing.assert_allclose(
        found["accuracy"], sk.accuracy_score(labels, classes), 1e-6
    )
    for average in ("macro", "micro", None):
        expected = sk.f1_score(labels, classes, average=average)
        np.testing.assert_allclose(found[str(average)], expected, rtol=1e-5)
    again = metric.reset().update(logits, jnp.eye(4)[labels]).compute()
    np.testing.assert_allclose(again["accuracy"], found["accuracy"], rtol=1e-6)
    with pytest.raises(ValueError, match="two metrics have the name 'F1'"):
        nn.metrics.Metrics(nn.metrics.F1(2), nn.metrics.F1(3))
    with pytest.raises(TypeError, match="is no metric"):
        nn.metrics.Metrics(nn.Linear(2))
    with pytest.raises(ValueError, match="average must be"):
        nn.metrics.F1(3, average="binary")


def test_errors_and_weights(pair):
    p, t = pair
    weights = jnp.arange(6.0)
    for ours, theirs in (
        (nn.metrics.MeanSquaredError(), sk.mean_squared_error),
        (nn.metrics.MeanAbsoluteError(), sk.mean_absolute_error),
    ):
        half = ours.update(p[:2], t[:2], weights=weights[:2])
        got = half.update(p[2:], t[2:], weights=weights[2:]).compute()
        np.testing.assert_allclose(got, theirs(t, p, sample_weight=weights), 1e-5)
    with pytest.raises(ValueError, match="weights must have"):
        nn.metrics.Mean().update(p, weights=weights[:2])
    assert jnp.isnan(nn.metrics.Mean().compute())


def test_regularisers():
    model = nn.Sequential(nn.Linear(2, 2).freeze(), nn.BatchNorm(3)).init(0)
    np.testing.assert_allclose(nn.regularisers.l2(model, 0.5), 1.5)
    np.testing.assert_allclose(nn.regularisers.l1_l2(model, 1.0, 2.0), 9.0)
    with pytest.raises(ValueError, match="no parameters"):
        nn.regularisers.l1(model.freeze())
