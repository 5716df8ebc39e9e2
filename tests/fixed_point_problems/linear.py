"""Affine maps and the power method."""

import functools

import jax.numpy as jnp
import numpy as np

from ._problem import Problem, cast, to_numpy


_DIAGONAL = 2 * np.arange(1, 101) / 101


def _diagonal_map(y, args):
    diagonal, b = args
    return y - (diagonal * y - b)


def _diagonal_make(dtype):
    return _diagonal_map, *cast((np.zeros(100), (_DIAGONAL, np.ones(100))), dtype)


def _power_map(y, args):
    image = args @ y
    return image / jnp.max(jnp.abs(image))


def _power_matrix():
    return np.ones((100, 100)) + np.diag(np.arange(1.0, 101.0))


def _power_make(dtype):
    return _power_map, *cast((np.ones(100), _power_matrix()), dtype)


def _power_solution(dtype):
    vector = np.linalg.eigh(_power_matrix())[1][:, -1]
    return to_numpy(vector / vector[np.argmax(np.abs(vector))], dtype)


def _affine_map(y, args):
    matrix, b = args
    return matrix @ y + b


@functools.cache
def _dense(number: int, radius: float, normal: bool):
    """A matrix of the given spectral radius, and a right-hand side."""
    rng = np.random.default_rng(number)
    if normal:
        # Real eigenvalues spread over [-radius, radius], both ends included.
        eigenvalues = np.linspace(-radius, radius, number)
        basis = np.linalg.qr(rng.normal(size=(number, number)))[0]
        return (basis * eigenvalues) @ basis.T, rng.normal(size=number)
    # Planar rotations times moduli: complex eigenvalues that fill the disc, in a basis
    # made of a few Householder reflections (cheaper than scaling by an eigenvalue).
    modulus = radius * np.sqrt(np.linspace(0.0, 1.0, number // 2))
    angle = rng.uniform(0, np.pi, number // 2)
    matrix = np.zeros((number, number))
    even, odd = np.arange(0, number, 2), np.arange(1, number, 2)
    matrix[even, even] = matrix[odd, odd] = modulus * np.cos(angle)
    matrix[odd, even] = modulus * np.sin(angle)
    matrix[even, odd] = -matrix[odd, even]
    for _ in range(3):
        v = rng.normal(size=number)
        v *= np.sqrt(2) / np.linalg.norm(v)
        matrix -= np.outer(v, v @ matrix)
        matrix -= np.outer(matrix @ v, v)
    return matrix, rng.normal(size=number)


def _affine(name, number, radius, normal, steps, tolerance32, accuracy32):
    def make(dtype):
        return _affine_map, *cast(
            (np.zeros(number), _dense(number, radius, normal)), dtype
        )

    def solution(dtype):
        matrix, b = _dense(number, radius, normal)
        return to_numpy(np.linalg.solve(np.eye(number) - matrix, b), dtype)

    kind = "real eigenvalues" if normal else "complex eigenvalues that fill the disc"
    return Problem(
        name=name,
        make=make,
        size=number,
        picard_steps_hint=steps,
        tuned_on=False,
        reference=f"y = Wy + b, n = {number}, spectral radius {radius}, {kind}, seed "
        f"{number}",
        tolerance32=tolerance32,
        solution=solution,
        accuracy=1e-7 / (1 - radius),
        accuracy32=accuracy32,
    )


PROBLEMS = [
    Problem(
        name="linear",
        make=_diagonal_make,
        size=100,
        picard_steps_hint=825,
        tuned_on=True,
        reference="y - (Ay - b), A = diag(2i/101), b = 1: FixedPointTestProblems.jl, "
        "after "
        "Lepage-Saucier (2024), J. Comput. Appl. Math. 439, 115607",
        tolerance32=1e-05,
        solution=lambda dtype: to_numpy(1 / _DIAGONAL, dtype),
        accuracy=1e-05,
        accuracy32=0.001,
    ),
    Problem(
        name="power",
        make=_power_make,
        size=100,
        picard_steps_hint=34,
        tuned_on=True,
        reference="Power method on ones + diag(1, ..., 100), largest entry scaled to "
        "1: "
        "FixedPointTestProblems.jl",
        tolerance32=2e-06,
        solution=_power_solution,
        accuracy=1e-06,
        accuracy32=2e-05,
        domain="y not orthogonal to the dominant eigenvector; NaN at 0",
    ),
    _affine("linear_100_rho99", 100, 0.99, True, 1684, 1e-4, 1e-2),
    _affine("linear_1000_rho90", 1000, 0.9, False, 162, 5e-5, 1e-3),
]
