"""Derivatives through steps: against the truncated Neumann series, and optimistix."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import fixproj as fp
from fixproj import implicit


def _linear(n=5):
    draw = np.random.default_rng(0)
    matrix = draw.normal(size=(n, n))
    return 0.6 * matrix / np.linalg.norm(matrix, 2), draw.normal(size=n)


def _solve(b, adjoint, matrix):
    problem = fp.FixedPoint(lambda y, b: matrix @ y + b, jnp.zeros_like(b), b)
    return fp.solve(problem, adjoint=adjoint).value


def _neumann(matrix, steps, damping=1.0):
    damped = (1 - damping) * np.eye(len(matrix)) + damping * matrix
    powers = [np.linalg.matrix_power(damped, i) for i in range(steps)]
    return damping * np.sum(powers, axis=0)


@pytest.mark.parametrize(
    "adjoint, steps, damping",
    [
        (implicit.JacobianFree(), 1, 1.0),
        (implicit.JacobianFree(steps=3, damping=0.5), 3, 0.5),
        (implicit.Unroll(steps=7), 7, 1.0),
        pytest.param(
            implicit.Unroll(steps=11, checkpoints=4), 11, 1.0, marks=pytest.mark.slow
        ),
        pytest.param(
            implicit.Unroll(steps=1, checkpoints=4), 1, 1.0, marks=pytest.mark.slow
        ),
    ],
    ids=repr,
)
def test_truncated_series(adjoint, steps, damping):
    matrix, b = map(jnp.asarray, _linear())
    matrix, b = matrix.astype(float), b.astype(float)
    expected = _neumann(np.asarray(matrix, np.float64), steps, damping)
    solve = lambda b: _solve(b, adjoint, matrix)
    for mode in (jax.jacfwd, jax.jacrev):
        np.testing.assert_allclose(mode(solve)(b), expected, atol=1e-5)
    exact = np.linalg.solve(np.eye(5) - np.asarray(matrix, np.float64), b)
    np.testing.assert_allclose(solve(b), exact, atol=1e-4)


@pytest.mark.parametrize(
    "adjoint",
    [implicit.Unroll(), optx.RecursiveCheckpointAdjoint(checkpoints=5)],
    ids=["Unroll", "optimistix"],
)
@pytest.mark.slow_in_x64
def test_as_many_steps_as_needed(adjoint):
    matrix, b = map(jnp.asarray, _linear())
    matrix, b = matrix.astype(float), b.astype(float)
    gradient = jax.grad(lambda b: jnp.sum(_solve(b, adjoint, matrix)))(b)
    expected = np.linalg.solve(np.eye(5) - np.asarray(matrix, np.float64).T, np.ones(5))
    tolerance = 1e-4 if b.dtype == jnp.float32 else 1e-10
    np.testing.assert_allclose(gradient, expected, atol=tolerance)


@pytest.mark.slow
def test_unrolled_second_derivatives_tend_to_the_true_ones():
    solve = lambda a, adjoint: (
        fp.solve(
            fp.FixedPoint(lambda y, a: a * jnp.cos(y), 1.0, a), adjoint=adjoint
        ).value
    )
    with jax.enable_x64(True):
        for mode in (jax.hessian, lambda f: jax.grad(jax.grad(f))):
            found = mode(lambda a: solve(a, implicit.Unroll(steps=80)))(0.5)
            expected = mode(lambda a: solve(a, implicit.Implicit()))(0.5)
            np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.one_precision
def test_a_map_that_does_not_forget_is_reported():
    # Newton finds the fixed point 0 of y -> 3 y + a, which repels.
    def solve(a, throw):
        problem = fp.FixedPoint(lambda y, a: 3 * y + a, 1.0, a)
        return fp.solve(
            problem,
            iteration=optx.Newton(1e-5, 1e-5),
            adjoint=implicit.Unroll(),
            throw=throw,
        ).value

    with pytest.raises(Exception, match="derivative was not solved"):
        jax.block_until_ready(eqx.filter_jit(jax.grad(lambda a: solve(a, True)))(0.0))
    assert np.isnan(jax.grad(lambda a: solve(a, False))(0.0))


@pytest.mark.one_precision
def test_arguments_are_checked():
    for name in ("steps", "checkpoints"):
        with pytest.raises(ValueError, match=f"`{name}` must be an integer"):
            implicit.Unroll(**{name: 0})
    with pytest.raises(ValueError, match="`steps` must be an integer"):
        implicit.JacobianFree(steps=0)
    with pytest.raises(ValueError, match="`damping` must be > 0"):
        implicit.JacobianFree(damping=0.0)
    with pytest.raises(ValueError, match="`iteration` is empty"):
        implicit.TwoPhase(iteration=[])
    with pytest.raises(TypeError, match="`iteration` must be an iteration"):
        implicit.TwoPhase(iteration=[3])  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="an adjoint of optimistix"):
        fp.solve(fp.FixedPoint(lambda y, _: y, 1.0), adjoint="direct")  # pyright: ignore


@pytest.mark.slow
def test_two_phase_uses_one_iteration_for_each_order():
    # The second has no steps to spare: where it is used, it shows.
    hopeless = fp.Picard(relaxation=1e-6)
    solve = lambda a, adjoint: (
        fp.solve(
            fp.FixedPoint(lambda y, a: a * jnp.cos(y), 1.0, a),
            adjoint=adjoint,
            throw=False,
        ).value
    )
    adjoint = implicit.TwoPhase(iteration=(fp.Anderson(), hopeless))
    assert np.isfinite(jax.grad(solve)(0.5, adjoint))
    assert np.isnan(jax.grad(jax.grad(solve))(0.5, adjoint))
    adjoint = implicit.TwoPhase(iteration=[fp.Anderson(), fp.Picard()])
    expected = jax.grad(jax.grad(solve))(0.5, implicit.Implicit())
    found = jax.grad(jax.grad(solve))(0.5, adjoint)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


OURS = [
    implicit.Implicit(),
    pytest.param(implicit.TwoPhase(), marks=pytest.mark.slow),
    pytest.param(implicit.Unroll(steps=60), marks=pytest.mark.slow),
]


@pytest.mark.one_precision
@pytest.mark.parametrize("adjoint", OURS, ids=repr)
def test_optimistix_takes_ours(adjoint):
    with jax.enable_x64(True):
        matrix, b = map(jnp.asarray, _linear())

        def loss(b):
            fn = lambda y, args: {"y": args @ jnp.tanh(y["y"]) + b}
            solver = optx.FixedPointIteration(rtol=1e-13, atol=1e-13)
            y0 = {"y": jnp.zeros(5)}
            found = optx.fixed_point(fn, solver, y0, matrix, adjoint=adjoint)
            return jnp.sum(found.value["y"] ** 2)

        h = 1e-6
        loss_jit = jax.jit(loss)
        expected = [
            (loss_jit(b + h * e) - loss_jit(b - h * e)) / (2 * h) for e in jnp.eye(5)
        ]
        np.testing.assert_allclose(jax.grad(loss)(b), np.array(expected), rtol=1e-6)


@pytest.mark.slow
def test_ours_in_other_solves_of_optimistix():
    with jax.enable_x64(True):
        root = lambda a: (
            optx.root_find(
                lambda y, a: y**3 - a,
                optx.Newton(1e-12, 1e-12),
                jnp.array(1.0),
                a,
                adjoint=implicit.Implicit(),
            ).value
        )
        least = lambda a: (
            optx.minimise(
                lambda y, a: jnp.sum((y - a) ** 2 + y**4),
                optx.BFGS(1e-10, 1e-10),
                jnp.array(0.5),
                a,
                adjoint=implicit.Implicit(),
            ).value
        )
        np.testing.assert_allclose(jax.grad(root)(8.0), 1 / 12, rtol=1e-9)
        np.testing.assert_allclose(jax.grad(jax.grad(root))(8.0), -1 / 144, rtol=1e-8)
        # 2 (y - a) + 4 y^3 = 0, so dy/da = 2 / (2 + 12 y^2).
        y = float(least(1.0))
        np.testing.assert_allclose(jax.grad(least)(1.0), 1 / (1 + 6 * y**2), rtol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
def test_solve_takes_those_of_optimistix(mode):
    matrix, b = map(jnp.asarray, _linear())
    matrix, b = matrix.astype(float), b.astype(float)
    found = mode(lambda b: _solve(b, optx.ImplicitAdjoint(), matrix))(b)
    expected = np.linalg.inv(np.eye(5) - np.asarray(matrix, np.float64))
    np.testing.assert_allclose(found, expected, atol=1e-4)
