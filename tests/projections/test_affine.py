"""The affine set: shapes and ranks, conditioning, and derivatives through the rank."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivatives import check_derivatives

from fixproj import projections as proj


def _with_condition(m, n, condition, rng, rank=None):
    k = min(m, n)
    left = np.linalg.qr(rng.normal(size=(m, k)))[0]
    right = np.linalg.qr(rng.normal(size=(n, k)))[0]
    singular = np.geomspace(1, 1 / condition, k)
    rank = k if rank is None else min(rank, k)
    singular[rank:] = 0
    A = (left * singular) @ right.T
    # So that no test passes because its matrix is not the one it means.
    assert np.linalg.matrix_rank(A) == rank
    return A


@pytest.mark.parametrize("shape", [(1, 5), (3, 5), (5, 5), (8, 5), (5, 1)])
@pytest.mark.parametrize("rank", [None, 1, 0])
@pytest.mark.slow_in_x64
def test_matches_the_pseudo_inverse(shape, rank):
    rng = np.random.default_rng(0)
    m, n = shape
    A = _with_condition(m, n, 10, rng, rank)
    b = A @ rng.normal(size=shape[1])
    x = rng.normal(size=(6, shape[1]))
    expected = x - (x @ A.T - b) @ np.linalg.pinv(A, rcond=1e-6).T
    y = proj.Affine(A, b).project(jnp.asarray(x))
    tol = 200 * float(jnp.finfo(y.dtype).eps)
    np.testing.assert_allclose(y, expected, atol=tol)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_no_equations_or_no_unknowns(shape):
    affine = proj.Affine(np.zeros(shape), np.zeros(shape[0]))
    x = jnp.ones((2, shape[1]))
    np.testing.assert_array_equal(affine.project(x), x)


@pytest.mark.parametrize("shape", [(30, 80), (60, 60), (80, 30)])
@pytest.mark.parametrize("condition", [1e1, 1e4])
def test_float32_is_accurate_for_ill_conditioned_matrices(shape, condition):
    rng = np.random.default_rng(1)
    m, n = shape
    A = _with_condition(m, n, condition, rng).astype(np.float32)
    solution = rng.normal(size=shape[1]).astype(np.float32)
    # In float64, so that the rounding of b is the only one before the projection.
    b = A.astype(float) @ solution.astype(float)
    x = (10 * rng.normal(size=shape[1])).astype(np.float32)
    affine = proj.Affine(A, b.astype(np.float32))
    y = np.asarray(eqx.filter_jit(affine.project)(jnp.asarray(x)), float)
    residual = np.linalg.norm(A @ y - b)
    assert residual <= 2e-6 * np.linalg.norm(x)
    again = np.asarray(affine.project(jnp.asarray(y, jnp.float32)), float)
    assert np.linalg.norm(again - y) <= 2e-6 * np.linalg.norm(x)
    step = np.linalg.pinv(A.astype(float)) @ (A @ x.astype(float) - b)
    error = np.linalg.norm(y - (x - step))
    # The problem's own sensitivity to rounding of A and b.
    assert error <= 3e-7 * condition * np.linalg.norm(x)


@pytest.mark.one_precision
@pytest.mark.parametrize("shape", [(3, 5), (5, 5)])
def test_derivatives_in_every_argument(shape):
    rng = np.random.default_rng(2)
    with jax.enable_x64(True):
        A, b = rng.normal(size=shape), rng.normal(size=shape[0])
        x = jnp.asarray(rng.normal(size=(2, shape[1])))

        def run(A, b, x):
            return proj.Affine(A, b).project(x)

        check_derivatives(run, jnp.asarray(A), jnp.asarray(b), x)


@pytest.mark.one_precision
@pytest.mark.parametrize("shape", [(4, 4), (7, 4), (4, 7)])
@pytest.mark.slow
def test_derivatives_along_matrices_of_one_rank(shape):
    """A = B C keeps its rank; repeated singular values do no harm."""
    rng = np.random.default_rng(3)
    m, n = shape
    with jax.enable_x64(True):
        B, C = jnp.eye(m, 2), jnp.eye(2, n)
        solution = jnp.asarray(rng.normal(size=n))
        x = jnp.asarray(rng.normal(size=(2, n)))

        def run(B, C, solution, x):
            A = B @ C
            return proj.Affine(A, A @ solution).project(x)

        check_derivatives(run, B, C, solution, x)


@pytest.mark.parametrize("rank", [2, 1, 0])
@pytest.mark.slow_in_x64
def test_derivatives_of_a_rank_deficient_matrix(rank):
    rng = np.random.default_rng(4)
    A = _with_condition(4, 6, 3, rng, rank)
    solution, x = rng.normal(size=6), jnp.asarray(rng.normal(size=6))
    A, b = jnp.asarray(A), jnp.asarray(A @ solution)
    threshold = 1e-4

    def loss(A, b, x):
        return jnp.sum(jnp.sin(proj.Affine(A, b).project(x)))

    def by_pinv(A, b, x):
        pinv = jnp.linalg.pinv(A, rtol=threshold)
        return jnp.sum(jnp.sin(x - pinv @ (A @ x - b)))

    tol = 1000 * float(jnp.finfo(x.dtype).eps)
    arguments = (A, b, x)
    expected = jax.jit(jax.grad(by_pinv, (0, 1, 2)))(*arguments)
    for derivative in (jax.grad, jax.jacfwd):
        got = jax.jit(derivative(loss, (0, 1, 2)))(*arguments)
        for a, e in zip(got, expected, strict=True):
            np.testing.assert_allclose(a, e, atol=tol)
    hessian = jax.jit(jax.hessian(loss, (0, 1, 2)))(*arguments)
    assert all(bool(jnp.all(jnp.isfinite(h))) for h in jax.tree.leaves(hessian))


def test_a_step_of_a_loop_neither_factorises_nor_calls_back():
    A, b = jnp.array([[1.0, 2.0, 3.0]]), jnp.array([1.0])

    def run(A, b, x):
        affine = proj.Affine(A, b)

        def step(x, _):
            return affine.project(x) + 1, None

        return jax.lax.scan(step, x, None, length=5)[0]

    jaxpr = jax.make_jaxpr(run)(A, b, jnp.ones(3))
    (scan,) = [e for e in jaxpr.eqns if e.primitive.name == "scan"]
    body = str(scan.params["jaxpr"])
    assert "dot_general" in body
    assert "svd" not in body and "callback" not in body
    # The check and the factorisation are outside, once.
    assert "svd" in str(jaxpr) and "callback" in str(jaxpr)
    gradient = jax.jit(jax.grad(lambda b: jnp.sum(run(A, b, jnp.ones(3)))))(b)
    # Every step adds 1 in the null space; b moves along A^+.
    np.testing.assert_allclose(gradient, [6 / 14], rtol=1e-5)


def test_a_constant_matrix_is_factorised_while_tracing():
    A = jnp.array([[1.0, 2.0, 3.0]])
    jaxpr = jax.make_jaxpr(lambda b, x: proj.Affine(A, b).project(x))(
        jnp.ones(1), jnp.ones(3)
    )
    assert "svd" not in str(jaxpr)
