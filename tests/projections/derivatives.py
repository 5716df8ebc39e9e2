"""Comparison of every derivative of a function with central differences."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree


def _central_differences(function, v, step):
    offsets = step * jnp.eye(v.size)

    def difference(offset):
        return (function(v + offset) - function(v - offset)) / (2 * step)

    return jnp.moveaxis(jax.vmap(difference)(offsets), 0, -1)


def check_derivatives(function, *arguments, noise=1e-7):
    """Checks `jacfwd`, `jacrev` and the Hessian in all arguments; needs float64.

    `noise` is what differences over 2e-6 make of the errors of the values.
    """
    v, unravel = ravel_pytree(arguments)
    assert v.dtype == jnp.float64

    def flat(v):
        return ravel_pytree(function(*unravel(v)))[0]

    def loss(v):
        return jnp.sum(jnp.sin(flat(v)))

    @jax.jit
    def all_of_them(v):
        return (
            _central_differences(flat, v, 1e-6),
            jax.jacfwd(flat)(v),
            jax.jacrev(flat)(v),
            _central_differences(jax.grad(loss), v, 1e-6),
            jax.hessian(loss)(v),
        )

    expected, forward, reverse, expected_hessian, hessian = all_of_them(v)
    assert np.abs(expected).max() > 0.1
    for got in (forward, reverse):
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=noise)
    noise = noise * max(1, np.abs(expected_hessian).max())
    np.testing.assert_allclose(hessian, expected_hessian, rtol=1e-6, atol=noise)
