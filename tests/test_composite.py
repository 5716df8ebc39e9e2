"""Composite problems: every method against cvxpy, and derivatives."""

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fixproj as fp
from fixproj import projections as proj


rng = np.random.default_rng(0)
A, B = rng.normal(size=(12, 8)), rng.normal(size=12)
WEIGHT = 1.5


def _smooth(y, args):
    return jnp.sum((args[0] @ y - args[1]) ** 2) / 2


def _with_prox(weight):
    args = (jnp.asarray(A), jnp.asarray(B))
    return fp.Composite(_smooth, proj.L1(weight), y0=jnp.zeros(8), args=args)


def _with_identity(weight):
    args = (jnp.asarray(A), jnp.asarray(B))
    pair = (None, proj.L1(weight))
    return fp.Composite(_smooth, None, pair, y0=jnp.zeros(8), args=args)


def _two_proxes(weight):
    pair = (None, proj.L1(weight))
    return fp.Composite(None, proj.LeastSquares(A, B), pair, y0=jnp.zeros(8))


CASES = {
    "forward_backward": (_with_prox, fp.ForwardBackward()),
    "accelerated": (_with_prox, fp.ForwardBackward(accelerate=True)),
    "davis_yin": (_with_identity, fp.DavisYin()),
    "douglas_rachford": (_two_proxes, fp.DouglasRachford(step=0.2)),
    "admm": (_with_prox, fp.ADMM()),
    "condat_vu": (_with_identity, fp.CondatVu()),
    "pdhg": (_two_proxes, fp.PDHG()),
    "linearized_admm": (_with_identity, fp.LinearizedADMM()),
}


@pytest.mark.slow
@pytest.mark.one_precision
@pytest.mark.parametrize("name", CASES)
def test_lasso_and_its_derivative(name):
    make, method = CASES[name]
    x = cp.Variable(8)
    cost = cp.sum_squares(A @ x - B) / 2 + WEIGHT * cp.norm1(x)
    cp.Problem(cp.Minimize(cost)).solve(solver=cp.CLARABEL)
    assert x.value is not None
    with jax.enable_x64(True):

        @jax.jit
        def value(weight):
            return fp.solve(make(weight), method, max_steps=50_000).value

        weight = jnp.asarray(WEIGHT)
        found = np.asarray(value(weight))
        np.testing.assert_allclose(found, x.value, atol=1e-6)
        # On the support S the solution is (A_S'A_S)^-1 (A_S'b - weight sign).
        support = np.abs(x.value) > 1e-6
        gram = A[:, support].T @ A[:, support]
        expected = np.zeros(8)
        expected[support] = -np.linalg.solve(gram, np.sign(x.value[support]))
        _, slope = jax.jvp(value, (weight,), (jnp.ones_like(weight),))
        np.testing.assert_allclose(slope, expected, atol=1e-8)


BAD = {
    "empty": (lambda: fp.Composite(y0=jnp.zeros(2)), "at least one of `smooth`"),
    "start": (lambda: fp.Composite(prox=proj.L1()), "`y0`, the start, is needed"),
    "scalar": (
        lambda: fp.Composite(lambda y, _: y, y0=jnp.zeros(2)),
        "`smooth` must return one real",
    ),
    "matrix": (
        lambda: fp.Composite(linear=(np.ones((2, 3)), proj.L1()), y0=jnp.zeros(2)),
        r"`linear\[0\]` does not fit `y0`",
    ),
}


@pytest.mark.one_precision
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_an_error_that_names_it(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call()
