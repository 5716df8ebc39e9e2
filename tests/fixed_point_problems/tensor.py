"""Canonical polyadic decomposition by alternating least squares.

A <- T_(1) (C kr B) ((B'B) * (C'C))^-1 and likewise for B and C, each with columns then
scaled to unit 1-norm.
"""

import functools

import jax.numpy as jnp
import numpy as np

from ._problem import Problem, cast
from ._random import StableRandom, normal_quantile


_SIDE, _RANK, _COLLINEARITY = 50, 3, 0.9


@functools.cache
def _data():
    random = StableRandom()
    gram = np.full((_RANK, _RANK), _COLLINEARITY) + (1 - _COLLINEARITY) * np.eye(_RANK)
    upper, factors, noise = np.linalg.cholesky(gram).T, [], []
    for _ in range(3):
        basis = np.linalg.qr(random(_SIDE, _RANK, quantile=normal_quantile))[0]
        factors.append(basis @ upper)
        noise = [random(_SIDE, _SIDE, _SIDE, quantile=normal_quantile) for _ in "12"]
    clean = np.einsum("ir,jr,kr->ijk", *factors)
    share = 1 / np.sqrt(99.0)
    norm = np.linalg.norm
    homoscedastic = clean + share * norm(clean) / norm(noise[0]) * noise[0]
    scaled = noise[1] * homoscedastic
    tensor = homoscedastic + share * norm(homoscedastic) / norm(scaled) * scaled
    start = random(_RANK * _SIDE * 3).reshape(3, _RANK, _SIDE).swapaxes(1, 2)
    return tensor, tuple(start)


def _solve3(gram, right):
    """right @ inv(gram) for a symmetric 3x3 matrix, by cofactors."""
    rows = [
        jnp.cross(gram[1], gram[2]),
        jnp.cross(gram[2], gram[0]),
        jnp.cross(gram[0], gram[1]),
    ]
    return right @ jnp.stack(rows) / jnp.vdot(gram[0], rows[0])


def _map(y, args):
    a, b, c = y
    tensor = args

    def update(product, first, second):
        new = _solve3((first.T @ first) * (second.T @ second), product)
        return new / jnp.sum(jnp.abs(new), axis=0, keepdims=True)

    # Contract the longest index first: the tensor is read once per factor.
    tensor_c = tensor @ c
    a = update(jnp.einsum("ijr,jr->ir", tensor_c, b), b, c)
    b = update(jnp.einsum("ijr,ir->jr", tensor_c, a), a, c)
    c = update(jnp.einsum("ijk,ir,jr->kr", tensor, a, b), a, b)
    return a, b, c


def _make(dtype):
    tensor, start = _data()
    return _map, *cast((start, tensor), dtype)


def _check(y):
    """Largest entry of the least-squares gradient, the columns' weights fitted anew."""
    tensor = _data()[0]
    a, b, c = (np.asarray(x, float) for x in y)
    columns = np.einsum("ir,jr,kr->ijkr", a, b, c).reshape(-1, _RANK)
    weight = np.linalg.lstsq(columns, tensor.ravel(), rcond=None)[0]
    root = np.cbrt(weight)
    a, b, c = a * root, b * root, c * root
    miss = np.einsum("ir,jr,kr->ijk", a, b, c) - tensor
    gradients = (
        np.einsum("ijk,jr,kr->ir", miss, b, c),
        np.einsum("ijk,ir,kr->jr", miss, a, c),
        np.einsum("ijk,ir,jr->kr", miss, a, b),
    )
    return max(np.max(np.abs(g)) for g in gradients)


PROBLEMS = [
    Problem(
        name="candecomp",
        make=_make,
        size=450,
        picard_steps_hint=1022,
        tuned_on=False,
        reference="ALS for CANDECOMP of a noisy collinear 50^3 tensor of rank 3: "
        "FixedPointTestProblems.jl, data (StableRandom) of the same",
        tolerance32=5e-06,
        check=_check,
        accuracy=1e-05,
        accuracy32=0.0001,
        domain="factors of full column rank; several fixed points",
    ),
]
