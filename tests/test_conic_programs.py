"""Conic programs against Clarabel; the operator splitting for quadratic programs."""

from typing import Any

import clarabel as _clarabel_module
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp

import fixproj as fp
from fixproj.projections import (
    ExponentialCone,
    NonNegative,
    PowerCone,
    PSDCone,
    SecondOrderCone,
    ZeroCone,
)


clarabel: Any = _clarabel_module


CONES = [(ZeroCone(), 1), (NonNegative(), 3), (SecondOrderCone(), 4)]


def _program(seed, dtype):
    rng = np.random.default_rng(seed)
    n, m = 5, 8
    L = rng.standard_normal((n, n))
    A = rng.standard_normal((m, n))
    # Feasible with s inside, bounded because a multiplier inside exists too.
    inside = np.concatenate([np.zeros(1), np.ones(3), [2.0], rng.standard_normal(3)])
    b = A @ rng.standard_normal(n) + inside
    dual = np.concatenate([[0.3], rng.uniform(0.1, 1, 3), [2.0], [1.0, -1.0, 0.5]])
    q = -A.T @ dual - L @ (L.T @ rng.standard_normal(n))
    return [np.asarray(v, dtype) for v in (L @ L.T, q, A, b)]


def _clarabel(P, q, A, b):
    P, q, A, b = (np.asarray(v, np.float64) for v in (P, q, A, b))
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-12
    cones = [
        clarabel.ZeroConeT(1),
        clarabel.NonnegativeConeT(3),
        clarabel.SecondOrderConeT(4),
    ]
    found = clarabel.DefaultSolver(
        sp.csc_matrix(np.triu(P)), q, sp.csc_matrix(A), b, cones, settings
    ).solve()
    return np.asarray(found.x), np.asarray(found.z)


def _dtype():
    return np.dtype(jnp.result_type(float))


@pytest.mark.slow_in_x64
def test_second_order_cone_programs_against_clarabel():
    programs = [_program(seed, _dtype()) for seed in range(4)]

    @jax.jit
    @jax.vmap
    def solve(P, q, A, b):
        solution = fp.solve(fp.ConicProgram(P, q, A, b, CONES), throw=False)
        return solution.value, solution.stats["dual"], solution.result

    stacked = map(jnp.asarray, map(np.stack, zip(*programs, strict=True)))
    x, y, result = solve(*stacked)
    assert bool(jnp.all(result == fp.RESULTS.successful))
    tol = 1e-6 if _dtype() == np.float64 else 5e-3
    for i, program in enumerate(programs):
        expected_x, expected_y = _clarabel(*program)
        np.testing.assert_allclose(x[i], expected_x, atol=tol)
        np.testing.assert_allclose(y[i], expected_y, atol=tol)


@pytest.mark.one_precision
@pytest.mark.slow
def test_gradients_of_a_conic_program_against_differences():
    with jax.enable_x64(True):
        arguments = list(map(jnp.asarray, _program(1, np.float64)))

        @jax.jit
        def loss(P, q, A, b):
            value = fp.solve(fp.ConicProgram(P, q, A, b, CONES)).value
            return jnp.sum(jnp.sin(value))

        gradients = jax.grad(loss, argnums=(0, 1, 2, 3))(*arguments)
        rng = np.random.default_rng(0)
        for i, argument in enumerate(arguments):
            direction = rng.standard_normal(argument.shape)
            if i == 0:
                direction = direction + direction.T
            ends = []
            for step in (1e-5, -1e-5):
                moved = list(arguments)
                moved[i] = argument + step * direction
                ends.append(loss(*moved))
            expected = (ends[0] - ends[1]) / 2e-5
            found = jnp.sum(gradients[i] * direction)
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.one_precision
@pytest.mark.slow
def test_outcomes_of_conic_programs():
    with jax.enable_x64(True):

        @jax.jit
        def outcome(q, b):
            program = fp.ConicProgram(None, q, -jnp.eye(3), b, [(SecondOrderCone(), 3)])
            solution = fp.solve(program, throw=False)
            return solution.result, solution.stats["certificate"]

        b = jnp.array([0.0, 1.0, 0.0])
        result, _ = outcome(jnp.array([1.0, 0.0, 0.0]), b)
        assert result == fp.RESULTS.successful
        result, ray = outcome(jnp.array([-1.0, 0.0, 0.0]), b)
        assert result == fp.RESULTS.unbounded
        x = np.asarray(ray["x"])
        assert x[0] > 0 and np.linalg.norm(x[1:]) <= x[0] + 1e-4
        # s = (-1, x, 0) lies in no cone.
        program = fp.ConicProgram(
            None, [0.0], [[0.0], [-1.0], [0.0]], [-1.0, 0, 0], SecondOrderCone()
        )
        solution = fp.solve(program, throw=False)
        assert solution.result == fp.RESULTS.infeasible
        y = np.asarray(solution.stats["certificate"]["dual"])
        assert -y[0] < 0 and abs(y[1]) < 1e-4


@pytest.mark.one_precision
@pytest.mark.slow
def test_splitting_and_interior_point_agree_on_a_quadratic_program():
    with jax.enable_x64(True):
        rng = np.random.default_rng(5)
        A = rng.standard_normal((9, 6))
        P = A.T @ A / 9
        lower, upper = -np.ones(9), np.ones(9)
        lower[0] = upper[0] = 0.3
        program = fp.QuadraticProgram(P, 3 * rng.standard_normal(6), A, lower, upper)
        expected = fp.solve(program)
        for iteration in (None, fp.Anderson(memory=5)):
            solution = fp.solve(program, fp.OperatorSplitting(), iteration)
            np.testing.assert_allclose(solution.value, expected.value, atol=1e-9)
            np.testing.assert_allclose(
                solution.stats["dual"], expected.stats["dual"], atol=1e-9
            )
        map_ = fp.OperatorSplitting().make_map(program)
        z = fp.solve(
            fp.FixedPoint(lambda z, _: map_.apply(z), map_.init()), max_steps=100_000
        )
        np.testing.assert_allclose(map_.readout(z.value), expected.value, atol=1e-6)


@pytest.mark.one_precision
def test_bad_conic_input_is_an_error_that_names_it():
    q, A, b = jnp.ones(2), jnp.eye(2), jnp.ones(2)
    with pytest.raises(ValueError, match="`b` must have an entry for each of the 2"):
        fp.ConicProgram(None, q, A, jnp.ones(3), NonNegative())
    with pytest.raises(ValueError, match="have 3 entries together, but `b` has 2"):
        fp.ConicProgram(None, q, A, b, [(NonNegative(), 3)])
    with pytest.raises(TypeError, match=r"`cone\[0\]` \(int\) has no `project"):
        fp.ConicProgram(None, q, A, b, 3)
    with pytest.raises(TypeError, match="must be a pair"):
        fp.ConicProgram(None, q, A, b, [NonNegative()])
    with pytest.raises(ValueError, match="`b` has an entry that is NaN"):
        fp.ConicProgram(None, q, A, b * jnp.nan, NonNegative())
    with pytest.raises(TypeError, match="does not apply to a ConicProgram"):
        fp.solve(fp.ConicProgram(None, q, A, b, NonNegative()), fp.InteriorPoint())
    with pytest.raises(ValueError, match="`rho` must be > 0"):
        fp.OperatorSplitting(rho=0.0)


def _symmetric_basis(n):
    """Every symmetric matrix as `basis @ upper triangle`, and its diagonal."""
    rows, columns = np.triu_indices(n)
    basis = np.zeros((n * n, rows.size))
    basis[rows * n + columns, np.arange(rows.size)] = 1
    basis[columns * n + rows, np.arange(rows.size)] = 1
    return basis, basis[:: n + 1]


def _semidefinite(kind, matrix):
    """A max-cut relaxation, or the nearest correlation matrix."""
    n = len(matrix)
    basis, diagonal = _symmetric_basis(n)
    A = jnp.asarray(np.concatenate([diagonal, -basis]), matrix.dtype)
    b = jnp.concatenate([jnp.ones(n, A.dtype), jnp.zeros(n * n, A.dtype)])
    q, P = -matrix.reshape(-1) @ jnp.asarray(basis, A.dtype), None
    if kind == "correlation":
        P = jnp.asarray(basis.T @ basis, A.dtype)
    cones = [(ZeroCone(), n), (PSDCone(), (n, n))]
    return fp.ConicProgram(P, q, A, b, cones)


def _three_dimensional(kind, weight):
    """Two cones of dimension three: least of a linear function of their entries."""
    A = -jnp.eye(6, dtype=weight.dtype)
    # The entries that are fixed: y = 1 of each, x + x' of the exponential cones.
    fixed = np.zeros((3, 6))
    fixed[0, 1] = fixed[1, 4] = 1
    fixed[2, [0, 3]] = 1
    q = jnp.array([0, 0, 1, 0, 0, 2.0], weight.dtype)
    cone = ExponentialCone()
    if kind == "power":
        q = jnp.array([0, 0, -1, 0, 0, -2.0], weight.dtype)
        cone = PowerCone(jnp.asarray([0.3, 0.6], weight.dtype))
    b = jnp.concatenate([jnp.asarray([1.0, 1.0, 1.5], weight.dtype), jnp.zeros(6)])
    A = jnp.concatenate([jnp.asarray(fixed, weight.dtype), A])
    cones = [(ZeroCone(), 3), (cone, (2, 3))]
    return fp.ConicProgram(None, q * weight, A, b.astype(q.dtype), cones)


def _reference(program, cones):
    """Clarabel's answer, with the semidefinite cone as its triangle."""
    A, b = np.asarray(program.A), np.asarray(program.b)
    if isinstance(program.cones[1], PSDCone):
        n = program.shapes[1][0]
        # The upper triangle, column by column, with sqrt(2) off the diagonal.
        columns, rows = np.tril_indices(n)
        scale = np.where(rows == columns, 1, np.sqrt(2))
        take = n + rows * n + columns
        A = np.concatenate([A[:n], scale[:, None] * A[take]])
        b = np.concatenate([b[:n], scale * b[take]])
    P = np.zeros((A.shape[1],) * 2) if program.P is None else np.asarray(program.P)
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-12
    arguments = sp.csc_matrix(np.triu(P)), np.asarray(program.q), sp.csc_matrix(A), b
    return np.asarray(clarabel.DefaultSolver(*arguments, cones, settings).solve().x)


@pytest.mark.parametrize("kind", ["max-cut", "correlation", "exponential", "power"])
@pytest.mark.one_precision
@pytest.mark.slow
def test_every_cone_against_clarabel_and_differences(kind):
    with jax.enable_x64(True):
        rng = np.random.default_rng(2)
        if kind in ("max-cut", "correlation"):
            parameter = rng.normal(size=(4, 4))
            parameter = jnp.asarray(parameter + parameter.T)
            make = lambda p: _semidefinite(kind, p)
            cones = [clarabel.ZeroConeT(4), clarabel.PSDTriangleConeT(4)]
        else:
            parameter = jnp.asarray(rng.uniform(0.5, 1.5, 6))
            make = lambda p: _three_dimensional(kind, p)
            pair = [clarabel.ExponentialConeT()] * 2
            if kind == "power":
                pair = [clarabel.PowerConeT(a) for a in (0.3, 0.6)]
            cones = [clarabel.ZeroConeT(3), *pair]
        solve = jax.jit(lambda p: fp.solve(make(p)).value)
        x = solve(parameter)
        np.testing.assert_allclose(x, _reference(make(parameter), cones), atol=1e-5)
        direction = rng.normal(size=parameter.shape)
        direction = jnp.asarray(direction + direction.T)
        _, found = jax.jvp(solve, (parameter,), (direction,))
        ends = [solve(parameter + t * direction) for t in (1e-4, -1e-4)]
        expected = (ends[0] - ends[1]) / 2e-4
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.one_precision
def test_matrices_of_a_semidefinite_cone_must_be_symmetric():
    A, b = jnp.zeros((4, 1)), jnp.arange(4.0)
    with pytest.raises(ValueError, match=r"belong to `cone\[0\]` \(PSDCone\)"):
        fp.ConicProgram(None, jnp.ones(1), A, b, [(PSDCone(), (2, 2))])
