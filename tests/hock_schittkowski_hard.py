"""The larger and harder problems of the collection of Hock and Schittkowski.

W. Hock and K. Schittkowski (1981), as in `hock_schittkowski.py`; starts and values are
theirs, but for seven values. With the coefficients as they are printed, 59 and 105 have
other minima (scipy's SLSQP finds 1136.307304 for 105, this library -7.802789472 for
59); of 75, 106, 109, 112 and 116 better points, or more digits, are known.

Redundant equations (55), starts outside of the bounds (59, 119), powers of unknowns
that must stay positive (101-104), logarithms (62, 105, 110-112), and coefficients from
1e-6 to 1e6 (74, 75, 83, 84, 99, 106, 109, 114, 116).
"""

import jax.numpy as jnp
import numpy as np
from hock_schittkowski import Problem


_TIMES = np.repeat(
    [8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40, 42],
    [2, 4, 4, 3, 3, 2, 3, 3, 3, 3, 2, 3, 2, 1, 2, 2, 1, 1],
)
_CHLORINE = np.array(
    [49, 49, 48, 47, 48, 47, 46, 46, 45, 43, 45, 43, 43, 44, 43, 43, 46, 45, 42, 42, 43]
    + [41, 41, 40, 42, 40, 40, 41, 40, 41, 41, 40, 40, 40, 38, 41, 40, 40, 41, 38, 40]
    + [40, 39, 39]
)
_WEIGHTS = np.repeat(
    [95, 105, *range(110, 225, 5), *range(230, 255, 5)],
    [1, 1, 4, 4, 15, 15, 15, 13, 21, 12, 17, 4, 20, 8, 17, 8, 6, 6, 7, 4, 3, 3, 8, 1, 6]
    + [5, 1, 7, 1, 2],
)


def _hs57(x):
    fit = x[0] + (0.49 - x[0]) * jnp.exp(-x[1] * jnp.asarray(_TIMES - 8, x.dtype))
    gap = jnp.asarray(0.01 * _CHLORINE, x.dtype) - fit
    return jnp.sum(gap**2)


def _hs59(x):
    a, b = x
    return (
        -75.196
        + 3.8112 * a
        - 0.12694 * a**2
        + 0.0020567 * a**3
        - 1.0345e-5 * a**4
        + 6.8306 * b
        - 0.25645 * b**2
        + 0.0034604 * b**3
        - 1.3514e-5 * b**4
        + 28.106 / (b + 1)
        + 2.8673 * jnp.exp(0.0005 * a * b)
        + a * (-0.030234 * b - 3.405e-4 * b**2 + 1.6638e-6 * b**3)
        + a**2 * (1.28134e-3 * b + 5.2375e-6 * b**2)
        + a**3 * (-3.5256e-5 * b + 6.3e-8 * b**2 - 7e-10 * b**3)
        + 2.266e-7 * a**4 * b
    )


def _hs62(x):
    rest = [x[0] + x[1] + x[2] + 0.03, x[1] + x[2] + 0.03, x[2] + 0.03]
    return -32.174 * sum(
        weight * jnp.log(r / (r - (1 - share) * x_i))
        for weight, share, r, x_i in zip(
            (255, 280, 290), (0.09, 0.07, 0.13), rest, x, strict=True
        )
    )


def _hs74(a):
    """Power flow with angles of at most a."""

    def eq(x):
        s = lambda angle: 1000 * jnp.sin(angle - 0.25)
        return [
            s(-x[2]) + s(-x[3]) + 894.8 - x[0],
            s(x[2]) + s(x[2] - x[3]) + 894.8 - x[1],
            s(x[3]) + s(x[3] - x[2]) + 1294.8,
        ]

    f = lambda x: 3 * x[0] + 1e-6 * x[0] ** 3 + 2 * x[1] + 2e-6 / 3 * x[1] ** 3
    ineq = lambda x: [x[3] - x[2] + a, x[2] - x[3] + a]
    return f, eq, ineq, [0, 0, -a, -a], [1200, 1200, a, a]


def _hs83(x):
    a = 85.334407 + 0.0056858 * x[1] * x[4] + 0.0006262 * x[0] * x[3]
    a = a - 0.0022053 * x[2] * x[4]
    b = 80.51249 + 0.0071317 * x[1] * x[4] + 0.0029955 * x[0] * x[1]
    b = b + 0.0021813 * x[2] ** 2 - 90
    c = 9.300961 + 0.0047026 * x[2] * x[4] + 0.0012547 * x[0] * x[2]
    c = c + 0.0019085 * x[2] * x[3] - 20
    return [a, 92 - a, b, 20 - b, c, 5 - c]


_HS84 = np.array(
    [
        [-8720288.849, 150512.5253, -156.6950325, 476470.3222, 729482.8271],
        [-145421.402, 2931.1506, -40.427932, 5106.192, 15711.36],
        [-155011.1084, 4360.53352, 12.9492344, 10236.884, 13176.786],
        [-326669.5104, 7390.68412, -27.8986976, 16643.076, 30988.146],
    ]
)


def _hs84_terms(x):
    terms = x[0] * jnp.concatenate([jnp.ones_like(x[:1]), x[1:]])
    return jnp.asarray(_HS84, x.dtype) @ terms


def _hs84_constraints(x):
    a, b, c = _hs84_terms(x)[1:]
    return [a, b, c, 294000 - a, 294000 - b, 277200 - c]


_COLVILLE_A = np.array(
    [
        [-16, 2, 0, 1, 0],
        [0, -2, 0, 4, 2],
        [-3.5, 0, 2, 0, 0],
        [0, -2, 0, -4, -1],
        [0, -9, -2, 1, -2.8],
        [2, 0, -4, 0, 0],
        [-1, -1, -1, -1, -1],
        [-1, -2, -3, -2, -1],
        [1, 2, 3, 4, 5],
        [1, 1, 1, 1, 1],
    ]
)
_COLVILLE_B = np.array([-40, -2, -0.25, -4, -4, -1, -40, -60, 5, 1])
_COLVILLE_C = np.array(
    [
        [30, -20, -10, 32, -10],
        [-20, 39, -6, -31, 32],
        [-10, -6, 10, -6, -10],
        [32, -31, -6, 39, -20],
        [-10, 32, -10, -20, 30],
    ]
)
_COLVILLE_D = np.array([4, 8, 10, 6, 2])
_COLVILLE_E = np.array([-15, -27, -36, -18, -12])


def _hs86(x):
    c, d, e = (jnp.asarray(m, x.dtype) for m in (_COLVILLE_C, _COLVILLE_D, _COLVILLE_E))
    return e @ x + x @ c @ x + d @ x**3


def _hs86_constraints(x):
    rows = jnp.asarray(_COLVILLE_A, x.dtype) @ x - jnp.asarray(_COLVILLE_B, x.dtype)
    return list(rows)


def _hs117(x):
    c, d, b = (jnp.asarray(m, x.dtype) for m in (_COLVILLE_C, _COLVILLE_D, _COLVILLE_B))
    return -b @ x[:10] + x[10:] @ c @ x[10:] + 2 * d @ x[10:] ** 3


def _hs117_constraints(x):
    c, d, e = (jnp.asarray(m, x.dtype) for m in (_COLVILLE_C, _COLVILLE_D, _COLVILLE_E))
    a = jnp.asarray(_COLVILLE_A, x.dtype)
    return list(2 * c @ x[10:] + 3 * d * x[10:] ** 2 + e - a.T @ x[:10])


def _hs93_parts(x):
    return (
        x[0] * x[3] * (x[0] + x[1] + x[2]),
        x[1] * x[2] * (x[0] + 1.57 * x[1] + x[3]),
    )


def _hs93(x):
    p, q = _hs93_parts(x)
    return 0.0204 * p + 0.0187 * q + 0.0607 * p * x[4] ** 2 + 0.0437 * q * x[5] ** 2


def _hs93_constraints(x):
    p, q = _hs93_parts(x)
    return [
        0.001 * jnp.prod(x) - 2.07,
        1 - 0.00062 * p * x[4] ** 2 - 0.00058 * q * x[5] ** 2,
    ]


def _hs95(b):
    def ineq(x):
        first = jnp.array([17.1, 38.2, 204.2, 212.3, 623.4, 1495.5], x.dtype) @ x
        second = jnp.array([17.9, 36.8, 113.9, 169.7, 337.8, 1385.2], x.dtype) @ x
        return [
            first
            - 169 * x[0] * x[2]
            - 3580 * x[2] * x[4]
            - 3810 * x[3] * x[4]
            - 18500 * x[3] * x[5]
            - 24300 * x[4] * x[5]
            - b[0],
            second
            - 139 * x[0] * x[2]
            - 2450 * x[3] * x[4]
            - 16600 * x[3] * x[5]
            - 17200 * x[4] * x[5]
            - b[1],
            -273 * x[1] - 70 * x[3] - 819 * x[4] + 26000 * x[3] * x[4] - b[2],
            159.9 * x[0]
            - 311 * x[1]
            + 587 * x[3]
            + 391 * x[4]
            + 2198 * x[5]
            - 14000 * x[0] * x[5]
            - b[3],
        ]

    return ineq


_COSTS = np.array([4.3, 31.8, 63.3, 15.8, 68.5, 4.7])
_HS95_UPPER = [0.31, 0.046, 0.068, 0.042, 0.028, 0.0134]
_THRUST = np.array([50, 50, 75, 75, 75, 100, 100])
_SPANS = np.diff([0, 25, 50, 100, 150, 200, 290, 380])


def _hs99(x):
    return -(jnp.sum(jnp.asarray(_THRUST * _SPANS, x.dtype) * jnp.cos(x)) ** 2)


def _hs99_constraints(x):
    spans = jnp.asarray(_SPANS, x.dtype)
    climb = jnp.asarray(_THRUST, x.dtype) * jnp.sin(x) - 32
    speed = jnp.cumsum(spans * climb) - spans * climb
    height = jnp.sum(0.5 * spans**2 * climb + spans * speed)
    return [height - 1e5, jnp.sum(spans * climb) - 1e3]


def _posynomial(coefficients, exponents):
    """A sum of monomials."""
    return lambda x: (
        jnp.asarray(coefficients, x.dtype)
        @ jnp.exp(jnp.asarray(exponents, x.dtype) @ jnp.log(x))
    )


def _hs101(a):
    f = _posynomial(
        [10, 15, 20, 25],
        [
            [1, -1, 0, 2, 0, -3, a],
            [-1, -2, 1, 1, -1, 0, -0.5],
            [-2, 1, 0, -1, -2, 1, 0],
            [2, 2, -1, 0, 0.5, -2, 1],
        ],
    )
    constraints = [
        _posynomial(
            [0.5, 0.7, 0.2],
            [
                [0.5, 0, -1, 0, 0, -2, 1],
                [3, 1, -2, 0, 0, 1, 0.5],
                [0, -1, 1, -0.5, 0, 2 / 3, 0.25],
            ],
        ),
        _posynomial(
            [1.3, 0.8, 3.1],
            [
                [-0.5, 1, -1, 0, -1, 1, 0],
                [0, 0, 1, -1, -1, 2, 0],
                [-1, 0.5, 0, -2, -1, 1 / 3, 0],
            ],
        ),
        _posynomial(
            [2, 0.1, 1, 0.65],
            [
                [1, 0, -1.5, 0, 1, -1, 1 / 3],
                [0, 1, -0.5, 0, 1, -1, -0.5],
                [-1, 1, 0.5, 0, 1, 0, 0],
                [0, -2, 1, 0, 1, -1, 1],
            ],
        ),
        _posynomial(
            [0.2, 0.3, 0.4, 0.5],
            [
                [-2, 1, 0, -1, 0.5, 0, 1 / 3],
                [0.5, 2, 1, 1 / 3, -2 / 3, 0, 0.25],
                [-3, -2, 1, 0, 1, 0, 0.75],
                [0, 0, -2, 1, 0, 0, 0.5],
            ],
        ),
    ]
    ineq = lambda x: [1 - c(x) for c in constraints] + [f(x) - 100, 3000 - f(x)]
    return f, ineq


def _hs104(x):
    return 0.4 * ((x[0] / x[6]) ** 0.67 + (x[1] / x[7]) ** 0.67) + 10 - x[0] - x[1]


def _hs104_constraints(x):
    f = _hs104(x)
    third, fourth = (
        1
        - 4 * x[i] / x[i + 2]
        - 2 * x[i] ** -0.71 / x[i + 2]
        - 0.0588 * x[i] ** -1.3 * x[i + 4]
        for i in (2, 3)
    )
    return [
        1 - 0.0588 * x[4] * x[6] - 0.1 * x[0],
        1 - 0.0588 * x[5] * x[7] - 0.1 * x[0] - 0.1 * x[1],
        third,
        fourth,
        f - 1,
        4.2 - f,
    ]


def _hs105(x):
    y = jnp.asarray(_WEIGHTS, x.dtype)
    shares = jnp.stack([x[0], x[1], 1 - x[0] - x[1]])
    means, widths = x[2:5], x[5:8]
    z = (y[:, None] - means[None, :]) / widths[None, :]
    parts = (shares / widths)[None, :] * jnp.exp(-(z**2) / 2)
    return -jnp.sum(jnp.log(jnp.sum(parts, axis=1) / np.sqrt(2 * np.pi)))


def _hs106(x):
    return [
        1 - 0.0025 * (x[3] + x[5]),
        1 - 0.0025 * (x[4] + x[6] - x[3]),
        1 - 0.01 * (x[7] - x[4]),
        x[0] * x[5] - 833.33252 * x[3] - 100 * x[0] + 83333.333,
        x[1] * x[6] - 1250 * x[4] - x[1] * x[3] + 1250 * x[3],
        x[2] * x[7] - 1250000 - x[2] * x[4] + 2500 * x[4],
    ]


def _hs107(x):
    c, d = 48.4 / 50.176 * np.sin(0.25), 48.4 / 50.176 * np.cos(0.25)
    u, v, w = x[4], x[5], x[6]
    s8, c8, s9, c9 = jnp.sin(x[7]), jnp.cos(x[7]), jnp.sin(x[8]), jnp.cos(x[8])
    s, k = jnp.sin(x[7] - x[8]), jnp.cos(x[7] - x[8])
    return [
        0.4
        - x[0]
        + 2 * c * u**2
        - u * v * (d * s8 + c * c8)
        - u * w * (d * s9 + c * c9),
        0.4 - x[1] + 2 * c * v**2 + u * v * (d * s8 - c * c8) + v * w * (d * s - c * k),
        0.8 + 2 * c * w**2 + u * w * (d * s9 - c * c9) - v * w * (d * s + c * k),
        0.2
        - x[2]
        + 2 * d * u**2
        + u * v * (c * s8 - d * c8)
        + u * w * (c * s9 - d * c9),
        0.2 - x[3] + 2 * d * v**2 - u * v * (c * s8 + d * c8) - v * w * (c * s + d * k),
        -0.337 + 2 * d * w**2 - u * w * (c * s9 + d * c9) + v * w * (c * s - d * k),
    ]


def _hs108(x):
    return [
        1 - x[2] ** 2 - x[3] ** 2,
        1 - x[8] ** 2,
        1 - x[4] ** 2 - x[5] ** 2,
        1 - x[0] ** 2 - (x[1] - x[8]) ** 2,
        1 - (x[0] - x[4]) ** 2 - (x[1] - x[5]) ** 2,
        1 - (x[0] - x[6]) ** 2 - (x[1] - x[7]) ** 2,
        1 - (x[2] - x[4]) ** 2 - (x[3] - x[5]) ** 2,
        1 - (x[2] - x[6]) ** 2 - (x[3] - x[7]) ** 2,
        1 - x[6] ** 2 - (x[7] - x[8]) ** 2,
        x[0] * x[3] - x[1] * x[2],
        x[2] * x[8],
        -x[4] * x[8],
        x[4] * x[7] - x[5] * x[6],
    ]


def _hs109(x):
    a, b, c = 50.176, np.sin(0.25), np.cos(0.25)
    s, k = (lambda t: jnp.sin(t - 0.25)), (lambda t: jnp.cos(t - 0.25))
    p, q, r = x[4] * x[5], x[4] * x[6], x[5] * x[6]
    loss = 2 * c - 0.7533e-3 * a
    y, z = x[2], x[3]
    return [
        p * s(-y) + q * s(-z) + 2 * b * x[4] ** 2 - a * x[0] + 400 * a,
        p * s(y) + r * s(y - z) + 2 * b * x[5] ** 2 - a * x[1] + 400 * a,
        q * s(z) + r * s(z - y) + 2 * b * x[6] ** 2 + 881.779 * a,
        a * x[7] + p * k(-y) + q * k(-z) - 200 * a - loss * x[4] ** 2,
        a * x[8] + p * k(y) + r * k(y - z) - 200 * a - loss * x[5] ** 2,
        q * k(z) + r * k(z - y) + 22.938 * a - loss * x[6] ** 2,
    ]


_GIBBS = np.array(
    [-6.089, -17.164, -34.054, -5.914, -24.721]
    + [-14.986, -24.1, -10.708, -26.662, -22.179]
)


def _hs112(x):
    return jnp.sum(x * (jnp.asarray(_GIBBS, x.dtype) + jnp.log(x / jnp.sum(x))))


def _hs112_constraints(x):
    return [
        x[0] + 2 * x[1] + 2 * x[2] + x[5] + x[9] - 2,
        x[3] + 2 * x[4] + x[5] + x[6] - 1,
        x[2] + x[6] + x[7] + 2 * x[8] + x[9] - 1,
    ]


def _hs114(x):
    a, b = 0.99, 0.9
    g1 = 35.82 - 0.222 * x[9] - b * x[8]
    g2 = -133 + 3 * x[6] - a * x[9]
    g5 = 1.12 * x[0] + 0.13167 * x[0] * x[7] - 0.00667 * x[0] * x[7] ** 2 - a * x[3]
    g6 = 57.425 + 1.098 * x[7] - 0.038 * x[7] ** 2 + 0.325 * x[5] - a * x[6]
    return [
        g1,
        g2,
        -g1 + x[8] * (1 / b - b),
        -g2 + (1 / a - a) * x[9],
        g5,
        g6,
        -g5 + (1 / a - a) * x[3],
        -g6 + (1 / a - a) * x[6],
    ]


def _hs116(x):
    a, b, c = 0.002, 1.262626, 1.231059
    gain = lambda i, j: (
        x[j] - 0.03475 * x[i] - 0.975 * x[i] * x[j] + 0.00975 * x[i] ** 2
    )
    return [
        x[2] - x[1],
        x[1] - x[0],
        1 - a * x[6] + a * x[7],
        x[10] + x[11] + x[12] - 50,
        250 - x[10] - x[11] - x[12],
        x[12] - b * x[9] + c * x[2] * x[9],
        gain(1, 4),
        gain(2, 5),
        gain(0, 3),
        x[11] - b * x[8] + c * x[1] * x[8],
        x[10] - b * x[7] + c * x[0] * x[7],
        x[4] * x[6] - x[0] * x[7] - x[3] * x[6] + x[3] * x[7],
        1 - a * (x[1] * x[8] + x[4] * x[7] - x[0] * x[7] - x[5] * x[8]) - x[4] - x[5],
        x[1] * x[8] - x[2] * x[9] - x[5] * x[8] - 500 * x[1] + 500 * x[5] + x[1] * x[9],
        x[1] - 0.9 - a * (x[1] * x[9] - x[2] * x[9]),
    ]


def _hs118(x):
    weights = jnp.tile(jnp.array([2.3, 1.7, 2.2], x.dtype), 5)
    squares = jnp.tile(jnp.array([1e-4, 1e-4, 1.5e-4], x.dtype), 5)
    return weights @ x + squares @ x**2


def _hs118_constraints(x):
    change = x[3:] - x[:-3] + 7
    limits = jnp.tile(jnp.array([13.0, 14, 13], x.dtype), 4)
    sums = jnp.sum(x.reshape(5, 3), axis=1)
    enough = sums - jnp.array([60.0, 50, 70, 85, 100], x.dtype)
    return [*change, *(limits - change), *enough]


_PAIRS = [
    (0, (0, 3, 6, 7, 15)),
    (1, (1, 2, 6, 9)),
    (2, (2, 6, 8, 9, 13)),
    (3, (3, 6, 10, 14)),
    (4, (4, 5, 9, 11, 15)),
    (5, (5, 7, 14)),
    (6, (6, 10, 12)),
    (7, (7, 9, 14)),
    (8, (8, 11, 15)),
    (9, (9, 13)),
    (10, (10, 12)),
    (11, (11, 13)),
    (12, (12, 13)),
    (13, (13,)),
    (14, (14,)),
    (15, (15,)),
]
_HS119 = np.zeros((16, 16))
for _i, _row in _PAIRS:
    _HS119[_i, list(_row)] = 1
_HS119_B = np.hstack(
    [
        np.array(
            [
                [0.22, 0.2, 0.19, 0.25, 0.15, 0.11, 0.12, 0.13],
                [-1.46, 0, -1.3, 1.82, -1.15, 0, 0.8, 0],
                [1.29, -0.89, 0, 0, -1.16, -0.96, 0, -0.49],
                [-1.1, -1.06, 0.95, -0.54, 0, -1.78, -0.41, 0],
                [0, 0, 0, -1.43, 1.51, 0.59, -0.33, -0.43],
                [0, -1.72, -0.33, 0, 1.62, 1.24, 0.21, -0.26],
                [1.12, 0, 0, 0.31, 0, 0, 1.12, 0],
                [0, 0.45, 0.26, -1.1, 0.58, 0, -1.03, 0.1],
            ]
        ),
        np.eye(8),
    ]
)
_HS119_B[6, 8] = -0.36
_HS119_C = np.array([2.5, 1.1, -3.1, -3.5, 1.3, 2.1, 2.3, -1.5])


def _hs119(x):
    p = x**2 + x + 1
    return p @ jnp.asarray(_HS119, x.dtype) @ p


def _hs119_constraints(x):
    return list(jnp.asarray(_HS119_B, x.dtype) @ x - jnp.asarray(_HS119_C, x.dtype))


def _power_flow(number, a, optimum):
    f, eq, ineq, lower, upper = _hs74(a)
    return Problem(number, f, [0] * 4, optimum, eq, ineq, lower, upper)


def _spectrometer(number, b, optimum):
    f = lambda x: jnp.asarray(_COSTS, x.dtype) @ x
    return Problem(
        number, f, [0] * 6, optimum, None, _hs95(b), [0] * 6, list(_HS95_UPPER)
    )


def _geometric(number, a, optimum):
    f, ineq = _hs101(a)
    lower, upper = [0.1] * 6 + [0.01], [10] * 7
    return Problem(number, f, [6] * 7, optimum, None, ineq, lower, upper)


_INF = np.inf
HARD = [
    Problem(
        55,
        lambda x: x[0] + 2 * x[1] + 4 * x[4] + jnp.exp(x[0] * x[3]),
        [1, 2, 0, 0, 0, 2],
        19 / 3,
        lambda x: [
            x[0] + 2 * x[1] + 5 * x[4] - 6,
            x[0] + x[1] + x[2] - 3,
            x[3] + x[4] + x[5] - 2,
            x[0] + x[3] - 1,
            x[1] + x[4] - 2,
            x[2] + x[5] - 2,
        ],
        lower=[0] * 6,
        upper=[1, _INF, _INF, 1, _INF, _INF],
    ),
    Problem(
        57,
        _hs57,
        [0.42, 5],
        0.02845966972,
        ineq=lambda x: [0.49 * x[1] - x[0] * x[1] - 0.09],
        lower=[0.4, -4],
    ),
    Problem(
        59,
        _hs59,
        [90, 10],
        -7.802789472,
        ineq=lambda x: [
            x[0] * x[1] - 700,
            x[1] - x[0] ** 2 / 125,
            (x[1] - 50) ** 2 - 5 * (x[0] - 55),
        ],
        lower=[0, 0],
        upper=[75, 65],
    ),
    Problem(
        62,
        _hs62,
        [0.7, 0.2, 0.1],
        -26272.51448,
        lambda x: [jnp.sum(x) - 1],
        lower=[0] * 3,
        upper=[1] * 3,
    ),
    _power_flow(74, 0.55, 5126.4981),
    _power_flow(75, 0.48, 5174.41288),
    Problem(
        83,
        lambda x: (
            5.3578547 * x[2] ** 2
            + 0.8356891 * x[0] * x[4]
            + 37.293239 * x[0]
            - 40792.141
        ),
        [78, 33, 27, 27, 27],
        -30665.53867,
        ineq=_hs83,
        lower=[78, 33, 27, 27, 27],
        upper=[102, 45, 45, 45, 45],
    ),
    Problem(
        84,
        lambda x: 24345 - _hs84_terms(x)[0],
        [2.52, 2, 37.5, 9.25, 6.8],
        -5280335.133,
        ineq=_hs84_constraints,
        lower=[0, 1.2, 20, 9, 6.5],
        upper=[1000, 2.4, 60, 9.3, 7],
    ),
    Problem(
        86,
        _hs86,
        [0, 0, 0, 0, 1],
        -32.34867897,
        ineq=_hs86_constraints,
        lower=[0] * 5,
    ),
    Problem(
        93,
        _hs93,
        [5.54, 4.4, 12.02, 11.82, 0.702, 0.852],
        135.075961,
        ineq=_hs93_constraints,
        lower=[0] * 6,
    ),
    _spectrometer(95, (4.97, -1.88, -29.08, -78.02), 0.01561952524),
    _spectrometer(96, (4.97, -1.88, -69.08, -118.02), 0.01561952524),
    _spectrometer(97, (32.97, 25.12, -29.08, -78.02), 3.1358091),
    _spectrometer(98, (32.97, 25.12, -124.08, -173.02), 3.1358091),
    Problem(
        99,
        _hs99,
        [0.5] * 7,
        -831079891.6,
        _hs99_constraints,
        lower=[0] * 7,
        upper=[1.58] * 7,
    ),
    _geometric(101, -0.25, 1809.76476),
    _geometric(102, 0.125, 911.880571),
    _geometric(103, 0.5, 543.667958),
    Problem(
        104,
        _hs104,
        [6, 3, 0.4, 0.2, 6, 6, 1, 0.5],
        3.9511634396,
        ineq=_hs104_constraints,
        lower=[0.1] * 8,
        upper=[10] * 8,
    ),
    Problem(
        105,
        _hs105,
        [0.1, 0.2, 100, 125, 175, 11.2, 13.2, 15.8],
        1136.307304,
        ineq=lambda x: [1 - x[0] - x[1]],
        lower=[0.001, 0.001, 100, 130, 170, 5, 5, 5],
        upper=[0.499, 0.499, 180, 210, 240, 25, 25, 25],
    ),
    Problem(
        106,
        lambda x: x[0] + x[1] + x[2],
        [5000, 5000, 5000, 200, 350, 150, 225, 425],
        7049.24802,
        ineq=_hs106,
        lower=[100, 1000, 1000, 10, 10, 10, 10, 10],
        upper=[10000] * 3 + [1000] * 5,
    ),
    Problem(
        107,
        lambda x: (
            3000 * x[0] + 1000 * x[0] ** 3 + 2000 * x[1] + 2000.001 / 3 * x[1] ** 3
        ),
        [0.8, 0.8, 0.2, 0.2, 1.0454, 1.0454, 1.0454, 0, 0],
        5055.011803,
        _hs107,
        lower=[0, 0, -_INF, -_INF, 0.90909, 0.90909, 0.90909, -_INF, -_INF],
        upper=[_INF] * 4 + [1.0909] * 3 + [_INF] * 2,
    ),
    Problem(
        108,
        lambda x: (
            -0.5
            * (
                x[0] * x[3]
                - x[1] * x[2]
                + x[2] * x[8]
                - x[4] * x[8]
                + x[4] * x[7]
                - x[5] * x[6]
            )
        ),
        [1] * 9,
        -0.8660254038,
        ineq=_hs108,
        lower=[-_INF] * 8 + [0],
    ),
    Problem(
        109,
        lambda x: 3 * x[0] + 1e-6 * x[0] ** 3 + 2 * x[1] + 0.522074e-6 * x[1] ** 3,
        [0] * 9,
        5326.85133,
        _hs109,
        lambda x: [
            x[3] - x[2] + 0.55,
            x[2] - x[3] + 0.55,
            2250000 - x[0] ** 2 - x[7] ** 2,
            2250000 - x[1] ** 2 - x[8] ** 2,
        ],
        [0, 0, -0.55, -0.55, 196, 196, 196, -400, -400],
        [_INF, _INF, 0.55, 0.55, 252, 252, 252, 800, 800],
    ),
    Problem(
        110,
        lambda x: (
            jnp.sum(jnp.log(x - 2) ** 2 + jnp.log(10 - x) ** 2) - jnp.prod(x) ** 0.2
        ),
        [9] * 10,
        -45.77846971,
        lower=[2.001] * 10,
        upper=[9.999] * 10,
    ),
    Problem(
        111,
        lambda x: _hs112(jnp.exp(x)),
        [-2.3] * 10,
        -47.76109086,
        lambda x: _hs112_constraints(jnp.exp(x)),
        lower=[-100] * 10,
        upper=[100] * 10,
    ),
    Problem(
        112,
        _hs112,
        [0.1] * 10,
        -47.76109086,
        _hs112_constraints,
        lower=[1e-6] * 10,
    ),
    Problem(
        114,
        lambda x: (
            5.04 * x[0] + 0.035 * x[1] + 10 * x[2] + 3.36 * x[4] - 0.063 * x[3] * x[6]
        ),
        [1745, 12000, 110, 3048, 1974, 89.2, 92.8, 8, 3.6, 145],
        -1768.80696,
        lambda x: [
            1.22 * x[3] - x[0] - x[4],
            98000 * x[2] / (x[3] * x[8] + 1000 * x[2]) - x[5],
            (x[1] + x[4]) / x[0] - x[7],
        ],
        _hs114,
        [1e-5] * 5 + [85, 90, 3, 1.2, 145],
        [2000, 16000, 120, 5000, 2000, 93, 95, 12, 4, 162],
    ),
    Problem(
        116,
        lambda x: x[10] + x[11] + x[12],
        [0.5, 0.8, 0.9, 0.1, 0.14, 0.5, 489, 80, 650, 450, 150, 150, 150],
        97.58751,
        ineq=_hs116,
        lower=[0.1, 0.1, 0.1, 1e-4, 0.1, 0.1, 0.1, 0.1, 500, 0.1, 1, 1e-4, 1e-4],
        upper=[1, 1, 1, 0.1, 0.9, 0.9, 1000, 1000, 1000, 500, 150, 150, 150],
    ),
    Problem(
        117,
        _hs117,
        [0.001] * 6 + [60] + [0.001] * 8,
        32.34867897,
        ineq=_hs117_constraints,
        lower=[0] * 15,
    ),
    Problem(
        118,
        _hs118,
        [20, 55, 15, 20, 60, 20, 20, 60, 20, 20, 60, 20, 20, 60, 20],
        664.82045,
        ineq=_hs118_constraints,
        lower=[8, 43, 3] + [0] * 12,
        upper=[21, 57, 16] + [90, 120, 60] * 4,
    ),
    Problem(
        119,
        _hs119,
        [10] * 16,
        244.899698,
        _hs119_constraints,
        lower=[0] * 16,
        upper=[5] * 16,
    ),
]
