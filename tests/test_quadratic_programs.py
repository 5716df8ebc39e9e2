"""Quadratic programs against OSQP's form solved by Clarabel, and exact derivatives."""

from typing import Any

import clarabel as _clarabel_module
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
import scipy.sparse as sp
from jax.experimental import sparse as jsparse

import fixproj as fp


clarabel: Any = _clarabel_module
N, EQUATIONS, ROWS = 8, 2, 12
LANES = 6


def _random(seed, dtype):
    """A program with equations, two-sided, one-sided and single-entry rows."""
    rng = np.random.default_rng(seed)
    L = rng.standard_normal((N, N - 2))
    P = L @ L.T
    q = 3 * rng.standard_normal(N)
    A = np.concatenate([rng.standard_normal((ROWS - N, N)), np.eye(N)])
    middle = A @ rng.uniform(-0.2, 0.2, N)
    lower = middle - rng.uniform(0.05, 1.0, ROWS)
    upper = middle + rng.uniform(0.05, 1.0, ROWS)
    lower[:EQUATIONS] = upper[:EQUATIONS] = middle[:EQUATIONS]
    lower[3], upper[5] = -np.inf, np.inf
    return [np.asarray(v, dtype) for v in (P, q, A, lower, upper)]


def _clarabel(P, q, A, lower, upper):
    """The solution and the multipliers of the rows, by an independent solver."""
    P, q, A, lower, upper = (np.asarray(v, np.float64) for v in (P, q, A, lower, upper))
    equal = lower == upper
    up, low = np.isfinite(upper) & ~equal, np.isfinite(lower) & ~equal
    stacked = np.concatenate([A[equal], A[up], -A[low]])
    b = np.concatenate([upper[equal], upper[up], -lower[low]])
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-12
    cones = [
        clarabel.ZeroConeT(int(equal.sum())),
        clarabel.NonnegativeConeT(int(up.sum() + low.sum())),
    ]
    found = clarabel.DefaultSolver(
        sp.csc_matrix(np.triu(P)), q, sp.csc_matrix(stacked), b, cones, settings
    ).solve()
    z, y = np.asarray(found.z), np.zeros(len(lower))
    k = int(equal.sum())
    y[equal] = z[:k]
    y[up] += z[k : k + up.sum()]
    y[low] -= z[k + up.sum() :]
    return np.asarray(found.x), y


@jax.jit
@jax.vmap
def _solve_lanes(P, q, A, lower, upper):
    solution = fp.solve(fp.QuadraticProgram(P, q, A, lower, upper), throw=False)
    return solution.value, solution.stats["dual"], solution.result


def test_random_programs_against_clarabel():
    dtype = np.dtype(jnp.result_type(float))
    programs = [_random(seed, dtype) for seed in range(LANES)]
    x, y, result = _solve_lanes(
        *map(jnp.asarray, map(np.stack, zip(*programs, strict=True)))
    )
    assert bool(jnp.all(result == fp.RESULTS.successful))
    tol = 1e-7 if dtype == np.float64 else 2e-3
    for i, program in enumerate(programs):
        expected_x, expected_y = _clarabel(*program)
        np.testing.assert_allclose(x[i], expected_x, atol=tol)
        np.testing.assert_allclose(y[i], expected_y, atol=10 * tol)
    # With known matrices single-entry rows are bounds, which is another program.
    alone = fp.solve(fp.QuadraticProgram(*map(jnp.asarray, programs[0])))
    np.testing.assert_allclose(alone.value, x[0], atol=tol)
    np.testing.assert_allclose(alone.stats["dual"], y[0], atol=10 * tol)
    assert alone.value.dtype == dtype


def _exact_derivative(P, A, x, y, cotangent):
    """Cotangents of q, P, A, lower, upper from the dense system of the active rows."""
    active = np.abs(y) > 1e-9
    rows = A[active]
    k = len(rows)
    system = np.block([[P, rows.T], [rows, np.zeros((k, k))]])
    solved = np.linalg.solve(system, np.concatenate([cotangent, np.zeros(k)]))
    u, v = solved[: len(x)], np.zeros(len(y))
    v[active] = solved[len(x) :]
    dP = -(np.outer(u, x) + np.outer(x, u)) / 2
    dA = -np.outer(y, u) - np.outer(v, x)
    return -u, dP, dA, np.where(y < 0, v, 0), np.where(y > 0, v, 0)


@pytest.mark.one_precision
def test_gradients_are_exact():
    with jax.enable_x64(True):
        arguments = list(map(jnp.asarray, _random(1, np.float64)))
        weights = jnp.arange(1.0, N + 1)

        def loss(q, P, A, lower, upper):
            program = fp.QuadraticProgram(P, q, A, lower, upper)
            solution = fp.solve(program)
            return weights @ solution.value, solution.stats["dual"]

        order = [arguments[i] for i in (1, 0, 2, 3, 4)]
        every = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3, 4), has_aux=True))
        found, y = every(*order)
        x, _ = _clarabel(*arguments)
        P, _, A, *_ = map(np.asarray, arguments)
        expected = _exact_derivative(P, A, x, np.asarray(y), np.asarray(weights))
        for got, want in zip(found, expected, strict=True):
            np.testing.assert_allclose(got, want, atol=1e-9)


@pytest.mark.one_precision
@pytest.mark.slow
@pytest.mark.parametrize("adjoint", [fp.implicit.Implicit(), fp.implicit.TwoPhase()])
def test_other_adjoints_agree(adjoint):
    with jax.enable_x64(True):
        P, q, *rest = map(jnp.asarray, _random(2, np.float64))

        def loss(q, adjoint):
            program = fp.QuadraticProgram(P, q, *rest)
            return jnp.sum(jnp.sin(fp.solve(program, adjoint=adjoint).value))

        np.testing.assert_allclose(
            jax.grad(loss)(q, adjoint), jax.grad(loss)(q, None), atol=1e-10
        )


@pytest.mark.one_precision
@pytest.mark.slow
def test_second_order_against_differences():
    with jax.enable_x64(True):
        P, q, *rest = map(jnp.asarray, _random(3, np.float64))

        def loss(q):
            value = fp.solve(fp.QuadraticProgram(P, q, *rest)).value
            return jnp.sum(jnp.sin(value))

        gradient = jax.jit(jax.grad(loss))
        direction = jnp.cos(jnp.arange(float(N)))
        expected = gradient(q + 1e-6 * direction) - gradient(q - 1e-6 * direction)
        found = jax.hessian(loss)(q) @ direction
        np.testing.assert_allclose(found, expected / 2e-6, atol=1e-6)


@pytest.mark.one_precision
@pytest.mark.slow
def test_special_forms_against_closed_forms():
    q = jnp.array([1.0, -4.0, 0.5])
    P = jnp.diag(jnp.array([1.0, 2.0, 4.0]))
    free = fp.solve(fp.QuadraticProgram(P, q))
    np.testing.assert_allclose(free.value, [-1.0, 2.0, -0.125], rtol=1e-5)
    assert int(free.stats["num_steps"]) == 0
    box = fp.solve(fp.QuadraticProgram(P, q, None, -0.5, 0.5))
    np.testing.assert_allclose(box.value, [-0.5, 0.5, -0.125], rtol=1e-5)
    np.testing.assert_allclose(box.stats["dual"], [-0.5, 3.0, 0.0], atol=1e-4)
    A, b = jnp.ones((1, 3)), jnp.array([1.0])
    equation = fp.solve(fp.QuadraticProgram(P, q, A, b, b))
    assert int(equation.stats["num_steps"]) == 0
    system = np.block([[np.diag([1.0, 2, 4]), np.ones((3, 1))], [np.ones(3), 0.0]])
    expected = np.linalg.solve(system, [-1.0, 4.0, -0.5, 1.0])
    np.testing.assert_allclose(equation.value, expected[:3], rtol=1e-4)
    np.testing.assert_allclose(equation.stats["dual"], expected[3:], rtol=1e-4)


@pytest.mark.slow
def test_dependent_equations_have_a_solution():
    A, b = jnp.ones((2, 3)), jnp.array([1.0, 1.0])
    solution = fp.solve(fp.QuadraticProgram(jnp.eye(3), jnp.zeros(3), A, b, b))
    np.testing.assert_allclose(solution.value, np.full(3, 1 / 3), rtol=1e-3)


@pytest.mark.slow
def test_linear_program_warm_start_and_kinds_of_matrices():
    q = jnp.array([-1.0, -2.0])
    A = jnp.array([[1.0, 1.0], [1.0, 3.0], [1.0, 0.0], [0.0, 1.0]])
    lower, upper = jnp.array([-jnp.inf, -jnp.inf, 0, 0]), jnp.array([4.0, 6, 9, 9])
    cold = fp.solve(fp.QuadraticProgram(None, q, A, lower, upper))
    np.testing.assert_allclose(cold.value, [3.0, 1.0], rtol=1e-4)
    sparse = jsparse.BCOO.fromdense(A)
    warm = fp.solve(
        fp.QuadraticProgram(None, q * 1.1, sparse, lower, upper), state=cold.state
    )
    np.testing.assert_allclose(warm.value, [3.0, 1.0], rtol=1e-4)
    assert int(warm.stats["num_steps"]) == 0
    operator = lx.MatrixLinearOperator(A)
    other = fp.solve(fp.QuadraticProgram(None, q, operator, lower, upper))
    np.testing.assert_allclose(other.value, [3.0, 1.0], rtol=1e-4)


@pytest.mark.one_precision
def test_certificates():
    A = jnp.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    P = jnp.zeros((2, 2))

    @jax.jit
    def outcome(P, q, lower, upper):
        program = fp.QuadraticProgram(P, q, A, lower, upper)
        solution = fp.solve(program, throw=False)
        return solution.result, solution.stats["certificate"]

    inf = jnp.inf
    q = jnp.array([1.0, 1.0])
    lower, upper = jnp.array([3.0, 0, 0]), jnp.array([inf, 1.0, 1.0])
    result, ray = outcome(P, q, lower, upper)
    assert result == fp.RESULTS.infeasible
    y = np.asarray(ray["dual"])
    np.testing.assert_allclose(A.T @ y, 0, atol=1e-3)
    assert 3 * y[0] + y[1] + y[2] < 0 and y[0] < 0

    result, ray = outcome(P, -q, jnp.zeros(3), jnp.full(3, inf))
    assert result == fp.RESULTS.unbounded
    assert float(q @ ray["x"]) > 0 and float(jnp.min(A @ ray["x"])) > -1e-3

    result, _ = outcome(jnp.diag(jnp.array([1.0, -0.1])), q, -lower, upper)
    assert result == fp.RESULTS.nonconvex
    result, _ = outcome(P, q, jnp.array([0.0, 2, 0]), jnp.ones(3))
    assert result == fp.RESULTS.infeasible
    result, _ = outcome(P, q.at[0].set(jnp.nan), lower, upper)
    assert result == fp.RESULTS.nonfinite
    result, _ = outcome(P, q, jnp.zeros(3), jnp.ones(3))
    assert result == fp.RESULTS.successful

    with pytest.raises(eqx.EquinoxRuntimeError, match="infeasible: no point"):
        fp.solve(fp.QuadraticProgram(P, q, A, lower, upper))


I2 = np.eye(2)
BAD_PROGRAMS = {
    "P shape": ((np.eye(3), np.ones(2)), "`P` must have shape \\(2, 2\\)"),
    "P triangle": ((np.array([[1.0, 1], [0, 1]]), np.ones(2)), "`P` must be symm"),
    "P nan": ((I2 * np.nan, np.ones(2)), "`P` has an entry that is NaN"),
    "A shape": ((I2, np.ones(2), np.ones((1, 3))), "`A` must have 2 columns"),
    "lower shape": ((I2, np.ones(2), I2, np.zeros(3)), "`lower` must have 2 entries"),
    "crossed": ((I2, np.ones(2), I2, 1.0, 0.0), "`lower` exceeds `upper` in row 0"),
    "wrong infinity": ((I2, np.ones(2), I2, np.inf), "`lower` is inf in row 0"),
    "nan": ((I2, np.ones(2), I2, np.nan), "`lower` has an entry that is NaN"),
    "q shape": ((I2, np.ones((2, 1))), "`q` must be a vector"),
    "q nan": ((I2, np.array([1.0, np.nan])), "`q` has an entry that is NaN"),
}


@pytest.mark.parametrize("case", BAD_PROGRAMS)
@pytest.mark.one_precision
def test_bad_input_is_an_error_that_names_it(case):
    arguments, message = BAD_PROGRAMS[case]
    with pytest.raises(ValueError, match=message):
        fp.QuadraticProgram(*arguments)
    with pytest.raises(TypeError, match="`q` must be a real array"):
        fp.QuadraticProgram(I2, "q")
    program = fp.QuadraticProgram(I2, jnp.ones(2))
    with pytest.raises(TypeError, match="no fixed map"):
        fp.solve(program, iteration=fp.Picard())
    with pytest.raises(TypeError, match="does not apply to a QuadraticProgram"):
        fp.solve(program, fp.DouglasRachford())
