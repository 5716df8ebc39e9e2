"""cvxpy problems as functions, against cvxpy itself."""

from typing import Any

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


def _every_cone():
    """A problem with every cone and every declaration; parameters, their values."""
    x, y, S = cp.Variable(3), cp.Variable(2, nonneg=True), cp.Variable((3, 3), PSD=True)
    D, z = cp.Variable((2, 2), diag=True), cp.Variable()
    t, g = cp.Parameter(3), cp.Parameter(pos=True)
    C = cp.Parameter((3, 3), symmetric=True)
    cost = cp.norm2(x - t) + g * cp.sum(cp.exp(x)) + cp.sum_squares(S - C)
    cost = cost + cp.lambda_max(S) + cp.sum_squares(D - np.ones((2, 2))) + g * z**2 - z
    cost = cost + cp.sum_squares(y)
    constraints = [cp.diag(S) == 1, cp.trace(D) <= 1, cp.PowCone3D(y[0], y[1], z, 0.3)]
    problem = cp.Problem(cp.Minimize(cost), constraints)
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((3, 3))
    values = rng.standard_normal(3), np.array(0.4), matrix + matrix.T
    return problem, [t, g, C], [x, y, S, D, z], values


@pytest.mark.one_precision
@pytest.mark.slow
def test_every_cone_and_declaration_against_clarabel():
    with jax.enable_x64(True):
        problem, parameters, variables, values = _every_cone()
        solve = jax.jit(jax.vmap(fp.from_cvxpy(problem, parameters, variables)))
        scales = np.array([1.0, 1.3])
        lanes = [jnp.asarray(np.stack([s * v for s in scales])) for v in values]
        found = solve(*lanes)
        settings = {f"tol_{k}": 1e-9 for k in ("gap_abs", "gap_rel", "feas")}
        for i, scale in enumerate(scales):
            for parameter, value in zip(parameters, values, strict=True):
                parameter.value = scale * value
            problem.solve(solver=cp.CLARABEL, **settings)
            for got, variable in zip(found, variables, strict=True):
                value: Any = variable.value
                value = value.toarray() if hasattr(value, "toarray") else value
                np.testing.assert_allclose(got[i], value, atol=1e-5)
        loss = lambda *v: sum(jnp.sum(jnp.sin(out)) for out in solve(*v))
        gradients = jax.grad(loss, argnums=(0, 1, 2))(*lanes)
        for k, gradient in enumerate(gradients):
            direction = jnp.cos(jnp.arange(float(lanes[k].size)))
            direction = direction.reshape(lanes[k].shape)
            if k == 2:
                direction = direction + jnp.swapaxes(direction, 1, 2)
            ends = []
            for step in (1e-5, -1e-5):
                moved = list(lanes)
                moved[k] = lanes[k] + step * direction
                ends.append(loss(*moved))
            expected = (ends[0] - ends[1]) / 2e-5
            np.testing.assert_allclose(
                jnp.sum(gradient * direction), expected, rtol=1e-4, atol=1e-6
            )


@pytest.mark.one_precision
def test_the_program_is_that_of_cvxpy():
    with jax.enable_x64(True):
        problem, parameters, variables, values = _every_cone()
        kept = []

        def solve(program):
            kept.append(program)
            return fp.Solution(
                jnp.zeros(program.q.size), fp.RESULTS.successful, {}, None
            )

        fp.from_cvxpy(problem, parameters, variables, solve)(*map(jnp.asarray, values))
        for parameter, value in zip(parameters, values, strict=True):
            parameter.value = value
        data: Any = problem.get_problem_data(cp.SCS, solver_opts={})[0]
        program, dims = kept[0], data["dims"]
        np.testing.assert_allclose(program.q, data["c"], atol=1e-12)
        np.testing.assert_allclose(program.P.todense(), data["P"].toarray(), atol=1e-12)
        start = dims.zero + dims.nonneg + sum(dims.soc)
        rows = np.column_stack([program.A.todense(), program.b])
        expected = np.column_stack([data["A"].toarray(), data["b"]])
        np.testing.assert_allclose(rows[:start], expected[:start], atol=1e-12)
        whole = sum(k * k for k in dims.psd)
        triangle = sum(k * (k + 1) // 2 for k in dims.psd)
        after = rows[start + whole :], expected[start + triangle :]
        np.testing.assert_allclose(*after, atol=1e-12)
        # Scaled triangles have the inner products of whole matrices.
        matrices, triangles = rows[start:][:whole], expected[start:][:triangle]
        np.testing.assert_allclose(
            matrices.T @ matrices, triangles.T @ triangles, atol=1e-12
        )


def test_what_is_no_parametrised_convex_problem_is_an_error():
    x, t = cp.Variable(2), cp.Parameter(2)
    products = cp.Problem(cp.Minimize(cp.norm2(x)), [t @ cp.multiply(t, x) >= 1])
    with pytest.raises(ValueError, match="does not follow those for parameters"):
        fp.from_cvxpy(products, [t], [x])
    whole = cp.Variable(2, integer=True)
    integers = cp.Problem(cp.Minimize(cp.sum_squares(whole - t)))
    with pytest.raises(ValueError, match="has integer or boolean variables"):
        fp.from_cvxpy(integers, [t], [whole])
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - t)))
    with pytest.raises(ValueError, match="`parameters` must be all of"):
        fp.from_cvxpy(problem, [], [x])
    with pytest.raises(ValueError, match="is not in the problem"):
        fp.from_cvxpy(problem, [t], [cp.Variable(2)])
