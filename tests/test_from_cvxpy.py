"""cvxpy problems as functions, against cvxpy itself."""

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fixproj as fp


@pytest.mark.one_precision
@pytest.mark.slow
def test_values_and_gradients_against_cvxpy():
    with jax.enable_x64(True):
        x, z = cp.Variable((2, 2)), cp.Variable()
        t, g = cp.Parameter((2, 2)), cp.Parameter(nonneg=True)
        cost = cp.sum_squares(x - t) + g * cp.norm1(x) + (z - 1) ** 2
        problem = cp.Problem(cp.Minimize(cost), [x >= -1, cp.sum(x) + z == 1])
        solve = jax.jit(jax.vmap(fp.from_cvxpy(problem, [t, g], [x, z])))
        rng = np.random.default_rng(0)
        points, weights = rng.standard_normal((3, 2, 2)), np.array([0.1, 0.5, 2.0])
        found_x, found_z = solve(jnp.asarray(points), jnp.asarray(weights))
        for i in range(3):
            t.value, g.value = points[i], weights[i]
            settings = {f"tol_{k}": 1e-10 for k in ("gap_abs", "gap_rel", "feas")}
            problem.solve(solver=cp.CLARABEL, **settings)
            assert x.value is not None and z.value is not None
            np.testing.assert_allclose(found_x[i], x.value, atol=1e-6)
            np.testing.assert_allclose(found_z[i], z.value, atol=1e-6)
        loss = lambda t: jnp.sum(jnp.sin(solve(t, jnp.asarray(weights))[0]))
        direction = rng.standard_normal(points.shape)
        found = jnp.sum(jax.grad(loss)(jnp.asarray(points)) * direction)
        ends = [loss(jnp.asarray(points + s * direction)) for s in (1e-6, -1e-6)]
        np.testing.assert_allclose(found, (ends[0] - ends[1]) / 2e-6, rtol=1e-5)


def test_what_is_no_parametrised_quadratic_program_is_an_error():
    x, t = cp.Variable(2), cp.Parameter(2)
    norm = cp.Problem(cp.Minimize(cp.norm2(x - t)), [x >= 0])
    with pytest.raises(ValueError, match="is no quadratic program"):
        fp.from_cvxpy(norm, [t], [x])
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - t)))
    with pytest.raises(ValueError, match="`parameters` must be all of"):
        fp.from_cvxpy(problem, [], [x])
    with pytest.raises(ValueError, match="is not in the problem"):
        fp.from_cvxpy(problem, [t], [cp.Variable(2)])
