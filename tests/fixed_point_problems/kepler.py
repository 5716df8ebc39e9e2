"""Kepler's equation E = M + e sin E for a batch of orbits.

The map is elementwise: with `y0`, `M` and `e` mapped over their only axis it is also a
batch of scalar problems whose lanes need from 1 to a hundred and more steps.
"""

import jax.numpy as jnp
import numpy as np

from ._problem import Problem, cast, to_numpy


_NUMBER = 1000


def _data():
    rng = np.random.default_rng(1609)
    return rng.uniform(0, 2 * np.pi, _NUMBER), rng.uniform(0, 0.9, _NUMBER)


def _map(y, args):
    mean_anomaly, eccentricity = args
    return mean_anomaly + eccentricity * jnp.sin(y)


def _make(dtype):
    return _map, *cast((_data()[0], _data()), dtype)


def _solution(dtype):
    """Bisection: E - e sin E increases."""
    mean_anomaly, eccentricity = _data()
    low, high = mean_anomaly - 1, mean_anomaly + 1
    for _ in range(60):
        middle = (low + high) / 2
        above = middle - eccentricity * np.sin(middle) > mean_anomaly
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return to_numpy((low + high) / 2, dtype)


PROBLEMS = [
    Problem(
        name="kepler_batch",
        make=_make,
        size=_NUMBER,
        picard_steps_hint=123,
        tuned_on=False,
        reference="J. Kepler (1609); 1000 orbits, eccentricities up to 0.9, seed 1609",
        tolerance32=5e-05,
        solution=_solution,
        accuracy=2e-06,
        accuracy32=0.0005,
    ),
]
