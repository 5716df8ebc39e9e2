"""Problems of the collection of Hock and Schittkowski, with starts and optimal values.

W. Hock and K. Schittkowski (1981), Test Examples for Nonlinear Programming Codes,
Lecture Notes in Economics and Mathematical Systems 187; numbers, starts and values are
theirs. Inequalities are `>= 0`; bounds are inequalities, after the others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fixproj as fp


# Programs that run once: to compile them takes a quarter of the time like this.
_CHEAP = {
    "xla_cpu_use_fusion_emitters": False,
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}


def compiled(fn):
    """`jax.jit` for what is run once."""
    return jax.jit(fn, compiler_options=_CHEAP)


@dataclass(frozen=True)
class Problem:
    """minimise f(x) subject to eq(x) = 0, ineq(x) >= 0, lower <= x <= upper."""

    number: int
    f: Callable[[Any], Any]
    x0: list[float]
    optimum: float
    eq: Callable[[Any], list] | None = None
    ineq: Callable[[Any], list] | None = None
    lower: list[float] | None = None
    upper: list[float] | None = None

    def equations(self):
        """`eq` as `fp.Constrained` wants it."""
        return None if self.eq is None else lambda x, args: jnp.stack(self.eq(x))

    def inequalities(self):
        """`ineq` and the finite bounds as `fp.Constrained` wants them."""
        low = np.asarray(self.lower if self.lower else [-np.inf] * len(self.x0))
        high = np.asarray(self.upper if self.upper else [np.inf] * len(self.x0))
        at_low, at_high = np.flatnonzero(low > -np.inf), np.flatnonzero(high < np.inf)
        if self.ineq is None and at_low.size + at_high.size == 0:
            return None

        def fn(x, args):
            parts = [jnp.stack(self.ineq(x))] if self.ineq else []
            parts.append(x[at_low] - jnp.asarray(low[at_low], x.dtype))
            parts.append(jnp.asarray(high[at_high], x.dtype) - x[at_high])
            return jnp.concatenate(parts)

        return fn


def solve(problem, method=None, max_steps=500, start=None):
    """The solution's value, steps, and whether the result is `successful`."""
    x0 = jnp.asarray(problem.x0 if start is None else start, float)

    @compiled
    def run(x0):
        posed = fp.Constrained(
            lambda x, args: problem.f(x),
            x0,
            problem.equations(),
            problem.inequalities(),
        )
        solution = fp.solve(posed, method, throw=False, max_steps=max_steps)
        good = solution.result == fp.RESULTS.successful
        return solution.value, solution.stats["num_steps"], good

    value, steps, good = run(x0)
    # The last evaluation only measures.
    return np.asarray(value), int(steps) - 1, bool(good)


def error(problem, x):
    """The error of the objective, relative to at least one, or a larger violation."""
    x = jnp.asarray(x)
    worst = abs(float(problem.f(x)) - problem.optimum) / max(1, abs(problem.optimum))
    for fn, violation in (
        (problem.equations(), jnp.abs),
        (problem.inequalities(), jnp.negative),
    ):
        if fn is not None:
            worst = max(worst, float(jnp.max(violation(fn(x, None)))))
    return worst if np.isfinite(worst) else np.inf


def _rosenbrock(x):
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


def _colville(x):
    return (
        100 * (x[1] - x[0] ** 2) ** 2
        + (1 - x[0]) ** 2
        + 90 * (x[3] - x[2] ** 2) ** 2
        + (1 - x[2]) ** 2
        + 10.1 * ((x[1] - 1) ** 2 + (x[3] - 1) ** 2)
        + 19.8 * (x[1] - 1) * (x[3] - 1)
    )


def _hs46(x):
    return (x[0] - x[1]) ** 2 + (x[2] - 1) ** 2 + (x[3] - 1) ** 4 + (x[4] - 1) ** 6


def _hs77(x):
    return (x[0] - 1) ** 2 + _hs46(x)


def _hs78(x):
    return [
        jnp.sum(x**2) - 10,
        x[1] * x[2] - 5 * x[3] * x[4],
        x[0] ** 3 + x[1] ** 3 + 1,
    ]


def _hs51(x):
    return [x[0] + 3 * x[1] - 4, x[2] + x[3] - 2 * x[4], x[1] - x[4]]


def _hs52(x):
    return [x[0] + 3 * x[1], x[2] + x[3] - 2 * x[4], x[1] - x[4]]


def _hs71(x):
    return x[0] * x[3] * (x[0] + x[1] + x[2]) + x[2]


def _hs100(x):
    return (
        (x[0] - 10) ** 2
        + 5 * (x[1] - 12) ** 2
        + x[2] ** 4
        + 3 * (x[3] - 11) ** 2
        + 10 * x[4] ** 6
        + 7 * x[5] ** 2
        + x[6] ** 4
        - 4 * x[5] * x[6]
        - 10 * x[5]
        - 8 * x[6]
    )


def _hs113(x):
    return (
        x[0] ** 2
        + x[1] ** 2
        + x[0] * x[1]
        - 14 * x[0]
        - 16 * x[1]
        + (x[2] - 10) ** 2
        + 4 * (x[3] - 5) ** 2
        + (x[4] - 3) ** 2
        + 2 * (x[5] - 1) ** 2
        + 5 * x[6] ** 2
        + 7 * (x[7] - 11) ** 2
        + 2 * (x[8] - 10) ** 2
        + (x[9] - 7) ** 2
        + 45
    )


_INF = float("inf")
_A56, _B56 = float(np.arcsin(np.sqrt(1 / 4.2))), float(np.arcsin(np.sqrt(5 / 7.2)))
_R2, _R3 = float(np.sqrt(2)), float(np.sqrt(3))

EQUALITY = [
    Problem(
        6,
        lambda x: (1 - x[0]) ** 2,
        [-1.2, 1],
        0,
        lambda x: [10 * (x[1] - x[0] ** 2)],
    ),
    Problem(
        7,
        lambda x: jnp.log(1 + x[0] ** 2) - x[1],
        [2, 2],
        -_R3,
        lambda x: [(1 + x[0] ** 2) ** 2 + x[1] ** 2 - 4],
    ),
    Problem(
        8,
        lambda x: -1 + 0 * x[0],
        [2, 1],
        -1,
        lambda x: [x[0] ** 2 + x[1] ** 2 - 25, x[0] * x[1] - 9],
    ),
    Problem(
        9,
        lambda x: jnp.sin(np.pi * x[0] / 12) * jnp.cos(np.pi * x[1] / 16),
        [0, 0],
        -0.5,
        lambda x: [4 * x[0] - 3 * x[1]],
    ),
    Problem(
        26,
        lambda x: (x[0] - x[1]) ** 2 + (x[1] - x[2]) ** 4,
        [-2.6, 2, 2],
        0,
        lambda x: [(1 + x[1] ** 2) * x[0] + x[2] ** 4 - 3],
    ),
    Problem(
        27,
        lambda x: 0.01 * (x[0] - 1) ** 2 + (x[1] - x[0] ** 2) ** 2,
        [2, 2, 2],
        0.04,
        lambda x: [x[0] + x[2] ** 2 + 1],
    ),
    Problem(
        28,
        lambda x: (x[0] + x[1]) ** 2 + (x[1] + x[2]) ** 2,
        [-4, 1, 1],
        0,
        lambda x: [x[0] + 2 * x[1] + 3 * x[2] - 1],
    ),
    Problem(
        39,
        lambda x: -x[0],
        [2, 2, 2, 2],
        -1,
        lambda x: [x[1] - x[0] ** 3 - x[2] ** 2, x[0] ** 2 - x[1] - x[3] ** 2],
    ),
    Problem(
        40,
        lambda x: -x[0] * x[1] * x[2] * x[3],
        [0.8] * 4,
        -0.25,
        lambda x: [
            x[0] ** 3 + x[1] ** 2 - 1,
            x[0] ** 2 * x[3] - x[2],
            x[3] ** 2 - x[1],
        ],
    ),
    Problem(
        42,
        lambda x: jnp.sum((x - jnp.arange(1.0, 5.0, dtype=x.dtype)) ** 2),
        [1] * 4,
        28 - 10 * _R2,
        lambda x: [x[0] - 2, x[2] ** 2 + x[3] ** 2 - 2],
    ),
    Problem(
        46,
        _hs46,
        [_R2 / 2, 1.75, 0.5, 2, 2],
        0,
        lambda x: [
            x[0] ** 2 * x[3] + jnp.sin(x[3] - x[4]) - 1,
            x[1] + x[2] ** 4 * x[3] ** 2 - 2,
        ],
    ),
    Problem(
        47,
        lambda x: (
            (x[0] - x[1]) ** 2
            + (x[1] - x[2]) ** 3
            + (x[2] - x[3]) ** 4
            + (x[3] - x[4]) ** 4
        ),
        [2, _R2, -1, 2 - _R2, 0.5],
        0,
        lambda x: [
            x[0] + x[1] ** 2 + x[2] ** 3 - 3,
            x[1] - x[2] ** 2 + x[3] - 1,
            x[0] * x[4] - 1,
        ],
    ),
    Problem(
        48,
        lambda x: (x[0] - 1) ** 2 + (x[1] - x[2]) ** 2 + (x[3] - x[4]) ** 2,
        [3, 5, -3, 2, -2],
        0,
        lambda x: [jnp.sum(x) - 5, x[2] - 2 * (x[3] + x[4]) + 3],
    ),
    Problem(
        49,
        _hs46,
        [10, 7, 2, -3, 0.8],
        0,
        lambda x: [x[0] + x[1] + x[2] + 4 * x[3] - 7, x[2] + 5 * x[4] - 6],
    ),
    Problem(
        50,
        lambda x: (
            (x[0] - x[1]) ** 2
            + (x[1] - x[2]) ** 2
            + (x[2] - x[3]) ** 4
            + (x[3] - x[4]) ** 2
        ),
        [35, -31, 11, 5, -5],
        0,
        lambda x: [x[i] + 2 * x[i + 1] + 3 * x[i + 2] - 6 for i in range(3)],
    ),
    Problem(
        51,
        lambda x: (
            (x[0] - x[1]) ** 2
            + (x[1] + x[2] - 2) ** 2
            + (x[3] - 1) ** 2
            + (x[4] - 1) ** 2
        ),
        [2.5, 0.5, 2, -1, 0.5],
        0,
        _hs51,
    ),
    Problem(
        52,
        lambda x: (
            (4 * x[0] - x[1]) ** 2
            + (x[1] + x[2] - 2) ** 2
            + (x[3] - 1) ** 2
            + (x[4] - 1) ** 2
        ),
        [2] * 5,
        1859 / 349,
        _hs52,
    ),
    Problem(
        56,
        lambda x: -x[0] * x[1] * x[2],
        [1, 1, 1, _A56, _A56, _A56, _B56],
        -3.456,
        lambda x: [
            x[0] - 4.2 * jnp.sin(x[3]) ** 2,
            x[1] - 4.2 * jnp.sin(x[4]) ** 2,
            x[2] - 4.2 * jnp.sin(x[5]) ** 2,
            x[0] + 2 * x[1] + 2 * x[2] - 7.2 * jnp.sin(x[6]) ** 2,
        ],
    ),
    Problem(
        61,
        lambda x: (
            4 * x[0] ** 2
            + 2 * x[1] ** 2
            + 2 * x[2] ** 2
            - 33 * x[0]
            + 16 * x[1]
            - 24 * x[2]
        ),
        [0, 0, 0],
        -143.6461422,
        lambda x: [3 * x[0] - 2 * x[1] ** 2 - 7, 4 * x[0] - x[2] ** 2 - 11],
    ),
    Problem(
        77,
        _hs77,
        [2] * 5,
        0.24150513,
        lambda x: [
            x[0] ** 2 * x[3] + jnp.sin(x[3] - x[4]) - 2 * _R2,
            x[1] + x[2] ** 4 * x[3] ** 2 - 8 - _R2,
        ],
    ),
    Problem(78, jnp.prod, [-2, 1.5, 2, -1, -1], -2.91970041, _hs78),
    Problem(
        79,
        lambda x: (
            (x[0] - 1) ** 2
            + (x[0] - x[1]) ** 2
            + (x[1] - x[2]) ** 2
            + (x[2] - x[3]) ** 4
            + (x[3] - x[4]) ** 4
        ),
        [2] * 5,
        0.0787768209,
        lambda x: [
            x[0] + x[1] ** 2 + x[2] ** 3 - 2 - 3 * _R2,
            x[1] - x[2] ** 2 + x[3] + 2 - 2 * _R2,
            x[0] * x[4] - 2,
        ],
    ),
]

INEQUALITY = [
    Problem(1, _rosenbrock, [-2, 1], 0, lower=[-_INF, -1.5]),
    Problem(2, _rosenbrock, [-2, 1], 0.0504261879, lower=[-_INF, 1.5]),
    Problem(
        3,
        lambda x: x[1] + 1e-5 * (x[1] - x[0]) ** 2,
        [10, 1],
        0,
        lower=[-_INF, 0],
    ),
    Problem(
        4, lambda x: (x[0] + 1) ** 3 / 3 + x[1], [1.125, 0.125], 8 / 3, lower=[1, 0]
    ),
    Problem(
        5,
        lambda x: (
            jnp.sin(x[0] + x[1]) + (x[0] - x[1]) ** 2 - 1.5 * x[0] + 2.5 * x[1] + 1
        ),
        [0, 0],
        -_R3 / 2 - np.pi / 3,
        lower=[-1.5, -3],
        upper=[4, 3],
    ),
    Problem(
        10,
        lambda x: x[0] - x[1],
        [-10, 10],
        -1,
        ineq=lambda x: [-3 * x[0] ** 2 + 2 * x[0] * x[1] - x[1] ** 2 + 1],
    ),
    Problem(
        11,
        lambda x: (x[0] - 5) ** 2 + x[1] ** 2 - 25,
        [4.9, 0.1],
        -8.498464223,
        ineq=lambda x: [-(x[0] ** 2) + x[1]],
    ),
    Problem(
        12,
        lambda x: 0.5 * x[0] ** 2 + x[1] ** 2 - x[0] * x[1] - 7 * x[0] - 7 * x[1],
        [0, 0],
        -30,
        ineq=lambda x: [25 - 4 * x[0] ** 2 - x[1] ** 2],
    ),
    Problem(
        13,
        lambda x: (x[0] - 2) ** 2 + x[1] ** 2,
        [-2, -2],
        1,
        ineq=lambda x: [(1 - x[0]) ** 3 - x[1]],
        lower=[0, 0],
    ),
    Problem(
        14,
        lambda x: (x[0] - 2) ** 2 + (x[1] - 1) ** 2,
        [2, 2],
        9 - 2.875 * float(np.sqrt(7)),
        lambda x: [x[0] - 2 * x[1] + 1],
        lambda x: [-0.25 * x[0] ** 2 - x[1] ** 2 + 1],
    ),
    Problem(
        15,
        _rosenbrock,
        [-2, 1],
        306.5,
        ineq=lambda x: [x[0] * x[1] - 1, x[0] + x[1] ** 2],
        upper=[0.5, _INF],
    ),
    Problem(
        16,
        _rosenbrock,
        [-2, 1],
        0.25,
        ineq=lambda x: [x[0] + x[1] ** 2, x[0] ** 2 + x[1]],
        lower=[-0.5, -_INF],
        upper=[0.5, 1],
    ),
    Problem(
        17,
        _rosenbrock,
        [-2, 1],
        1,
        ineq=lambda x: [x[1] ** 2 - x[0], x[0] ** 2 - x[1]],
        lower=[-0.5, -_INF],
        upper=[0.5, 1],
    ),
    Problem(
        18,
        lambda x: 0.01 * x[0] ** 2 + x[1] ** 2,
        [2, 2],
        5,
        ineq=lambda x: [x[0] * x[1] - 25, x[0] ** 2 + x[1] ** 2 - 25],
        lower=[2, 0],
        upper=[50, 50],
    ),
    Problem(
        19,
        lambda x: (x[0] - 10) ** 3 + (x[1] - 20) ** 3,
        [20.1, 5.84],
        -6961.81381,
        ineq=lambda x: [
            (x[0] - 5) ** 2 + (x[1] - 5) ** 2 - 100,
            -((x[1] - 5) ** 2) - (x[0] - 6) ** 2 + 82.81,
        ],
        lower=[13, 0],
        upper=[100, 100],
    ),
    Problem(
        20,
        _rosenbrock,
        [-2, 1],
        81.5 - 25 * _R3,
        ineq=lambda x: [
            x[0] + x[1] ** 2,
            x[0] ** 2 + x[1],
            x[0] ** 2 + x[1] ** 2 - 1,
        ],
        lower=[-0.5, -_INF],
        upper=[0.5, _INF],
    ),
    Problem(
        21,
        lambda x: 0.01 * x[0] ** 2 + x[1] ** 2 - 100,
        [-1, -1],
        -99.96,
        ineq=lambda x: [10 * x[0] - x[1] - 10],
        lower=[2, -50],
        upper=[50, 50],
    ),
    Problem(
        22,
        lambda x: (x[0] - 2) ** 2 + (x[1] - 1) ** 2,
        [2, 2],
        1,
        ineq=lambda x: [-x[0] - x[1] + 2, -(x[0] ** 2) + x[1]],
    ),
    Problem(
        23,
        lambda x: x[0] ** 2 + x[1] ** 2,
        [3, 1],
        2,
        ineq=lambda x: [
            x[0] + x[1] - 1,
            x[0] ** 2 + x[1] ** 2 - 1,
            9 * x[0] ** 2 + x[1] ** 2 - 9,
            x[0] ** 2 - x[1],
            x[1] ** 2 - x[0],
        ],
        lower=[-50, -50],
        upper=[50, 50],
    ),
    Problem(
        24,
        lambda x: ((x[0] - 3) ** 2 - 9) * x[1] ** 3 / (27 * _R3),
        [1, 0.5],
        -1,
        ineq=lambda x: [
            x[0] / _R3 - x[1],
            x[0] + _R3 * x[1],
            -x[0] - _R3 * x[1] + 6,
        ],
        lower=[0, 0],
    ),
    Problem(
        29,
        lambda x: -x[0] * x[1] * x[2],
        [1, 1, 1],
        -16 * _R2,
        ineq=lambda x: [-(x[0] ** 2) - 2 * x[1] ** 2 - 4 * x[2] ** 2 + 48],
    ),
    Problem(
        30,
        lambda x: jnp.sum(x**2),
        [1, 1, 1],
        1,
        ineq=lambda x: [x[0] ** 2 + x[1] ** 2 - 1],
        lower=[1, -10, -10],
        upper=[10, 10, 10],
    ),
    Problem(
        31,
        lambda x: 9 * x[0] ** 2 + x[1] ** 2 + 9 * x[2] ** 2,
        [1, 1, 1],
        6,
        ineq=lambda x: [x[0] * x[1] - 1],
        lower=[-10, 1, -10],
        upper=[10, 10, 1],
    ),
    Problem(
        32,
        lambda x: (x[0] + 3 * x[1] + x[2]) ** 2 + 4 * (x[0] - x[1]) ** 2,
        [0.1, 0.7, 0.2],
        1,
        lambda x: [1 - x[0] - x[1] - x[2]],
        lambda x: [6 * x[1] + 4 * x[2] - x[0] ** 3 - 3],
        lower=[0, 0, 0],
    ),
    Problem(
        33,
        lambda x: (x[0] - 1) * (x[0] - 2) * (x[0] - 3) + x[2],
        [0, 0, 3],
        _R2 - 6,
        ineq=lambda x: [
            x[2] ** 2 - x[1] ** 2 - x[0] ** 2,
            x[0] ** 2 + x[1] ** 2 + x[2] ** 2 - 4,
        ],
        lower=[0, 0, 0],
        upper=[_INF, _INF, 5],
    ),
    Problem(
        34,
        lambda x: -x[0],
        [0, 1.05, 2.9],
        -float(np.log(np.log(10))),
        ineq=lambda x: [x[1] - jnp.exp(x[0]), x[2] - jnp.exp(x[1])],
        lower=[0, 0, 0],
        upper=[100, 100, 10],
    ),
    Problem(
        35,
        lambda x: (
            9
            - 8 * x[0]
            - 6 * x[1]
            - 4 * x[2]
            + 2 * x[0] ** 2
            + 2 * x[1] ** 2
            + x[2] ** 2
            + 2 * x[0] * x[1]
            + 2 * x[0] * x[2]
        ),
        [0.5, 0.5, 0.5],
        1 / 9,
        ineq=lambda x: [3 - x[0] - x[1] - 2 * x[2]],
        lower=[0, 0, 0],
    ),
    Problem(
        36,
        lambda x: -x[0] * x[1] * x[2],
        [10, 10, 10],
        -3300,
        ineq=lambda x: [72 - x[0] - 2 * x[1] - 2 * x[2]],
        lower=[0, 0, 0],
        upper=[20, 11, 42],
    ),
    Problem(
        37,
        lambda x: -x[0] * x[1] * x[2],
        [10, 10, 10],
        -3456,
        ineq=lambda x: [
            72 - x[0] - 2 * x[1] - 2 * x[2],
            x[0] + 2 * x[1] + 2 * x[2],
        ],
        lower=[0, 0, 0],
        upper=[42, 42, 42],
    ),
    Problem(38, _colville, [-3, -1, -3, -1], 0, lower=[-10] * 4, upper=[10] * 4),
    Problem(
        41,
        lambda x: 2 - x[0] * x[1] * x[2],
        [2] * 4,
        52 / 27,
        lambda x: [x[0] + 2 * x[1] + 2 * x[2] - x[3]],
        lower=[0] * 4,
        upper=[1, 1, 1, 2],
    ),
    Problem(
        43,
        lambda x: (
            x[0] ** 2
            + x[1] ** 2
            + 2 * x[2] ** 2
            + x[3] ** 2
            - 5 * x[0]
            - 5 * x[1]
            - 21 * x[2]
            + 7 * x[3]
        ),
        [0] * 4,
        -44,
        ineq=lambda x: [
            8 - jnp.sum(x**2) - x[0] + x[1] - x[2] + x[3],
            10 - jnp.sum(x**2) - x[1] ** 2 - x[3] ** 2 + x[0] + x[3],
            5 - 2 * x[0] ** 2 - x[1] ** 2 - x[2] ** 2 - 2 * x[0] + x[1] + x[3],
        ],
    ),
    Problem(
        44,
        lambda x: (
            x[0] - x[1] - x[2] - x[0] * x[2] + x[0] * x[3] + x[1] * x[2] - x[1] * x[3]
        ),
        [0] * 4,
        -15,
        ineq=lambda x: [
            8 - x[0] - 2 * x[1],
            12 - 4 * x[0] - x[1],
            12 - 3 * x[0] - 4 * x[1],
            8 - 2 * x[2] - x[3],
            8 - x[2] - 2 * x[3],
            5 - x[2] - x[3],
        ],
        lower=[0] * 4,
    ),
    Problem(
        45,
        lambda x: 2 - jnp.prod(x) / 120,
        [2] * 5,
        1,
        lower=[0] * 5,
        upper=[1, 2, 3, 4, 5],
    ),
    Problem(
        53,
        lambda x: (
            (x[0] - x[1]) ** 2
            + (x[1] + x[2] - 2) ** 2
            + (x[3] - 1) ** 2
            + (x[4] - 1) ** 2
        ),
        [2] * 5,
        176 / 43,
        _hs52,
        lower=[-10] * 5,
        upper=[10] * 5,
    ),
    Problem(
        60,
        lambda x: (x[0] - 1) ** 2 + (x[0] - x[1]) ** 2 + (x[1] - x[2]) ** 4,
        [2] * 3,
        0.03256820025,
        lambda x: [x[0] * (1 + x[1] ** 2) + x[2] ** 4 - 4 - 3 * _R2],
        lower=[-10] * 3,
        upper=[10] * 3,
    ),
    Problem(
        63,
        lambda x: (
            1000 - x[0] ** 2 - 2 * x[1] ** 2 - x[2] ** 2 - x[0] * x[1] - x[0] * x[2]
        ),
        [2] * 3,
        961.7151721,
        lambda x: [8 * x[0] + 14 * x[1] + 7 * x[2] - 56, jnp.sum(x**2) - 25],
        lower=[0] * 3,
    ),
    Problem(
        64,
        lambda x: (
            5 * x[0]
            + 50000 / x[0]
            + 20 * x[1]
            + 72000 / x[1]
            + 10 * x[2]
            + 144000 / x[2]
        ),
        [1] * 3,
        6299.842428,
        ineq=lambda x: [1 - 4 / x[0] - 32 / x[1] - 120 / x[2]],
        lower=[1e-5] * 3,
    ),
    Problem(
        65,
        lambda x: (x[0] - x[1]) ** 2 + (x[0] + x[1] - 10) ** 2 / 9 + (x[2] - 5) ** 2,
        [-5, 5, 0],
        0.9535288567,
        ineq=lambda x: [48 - jnp.sum(x**2)],
        lower=[-4.5, -4.5, -5],
        upper=[4.5, 4.5, 5],
    ),
    Problem(
        66,
        lambda x: 0.2 * x[2] - 0.8 * x[0],
        [0, 1.05, 2.9],
        0.5181632741,
        ineq=lambda x: [x[1] - jnp.exp(x[0]), x[2] - jnp.exp(x[1])],
        lower=[0] * 3,
        upper=[100, 100, 10],
    ),
    Problem(
        71,
        _hs71,
        [1, 5, 5, 1],
        17.0140173,
        lambda x: [jnp.sum(x**2) - 40],
        lambda x: [jnp.prod(x) - 25],
        lower=[1] * 4,
        upper=[5] * 4,
    ),
    Problem(
        72,
        lambda x: 1 + jnp.sum(x),
        [1] * 4,
        727.67937,
        ineq=lambda x: [
            0.0401 - 4 / x[0] - 2.25 / x[1] - 1 / x[2] - 0.25 / x[3],
            0.010085 - 0.16 / x[0] - 0.36 / x[1] - 0.64 / x[2] - 0.64 / x[3],
        ],
        lower=[0.001] * 4,
        upper=[4e5, 3e5, 2e5, 1e5],
    ),
    Problem(
        73,
        lambda x: 24.55 * x[0] + 26.75 * x[1] + 39 * x[2] + 40.5 * x[3],
        [1] * 4,
        29.894378,
        lambda x: [jnp.sum(x) - 1],
        lambda x: [
            2.3 * x[0] + 5.6 * x[1] + 11.1 * x[2] + 1.3 * x[3] - 5,
            12 * x[0]
            + 11.9 * x[1]
            + 41.8 * x[2]
            + 52.1 * x[3]
            - 21
            - 1.645
            * jnp.sqrt(
                0.28 * x[0] ** 2
                + 0.19 * x[1] ** 2
                + 20.5 * x[2] ** 2
                + 0.62 * x[3] ** 2
            ),
        ],
        lower=[0] * 4,
    ),
    Problem(
        76,
        lambda x: (
            x[0] ** 2
            + 0.5 * x[1] ** 2
            + x[2] ** 2
            + 0.5 * x[3] ** 2
            - x[0] * x[2]
            + x[2] * x[3]
            - x[0]
            - 3 * x[1]
            + x[2]
            - x[3]
        ),
        [0.5] * 4,
        -4.681818182,
        ineq=lambda x: [
            5 - x[0] - 2 * x[1] - x[2] - x[3],
            4 - 3 * x[0] - x[1] - 2 * x[2] + x[3],
            x[1] + 4 * x[2] - 1.5,
        ],
        lower=[0] * 4,
    ),
    Problem(
        80,
        lambda x: jnp.exp(jnp.prod(x)),
        [-2, 2, 2, -1, -1],
        0.0539498478,
        _hs78,
        lower=[-2.3, -2.3, -3.2, -3.2, -3.2],
        upper=[2.3, 2.3, 3.2, 3.2, 3.2],
    ),
    Problem(
        81,
        lambda x: jnp.exp(jnp.prod(x)) - 0.5 * (x[0] ** 3 + x[1] ** 3 + 1) ** 2,
        [-2, 2, 2, -1, -1],
        0.0539498478,
        _hs78,
        lower=[-2.3, -2.3, -3.2, -3.2, -3.2],
        upper=[2.3, 2.3, 3.2, 3.2, 3.2],
    ),
    Problem(
        100,
        _hs100,
        [1, 2, 0, 4, 0, 1, 1],
        680.6300573,
        ineq=lambda x: [
            127 - 2 * x[0] ** 2 - 3 * x[1] ** 4 - x[2] - 4 * x[3] ** 2 - 5 * x[4],
            282 - 7 * x[0] - 3 * x[1] - 10 * x[2] ** 2 - x[3] + x[4],
            196 - 23 * x[0] - x[1] ** 2 - 6 * x[5] ** 2 + 8 * x[6],
            -4 * x[0] ** 2
            - x[1] ** 2
            + 3 * x[0] * x[1]
            - 2 * x[2] ** 2
            - 5 * x[5]
            + 11 * x[6],
        ],
    ),
    Problem(
        113,
        _hs113,
        [2, 3, 5, 5, 1, 2, 7, 3, 6, 10],
        24.3062091,
        ineq=lambda x: [
            105 - 4 * x[0] - 5 * x[1] + 3 * x[6] - 9 * x[7],
            -10 * x[0] + 8 * x[1] + 17 * x[6] - 2 * x[7],
            8 * x[0] - 2 * x[1] - 5 * x[8] + 2 * x[9] + 12,
            -3 * (x[0] - 2) ** 2 - 4 * (x[1] - 3) ** 2 - 2 * x[2] ** 2 + 7 * x[3] + 120,
            -5 * x[0] ** 2 - 8 * x[1] - (x[2] - 6) ** 2 + 2 * x[3] + 40,
            -0.5 * (x[0] - 8) ** 2 - 2 * (x[1] - 4) ** 2 - 3 * x[4] ** 2 + x[5] + 30,
            -(x[0] ** 2) - 2 * (x[1] - 2) ** 2 + 2 * x[0] * x[1] - 14 * x[4] + 6 * x[5],
            3 * x[0] - 6 * x[1] - 12 * (x[8] - 8) ** 2 + 7 * x[9],
        ],
    ),
]
