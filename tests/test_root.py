"""`solve` on root problems."""

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest
import scipy.optimize

import fixproj as fp


def _system(y, c):
    x, z = y
    return x**2 + z**2 - c, x - z**3


def _reference(c):
    return scipy.optimize.root(
        lambda y: np.array(_system(y, c)), [1.0, 0.5], tol=1e-13
    ).x


@pytest.mark.parametrize(
    "iteration",
    [None, optx.Newton(1e-6, 1e-6), optx.Dogleg(1e-6, 1e-6)],
    ids=["default", "Newton", "Dogleg"],
)
def test_system_against_scipy(iteration):
    problem = fp.Root(_system, (jnp.array(1.0), jnp.array(0.5)), jnp.array(2.0))
    solution = fp.solve(problem, iteration=iteration)
    assert solution.result == fp.RESULTS.successful
    np.testing.assert_allclose(solution.value, _reference(2.0), atol=1e-4)


@pytest.mark.parametrize("adjoint", [None, fp.implicit.TwoPhase(fp.Anderson())])
def test_derivative_against_differences(adjoint):
    def first(c):
        problem = fp.Root(_system, (jnp.array(1.0), jnp.array(0.5)), c)
        return fp.solve(problem, adjoint=adjoint).value[0]

    step = 1e-5
    expected = (_reference(2.0 + step)[0] - _reference(2.0 - step)[0]) / (2 * step)
    np.testing.assert_allclose(jax.grad(first)(2.0), expected, rtol=1e-3)


def test_an_iteration_of_ours_runs_y_plus_fn():
    problem = fp.Root(lambda y, args: jnp.cos(y) - y, 1.0)
    solution = fp.solve(problem, iteration=fp.Picard())
    as_fixed_point = fp.solve(fp.FixedPoint(lambda y, args: jnp.cos(y), 1.0))
    np.testing.assert_allclose(solution.value, as_fixed_point.value, rtol=1e-4)


def test_failures_are_named():
    nowhere = fp.Root(lambda y, args: y**2 + 1, 1.0)
    solution = fp.solve(nowhere, max_steps=50, throw=False)
    assert solution.result != fp.RESULTS.successful
    with pytest.raises(RuntimeError):
        fp.solve(nowhere, max_steps=50)
    with pytest.raises(TypeError, match="Root: `fn` must be a function"):
        fp.Root(3, 1.0)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="Root: `fn` must return the shapes"):
        fp.solve(fp.Root(lambda y, args: y[:1], jnp.ones(2)))
    with pytest.raises(TypeError, match="`history` cannot be used with an optimistix"):
        fp.solve(nowhere, history=True)
