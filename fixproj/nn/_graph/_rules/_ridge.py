"""Damping by a Gram matrix: (I + s A'A)^-1 G, through the smaller of A'A and A A'."""

import jax.numpy as jnp
import jax.scipy.linalg as jsl

from fixproj.projections._precision import at_least_single


def damped(a, g, strength):
    """(I + strength a'a)^-1 g.

    Args:
        a: (rows, columns).
        g: (columns, outputs).
        strength: a positive scalar.

    Returns:
        An array like `g`.
    """
    work = at_least_single(g.dtype)
    a, right = a.astype(work), g.astype(work)
    strength = jnp.asarray(strength, work)
    rows, columns = a.shape
    if columns <= rows:
        gram = strength * (a.T @ a) + jnp.eye(columns, dtype=work)
        solved = jsl.cho_solve(jsl.cho_factor(gram), right)
    else:
        gram = strength * (a @ a.T) + jnp.eye(rows, dtype=work)
        inner = jsl.cho_solve(jsl.cho_factor(gram), a @ right)
        solved = right - strength * (a.T @ inner)
    return solved.astype(g.dtype)
