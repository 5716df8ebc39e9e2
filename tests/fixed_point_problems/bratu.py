"""The Bratu problem -(laplacian of u) = 6 exp(u) on the unit square, u = 0 outside.

Jacobi step on the five-point stencil: u + D^-1 (6 exp(u) - A u).
"""

import jax.numpy as jnp
import numpy as np

from ._problem import Problem, cast, to_numpy
from ._stencil import negative_laplacian, sparse_solve


_SIDE, _LAMBDA = 100, 6.0
_SPACING_SQUARED = 1 / (_SIDE + 1) ** 2


def _map(y, args):
    padded = jnp.pad(y, 1)
    neighbours = padded[2:, 1:-1] + padded[:-2, 1:-1] + padded[1:-1, 2:]
    neighbours = neighbours + padded[1:-1, :-2]
    return (neighbours + _SPACING_SQUARED * _LAMBDA * jnp.exp(y)) / 4


def _make(dtype):
    return _map, cast(np.zeros((_SIDE, _SIDE)), dtype), None


def _solution(dtype):
    """Newton's method with a sparse direct solver."""
    from scipy.sparse import diags

    matrix = negative_laplacian(_SIDE) / _SPACING_SQUARED
    u = np.zeros(_SIDE**2)
    for _ in range(20):
        source = _LAMBDA * np.exp(u)
        step = sparse_solve((matrix - diags(source)).tocsc(), matrix @ u - source)
        u = u - step
        if np.max(np.abs(step)) < 1e-13:
            break
    return to_numpy(u.reshape(_SIDE, _SIDE), dtype)


PROBLEMS = [
    Problem(
        name="bratu",
        make=_make,
        size=_SIDE**2,
        picard_steps_hint=52276,
        tuned_on=True,
        reference="Bratu problem, lambda = 6, 100 x 100, Jacobi preconditioner, zero "
        "start: "
        "FixedPointTestProblems.jl, after arXiv:2408.16920",
        tolerance32=2e-05,
        solution=_solution,
        accuracy=4e-05,
        accuracy32=0.01,
        domain="everywhere; exp overflows for large y",
        slow=True,
    ),
]
