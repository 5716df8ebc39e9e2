r"""Solutions of (I + s P) z = r for a symmetric positive semidefinite P, any s > 0.

With P = V diag(l) V', V with orthonormal columns that span the range of P at least,

    z = r - V diag(s l / (1 + s l)) V' r

so one factorisation serves every step. Derivatives are those of the linear system, not
of the factors: dz = (I + s P)^{-1} (dr - s dP z - ds P z), also for repeated l.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array


def product(x: Array, y: Array) -> Array:
    """The matrix product in full precision."""
    return jnp.matmul(x, y, precision=lax.Precision.HIGHEST)


def shifted_solve(matvec, basis: Array, values: Array, r: Array, step: Array) -> Array:
    """Z with (I + step P) z = r for points along the last axis.

    Args:
        matvec: x -> P x for such points, which derivatives go through.
        basis: V of shape (n, k).
        values: l of shape (k,).
        r: the right-hand sides.
        step: a positive scalar.
    """
    basis, values = lax.stop_gradient((basis.astype(r.dtype), values.astype(r.dtype)))
    fixed = lax.stop_gradient(step)
    factor = fixed * values / (1 + fixed * values)

    def solve(_, r):
        shrink = product(r, basis) * factor.reshape([1] * (r.ndim - 1) + [-1])
        return r - product(shrink, basis.T)

    operator = lambda z: z + step * matvec(z)
    return lax.custom_linear_solve(operator, r, solve, solve, symmetric=True)
