"""Derivatives of the first three orders against those of a square root."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fixproj as fp


A, WEIGHTS = np.array([1.3, 0.7]), np.array([1.0, 2.0])


def _along_a_line(adjoint):
    """Of `s`, the weighted sum of the roots of `A + s`."""

    def total(s):
        a = jnp.asarray(A) + s
        fn = lambda y, a: y - 0.3 * (y * y - a)
        problem = fp.FixedPoint(fn, jnp.ones_like(a), a)
        options = {} if adjoint is None else {"adjoint": adjoint}
        roots = fp.solve(problem, rtol=1e-13, **options).value
        return jnp.vdot(jnp.asarray(WEIGHTS), roots)

    return total


@pytest.mark.one_precision
@pytest.mark.parametrize(
    "adjoint",
    [None, pytest.param(fp.implicit.TwoPhase(), marks=pytest.mark.slow)],
    ids=["default", "two phases"],
)
def test_three_orders_to_nine_digits(adjoint):
    with jax.enable_x64(True):
        modes = [jax.grad] if adjoint is not None else [jax.grad, jax.jacfwd]
        for mode in modes:
            derivative = _along_a_line(adjoint)
            exact = [
                WEIGHTS @ (0.5 * A**-0.5),
                WEIGHTS @ (-0.25 * A**-1.5),
                WEIGHTS @ (0.375 * A**-2.5),
            ]
            for expected in exact:
                derivative = mode(derivative)
                found = float(jax.jit(derivative)(0.0))
                assert abs(found - expected) < 1e-9
