"""Further problems: the rest of the first collection, the second one, Boggs and Tolle.

K. Schittkowski (1987), More Test Examples for Nonlinear Programming Codes, Lecture
Notes in Economics and Mathematical Systems 282 (numbers above 200); P. T. Boggs and
J. W. Tolle (1989), A strategy for global convergence in a sequential quadratic
programming algorithm, SIAM J. Numer. Anal. 26 (1000 and the number there).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from hock_schittkowski import INEQUALITY, Problem
from jax.scipy.special import ndtr


_INF = float("inf")
_R2 = float(np.sqrt(2))


def _rosenbrock(x):
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


def _hs54(x):
    a, b = (x[0] - 1e4) / 8e3, x[1] - 1
    h = (a**2 + 0.4 * a * b + b**2) / 0.96
    h = h + (x[2] - 2e6) ** 2 / 4.9e13 + (x[3] - 10) ** 2 / 2.5e3
    h = h + (x[4] - 1e-3) ** 2 / 2.5e-3 + (x[5] - 1e8) ** 2 / 2.5e17
    return -jnp.exp(-h / 2)


def _hs67_process(x):
    """The alkylation process, with two inner iterations."""

    def cracked(_, y2):
        y6 = (x[1] + 1.22 * y2 - x[0]) / x[0]
        return 0.01 * x[0] * (112 + 13.167 * y6 - 0.6667 * y6**2)

    y2 = jax.lax.fori_loop(0, 40, cracked, 1.6 * x[0])
    y3 = 1.22 * y2 - x[0]
    y6 = (x[1] + y3) / x[0]
    rest = lambda y4: 86.35 + 1.098 * y6 - 0.038 * y6**2 + 0.325 * (y4 - 89)

    def diluted(_, y4):
        y7 = 35.82 - 0.222 * (3 * rest(y4) - 133)
        return 98000 * x[2] / (y2 * y7 + 1000 * x[2])

    y4 = jax.lax.fori_loop(0, 40, diluted, 93 + 0 * y2)
    y5 = rest(y4)
    y8 = 3 * y5 - 133
    y7 = 35.82 - 0.222 * y8
    return jnp.stack([y2, y3, y4, y5, y6, y7, y8])


def _hs67(x):
    y = _hs67_process(x)
    return 5.04 * x[0] + 0.035 * x[1] + 10 * x[2] + 3.36 * y[1] - 0.063 * y[0] * y[3]


def _hs67_constraints(x):
    y = _hs67_process(x)
    low = jnp.asarray([0, 0, 85, 90, 3, 0.01, 145], x.dtype)
    high = jnp.asarray([5000, 2000, 93, 95, 12, 4, 162], x.dtype)
    return [*(y - low), *(high - y)]


def _inspection(number, a, b, n, optimum):
    """Cost-optimal inspection plans (68, 69)."""
    root = float(np.sqrt(n))

    def f(x):
        k = jnp.exp(x[0]) - 1
        return (a * n - (b * k - x[2]) * x[3] / (k + x[3])) / x[0]

    eq = lambda x: [
        x[2] - 2 * ndtr(-x[1]),
        x[3] - ndtr(-x[1] + root) - ndtr(-x[1] - root),
    ]
    lower, upper = [1e-4, 0, 0, 0], [100, 100, 2, 2]
    return Problem(number, f, [1] * 4, optimum, eq, lower=lower, upper=upper)


_HS70_TIMES = np.array([0.1, *range(1, 19)])
_HS70_SEEN = np.array(
    [0.00189, 0.1038, 0.268, 0.506, 0.577, 0.604, 0.725, 0.898, 0.947, 0.845]
    + [0.702, 0.528, 0.385, 0.257, 0.159, 0.0869, 0.0453, 0.01509, 0.00189]
)


def _hs70(x):
    c = jnp.asarray(_HS70_TIMES, x.dtype)
    b = x[2] + (1 - x[2]) * x[3]

    def part(k, scale):
        rate = b / scale
        return (
            rate**k
            * jnp.sqrt(k / 6.2832)
            * (c / 7.658) ** (k - 1)
            * jnp.exp(k - rate * c * k / 7.658)
            / (1 + 1 / (12 * k))
        )

    fit = x[2] * part(x[1], 1.0) + (1 - x[2]) * part(x[0], x[3])
    return jnp.sum((fit - jnp.asarray(_HS70_SEEN, x.dtype)) ** 2)


def _transformer_roots():
    """The first 30 roots of m tan(m) = 1."""
    low = np.pi * np.arange(30)
    high = low + np.pi / 2 - 1e-12
    for _ in range(60):
        middle = (low + high) / 2
        below = middle * np.tan(middle) < 1
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


_MU = _transformer_roots()
_NODES, _NODE_WEIGHTS = (v / 2 for v in np.polynomial.legendre.leggauss(120))
_NODES = _NODES + 0.5
_TRANSFORMER = 2 * np.sin(_MU) / (_MU + np.sin(_MU) * np.cos(_MU))
_MODES = _TRANSFORMER[:, None] * np.cos(_MU[:, None] * _NODES)


def _transformer(x):
    """1e-4 minus the squared distance of the heat to what is wanted (88 to 92)."""
    n = x.size
    mu = jnp.asarray(_MU, x.dtype) ** 2
    tails = jnp.cumsum((x**2)[::-1])[::-1]
    signs = np.array([1.0] + [2.0 * (-1) ** i for i in range(1, n)])
    rho = -(jnp.exp(-mu[:, None] * tails) @ signs.astype(x.dtype) + (-1) ** n)
    heat = rho @ jnp.asarray(_MODES, x.dtype)
    wanted = jnp.asarray(0.5 * (1 - _NODES**2), x.dtype)
    return [1e-4 - jnp.asarray(_NODE_WEIGHTS, x.dtype) @ (heat - wanted) ** 2]


def _ellipse(number, a, b, optimum):
    f = lambda x: (x[0] - 20) ** 2 + (x[1] + 20) ** 2
    eq = lambda x: [x[0] ** 2 / a + x[1] ** 2 / b - 1]
    # The published start (0, 0) is a stationary point of the constraint.
    return Problem(number, f, [1, -1], optimum, eq)


def _cusp_with_slacks(x):
    return [x[1] - x[0] ** 3 - x[2] ** 2, x[0] ** 2 - x[1] - x[3] ** 2]


FURTHER = [
    Problem(
        54,
        _hs54,
        [6e3, 1.5, 4e6, 2, 3e-3, 5e7],
        -float(np.exp(-27 / 280)),
        lambda x: [(x[0] + 4e3 * x[1] - 1.76e4) / 8e3],
        lower=[0, -10, 0, 0, -1, 0],
        upper=[2e4, 10, 1e7, 20, 1, 2e8],
    ),
    Problem(
        67,
        _hs67,
        [1745, 12000, 110],
        -1162.02698006,
        ineq=_hs67_constraints,
        lower=[1e-5] * 3,
        upper=[2000, 16000, 120],
    ),
    _inspection(68, 1e-4, 1, 24, -0.920425026),
    _inspection(69, 0.1, 1000, 4, -956.71288),
    Problem(
        70,
        _hs70,
        [2, 4, 0.04, 2],
        0.007498464,
        ineq=lambda x: [x[2] + (1 - x[2]) * x[3]],
        lower=[1e-5] * 4,
        upper=[100, 100, 1, 100],
    ),
    *(
        Problem(
            86 + n,
            lambda x: jnp.sum(x**2),
            [0.5, -0.5, 0.5, -0.5, 0.5, -0.5][:n],
            1.36265681,
            ineq=_transformer,
            lower=[-10] * n,
            upper=[10] * n,
        )
        for n in range(2, 7)
    ),
    Problem(
        215,
        lambda x: x[1],
        [1, 1],
        0,
        ineq=lambda x: [x[1] - x[0] ** 2],
        lower=[0, -_INF],
    ),
    Problem(
        216,
        lambda x: 100 * (x[0] ** 2 - x[1]) ** 2 + (x[0] - 1) ** 2,
        [-1.2, 1],
        1,
        lambda x: [x[0] * (x[0] - 4) - 2 * x[1] + 12],
    ),
    Problem(
        217,
        lambda x: -x[1],
        [10, 10],
        -0.8,
        lambda x: [x[0] ** 2 + x[1] ** 2 - 1],
        lambda x: [1 + x[0] - 2 * x[1]],
        lower=[0, -_INF],
    ),
    Problem(
        218,
        lambda x: x[1],
        [9, 100],
        0,
        ineq=lambda x: [x[1] - x[0] ** 2],
        lower=[-_INF, 0],
    ),
    Problem(
        219,
        lambda x: -x[0],
        [10] * 4,
        -1,
        _cusp_with_slacks,
    ),
    Problem(
        221,
        lambda x: -x[0],
        [0.25, 0.25],
        -1,
        ineq=lambda x: [(1 - x[0]) ** 3 - x[1]],
        lower=[0, 0],
        upper=[1, 1],
    ),
    Problem(
        222,
        lambda x: -x[0],
        [1.3, 0.2],
        -1.5,
        ineq=lambda x: [0.125 - (x[0] - 1) ** 3 - x[1]],
        lower=[0, 0],
    ),
    Problem(
        223,
        lambda x: -x[0],
        [0.1, 3.3],
        -float(np.log(np.log(10))),
        ineq=lambda x: [jnp.exp(jnp.exp(x[0])), x[1] - jnp.exp(jnp.exp(x[0]))],
        lower=[0, 0],
        upper=[10, 10],
    ),
    Problem(
        224,
        lambda x: 2 * x[0] ** 2 + x[1] ** 2 - 48 * x[0] - 40 * x[1],
        [0.1, 0.1],
        -304,
        ineq=lambda x: [
            x[0] + 3 * x[1],
            18 - x[0] - 3 * x[1],
            x[0] + x[1],
            8 - x[0] - x[1],
        ],
        lower=[0, 0],
        upper=[6, 6],
    ),
    # The 23rd without its bounds.
    dataclasses.replace(
        next(p for p in INEQUALITY if p.number == 23),
        number=225,
        lower=None,
        upper=None,
    ),
    Problem(
        226,
        lambda x: -x[0] * x[1],
        [0.8, 0.05],
        -0.5,
        ineq=lambda x: [x[0] ** 2 + x[1] ** 2, 1 - x[0] ** 2 - x[1] ** 2],
        lower=[0, 0],
    ),
    Problem(
        227,
        lambda x: (x[0] - 2) ** 2 + (x[1] - 1) ** 2,
        [0.5, 0.5],
        1,
        ineq=lambda x: [x[1] - x[0] ** 2, x[0] - x[1] ** 2],
    ),
    Problem(
        228,
        lambda x: x[0] ** 2 + x[1],
        [0, 0],
        -3,
        ineq=lambda x: [1 - x[0] - x[1], 9 - x[0] ** 2 - x[1] ** 2],
    ),
    Problem(229, _rosenbrock, [-1.2, 1], 0, lower=[-2, -2], upper=[2, 2]),
    Problem(
        230,
        lambda x: x[1],
        [0, 0],
        0.375,
        ineq=lambda x: [
            -2 * x[0] ** 2 + x[0] ** 3 + x[1],
            -2 * (1 - x[0]) ** 2 + (1 - x[0]) ** 3 + x[1],
        ],
    ),
    Problem(
        231,
        _rosenbrock,
        [-1.2, 1],
        0,
        ineq=lambda x: [x[0] / 3 + x[1] + 0.1, -x[0] / 3 + x[1] + 0.1],
    ),
    Problem(
        233, _rosenbrock, [1.2, 1], 0, ineq=lambda x: [x[0] ** 2 + x[1] ** 2 - 0.25]
    ),
    Problem(
        234,
        lambda x: (x[1] - x[0]) ** 4 - (1 - x[0]),
        [1, 1],
        -0.8,
        ineq=lambda x: [1 - x[0] ** 2 - x[1] ** 2],
        lower=[0.2, 0.2],
        upper=[2, 2],
    ),
    Problem(
        235,
        lambda x: 0.01 * (x[0] - 1) ** 2 + (x[1] - x[0] ** 2) ** 2,
        [-2, 3, 1],
        0.04,
        lambda x: [x[0] + x[2] ** 2 + 1],
    ),
    Problem(
        248,
        lambda x: -x[1],
        [-0.1, -1, 0.1],
        -0.8,
        lambda x: [jnp.sum(x**2) - 1],
        lambda x: [1 - 2 * x[1] + x[0]],
    ),
    Problem(
        249,
        lambda x: jnp.sum(x**2),
        [1, 1, 1],
        1,
        ineq=lambda x: [x[0] ** 2 + x[1] ** 2 - 1],
        lower=[1, -_INF, -_INF],
    ),
    Problem(
        252,
        lambda x: 0.01 * (x[0] - 1) ** 2 + (x[1] - x[0] ** 2) ** 2,
        [-1, 2, 2],
        0.04,
        lambda x: [x[0] + x[2] ** 2 + 1],
        upper=[-1, _INF, _INF],
    ),
    Problem(
        254,
        lambda x: jnp.log10(x[2]) - x[1],
        [1, 1, 1],
        -float(np.sqrt(3)),
        lambda x: [x[1] ** 2 + x[2] ** 2 - 4, x[2] - 1 - x[0] ** 2],
        lower=[-_INF, -_INF, 1],
    ),
    Problem(
        262,
        lambda x: -0.5 * x[0] - x[1] - 0.5 * x[2] - x[3],
        [1] * 4,
        -10,
        lambda x: [x[0] + x[1] + x[2] - 2 * x[3] - 6],
        lambda x: [
            10 - jnp.sum(x),
            10 - 0.2 * x[0] - 0.5 * x[1] - x[2] - 2 * x[3],
            10 - 2 * x[0] - x[1] - 0.5 * x[2] - 0.2 * x[3],
        ],
        lower=[0] * 4,
    ),
    Problem(
        263,
        lambda x: -x[0],
        [10] * 4,
        -1,
        _cusp_with_slacks,
        lambda x: [x[1] - x[0] ** 3, x[0] ** 2 - x[1]],
    ),
    Problem(
        315,
        lambda x: -x[1],
        [-0.1, -0.9],
        -0.8,
        ineq=lambda x: [
            1 - 2 * x[1] + x[0],
            x[0] ** 2 + x[1] ** 2,
            1 - x[0] ** 2 - x[1] ** 2,
        ],
    ),
    _ellipse(316, 100, 100, 334.31458),
    _ellipse(317, 100, 64, 372.46661),
    _ellipse(318, 100, 36, 412.75005),
    _ellipse(319, 100, 16, 452.40444),
    _ellipse(320, 100, 4, 485.53146),
    _ellipse(321, 100, 1, 496.11237),
    _ellipse(322, 100, 0.01, 499.96001),
    Problem(
        323,
        lambda x: x[0] ** 2 + x[1] ** 2 - 4 * x[0] + 4,
        [0, 1],
        3.79894,
        ineq=lambda x: [x[0] - x[1] + 2, x[1] - x[0] ** 2 - 1],
        lower=[0, 0],
    ),
    Problem(
        324,
        lambda x: 0.01 * x[0] ** 2 + x[1] ** 2,
        [2, 2],
        5,
        ineq=lambda x: [x[0] * x[1] - 25, x[0] ** 2 + x[1] ** 2 - 25],
        lower=[2, -_INF],
    ),
    Problem(
        325,
        lambda x: x[0] ** 2 + x[1],
        [-3, 0],
        3.79134,
        lambda x: [x[0] ** 2 + x[1] ** 2 - 9],
        lambda x: [1 - x[0] - x[1], 1 - x[0] - x[1] ** 2],
    ),
    Problem(
        326,
        lambda x: x[0] ** 2 + x[1] ** 2 - 16 * x[0] - 10 * x[1],
        [4, 3],
        -79.80782,
        ineq=lambda x: [
            11 - x[0] ** 2 + 6 * x[0] - 4 * x[1],
            x[0] * x[1] - 3 * x[1] - jnp.exp(x[0] - 3) + 1,
        ],
        lower=[0, 0],
        upper=[10, 10],
    ),
    Problem(
        330,
        lambda x: 0.044 * x[0] ** 3 / x[1] ** 2 + 1 / x[0] + 0.0592 * x[0] / x[1] ** 3,
        [2.5, 2.5],
        1.62058,
        ineq=lambda x: [1 - 8.62 * x[1] ** 3 / x[0]],
        lower=[0.1, 0.1],
        upper=[5, 5],
    ),
    Problem(
        336,
        lambda x: 7 * x[0] - 6 * x[1] + 4 * x[2],
        [0] * 3,
        -0.33789573,
        lambda x: [
            x[0] ** 2 + 2 * x[1] ** 2 + 3 * x[2] ** 2 - 1,
            5 * x[0] + 5 * x[1] - 3 * x[2] - 6,
        ],
    ),
    Problem(
        337,
        lambda x: 9 * x[0] ** 2 + x[1] ** 2 + 9 * x[2] ** 2,
        [1] * 3,
        6,
        ineq=lambda x: [x[0] * x[1] - 1],
        lower=[-_INF, 1, -_INF],
        upper=[_INF, _INF, 1],
    ),
    Problem(
        338,
        lambda x: -jnp.sum(x**2),
        [0] * 3,
        -10.992806,
        lambda x: [
            0.5 * x[0] + x[1] + x[2] - 1,
            x[0] ** 2 + 2 / 3 * x[1] ** 2 + 0.25 * x[2] ** 2 - 4,
        ],
    ),
    Problem(
        339,
        lambda x: 0.2 / (x[0] * x[1] * x[2]) + 4 / x[0] + 3 / x[2],
        [1] * 3,
        3.36168,
        ineq=lambda x: [10 - 2 * x[0] * x[2] - x[0] * x[1]],
        lower=[1e-6] * 3,
    ),
    Problem(
        340,
        lambda x: -jnp.prod(x),
        [1] * 3,
        -0.054,
        ineq=lambda x: [1.8 - x[0] - 2 * x[1] - 2 * x[2]],
        lower=[0] * 3,
        upper=[1, _INF, _INF],
    ),
    Problem(
        341,
        lambda x: -jnp.prod(x),
        [1] * 3,
        -16 * _R2,
        ineq=lambda x: [48 - x[0] ** 2 - 2 * x[1] ** 2 - 4 * x[2] ** 2],
        lower=[0] * 3,
    ),
    Problem(
        343,
        lambda x: -2.01e-9 * x[0] ** 4 * x[1] * x[2] ** 2,
        [22.3, 0.5, 125],
        -5.68478,
        ineq=lambda x: [675 - x[0] ** 2 * x[1], 0.419 - 1e-7 * x[0] ** 2 * x[2] ** 2],
        lower=[0] * 3,
        upper=[36, 5, 125],
    ),
    Problem(
        344,
        lambda x: (x[0] - 1) ** 2 + (x[0] - x[1]) ** 2 + (x[1] - x[2]) ** 4,
        [2] * 3,
        0.03256820025,
        lambda x: [x[0] * (1 + x[1] ** 2) + x[2] ** 4 - 4 - 3 * _R2],
    ),
    Problem(
        1001,
        lambda x: 100 * x[0] ** 2 + 100 * x[1] ** 2 - x[0] - 100,
        [0.08, 0.06],
        -1,
        lambda x: [x[0] ** 2 + x[1] ** 2 - 1],
    ),
    Problem(
        1004,
        lambda x: x[0] - x[1] + x[1] ** 3,
        [4.0382, -2.9470, -0.09115],
        -45.510551,
        lambda x: [jnp.sum(x**2) - 25, jnp.sum(x) - 1],
    ),
    Problem(
        1007,
        lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (x[0] - 1) ** 2,
        [-2, 1, 1, 1, 1],
        306.5,
        lambda x: [
            x[0] * x[1] - x[2] ** 2 - 1,
            x[1] ** 2 - x[3] ** 2 + x[0],
            x[4] ** 2 + x[0] - 0.5,
        ],
    ),
    Problem(
        1008,
        lambda x: x[0] ** 2 + x[1] ** 2 + x[2] ** 2,
        [1, 1, 1, 0, 0],
        1,
        lambda x: [
            x[0] - 1 - x[3] ** 2 + x[1] ** 2,
            x[0] ** 2 + x[1] ** 2 - 1 - x[4] ** 2,
        ],
    ),
    Problem(
        1010,
        lambda x: -x[0],
        [2, 2],
        -1,
        lambda x: [x[1] - x[0] ** 3, x[0] ** 2 - x[1]],
    ),
    Problem(
        1012,
        lambda x: 0.01 * x[0] ** 2 + x[1] ** 2,
        [15.811, 1.5811, 0, 15.083, 3.7164],
        6.1881,
        lambda x: [
            x[0] + x[1] - x[2] ** 2 - 25,
            x[0] ** 2 + x[1] ** 2 - x[3] ** 2 - 25,
            x[0] - x[4] ** 2 - 2,
        ],
    ),
]
