"""The functions that the shared tests run over, each with an independent definition."""

from collections.abc import Callable
from dataclasses import dataclass, field

import cvxpy as cp
import numpy as np
import pytest

from fixproj import projections as proj


@dataclass
class Case:
    """A function on R^(2 x 4); its parameters; its value in numpy and in cvxpy."""

    name: str
    build: Callable
    value: Callable
    cvx: Callable | None = None
    parameters: dict[str, np.ndarray] = field(default_factory=dict)

    def function(self):
        return self.build(**self.parameters)


def array(*values):
    return np.array(values)


rng = np.random.default_rng(5)
FACTOR = rng.normal(size=(4, 4))
TALL = rng.normal(size=(3, 4))
SIGNS = array(1.0, -1.0, 1.0, 1.0)
WEIGHTS = array(0.5, 1.0, 0.2, 1.4)
GROUPS = [0, 1, 0, 2]


def _rows(function):
    return lambda x: sum(function(row) for row in x)


def _top(row, k):
    return np.sort(row)[::-1][:k].sum()


def _tv(x):
    return np.abs(np.diff(x, axis=-1)).sum()


def _rowwise(function):
    return lambda x: cp.sum(cp.hstack([function(x[i]) for i in range(2)]))


CASES = [
    Case("zero", proj.Zero, lambda x: 0 * x.sum(), lambda x: 0 * cp.sum(x)),
    Case(
        "linear",
        proj.Linear,
        lambda x: (WEIGHTS * x).sum(),
        lambda x: cp.sum(x @ WEIGHTS),
        {"slope": WEIGHTS[None, :]},
    ),
    Case(
        "l1",
        proj.L1,
        lambda x: 0.7 * np.abs(x).sum(),
        lambda x: 0.7 * cp.norm1(x),
        {"weight": array(0.7)[0]},
    ),
    Case(
        "weighted_l1",
        proj.WeightedL1,
        lambda x: (WEIGHTS * np.abs(x)).sum(),
        lambda x: cp.sum(cp.abs(x) @ WEIGHTS),
        {"weights": WEIGHTS},
    ),
    Case(
        "l2",
        proj.L2,
        lambda x: 0.8 * np.linalg.norm(x, axis=-1).sum(),
        lambda x: 0.8 * cp.sum(cp.norm(x, 2, axis=1)),
        {"weight": array(0.8)[0]},
    ),
    Case(
        "l2_all",
        lambda weight: proj.L2(weight, axis=None),
        lambda x: 0.8 * np.linalg.norm(x),
        lambda x: 0.8 * cp.norm(x, "fro"),
        {"weight": array(0.8)[0]},
    ),
    Case(
        "squared_l2",
        proj.SquaredL2,
        lambda x: 0.6 * (x**2).sum() / 2,
        lambda x: 0.3 * cp.sum_squares(x),
        {"weight": array(0.6)[0]},
    ),
    Case(
        "elastic_net",
        proj.ElasticNet,
        lambda x: 0.5 * np.abs(x).sum() + 0.4 * (x**2).sum(),
        lambda x: 0.5 * cp.norm1(x) + 0.4 * cp.sum_squares(x),
        {"l1": array(0.5)[0], "l2": array(0.8)[0]},
    ),
    Case(
        "group_lasso",
        lambda weights: proj.GroupLasso(GROUPS, weights),
        _rows(
            lambda r: (
                0.5 * np.hypot(r[0], r[2]) + 0.7 * np.abs(r[1]) + 0.2 * np.abs(r[3])
            )
        ),
        _rowwise(
            lambda r: (
                0.5 * cp.norm(r[np.array([0, 2])])
                + 0.7 * cp.abs(r[1])
                + 0.2 * cp.abs(r[3])
            )
        ),
        {"weights": array(0.5, 0.7, 0.2)},
    ),
    Case(
        "huber",
        proj.Huber,
        lambda x: np.where(
            np.abs(x) <= 0.6, 0.45 * x**2, 0.9 * 0.6 * (np.abs(x) - 0.3)
        ).sum(),
        lambda x: 0.45 * cp.sum(cp.huber(x, 0.6)),
        {"threshold": array(0.6)[0], "weight": array(0.9)[0]},
    ),
    Case(
        "hinge",
        lambda weight: proj.Hinge(SIGNS[None, :], weight),
        lambda x: 0.7 * np.maximum(0, 1 - SIGNS * x).sum(),
        lambda x: 0.7 * cp.sum(cp.pos(1 - cp.multiply(np.stack([SIGNS, SIGNS]), x))),
        {"weight": array(0.7)[0]},
    ),
    Case(
        "logistic",
        lambda weight: proj.Logistic(SIGNS[None, :], weight),
        lambda x: 0.7 * np.logaddexp(0, -SIGNS * x).sum(),
        lambda x: 0.7 * cp.sum(cp.logistic(-cp.multiply(np.stack([SIGNS] * 2), x))),
        {"weight": array(0.7)[0]},
    ),
    Case(
        "kl",
        proj.KL,
        lambda x: 0.5 * (x * np.log(x / 0.8) - x + 0.8).sum(),
        lambda x: 0.5 * cp.sum(cp.kl_div(x, 0.8 * np.ones((2, 4)))),
        {"reference": array(0.8)[0], "weight": array(0.5)[0]},
    ),
    Case(
        "entropy",
        proj.Entropy,
        lambda x: 0.5 * (x * np.log(x)).sum(),
        lambda x: -0.5 * cp.sum(cp.entr(x)),
        {"weight": array(0.5)[0]},
    ),
    Case(
        "log_barrier",
        proj.LogBarrier,
        lambda x: -0.3 * np.log(x).sum(),
        lambda x: -0.3 * cp.sum(cp.log(x)),
        {"weight": array(0.3)[0]},
    ),
    Case(
        "max",
        proj.Max,
        _rows(lambda r: 0.7 * r.max()),
        lambda x: 0.7 * cp.sum(cp.max(x, axis=1)),
        {"weight": array(0.7)[0]},
    ),
    Case(
        "sum_of_largest",
        lambda weight: proj.SumOfLargest(2, weight),
        _rows(lambda r: 0.7 * _top(r, 2)),
        _rowwise(lambda r: 0.7 * cp.sum_largest(r, 2)),
        {"weight": array(0.7)[0]},
    ),
    Case(
        "quadratic",
        lambda F, q: proj.Quadratic(F @ F.T, q),
        _rows(lambda r: r @ FACTOR @ FACTOR.T @ r / 2 + WEIGHTS @ r),
        _rowwise(lambda r: cp.sum_squares(FACTOR.T @ r) / 2 + WEIGHTS @ r),
        {"F": FACTOR, "q": WEIGHTS},
    ),
    Case(
        "least_squares",
        proj.LeastSquares,
        _rows(lambda r: ((TALL @ r - WEIGHTS[:3]) ** 2).sum() / 2),
        _rowwise(lambda r: cp.sum_squares(TALL @ r - WEIGHTS[:3]) / 2),
        {"A": TALL, "b": WEIGHTS[:3]},
    ),
    Case(
        "nuclear",
        proj.Nuclear,
        lambda x: 0.9 * np.linalg.svd(x, compute_uv=False).sum(),
        lambda x: 0.9 * cp.normNuc(x),
        {"weight": array(0.9)[0]},
    ),
    Case(
        "tv1d",
        proj.TV1D,
        lambda x: 0.4 * _tv(x),
        lambda x: 0.4 * cp.sum(cp.abs(x[:, 1:] - x[:, :-1])),
        {"weight": array(0.4)[0]},
    ),
    Case(
        "tv2d",
        proj.TV2D,
        lambda x: 0.3 * (_tv(x) + _tv(x.T)),
        lambda x: (
            0.3 * cp.sum(cp.abs(x[:, 1:] - x[:, :-1]))
            + 0.3 * cp.sum(cp.abs(x[1:] - x[:-1]))
        ),
        {"weight": array(0.3)[0]},
    ),
    Case(
        "cross_entropy",
        lambda labels: proj.CrossEntropy(labels),
        lambda x: (np.log(np.exp(x).sum(-1)) - (x @ array(0.1, 0.6, 0.0, 0.3))).sum(),
        lambda x: (
            cp.sum(cp.log_sum_exp(x, axis=1)) - cp.sum(x @ array(0.1, 0.6, 0.0, 0.3))
        ),
        {"labels": np.stack([array(0.1, 0.6, 0.0, 0.3)] * 2)},
    ),
]

NONCONVEX = [
    Case(
        "l0",
        proj.L0,
        lambda x: 0.4 * (x != 0),
        None,
        {"weight": array(0.4)[0]},
    ),
    Case(
        "scad",
        proj.SCAD,
        lambda x: np.where(
            (u := np.abs(x)) <= 0.6,
            0.6 * u,
            np.where(
                u <= 0.6 * 2.8,
                (2 * 2.8 * 0.6 * u - u**2 - 0.36) / 3.6,
                0.36 * 3.8 / 2,
            ),
        ),
        None,
        {"weight": array(0.6)[0], "a": array(2.8)[0]},
    ),
    Case(
        "mcp",
        proj.MCP,
        lambda x: np.where(
            (u := np.abs(x)) <= 1.2, 0.6 * u - u**2 / 4.0, 2.0 * 0.36 / 2
        ),
        None,
        {"weight": array(0.6)[0], "gamma": array(2.0)[0]},
    ),
]

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_nonconvex_case = pytest.mark.parametrize(
    "case", NONCONVEX, ids=lambda case: case.name
)
