import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special

from fixproj.projections import CrossEntropy
from fixproj.projections._cross_entropy import _log_omega, cross_entropy_displacement


pytestmark = pytest.mark.slow_in_x64


STEPS = [1e-3, 1e-2, 0.1, 1.0, 5.0, 30.0, 200.0, 1e3]


def _data(scale, classes=10, rows=200, seed=0):
    rng = np.random.default_rng(seed)
    dtype = jnp.result_type(float)
    logits = jnp.asarray(scale * rng.normal(size=(rows, classes)), dtype)
    return logits, jnp.asarray(rng.integers(0, classes, rows))


def _reference(v, targets, step):
    """The displacement by bisection on the level, with scipy's omega function."""
    a = v + step * targets + np.log(step)
    low = a.min(-1, keepdims=True) - step - np.abs(np.log(step)) - 1
    high = a.max(-1, keepdims=True) + np.log(v.shape[-1]) + np.abs(np.log(step)) + 1
    for _ in range(200):
        middle = (low + high) / 2
        big = scipy.special.wrightomega(a - middle).sum(-1, keepdims=True) > step
        low, high = np.where(big, middle, low), np.where(big, high, middle)
    return step * targets - scipy.special.wrightomega(a - low)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0, 100.0])
def test_converged_to_machine_precision(step, scale):
    v, labels = _data(scale)
    targets = jax.nn.one_hot(labels, 10, dtype=v.dtype)
    d = cross_entropy_displacement(v, targets, jnp.asarray(step, v.dtype))
    eps = float(jnp.finfo(v.dtype).eps)
    # In double precision from here on, whatever the precision of the solution.
    v, d, targets = (np.asarray(a, np.float64) for a in (v, d, targets))
    size = np.abs(v).max() + step + 1
    expected = _reference(v, targets, step)
    assert np.abs(d - expected).max() <= 8 * eps * min(size, 30 * step * (1 + size))
    residual = d + step * (scipy.special.softmax(v + d, axis=-1) - targets)
    # An error e of the point is an error e step / 4 of the residual.
    assert np.abs(residual).max() <= 8 * eps * size * (step / 4 + min(step, 1))


@pytest.mark.one_precision
@pytest.mark.parametrize("step", [0.1, 5.0, 200.0])
def test_minimiser_against_scipy(step):
    with jax.enable_x64(True):
        v, labels = _data(2.0, classes=4, rows=3)
        loss = CrossEntropy(labels)
        ours = np.asarray(loss.prox(v, step))
        v, labels = np.asarray(v), np.asarray(labels)

    def cost(z):
        z = z.reshape(v.shape)
        entropy = scipy.special.logsumexp(z, axis=1) - z[np.arange(3), labels]
        return step * entropy.sum() + ((z - v) ** 2).sum() / 2

    theirs = scipy.optimize.minimize(cost, v.ravel(), method="BFGS", tol=1e-9)
    np.testing.assert_allclose(ours.ravel(), theirs.x, atol=1e-4)
    assert cost(ours.ravel()) <= theirs.fun + 1e-9


def test_omega():
    u = np.concatenate([np.linspace(-300, 1e4, 4001), np.linspace(-20, 20, 4001)])
    u = jnp.asarray(u)
    y = np.asarray(_log_omega(u), float)
    u = np.asarray(u, float)
    expected = scipy.special.wrightomega(u)
    keep = expected > 1e-30
    eps = float(jnp.finfo(jnp.result_type(float)).eps)
    bound = 20 * eps * np.maximum(1, np.abs(y[keep]))
    assert np.all(np.abs(y[keep] - np.log(expected[keep])) <= bound)


def test_nearly_certain_rows_keep_their_digits():
    """The displacement of a fitted row is tiny; its relative accuracy must survive."""
    v = jnp.asarray([[14.0, 0.0, 0.0]])
    with jax.enable_x64(True):
        exact = cross_entropy_displacement(
            jnp.asarray([[14.0, 0.0, 0.0]], jnp.float64),
            jnp.asarray([[1.0, 0.0, 0.0]], jnp.float64),
            jnp.asarray(5.0, jnp.float64),
        )
        exact = np.asarray(exact)
    targets = jnp.asarray([[1.0, 0.0, 0.0]])
    d = cross_entropy_displacement(v, targets, jnp.asarray(5.0, v.dtype))
    np.testing.assert_allclose(d, exact, rtol=2e-5)


def test_value_and_label_kinds():
    v, labels = _data(1.0)
    one_hot = jax.nn.one_hot(labels, 10, dtype=v.dtype)
    as_integers, as_rows = CrossEntropy(labels), CrossEntropy(one_hot)
    expected = np.sum(
        scipy.special.logsumexp(np.asarray(v, float), axis=1)
        - np.asarray(v, float)[np.arange(len(labels)), np.asarray(labels)]
    )
    np.testing.assert_allclose(as_integers(v), expected, rtol=1e-5)
    np.testing.assert_allclose(as_rows(v), expected, rtol=1e-5)
    np.testing.assert_array_equal(as_integers.prox(v, 5.0), as_rows.prox(v, 5.0))


def test_smoothed_labels_and_one_class():
    v, labels = _data(3.0)
    smooth = 0.9 * jax.nn.one_hot(labels, 10, dtype=v.dtype) + 0.01
    z = np.asarray(CrossEntropy(smooth).prox(v, 7.0), float)
    p = scipy.special.softmax(z, axis=-1)
    residual = z - np.asarray(v, float) + 7 * (p - np.asarray(smooth, float))
    assert np.abs(residual).max() < (1e-11 if v.dtype == jnp.float64 else 1e-4)
    alone = CrossEntropy(jnp.array([0])).prox(jnp.array([[2.0]]), 5.0)
    np.testing.assert_allclose(alone, [[2.0]], atol=1e-5)


def test_jit_vmap_and_half_precision():
    v, labels = _data(1.0, rows=6)
    plain = CrossEntropy(labels).prox(v, 5.0)
    jitted = jax.jit(lambda v, s: CrossEntropy(labels).prox(v, s))(v, jnp.asarray(5.0))
    mapped = jax.vmap(lambda v, t: CrossEntropy(t).prox(v, 5.0))(v, labels)
    np.testing.assert_allclose(plain, jitted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(plain, mapped, rtol=1e-5, atol=1e-5)
    half = CrossEntropy(labels).prox(v.astype(jnp.bfloat16), 5.0)
    assert half.dtype == jnp.bfloat16


@pytest.mark.parametrize("labels", [jnp.zeros(3, int), jnp.zeros((2, 4)), jnp.zeros(2)])
def test_bad_labels(labels):
    with pytest.raises(ValueError, match="labels must be"):
        CrossEntropy(labels).prox(jnp.zeros((2, 3)), 1.0)


@pytest.mark.parametrize("step", [0.0, -1.0, float("nan")])
def test_bad_step(step):
    with pytest.raises(ValueError, match="step"):
        CrossEntropy(jnp.zeros(2, int)).prox(jnp.zeros((2, 3)), step)
