"""Every iteration and every method in every precision: the dtype stays, and is used."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fixproj as fp
from fixproj import projections as proj

from . import fuzz


pytestmark = pytest.mark.one_precision
# The other tests are in these two.
USUAL = [pytest.param(x, marks=pytest.mark.slow) for x in ("float32", "float64")]
DTYPES = ["bfloat16", "float16", *USUAL]
METHODS = [*fuzz.METHODS, fp.CyclicDouglasRachford()]
MATRIX = np.array([[0.5, 0.2, 0.0], [0.1, 0.4, -0.3], [0.0, 0.3, 0.3]])
SHIFT = np.array([1.0, -2.0, 0.5])


@pytest.mark.parametrize("dtype", DTYPES)
def test_iterations_keep_the_precision(dtype):
    expected = np.linalg.solve(np.eye(3) - MATRIX, SHIFT)
    with jax.enable_x64(dtype == "float64"):
        args = jnp.asarray(MATRIX, dtype), jnp.asarray(SHIFT, dtype)
        for iteration in fuzz.ITERATIONS:

            @jax.jit
            def solve(args, iteration=iteration):
                fn = lambda y, args: args[0] @ y + args[1]
                problem = fp.FixedPoint(fn, jnp.zeros_like(args[1]), args)
                return fp.solve(problem, iteration=iteration, throw=False).value

            value = solve(args)
            assert value.dtype == dtype
            error = np.max(np.abs(np.asarray(value, np.float64) - expected))
            # The default tolerance, on numbers up to 4, times |(I - A)^-1| <= 3.
            claimed = 12 * float(jnp.finfo(dtype).eps) ** 0.75
            assert error < claimed, (iteration, error)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_keep_the_precision(dtype):
    expected = np.linalg.solve(np.eye(3) - MATRIX.T, np.ones(3))
    with jax.enable_x64(dtype == "float64"):
        matrix, shift = jnp.asarray(MATRIX, dtype), jnp.asarray(SHIFT, dtype)

        @jax.jit
        @jax.grad
        def gradient(shift):
            fn = lambda y, b: matrix @ y + b
            problem = fp.FixedPoint(fn, jnp.zeros_like(shift), shift)
            return jnp.sum(fp.solve(problem, throw=False).value)

        value = gradient(shift)
        assert value.dtype == dtype
        error = np.max(np.abs(np.asarray(value, np.float64) - expected))
        assert error < 40 * float(jnp.finfo(dtype).eps), error


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_methods_keep_the_precision(method, dtype):
    with jax.enable_x64(dtype == "float64"):
        start = jnp.asarray([2.0, -1.0, 0.25, 0.5], dtype)
        normal = jnp.ones(4, dtype)

        @jax.jit
        def solve(start):
            sets = [proj.Box(0.0, 1.0), proj.Hyperplane(normal, jnp.asarray(1, dtype))]
            solution = fp.solve(fp.Feasibility(sets, start), method, throw=False)
            return solution.value, solution.result

        value, result = solve(start)
        assert value.dtype == dtype
        assert result == fp.RESULTS.successful
        x = np.asarray(value, np.float64)
        slack = 20 * float(jnp.finfo(dtype).eps) ** 0.75
        assert np.all(x >= -slack) and np.all(x <= 1 + slack)
        assert abs(np.sum(x) - 1) < 4 * slack
