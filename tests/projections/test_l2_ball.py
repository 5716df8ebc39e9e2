"""The Euclidean ball: finite derivatives at its centre, and extreme scales."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fixproj import projections as proj


@pytest.mark.parametrize("center", [None, 0.0, 2.0, np.array([1.0, 2.0])])
@pytest.mark.slow_in_x64
def test_gradient_at_the_center_is_finite(center):
    """Here the one of jaxopt and optax is NaN."""
    x = jnp.zeros(2) + (
        0.0 if center is None else jnp.asarray(center, jnp.zeros(2).dtype)
    )
    ball = proj.L2Ball(1.0, center)
    np.testing.assert_array_equal(jax.jacrev(ball.project)(x), np.eye(2))
    np.testing.assert_array_equal(jax.jacfwd(ball.project)(x), np.eye(2))
    assert bool(
        jnp.all(jnp.isfinite(jax.jit(jax.hessian(lambda x: ball.project(x)[0]))(x)))
    )


def test_radius_zero_is_a_point():
    center = jnp.array([1.0, 2.0])
    for x in (center, center + 1):
        y = proj.L2Ball(0.0, center).project(x)
        np.testing.assert_allclose(y, center, rtol=1e-6)
        jacobian = jax.jacfwd(proj.L2Ball(0.0, center).project)(x)
        np.testing.assert_array_equal(jacobian, 0)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1.0, 1e20, 1e30, 1e38])
@pytest.mark.slow_in_x64
def test_norms_neither_overflow_nor_underflow(scale):
    x = jnp.asarray(np.array([0.6, -0.8, 0.0]) * scale * 3, jnp.float32)
    ball = proj.L2Ball(scale)
    y = np.asarray(ball.project(x), float) / scale
    np.testing.assert_allclose(y, [0.6, -0.8, 0], rtol=1e-6)
    np.testing.assert_allclose(float(ball.distance(x)) / scale, 2, rtol=1e-6)
    assert bool(ball.contains(x / 4)) and not bool(ball.contains(x, tol=scale))
    assert bool(jnp.all(jnp.isfinite(jax.jacrev(ball.project)(x))))
    assert bool(jnp.all(jnp.isfinite(jax.grad(ball.distance)(x))))


def test_norm_larger_than_the_largest_number():
    x = jnp.full(4, 3e38, jnp.float32)
    np.testing.assert_allclose(proj.L2Ball(2.0).project(x), np.ones(4), rtol=1e-6)


def test_one_radius_per_point():
    x = jnp.ones((3, 4))
    y = proj.L2Ball(jnp.array([0.0, 1.0, 9.0])).project(x)
    np.testing.assert_allclose(jnp.linalg.norm(y, axis=-1), [0, 1, 2], rtol=1e-6)


def test_points_inside_are_untouched():
    x = jnp.array([0.1, 0.2, 0.3])
    np.testing.assert_array_equal(proj.L2Ball(1.0, 0.7).project(x), x)
