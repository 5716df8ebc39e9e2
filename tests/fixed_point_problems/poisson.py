"""The electric potential of two charged lines: three classical relaxations.

Five-point stencil on a square, zero at the edge. Jacobi: every point becomes the mean
of its neighbours plus source; Gauss-Seidel: in column order with new values at once;
SOR: 1.94 times that change.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ._problem import Problem, cast, to_numpy
from ._stencil import negative_laplacian, sparse_solve


_SIDE, _RELAXATION = 100, 1.94
_SPACING_SQUARED = 1 / (_SIDE - 1) ** 2


def _source():
    source = np.zeros((_SIDE, _SIDE))
    charge = 2 / (_SIDE * _SPACING_SQUARED)
    source[24:75, 24] = charge
    source[24:75, 74] = -charge
    return source


def _jacobi(y, args):
    inside = y[2:, 1:-1] + y[:-2, 1:-1] + y[1:-1, 2:] + y[1:-1, :-2]
    return jnp.pad((inside + _SPACING_SQUARED * args[1:-1, 1:-1]) / 4, 1)


def _sweep(y, args):
    source, relaxation, column_inverse = args
    new = relaxation / 4
    known = (1 - relaxation) * y[1:-1, 1:-1] + new * (
        y[2:, 1:-1] + y[1:-1, 2:] + _SPACING_SQUARED * source[1:-1, 1:-1]
    )
    # The first row's upper neighbour lies on the edge, which never changes.
    known = known.at[0].add(new * y[0, 1:-1])

    # Within a column the new values obey x_j = new x_(j-1) + ..., a triangular system.
    def column(left, known):
        value = column_inverse @ (known + new * left)
        return value, value

    _, inside = jax.lax.scan(column, y[1:-1, 0], known.T)
    return y.at[1:-1, 1:-1].set(inside.T)


def _make_jacobi(dtype):
    return _jacobi, *cast((_source(), _source()), dtype)


def _make_sweep(relaxation):
    def make(dtype):
        power = np.subtract.outer(np.arange(_SIDE - 2), np.arange(_SIDE - 2))
        inverse = np.where(power >= 0, (relaxation / 4) ** np.maximum(power, 0), 0.0)
        args = (_source(), np.array(relaxation), inverse)
        return _sweep, *cast((_source(), args), dtype)

    return make


def _solution(dtype):
    """The sparse linear system, solved directly."""
    right = _SPACING_SQUARED * _source()[1:-1, 1:-1].ravel()
    inside = sparse_solve(negative_laplacian(_SIDE - 2), right)
    return to_numpy(np.pad(inside.reshape(_SIDE - 2, _SIDE - 2), 1), dtype)


_REFERENCE = (
    "Poisson equation with two line sources, 100 x 100, started at the source: "
    "FixedPointTestProblems.jl, after the NAG library's Anderson acceleration "
    "notebook; "
)

PROBLEMS = [
    Problem(
        name="electric_jacobi",
        make=_make_jacobi,
        size=_SIDE**2,
        picard_steps_hint=27856,
        tuned_on=True,
        reference=_REFERENCE + "Jacobi",
        tolerance32=2e-06,
        solution=_solution,
        accuracy=2e-05,
        accuracy32=0.0004,
        slow=True,
    ),
    Problem(
        name="electric_gauss_seidel",
        make=_make_sweep(1.0),
        size=_SIDE**2,
        picard_steps_hint=11533,
        tuned_on=False,
        reference=_REFERENCE + "Gauss-Seidel",
        tolerance32=5e-06,
        solution=_solution,
        accuracy=1e-05,
        accuracy32=0.0005,
        slow=True,
    ),
    Problem(
        name="electric_sor",
        make=_make_sweep(_RELAXATION),
        size=_SIDE**2,
        picard_steps_hint=406,
        tuned_on=False,
        reference=_REFERENCE + "SOR with factor 1.94",
        tolerance32=1e-05,
        solution=_solution,
        accuracy=1e-06,
        accuracy32=0.0001,
    ),
]
