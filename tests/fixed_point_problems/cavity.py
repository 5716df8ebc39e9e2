"""Steady flow in a square cavity with a moving lid, by time steps.

Incompressible Navier-Stokes, Re = 1000, 161 x 161 cells, finite volumes on a staggered
mesh, central differences. One step: u* = u + dt H(u), then a pressure that makes the
result divergence-free. The Neumann Laplacian is inverted by cosine transforms (the
original factorises it as a sparse matrix; the pressure differs by a constant).
"""

import functools

import jax.numpy as jnp
import numpy as np

from ._problem import Problem, cast


_CELLS, _REYNOLDS, _LID = 161, 1000.0, -1.0
_DX = 1 / _CELLS
_DT = min(_DX**2 * _REYNOLDS / 4, 1 / _REYNOLDS)


@functools.cache
def _cosines():
    """Orthonormal cosine basis, and the Laplacian's pseudo-inverse in it."""
    k, j = np.arange(_CELLS), np.arange(_CELLS) + 0.5
    basis = np.sqrt(2 / _CELLS) * np.cos(np.pi * np.outer(k, j) / _CELLS)
    basis[0] /= np.sqrt(2)
    value = 2 * np.cos(np.pi * k / _CELLS) - 2
    total = value[:, None] + value[None, :]
    total[0, 0] = np.inf
    return basis, 1 / total


def _fluxes(u, v):
    """Right-hand sides H1 at interior u points and H2 at interior v points."""
    viscous, convective = 1 / (_REYNOLDS * _DX**2), 0.25 / _DX

    def across_wall(difference, axis):
        # Half a cell from the wall: twice the difference quotient.
        first, inner, last = jnp.split(
            difference, [1, difference.shape[axis] - 1], axis
        )
        return jnp.concatenate([2 * first, inner, 2 * last], axis)

    dudx = u[1:-1, 1:] - u[1:-1, :-1]
    dudy = across_wall(u[1:, 1:-1] - u[:-1, 1:-1], 0)
    u_cell = u[1:-1, 1:] + u[1:-1, :-1]
    u_corner = u[:-1, 1:-1] + u[1:, 1:-1]
    v_corner = v[:, 2:-1] + v[:, 1:-2]
    square, product = u_cell**2, u_corner * v_corner
    h1 = viscous * (dudx[:, 1:] - dudx[:, :-1] + dudy[1:] - dudy[:-1])
    h1 = h1 - convective * (square[:, 1:] - square[:, :-1] + product[1:] - product[:-1])

    dvdx = across_wall(v[1:-1, 1:] - v[1:-1, :-1], 1)
    dvdy = v[1:, 1:-1] - v[:-1, 1:-1]
    # At the side walls u is 0, so whatever v is there does not matter.
    v_side = v[1:-1, 1:] + v[1:-1, :-1]
    v_cell = v[:-1, 1:-1] + v[1:, 1:-1]
    u_side = u[1:-2, :] + u[2:-1, :]
    square, product = v_cell**2, u_side * v_side
    h2 = viscous * (dvdx[:, 1:] - dvdx[:, :-1] + dvdy[1:] - dvdy[:-1])
    h2 = h2 - convective * (product[:, 1:] - product[:, :-1] + square[1:] - square[:-1])
    return h1, h2


def _map(y, args):
    u, v = y["u"], y["v"]
    basis, inverse = args
    h1, h2 = _fluxes(u, v)
    u_inside = u[1:-1, 1:-1] + _DT * h1
    v_inside = v[1:-1, 1:-1] + _DT * h2
    u_all = u[1:-1].at[:, 1:-1].set(u_inside)
    v_all = v[:, 1:-1].at[1:-1].set(v_inside)
    divergence = u_all[:, 1:] - u_all[:, :-1] + v_all[1:] - v_all[:-1]
    pressure = basis.T @ ((basis @ divergence @ basis.T) * inverse) @ basis
    return {
        "u": u.at[1:-1, 1:-1].set(u_inside - (pressure[:, 1:] - pressure[:, :-1])),
        "v": v.at[1:-1, 1:-1].set(v_inside - (pressure[1:] - pressure[:-1])),
    }


def _make(dtype):
    u = np.zeros((_CELLS + 2, _CELLS + 1))
    u[-1] = _LID
    y0 = {"u": u, "v": np.zeros((_CELLS + 1, _CELLS + 2))}
    return _map, *cast((y0, _cosines()), dtype)


# Ghia, Ghia and Shin (1982), table I, Re = 1000: height, horizontal velocity at half
# width.
_GHIA = np.array(
    [
        [0.0547, -0.18109],
        [0.0625, -0.20196],
        [0.0703, -0.22220],
        [0.1016, -0.29730],
        [0.1719, -0.38289],
        [0.2813, -0.27805],
        [0.4531, -0.10648],
        [0.5000, -0.06080],
        [0.6172, 0.05702],
        [0.7344, 0.18719],
        [0.8516, 0.33304],
        [0.9531, 0.46604],
        [0.9609, 0.51117],
        [0.9688, 0.57492],
        [0.9766, 0.65928],
    ]
)


def _check(y):
    """Largest difference to the published velocities (lid to the right there)."""
    u = np.asarray(y["u"], float)
    half = (u[:, _CELLS // 2] + u[:, _CELLS // 2 + 1]) / 2
    height = np.concatenate([[0.0], (np.arange(_CELLS) + 0.5) * _DX, [1.0]])
    ours = np.interp(_GHIA[:, 0], height, half) * np.sign(_LID)
    return np.max(np.abs(ours - _GHIA[:, 1]))


PROBLEMS = [
    Problem(
        name="lid_driven_cavity",
        make=_make,
        size=2 * (_CELLS + 2) * (_CELLS + 1),
        picard_steps_hint=29772,
        tuned_on=False,
        reference="Lid-driven cavity, Re = 1000: FixedPointTestProblems.jl, after "
        "F. Hastrup-Nielsen; velocities of U. Ghia, K. N. Ghia and C. T. Shin (1982), "
        "J. Comput. Phys. 48, 387-411",
        tolerance=1e-4,
        tolerance32=5e-4,
        check=_check,
        accuracy=0.02,
        accuracy32=0.06,
        slow=True,
    ),
]
