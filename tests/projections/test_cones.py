"""Cones against cvxpy and extended precision; their derivatives; what cones satisfy."""

import cone_oracles
import cvxpy as cp
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cvxpy.constraints.exponential import ExpCone
from cvxpy.constraints.power import PowCone3D
from derivatives import check_derivatives

from fixproj import projections as proj


CONES = {
    "second_order": (proj.SecondOrderCone, lambda y: [cp.norm(y[1:]) <= y[0]]),
    "rotated": (
        proj.RotatedSecondOrderCone,
        lambda y: [cp.SOC(y[0] + y[1], cp.hstack([y[0] - y[1], np.sqrt(2) * y[2]]))],
    ),
    "exponential": (
        proj.ExponentialCone,
        lambda y: [ExpCone(y[0], y[1], y[2])],
    ),
    "power": (
        lambda axis=-1: proj.PowerCone(0.3, axis),
        lambda y: [PowCone3D(y[0], y[1], y[2], 0.3)],
    ),
}
every_cone = pytest.mark.parametrize("name", CONES)


def _eps():
    return float(jnp.finfo(jnp.zeros(()).dtype).eps)


@every_cone
@pytest.mark.slow_in_x64
def test_moreau_decomposition_batches_and_kinks(name):
    build, _ = CONES[name]
    cone = build()
    rng = np.random.default_rng(1)
    signs = np.array(np.meshgrid(*[[-1.0, 0.0, 1.0]] * 3)).reshape(3, -1).T
    scales = 10.0 ** rng.uniform(-8, 0, (100, 3)) * rng.choice([-1, 0, 1], (100, 3))
    x = jnp.asarray(np.concatenate([3 * rng.normal(size=(200, 3)), signs, scales]))
    weights = jnp.array([1.0, -2.0, 0.5])

    @jax.jit
    def derivatives(x):
        y, tangents = jax.linearize(cone.project, x)
        columns = [tangents(jnp.broadcast_to(e, x.shape)) for e in jnp.eye(3)]
        (gradient,) = jax.linear_transpose(tangents, x)(
            jnp.broadcast_to(weights, x.shape)
        )
        return y, gradient, jnp.stack(columns, -1)

    y, gradient, jacobian = derivatives(x)
    polar = cone.polar().project(x)
    tol = 60 * _eps()
    np.testing.assert_allclose(y + polar, x, atol=tol)
    np.testing.assert_allclose(-cone.dual().project(-x), polar, atol=tol)
    np.testing.assert_allclose(np.sum(y * polar, -1), 0, atol=20 * tol)
    # The polar part has no positive product with any point of the cone.
    assert np.max(np.asarray(polar) @ np.asarray(y).T) <= 100 * tol
    again = cone.project(y)
    np.testing.assert_allclose(again, y, atol=np.sqrt(tol) if "po" in name else tol)
    np.testing.assert_allclose(build(axis=0).project(x.T).T, y, atol=tol)
    # Derivatives of projections are symmetric with eigenvalues in [0, 1], also at
    # kinks and where the entries have very different sizes.
    np.testing.assert_allclose(
        gradient, np.einsum("bij,i->bj", jacobian, weights), atol=1e-5
    )
    np.testing.assert_allclose(jacobian, jnp.swapaxes(jacobian, 1, 2), atol=1e-5)
    eigenvalues = np.linalg.eigvalsh(np.asarray(jacobian, float))
    assert eigenvalues.min() > -1e-5 and eigenvalues.max() < 1 + 1e-5
    assert cone.dual().polar().project(x).shape == x.shape
    if x.dtype == jnp.float64:
        for e, column in zip(np.eye(3), np.moveaxis(jacobian, -1, 0), strict=True):
            ends = [cone.project(x + h * e[None]) for h in (1e-6, -1e-6)]
            numeric = (np.asarray(ends[0]) - np.asarray(ends[1])) / 2e-6
            # The first are random: no kink is near.
            np.testing.assert_allclose(column[:200], numeric[:200], atol=1e-6)


@pytest.mark.one_precision
def test_alpha_has_the_derivative_of_finite_differences():
    with jax.enable_x64(True):
        x = jnp.asarray(2 * np.random.default_rng(3).normal(size=(50, 3)))
        alpha = jnp.linspace(0.1, 0.9, 50)
        run = jax.jit(
            lambda a: jax.jvp(
                lambda a: proj.PowerCone(a).project(x), (a,), (jnp.ones_like(a),)
            )
        )
        _, got = run(alpha)
        ends = [np.asarray(run(alpha + h)[0]) for h in (1e-6, -1e-6)]
        np.testing.assert_allclose(got, (ends[0] - ends[1]) / 2e-6, atol=1e-6)


@every_cone
@pytest.mark.one_precision
def test_nearest_point_is_the_one_of_cvxpy(name):
    build, constraints = CONES[name]
    points = 2 * np.random.default_rng(0).normal(size=(8, 3))
    with jax.enable_x64(True):
        got = np.asarray(jax.jit(lambda x: build().project(x))(points))
    for x, y in zip(points, got, strict=True):
        v = cp.Variable(3)
        problem = cp.Problem(cp.Minimize(cp.sum_squares(v - x)), constraints(v))
        problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-9, tol_gap_rel=1e-9)
        np.testing.assert_allclose(y, np.asarray(v.value), atol=2e-5)


@pytest.mark.parametrize("name", ["exponential", "power"])
@pytest.mark.one_precision
def test_three_entries_against_extended_precision(name):
    points = cone_oracles.triples(10_000)
    # The cone is built where float64 is: a float32 alpha is another cone.
    with jax.enable_x64(True):
        if name == "exponential":
            cone, expected = proj.ExponentialCone(), cone_oracles.exponential(points)
        else:
            # Every kind of point meets every alpha.
            alpha = np.resize([0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95], 13_000)
            near = cone_oracles.near_power(alpha[10_000:])
            points = np.concatenate([points, near])
            cone, expected = proj.PowerCone(alpha), cone_oracles.power(alpha, points)
        got = np.asarray(eqx.filter_jit(cone.project)(jnp.asarray(points)))
    size = np.maximum(np.abs(points).max(-1), 1e-300)
    assert np.isfinite(got).all()
    error = np.linalg.norm((got - expected).astype(float), axis=-1) / size
    assert error.max() <= 1e-10


@pytest.mark.slow
@every_cone
@pytest.mark.one_precision
def test_second_derivatives_are_those_of_finite_differences(name):
    build, _ = CONES[name]
    with jax.enable_x64(True):
        x = jnp.array([0.3, 0.7, -1.1]) if name != "exponential" else jnp.ones(3)
        if name == "power":
            run = lambda x, alpha: proj.PowerCone(alpha).project(x)
            check_derivatives(run, x, jnp.array(0.3))
        else:
            check_derivatives(build().project, x)


@every_cone
@pytest.mark.one_precision
def test_nan_and_dtype(name):
    cone = CONES[name][0]()
    x = jnp.array([[1.0, jnp.nan, 2.0], [-1.0, -2.0, jnp.nan]])
    assert bool(jnp.all(jnp.any(jnp.isnan(cone.project(x)), -1)))
    assert cone.project(jnp.ones((2, 3), jnp.bfloat16)).dtype == jnp.bfloat16
    with pytest.raises(TypeError, match="`x` must have a real"):
        cone.project(jnp.arange(3))


def test_bad_input_is_a_named_error():
    for alpha in (0.0, 1.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="`alpha` must be strictly between"):
            proj.PowerCone(alpha)
    with pytest.raises(RuntimeError, match="`alpha` must be strictly between"):
        jax.block_until_ready(
            eqx.filter_jit(lambda a: proj.PowerCone(a).alpha)(jnp.array(2.0))
        )
    for cone in (proj.ExponentialCone(), proj.PowerCone(0.5)):
        with pytest.raises(ValueError, match=r"length 3 .* \(4,\)"):
            cone.project(jnp.ones(4))
    with pytest.raises(ValueError, match=r"square matrices .* \(2, 3\)"):
        proj.PSDCone().project(jnp.ones((2, 3)))


def test_zero_and_free():
    x = jnp.array([1.0, -2.0])
    np.testing.assert_array_equal(proj.ZeroCone().project(x), 0)
    np.testing.assert_array_equal(proj.ZeroCone().dual().project(x), x)
    np.testing.assert_array_equal(proj.FreeCone().polar().project(x), 0)
