"""What every set must satisfy, run over a list of sets."""

from typing import ClassVar

import cvxpy as cp
import equinox as eqx
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.extra.numpy import arrays
from set_cases import every_case, every_case_quickly

from fixproj import projections as proj


few = settings(
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
points = arrays(
    np.float32,
    4,
    elements=st.floats(-100, 100, width=32, allow_subnormal=False),
)


@eqx.filter_jit
def project(convex_set, x):
    return convex_set.project(x)


def _floating():
    return jnp.zeros(()).dtype


def _tolerance(*arrays):
    size = 1 + max(float(np.linalg.norm(np.asarray(a, float))) for a in arrays)
    return 30 * float(jnp.finfo(_floating()).eps) * size


def _norm(x):
    return float(np.linalg.norm(np.asarray(x, float)))


@every_case
@given(x=points)
@few
@pytest.mark.slow_in_x64
def test_result_is_in_the_set_and_idempotent(case, x):
    convex_set = case.set()
    x = jnp.asarray(x, _floating())
    y = project(convex_set, x)
    assert bool(convex_set.contains(y, tol=_tolerance(x)))
    assert _norm(project(convex_set, y) - y) <= _tolerance(x)


@every_case
@given(x=points, z=points)
@few
def test_nonexpansive_and_variational_inequality(case, x, z):
    convex_set = case.set()
    x, z = jnp.asarray(x, _floating()), jnp.asarray(z, _floating())
    y, q = project(convex_set, x), project(convex_set, z)
    tol = _tolerance(x, z)
    assert _norm(y - q) <= _norm(x - z) + tol
    # y is the nearest point exactly if no point of the set is on x's side of it.
    inner = np.vdot(np.asarray(x - y, float), np.asarray(q - y, float))
    assert inner <= tol * (1 + _norm(x) + _norm(z))


@every_case_quickly
@pytest.mark.one_precision
def test_nearest_point_is_the_one_of_cvxpy(case):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        convex_set = case.set()
        together = eqx.filter_jit(eqx.filter_vmap(project, in_axes=(None, 0)))
        outside = rng.normal(size=(6, 4)) * np.array([[0.5], [1], [1], [3], [3], [30]])
        # Beyond the boundary, where the set has an inside.
        nearest = np.asarray(together(convex_set, outside))
        inside = nearest + 0.2 * (nearest - outside)
        points = np.concatenate([outside, inside])
        got = np.concatenate([nearest, together(convex_set, inside)])
        for x, point in zip(points, got, strict=True):
            y = cp.Variable(4)
            constraints = case.constraints(y, **case.parameters)
            problem = cp.Problem(cp.Minimize(cp.sum_squares(y - x)), constraints)
            problem.solve(
                solver=cp.CLARABEL,
                tol_gap_abs=1e-9,
                tol_gap_rel=1e-9,
                tol_feas=1e-9,
            )
            assert y.value is not None
            tol = case.oracle_tolerance * (1 + _norm(x))
            np.testing.assert_allclose(point, y.value, atol=tol)
            np.testing.assert_allclose(
                _norm(point - x), _norm(y.value - x), atol=1e-6 * (1 + _norm(x))
            )


@every_case
def test_dtype_is_kept(case):
    x = np.linspace(-2, 3, 4)
    reference = case.set().project(jnp.asarray(x))
    dtypes = [jnp.float32, jnp.bfloat16, jnp.float16]
    if jax.config.read("jax_enable_x64"):
        dtypes.append(jnp.float64)
    for dtype in dtypes:
        y = case.set().project(jnp.asarray(x, dtype))
        assert y.dtype == dtype
        tol = 8 * float(jnp.finfo(dtype).eps) + 1e-6
        np.testing.assert_allclose(np.asarray(y, float), reference, atol=tol * 3)
        assert case.set().distance(jnp.asarray(x, dtype)).dtype == dtype
        assert bool(case.set().contains(y))


@every_case
def test_prox_and_contains(case):
    convex_set, x = case.set(), jnp.asarray([-2.0, 1.3, -0.3, 3.0])
    np.testing.assert_array_equal(convex_set.prox(x, 0.1), convex_set.project(x))
    distance = convex_set.distance(x)
    assert distance > 0.1
    assert not convex_set.contains(x)
    assert convex_set.contains(x, tol=distance * 1.01)
    assert not convex_set.contains(x, tol=distance * 0.99)
    assert not convex_set.contains(x.at[1].set(jnp.nan))


@every_case
@pytest.mark.slow_in_x64
def test_batch_axes_jit_and_vmap_agree_with_one_point(case, getkey):
    x = 2 * jax.random.normal(getkey(), (3, 2, 4))
    convex_set = case.set()
    expected = np.stack([[project(convex_set, v) for v in row] for row in x])
    one_by_one = eqx.filter_vmap(
        eqx.filter_vmap(project, in_axes=(None, 0)), in_axes=(None, 0)
    )(convex_set, x)
    tol = {"atol": _tolerance(x), "rtol": 0}
    np.testing.assert_allclose(one_by_one, expected, **tol)
    if case.is_elementwise:
        return
    np.testing.assert_allclose(project(convex_set, x), expected, **tol)
    distance = np.linalg.norm(np.asarray(x) - expected, axis=-1)
    np.testing.assert_allclose(convex_set.distance(x), distance, **tol)
    assert convex_set.contains(x).shape == (3, 2)
    for axis in (0, 1, -2):
        moved = jnp.moveaxis(x, -1, axis)
        along = case.build(**case.parameters, axis=axis)
        y = jnp.moveaxis(project(along, moved), axis, -1)
        np.testing.assert_allclose(y, expected, **tol)
        np.testing.assert_allclose(
            eqx.filter_jit(along.distance)(moved), distance, **tol
        )


@every_case
@pytest.mark.slow_in_x64
def test_vmap_over_construction(case, getkey):
    if not case.parameters:
        pytest.skip("it has no parameters")
    x = 2 * jax.random.normal(getkey(), (4,))
    names = list(case.parameters)
    scales = jnp.array([1.0, 1.25, 2.0])
    stacked = [
        jnp.stack([jnp.asarray(p) * s for s in scales])
        for p in case.parameters.values()
    ]

    def run(*parameters):
        return case.build(**dict(zip(names, parameters, strict=True))).project(x)

    each = eqx.filter_jit(run)
    expected = jnp.stack([each(*(p[i] for p in stacked)) for i in range(3)])
    for function in (jax.vmap(run), eqx.filter_jit(jax.vmap(run))):
        np.testing.assert_allclose(function(*stacked), expected, atol=_tolerance(x))


@every_case
@pytest.mark.parametrize("position", range(4))
def test_nan_stays_visible(case, position):
    x = jnp.arange(4.0).at[position].set(jnp.nan)
    y = project(case.set(), x)
    assert bool(jnp.isnan(y[position]))
    assert bool(jnp.isnan(case.set().distance(x)))


@every_case_quickly
@pytest.mark.slow_in_x64
def test_integer_and_complex_points_are_errors(case):
    for x in (jnp.arange(4), jnp.arange(4) > 2, jnp.ones(4, jnp.complex64)):
        with pytest.raises(TypeError, match=f"`x` must have a real .* has {x.dtype}"):
            case.set().project(x)


def test_halfspace_without_a_normal_is_the_whole_space():
    x = jnp.array([1.0, -2.0])
    for b in (0.0, 1.0):
        y, vjp = jax.vjp(lambda a, b: proj.Halfspace(a, b).project(x), jnp.zeros(2), b)
        np.testing.assert_array_equal(y, x)
        assert all(bool(jnp.all(jnp.isfinite(g))) for g in vjp(jnp.ones(2)))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_halfspace_of_any_scale(scale):
    a = jnp.array([3.0, 4.0], jnp.float32)
    halfspace = proj.Halfspace(a * scale, 5.0 * scale)
    y = halfspace.project(jnp.array([6.0, 8.0], jnp.float32))
    np.testing.assert_allclose(y, [0.6, 0.8], rtol=1e-5)


@pytest.mark.slow_in_x64
def test_distance_of_a_pytree_point():
    class Graph(proj.AbstractSet):
        axis: ClassVar[None] = None

        def project(self, x):
            return jax.tree.map(jnp.zeros_like, x)

    x = (jnp.array([3.0]), {"a": jnp.array([[0.0], [4.0]])}, jnp.zeros((0,)))
    assert Graph().distance(x).shape == ()
    np.testing.assert_allclose(Graph().distance(x), 5.0, rtol=1e-6)
    assert not Graph().contains(x)
    gradient = jax.grad(Graph().distance)(jax.tree.map(jnp.zeros_like, x))
    assert all(bool(jnp.all(g == 0)) for g in jax.tree.leaves(gradient))
