"""The simplex: scales, offsets, ties, sizes, and its derivative rule."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fixproj import projections as proj


def by_sorting(x, radius):
    """The textbook algorithm in float64 (Held, Wolfe, Crowder, 1974)."""
    x = np.asarray(x, np.float64)
    x = x - x.max()
    descending = np.sort(x)[::-1]
    thresholds = (np.cumsum(descending) - radius) / np.arange(1, x.size + 1)
    last = np.nonzero(descending > thresholds)[0][-1]
    return np.maximum(x - thresholds[last], 0)


def _ulps(value, expected, dtype):
    return abs(value - expected) / (expected * float(jnp.finfo(dtype).eps))


project = eqx.filter_jit(lambda simplex, x: simplex.project(x))


def _hard_points(n, rng):
    normal = rng.normal(size=n)
    step = np.full(n, -0.5)
    step[0] = 0.0
    return {
        "normal": normal,
        "narrow": normal * 1e-6,
        "wide": normal * 1e30,
        "tiny": normal * 1e-30,
        "offset": 1e6 + normal,
        "negative_offset": -1e6 + normal,
        "all_equal": np.full(n, 3.0),
        "zero": np.zeros(n),
        "ties": np.round(normal),
        "one_large": np.where(np.arange(n) == n // 2, 1e20, normal),
        "one_above_a_plateau": step,
    }


@pytest.mark.parametrize("n", [1, 2, 7, 1000, 100_000, 1_000_000])
@pytest.mark.slow_in_x64
def test_float32_matches_sorting_and_sums_to_the_radius(n):
    rng = np.random.default_rng(n)
    for name, x in _hard_points(n, rng).items():
        x = jnp.asarray(x, jnp.float32)
        for radius in (1.0, 1e-3, 250.0):
            y = np.asarray(project(proj.Simplex(radius), x), np.float64)
            assert y.min() >= 0, name
            assert _ulps(y.sum(), np.float32(radius), jnp.float32) <= 6, name
            expected = by_sorting(x, np.float64(np.float32(radius)))
            np.testing.assert_allclose(y, expected, atol=3e-7 * radius, err_msg=name)


def test_offset_of_1e6_with_1e6_entries_in_float32():
    """Here jaxopt's sorted cumulative sum loses everything: its result sums to 2.70."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(1e6 + rng.normal(size=1_000_000), jnp.float32)
    y = np.asarray(project(proj.Simplex(), x), np.float64)
    assert _ulps(y.sum(), 1.0, jnp.float32) <= 4


@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1e10, 1e30])
def test_point_and_radius_of_any_scale(scale):
    x = np.array([0.2, 0.9, -0.4, 0.7])
    y = project(proj.Simplex(scale), jnp.asarray(x * scale, jnp.float32))
    np.testing.assert_allclose(
        np.asarray(y, float) / scale, by_sorting(x, 1), rtol=1e-5
    )


@pytest.mark.parametrize("radius", [1e-30, 1e30])
def test_radius_far_from_the_scale_of_the_point(radius):
    x = jnp.array([0.25, 0.75, -0.5], jnp.float32)
    y = np.asarray(project(proj.Simplex(radius), x), float) / radius
    expected = np.array([0, 1, 0]) if radius < 1 else np.full(3, 1 / 3)
    np.testing.assert_allclose(y, expected, rtol=1e-6)


@pytest.mark.slow_in_x64
def test_radius_zero_gives_zeros():
    x = jnp.array([1.0, 3.0, 3.0])
    np.testing.assert_array_equal(proj.Simplex(0.0).project(x), jnp.zeros(3))
    np.testing.assert_array_equal(jax.jacfwd(proj.Simplex(0.0).project)(x), 0)
    # From the right: the largest entries share the growth.
    slope = jax.jacfwd(lambda radius: proj.Simplex(radius).project(x))(0.0)
    np.testing.assert_allclose(slope, [0, 0.5, 0.5])


def test_one_radius_per_point():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(5, 2, 40))
    for shape in [(), (2,), (5, 1), (5, 2)]:
        radius = rng.uniform(0.1, 3, size=shape)
        y = proj.Simplex(radius).project(jnp.asarray(x))
        each = np.broadcast_to(radius, (5, 2))
        expected = [
            [by_sorting(x[i, j], each[i, j]) for j in range(2)] for i in range(5)
        ]
        np.testing.assert_allclose(y, expected, atol=1e-6)


@pytest.mark.slow_in_x64
def test_a_slice_with_nan_does_not_disturb_the_others():
    x = jnp.asarray(np.random.default_rng(2).normal(size=(3, 50)))
    y = proj.Simplex().project(x.at[1, 4].set(jnp.nan))
    assert bool(jnp.all(jnp.isnan(y[1])))
    np.testing.assert_array_equal(y[::2], proj.Simplex().project(x[::2]))
    gradient = jax.grad(lambda x: jnp.sum(proj.Simplex().project(x)[:, 0]))(
        x.at[1, 4].set(jnp.nan)
    )
    assert bool(jnp.all(jnp.isnan(gradient[1])))
    assert bool(jnp.all(jnp.isfinite(gradient[::2])))


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_entries(value):
    x = jnp.array([0.5, 0.25, 0.0]).at[2].set(value)
    y = proj.Simplex().project(x)
    if value > 0:
        assert bool(jnp.all(jnp.isnan(y)))
    else:
        np.testing.assert_allclose(y, [0.625, 0.375, 0])


@pytest.mark.slow_in_x64
def test_derivative_is_that_of_the_face():
    x = jnp.array([0.3, -0.7, 0.9, 0.5, -1.2, 0.6])
    simplex = proj.Simplex(0.8)
    face = np.asarray(simplex.project(x)) > 0
    assert 1 < face.sum() < 6
    expected = np.diag(face * 1.0) - np.outer(face, face) / face.sum()
    for jacobian in (jax.jacfwd, jax.jacrev):
        np.testing.assert_allclose(
            jax.jit(jacobian(simplex.project))(x), expected, atol=1e-6
        )
    slope = jax.jacrev(lambda r: proj.Simplex(r).project(x))(0.8)
    np.testing.assert_allclose(slope, face / face.sum(), atol=1e-6)

    def loss(x, radius):
        return jnp.sum(jnp.sin(proj.Simplex(radius).project(x)))

    hessian = jax.jit(jax.hessian(loss))(x, 0.8)
    curvature = np.diag(-np.sin(np.asarray(simplex.project(x))))
    np.testing.assert_allclose(hessian, expected @ curvature @ expected, atol=1e-6)
    batch = jnp.stack([x, -x])
    each = jnp.stack([jax.jit(jax.hessian(loss))(v, 0.8) for v in batch])
    together = jax.jit(jax.vmap(jax.hessian(loss), (0, None)))(batch, 0.8)
    np.testing.assert_allclose(together, each, atol=1e-6)
    _, tangent = jax.jvp(jax.vmap(simplex.project), (batch,), (batch,))
    np.testing.assert_allclose(tangent[0], expected @ np.asarray(x), atol=1e-6)
