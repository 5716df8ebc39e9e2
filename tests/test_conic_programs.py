"""Conic programs against Clarabel; the operator splitting for quadratic programs."""

from typing import Any

import clarabel as _clarabel_module
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp

import fixproj as fp


clarabel: Any = _clarabel_module


class ZeroCone(eqx.Module):
    def project(self, x):
        return jnp.zeros_like(x)


class NonNegative(eqx.Module):
    def project(self, x):
        return jnp.maximum(x, 0)


class SecondOrder(eqx.Module):
    def project(self, x):
        t, v = x[0], x[1:]
        size = jnp.sqrt(jnp.sum(v**2))
        scale = (t + size) / 2
        outside = jnp.concatenate([scale[None], scale * v / size])
        kept = jnp.where(size <= t, x, outside)
        return jnp.where(size <= -t, jnp.zeros_like(x), kept)


CONES = [(ZeroCone(), 1), (NonNegative(), 3), (SecondOrder(), 4)]


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
            program = fp.ConicProgram(None, q, -jnp.eye(3), b, [(SecondOrder(), 3)])
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
            None, [0.0], [[0.0], [-1.0], [0.0]], [-1.0, 0, 0], SecondOrder()
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
