"""Sets made of sets, against cvxpy and the formulas of their parts."""

import cvxpy as cp
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivatives import check_derivatives

from fixproj import projections as proj


pytestmark = pytest.mark.slow_in_x64


def test_product_stacked_and_consensus():
    both = proj.Product((proj.Simplex(), {"b": proj.Box(0.0, 1.0)}))
    a, b = both.project((jnp.array([1.0, 1.0]), {"b": jnp.array([2.0])}))
    np.testing.assert_allclose(a, [0.5, 0.5])
    np.testing.assert_allclose(b["b"], [1.0])
    x = jnp.arange(6.0).reshape(2, 3)
    balls = [proj.L2Ball(1.0), proj.L2Ball(2.0)]
    expected = jnp.stack([s.project(v) for s, v in zip(balls, x, strict=True)])
    np.testing.assert_allclose(proj.Stacked(balls).project(x), expected, rtol=1e-6)
    built = eqx.filter_vmap(proj.L2Ball)(jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(proj.Stacked(built).project(x), expected, rtol=1e-6)
    mean = proj.Consensus(weights=jnp.array([1.0, 3.0])).project(x)
    np.testing.assert_allclose(mean, [[2.25, 3.25, 4.25]] * 2)
    with pytest.raises(ValueError, match="`sets` must be of one class"):
        proj.Stacked([proj.L2Ball(1.0), proj.Simplex()])
    with pytest.raises(ValueError, match="`weights` must be positive"):
        proj.Consensus(weights=-jnp.ones(2))


def test_images_and_preimage():
    simplex, x = proj.Simplex(), jnp.array([0.3, -1.0, 2.0])
    offset = jnp.array([1.0, 0.0, -2.0])
    np.testing.assert_allclose(
        proj.Translated(simplex, offset).project(x),
        offset + simplex.project(x - offset),
    )
    np.testing.assert_allclose(
        proj.Scaled(simplex, 3.0).project(x), proj.Simplex(3.0).project(x), atol=1e-6
    )
    rows = np.array([[1.0, 1.0, 0.0], [1.0, -1.0, 0.0]])
    y = proj.LinearPreimage(proj.Box(0.0, 1.0), rows).project(x)
    v = cp.Variable(3)
    image = rows @ v
    cp.Problem(cp.Minimize(cp.sum_squares(v - x)), [image >= 0, image <= 1]).solve()
    np.testing.assert_allclose(y, np.asarray(v.value), atol=1e-4)
    with pytest.raises(ValueError, match="multiple of the identity"):
        proj.LinearPreimage(simplex, np.array([[1.0, 2.0], [0.0, 1.0]]))
    with pytest.raises(ValueError, match="`factor` must be finite and not zero"):
        proj.Scaled(simplex, 0.0)


@pytest.mark.one_precision
def test_intersection_is_the_nearest_point():
    a = np.array([1.0, -2.0, 0.5])
    with jax.enable_x64(True):

        def run(x, b, radius):
            return proj.Intersection(
                proj.Halfspace(jnp.asarray(a), b), proj.L2Ball(radius)
            ).project(x)

        x, b, radius = jnp.array([2.0, -1.0, 1.0]), jnp.array(-0.5), jnp.array(1.2)
        got = jax.jit(run)(x, b, radius)
        v = cp.Variable(3)
        cp.Problem(
            cp.Minimize(cp.sum_squares(v - x)), [a @ v <= -0.5, cp.norm(v) <= 1.2]
        ).solve(solver=cp.CLARABEL)
        np.testing.assert_allclose(got, np.asarray(v.value), atol=1e-5)


@pytest.mark.slow
@pytest.mark.one_precision
def test_intersection_has_every_derivative():
    with jax.enable_x64(True):
        a = jnp.array([1.0, -2.0, 0.5])

        def run(x, b, radius):
            return proj.Intersection(proj.Halfspace(a, b), proj.L2Ball(radius)).project(
                x
            )

        x, b, radius = jnp.array([2.0, -1.0, 1.0]), jnp.array(-0.5), jnp.array(1.2)
        # The iteration ends about 1e-12 from the answer.
        check_derivatives(run, x, b, radius, noise=3e-6)
