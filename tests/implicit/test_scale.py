"""Gradients of large problems, and their memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import fixproj as fp


def _tridiagonal(y, args):
    low, high, b = args
    zero = jnp.zeros((1,), y.dtype)
    left = jnp.concatenate([zero, y[:-1]])
    right = jnp.concatenate([y[1:], zero])
    return low * left + high * right + b


@pytest.mark.slow
@pytest.mark.one_precision
def test_a_million_unknowns():
    n = 1_000_000
    with jax.enable_x64(True):
        draw = np.random.default_rng(0)
        b, c = draw.normal(size=(2, n))

        def loss(args):
            problem = fp.FixedPoint(_tridiagonal, jnp.zeros(n), args)
            return jnp.vdot(jnp.asarray(c), fp.solve(problem).value)

        args = (jnp.asarray(0.5), jnp.asarray(0.3), jnp.asarray(b))
        compiled = jax.jit(jax.grad(loss)).lower(args).compile()
        memory = compiled.memory_analysis()
        assert memory is not None
        assert memory.temp_size_in_bytes < 1e9
        low, high, by_b = compiled(args)
        bands = np.ones((3, n))
        bands[0], bands[2] = -0.3, -0.5
        y = scipy.linalg.solve_banded((1, 1), bands, b)
        w = scipy.linalg.solve_banded((1, 1), bands[::-1], c)
        np.testing.assert_allclose(by_b, w, atol=1e-9)
        np.testing.assert_allclose(low, np.vdot(w[1:], y[:-1]), rtol=1e-8)
        np.testing.assert_allclose(high, np.vdot(w[:-1], y[1:]), rtol=1e-8)
