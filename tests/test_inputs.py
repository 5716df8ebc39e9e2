"""The table in docs/faq.md, as far as test_fixed_point.py does not have it already."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fixproj as fp


ITERATIONS = [
    fp.Picard(),
    fp.Halpern(),
    fp.Anderson(),
    fp.Anderson(memory=50),
    fp.ACX(),
    fp.Squarem(),
    fp.Broyden(),
    fp.Steffensen(),
]
EVERY = pytest.mark.parametrize("iteration", ITERATIONS, ids=repr)


def _half(y, args):
    return jax.tree.map(lambda x: 0.5 * x + 1, y)


# The other iterations meet these dtypes in one tree, in the next test.
@pytest.mark.parametrize("iteration", [fp.Picard(), fp.Anderson()], ids=repr)
@pytest.mark.parametrize(
    "dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.complex64]
)
@pytest.mark.slow_in_x64
def test_every_dtype_is_kept(iteration, dtype):
    y0 = jnp.asarray([0.0, 3.0], dtype)
    solution = fp.solve(fp.FixedPoint(_half, y0), iteration=iteration)
    assert solution.value.dtype == dtype
    epsilon = float(jnp.finfo(dtype).eps)
    error = np.abs(np.asarray(solution.value).astype(np.complex64) - 2)
    assert np.max(error) <= 20 * epsilon**0.75


@EVERY
@pytest.mark.slow_in_x64
def test_mixed_leaves_and_nothing_at_all(iteration):
    y0 = {
        "single": jnp.zeros((2, 2), jnp.float32),
        "half": jnp.zeros(3, jnp.bfloat16),
        "complex": jnp.zeros((), jnp.complex64),
        "empty": jnp.zeros((0, 5)),
        "none": None,
    }
    value = fp.solve(fp.FixedPoint(_half, y0), iteration=iteration).value
    assert jax.tree.map(lambda x: x.dtype, value) == jax.tree.map(lambda x: x.dtype, y0)
    for name in ("single", "half", "complex"):
        found = np.asarray(value[name]).astype(np.complex64)
        np.testing.assert_allclose(found, 2, atol=0.3)
    assert (
        int(fp.solve(fp.FixedPoint(_half, {}), iteration=iteration).stats["num_steps"])
        == 1
    )


@EVERY
@pytest.mark.slow_in_x64
def test_a_start_that_is_already_fixed(iteration):
    solution = fp.solve(fp.FixedPoint(_half, jnp.full(3, 2.0)), iteration=iteration)
    assert int(solution.stats["num_steps"]) == 1
    np.testing.assert_array_equal(solution.value, 2)


@EVERY
@pytest.mark.parametrize(
    "fn", [lambda y, args: y * jnp.nan, lambda y, args: jnp.log(-1 - y * y)]
)
@pytest.mark.slow_in_x64
def test_nan_is_never_success(iteration, fn):
    problem = fp.FixedPoint(fn, jnp.ones(2))
    solution = fp.solve(problem, iteration=iteration, throw=False)
    assert solution.result == fp.RESULTS.nonfinite


@EVERY
@pytest.mark.slow_in_x64
def test_a_translation_is_never_success(iteration):
    # An extrapolation that divides by rounding ends where y + 1 = y in floating point.
    for shift in (1.0, 1 / 3):
        problem = fp.FixedPoint(lambda y, args, s=shift: y + s, jnp.arange(3.0))
        for rtol, atol in ((None, None), (0.0, 1e-6)):
            solution = fp.solve(
                problem, iteration=iteration, rtol=rtol, atol=atol, throw=False
            )
            assert solution.result != fp.RESULTS.successful


@pytest.mark.parametrize("iteration", [fp.Picard(), fp.Halpern()], ids=repr)
def test_doubling_is_never_success(iteration):
    problem = fp.FixedPoint(lambda y, args: 2 * y, jnp.ones(2))
    solution = fp.solve(problem, iteration=iteration, throw=False)
    assert solution.result == fp.RESULTS.diverged


@pytest.mark.parametrize(
    "iteration", [fp.Anderson(), fp.ACX(), fp.Squarem(), fp.Broyden()], ids=repr
)
@pytest.mark.slow_in_x64
def test_acceleration_solves_an_expanding_linear_map(iteration):
    problem = fp.FixedPoint(lambda y, args: 2 * y - 3, jnp.array([1.0, 2.0]))
    solution = fp.solve(problem, iteration=iteration, throw=False)
    if solution.result == fp.RESULTS.successful:
        np.testing.assert_allclose(solution.value, 3, rtol=1e-3)
    else:
        # A step length that is positive cannot turn around on an eigenvalue above 1.
        assert isinstance(iteration, fp.ACX | fp.Squarem)


def test_a_tolerance_below_rounding_stagnates():
    matrix = jnp.asarray(np.random.default_rng(0).normal(size=(50, 50)) * 0.07)
    fn = lambda y, args: jnp.tanh(matrix @ y + 1 / 3)
    problem = fp.FixedPoint(fn, jnp.zeros(50))
    solution = fp.solve(problem, rtol=0.0, atol=1e-30, throw=False)
    # Either the iterates come to rest exactly, or they are reported to go in circles.
    if solution.result == fp.RESULTS.successful:
        np.testing.assert_array_equal(fn(solution.value, None), solution.value)
    else:
        assert solution.result == fp.RESULTS.stagnated


@pytest.mark.parametrize("iteration", [fp.Picard(), fp.ACX()], ids=repr)
@pytest.mark.parametrize("norm", [fp.max_norm, fp.rms_norm, fp.two_norm])
@pytest.mark.slow_in_x64
def test_the_chosen_norm_is_the_one_that_is_met(iteration, norm):
    y0 = {"a": jnp.linspace(0.0, 9.0, 10), "b": jnp.ones((2, 2))}
    problem = fp.FixedPoint(_half, y0)
    solution = fp.solve(problem, iteration=iteration, norm=norm, rtol=0.0, atol=1e-3)
    residual = jax.tree.map(jnp.subtract, _half(solution.value, None), solution.value)
    flat = np.concatenate([np.ravel(x) for x in jax.tree.leaves(residual)])
    by_hand = {
        fp.max_norm: np.max(np.abs(flat)),
        fp.rms_norm: np.sqrt(np.mean(flat**2)),
        fp.two_norm: np.linalg.norm(flat),
    }[norm]
    assert by_hand <= 1e-3 * (1 + 1e-4)
    np.testing.assert_allclose(
        solution.stats["residual"], by_hand, rtol=1e-2, atol=1e-7
    )
