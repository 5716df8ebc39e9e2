"""Whether a program is convex."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from . import _factor
from ._canonical import Program
from ._factor import Cholesky
from ._linear import Dense, Product


_POWER_STEPS = 64


def is_convex(program: Program) -> Array:
    """Whether `P`, scaled to unit diagonal and shifted by rounding, factorises.

    Where it is not factorised, a direction of negative curvature is looked for by the
    power method: one that is found is a proof, none is not.
    """
    P, dtype = program.P, program.q.dtype
    if program.q.size == 0:
        return jnp.array(True)
    epsilon = float(jnp.finfo(dtype).eps)
    if isinstance(P, Product):
        return _seems_convex(P, epsilon)
    diagonal, largest = P.diagonal(), jnp.max(P.column_max())
    # A zero on the diagonal allows nothing else in its row.
    least = jnp.where(largest > 0, largest, 1) * epsilon
    fits = jnp.all(diagonal >= -1e2 * least)
    scale = 1 / jnp.sqrt(jnp.maximum(diagonal, least))
    unit = P.scaled(scale, scale)
    if isinstance(unit, Dense):
        shifted = unit.array + epsilon**0.5 * jnp.eye(P.shape[0], dtype=dtype)
        factor = Cholesky(jax.lax.linalg.cholesky(shifted))
    elif program.band is not None:
        alone = eqx.tree_at(lambda p: p.P, program, unit)
        weights = jnp.zeros((program.rows(program.q).size,), dtype)
        factor = _factor.factorise(alone, weights, jnp.asarray(epsilon**0.5, dtype))
    else:
        return fits & _seems_convex(unit, epsilon)
    finite = [
        jnp.all(jnp.isfinite(f))
        for f in jax.tree.leaves(eqx.filter(factor, eqx.is_inexact_array))
    ]
    return jnp.all(jnp.stack(finite)) & fits


def _seems_convex(P, epsilon):
    n = P.shape[1]
    start = jnp.cos(1 + jnp.arange(n, dtype=jnp.float32) ** 2).astype(P.dtype)

    def largest(multiply):
        def body(_, v):
            w = multiply(v)
            size = jnp.linalg.norm(w)
            return w / jnp.where(size > 0, size, 1)

        v = jax.lax.fori_loop(0, _POWER_STEPS, body, start / jnp.linalg.norm(start))
        return v @ (P @ v), jnp.linalg.norm(P @ v)

    _, size = largest(lambda v: P @ v)
    least, _ = largest(lambda v: 1.01 * size * v - P @ v)
    return least >= -(epsilon**0.5) * size
