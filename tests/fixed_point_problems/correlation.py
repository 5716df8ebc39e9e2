"""Nearest correlation matrix by Dykstra's corrected alternating projections.

(Y, S) -> (Y', S') with R = Y - S, X the projection of R on the positive semidefinite
cone, S' = X - R, Y' = X with unit diagonal. Only upper triangles are kept.
"""

import jax.numpy as jnp
import numpy as np

from ._problem import Problem, cast


# Upper triangle, column by column, of the matrix "mmb13" of Higham's collection of
# invalid correlation matrices.
_SIZE = 6
_MMB13 = [
    [3.15946],
    [0.200885, 12.6826],
    [1.00195, 3.35052, -0.0470641],
    [-0.580897, 8.17548, 0.680691, -0.788383],
    [0.195261, 16.936, 1.04237, -0.140854, 0.720099],
]


def _matrix():
    matrix = np.eye(_SIZE)
    for j, column in enumerate(_MMB13, start=1):
        matrix[:j, j] = matrix[j, :j] = column
    return matrix


# Column by column, as the published starting vector is laid out.
_COLUMN, _ROW = np.array(np.tril_indices(_SIZE), np.int32)
_POSITION = np.zeros((_SIZE, _SIZE), np.int32)
_POSITION[_ROW, _COLUMN] = _POSITION[_COLUMN, _ROW] = np.arange(21)


def _map(y, args):
    correction = y["correction"][_POSITION]
    difference = y["matrix"][_POSITION] - correction
    values, vectors = jnp.linalg.eigh(difference)
    projected = (vectors * jnp.maximum(values, 0)[None, :]) @ vectors.T
    correction = projected - difference
    unit = jnp.where(jnp.eye(_SIZE, dtype=bool), 1, projected)
    return {"matrix": unit[_ROW, _COLUMN], "correction": correction[_ROW, _COLUMN]}


def _make(dtype):
    start = {"matrix": _matrix()[_ROW, _COLUMN], "correction": np.zeros(21)}
    return _map, cast(start, dtype), None


def nearest_correlation(matrix: np.ndarray) -> np.ndarray:
    """By the dual: w with diag((A + Diag(w))_+) = 1 (Qi and Sun 2006)."""
    from scipy.optimize import minimize

    def positive_part(w):
        values, vectors = np.linalg.eigh(matrix + np.diag(w))
        values = np.maximum(values, 0)
        return values, (vectors * values) @ vectors.T

    def dual(w):
        values, part = positive_part(w)
        return np.sum(values**2) / 2 - np.sum(w), np.diag(part) - 1

    w = np.zeros(len(matrix))
    for _ in range(5):
        w = minimize(dual, w, jac=True, method="BFGS", options={"gtol": 1e-13}).x
    return positive_part(w)[1]


def _check(y):
    matrix = np.asarray(y["matrix"], float)[_POSITION]
    return np.max(np.abs(matrix - nearest_correlation(_matrix())))


PROBLEMS = [
    Problem(
        name="higham",
        make=_make,
        size=42,
        picard_steps_hint=383,
        tuned_on=True,
        reference="N. J. Higham (2002), IMA J. Numer. Anal. 22(3), 329-343; Higham and "
        "Strabic (2016), Numer. Algorithms 72, 1021-1042, Algorithm 5; matrix mmb13",
        tolerance32=5e-05,
        check=_check,
        accuracy=5e-06,
        accuracy32=0.002,
    ),
]
