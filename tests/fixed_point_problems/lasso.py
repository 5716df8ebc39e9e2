"""The lasso as a Douglas-Rachford map.

min |Ax - b|^2 / 2 + l |x|_1;  x = prox_f(z), w = prox_g(2x - z), z <- z + w - x.
"""

import functools

import jax.numpy as jnp
import numpy as np

from ._problem import Problem, cast


_ROWS, _COLUMNS, _STEP, _WEIGHT = 50, 100, 1.0, 0.1


@functools.cache
def _data():
    rng = np.random.default_rng(1996)
    matrix = rng.normal(size=(_ROWS, _COLUMNS))
    matrix /= np.linalg.norm(matrix, axis=0)
    truth = np.where(rng.random(_COLUMNS) < 0.1, rng.normal(size=_COLUMNS), 0.0)
    right = matrix @ truth + 0.05 * rng.normal(size=_ROWS)
    inverse = np.linalg.inv(np.eye(_COLUMNS) + _STEP * matrix.T @ matrix)
    return inverse, _STEP * matrix.T @ right, matrix, right


def _shrink(x, xp):
    return xp.sign(x) * xp.maximum(xp.abs(x) - _STEP * _WEIGHT, 0)


def _map(y, args):
    inverse, shift = args
    x = inverse @ (y + shift)
    return y + _shrink(2 * x - y, jnp) - x


def _make(dtype):
    inverse, shift, _, _ = _data()
    return _map, *cast((np.zeros(_COLUMNS), (inverse, shift)), dtype)


def _check(y):
    """Violation of the optimality conditions at w, whose zeros are exact."""
    inverse, shift, matrix, right = _data()
    y = np.asarray(y, float)
    w = _shrink(2 * (inverse @ (y + shift)) - y, np)
    gradient = matrix.T @ (matrix @ w - right)
    on_support = np.abs(gradient + _WEIGHT * np.sign(w))
    off_support = np.maximum(np.abs(gradient) - _WEIGHT, 0)
    return np.max(np.where(w != 0, on_support, off_support))


PROBLEMS = [
    Problem(
        name="lasso_douglas_rachford",
        make=_make,
        size=_COLUMNS,
        picard_steps_hint=63,
        tuned_on=False,
        reference="P. L. Lions and B. Mercier (1979), SIAM J. Numer. Anal. 16(6), "
        "964-979; "
        "lasso 50 x 100, seed 1996",
        tolerance32=5e-06,
        check=_check,
        accuracy=1e-06,
        accuracy32=5e-05,
        smooth=False,
    ),
]
