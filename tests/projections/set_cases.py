"""The sets that the shared tests run over."""

import cvxpy as cp
import jax.numpy as jnp
import numpy as np
import pytest
from case import Case, array
from vector_cases import VECTOR_CASES

from fixproj import projections as proj


ROWS = array([1.0, 2.0, -1.0, 0.5], [0.3, -1.0, 2.0, 1.0])
INNER = array(0.3, -0.2, 1.0, 0.5)

CASES = [
    Case(
        "box",
        proj.Box,
        lambda x, lower, upper: [x >= lower, x <= upper],
        {"lower": array(-1.0, 0.0, 0.3, -2.0), "upper": array(1.0, 2.0, 0.8, -1.0)},
    ),
    Case(
        "box_scalar",
        proj.Box,
        lambda x, lower, upper: [x >= lower, x <= upper],
        {"lower": array(-0.5)[0], "upper": array(0.25)[0]},
    ),
    Case(
        "box_one_sided",
        lambda lower: proj.Box(lower, np.inf),
        lambda x, lower: [x >= lower],
        {"lower": array(-1.0, 0.0, 0.5, -2.0)},
    ),
    Case(
        "halfspace",
        proj.Halfspace,
        lambda x, a, b: [a @ x <= b],
        {"a": array(1.0, -2.0, 0.5, 3.0), "b": np.array(-0.7)},
        has_inside=True,
    ),
    Case(
        "affine",
        proj.Affine,
        lambda x, A, b: [A @ x == b],
        {"A": ROWS, "b": array(1.0, -0.5)},
    ),
    Case(
        "affine_rank_deficient",
        # The parameters keep the rank, so that finite differences are meaningful.
        lambda A, inner, axis=-1: proj.Affine(
            jnp.concatenate([A, A[:1]]), jnp.concatenate([inner, inner[:1]]), axis
        ),
        lambda x, A, inner: [A @ x == inner],
        {"A": ROWS, "inner": array(1.0, -0.5)},
        has_leaves=False,
    ),
    Case(
        "simplex",
        proj.Simplex,
        lambda x, radius: [x >= 0, cp.sum(x) == radius],
        {"radius": np.array(1.5)},
    ),
    Case(
        "l2_ball",
        proj.L2Ball,
        lambda x, radius: [cp.norm(x) <= radius],
        {"radius": np.array(0.8)},
        has_inside=True,
    ),
    Case(
        "l2_ball_center",
        proj.L2Ball,
        lambda x, radius, center: [cp.norm(x - center) <= radius],
        {"radius": np.array(0.8), "center": INNER},
        has_inside=True,
    ),
]


# These repeat others.
for case in CASES:
    case.slow = case.name in (
        "box_scalar",
        "box_one_sided",
        "affine_rank_deficient",
        "l2_ball_center",
    )
CASES += VECTOR_CASES


def _parameters(mark_slow):
    return [
        pytest.param(
            case,
            id=case.name,
            marks=[pytest.mark.slow] if mark_slow and case.slow else [],
        )
        for case in CASES
    ]


every_case = pytest.mark.parametrize("case", _parameters(mark_slow=True))
# For tests that compile most.
few_cases = pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case,
            id=case.name,
            marks=[] if case.name in ("box", "simplex") else [pytest.mark.slow],
        )
        for case in CASES
    ],
)
# For tests that cost little.
every_case_quickly = pytest.mark.parametrize("case", _parameters(mark_slow=False))
