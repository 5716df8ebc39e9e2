"""Polyhedral and other convex vector sets in R^4 for the shared tests."""

import cvxpy as cp
import jax.numpy as jnp
import numpy as np
from case import Case, array

from fixproj import projections as proj


A = array([1.0, 2.0, -1.0, 0.5], [0.3, -1.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0])
WEIGHTS = array(1.0, 0.5, 2.0, 1.5)
FACTOR = array(
    [1.0, 0.2, 0.0, 0.1],
    [0.0, 0.8, 0.3, 0.0],
    [0.2, 0.0, 1.5, 0.0],
    [0.0, 0.1, 0.0, 0.6],
)
NORMAL = array(1.0, -2.0, 0.5, 3.0)
ROW, SHARES = array(0.7, 1.1), array(0.4, 0.6)


class _Flat(proj.AbstractSet):
    """Matrices as vectors of four entries."""

    matrices: proj.AbstractSet
    axis: int

    def project(self, x):
        x = jnp.moveaxis(jnp.asarray(x), self.axis, -1)
        y = self.matrices.project(x.reshape(*x.shape[:-1], 2, 2))
        return jnp.moveaxis(y.reshape(x.shape), -1, self.axis)


def _transport(row, shares, axis=-1):
    col = shares / jnp.sum(shares) * jnp.sum(row)
    return _Flat(proj.TransportPolytope(row, col), axis)


def _in_transport(x, row, shares):
    y = cp.reshape(x, (2, 2), order="C")
    col = shares / shares.sum() * row.sum()
    return [x >= 0, cp.sum(y, axis=1) == row, cp.sum(y, axis=0) == col]


VECTOR_CASES = [
    Case("nonnegative", proj.NonNegative, lambda x: [x >= 0]),
    Case(
        "hyperplane",
        proj.Hyperplane,
        lambda x, a, b: [a @ x == b],
        {"a": NORMAL, "b": np.array(-0.7)},
    ),
    Case(
        "hyperslab",
        proj.Hyperslab,
        lambda x, a, lower, upper: [a @ x >= lower, a @ x <= upper],
        {"a": NORMAL, "lower": np.array(-0.7), "upper": np.array(1.1)},
    ),
    Case(
        "hyperslab_one_sided",
        lambda a, lower, axis=-1: proj.Hyperslab(a, lower, np.inf, axis),
        lambda x, a, lower: [a @ x >= lower],
        {"a": -NORMAL, "lower": np.array(-0.7)},
        has_leaves=False,
    ),
    Case(
        "subspace",
        proj.Subspace,
        lambda x, basis: [x == basis @ cp.Variable(2)],
        {"basis": A[:2].T},
    ),
    Case(
        "capped_simplex",
        proj.CappedSimplex,
        lambda x, radius, upper: [x >= 0, x <= upper, cp.sum(x) == radius],
        {"radius": np.array(1.5), "upper": array(0.8, 1.0, 0.6, 0.9)},
    ),
    Case(
        "l1_ball",
        proj.L1Ball,
        lambda x, radius: [cp.norm1(x) <= radius],
        {"radius": np.array(1.2)},
    ),
    Case(
        "weighted_l1_ball",
        proj.WeightedL1Ball,
        lambda x, weights, radius: [cp.norm1(cp.multiply(weights, x)) <= radius],
        {"weights": WEIGHTS, "radius": np.array(1.2)},
    ),
    Case(
        "linf_ball",
        proj.LinfBall,
        lambda x, radius, center: [cp.norm_inf(x - center) <= radius],
        {"radius": np.array(0.8), "center": array(0.3, -0.2, 1.0, 0.5)},
    ),
    Case(
        "group_ball",
        lambda radius, axis=-1: proj.GroupBall([0, 1, 0, 2], radius, axis),
        lambda x, radius: [cp.norm(x[[0, 2]]) + cp.abs(x[1]) + cp.abs(x[3]) <= radius],
        {"radius": np.array(1.1)},
    ),
    Case(
        "ellipsoid",
        lambda factor, radius, axis=-1: proj.Ellipsoid(
            factor.T @ factor, radius, axis=axis
        ),
        lambda x, factor, radius: [cp.norm(factor @ x) <= radius],
        {"factor": FACTOR, "radius": np.array(0.9)},
        oracle_tolerance=2e-5,
        has_leaves=False,
    ),
    Case(
        "ellipsoid_diagonal",
        lambda Q, radius, center, axis=-1: proj.Ellipsoid(Q, radius, center, axis),
        lambda x, Q, radius, center: [
            cp.norm(cp.multiply(np.sqrt(Q), x - center)) <= radius
        ],
        {
            "Q": array(1.0, 4.0, 4.0, 0.25),
            "radius": np.array(0.9),
            "center": array(0.3, -0.2, 1.0, 0.5),
        },
        oracle_tolerance=2e-5,
    ),
    Case(
        "box_hyperplane",
        proj.BoxHyperplane,
        lambda x, lower, upper, a, b: [x >= lower, x <= upper, a @ x == b],
        {
            # At the points of the tests each parameter matters.
            "lower": array(-1.0, -0.5, -0.3, -0.2),
            "upper": array(1.0, 2.0, 0.8, 1.0),
            "a": NORMAL,
            "b": np.array(-0.7),
        },
    ),
    Case(
        "box_hyperplane_unbounded",
        lambda lower, a, b, axis=-1: proj.BoxHyperplane(lower, np.inf, a, b, axis),
        lambda x, lower, a, b: [x >= lower, a @ x == b],
        {
            "lower": array(-1.0, -0.5, -0.3, -2.0),
            "a": array(1.0, -2.0, 0.5, 3.0),
            "b": np.array(0.4),
        },
        has_leaves=False,
    ),
    Case(
        "polyhedron",
        proj.Polyhedron,
        lambda x, A, lower, upper: [A @ x >= lower, A @ x <= upper],
        {"A": A, "lower": array(1.5, -0.5, 0.2), "upper": array(2.0, 0.3, 0.7)},
    ),
    Case(
        "polyhedron_with_an_equation",
        lambda A, b, upper, axis=-1: proj.Polyhedron(
            A,
            jnp.stack([b, jnp.full_like(b, -jnp.inf), jnp.full_like(b, -jnp.inf)]),
            jnp.concatenate([jnp.asarray(b)[None], upper]),
            axis,
        ),
        lambda x, A, b, upper: [A[0] @ x == b, A[1:] @ x <= upper],
        {"A": A, "b": np.array(0.4), "upper": array(-0.2, 0.7)},
        has_leaves=False,
    ),
    Case(
        "transport",
        _transport,
        _in_transport,
        {"row": ROW, "shares": SHARES},
        has_leaves=False,
    ),
    Case("monotone", proj.Monotone, lambda x: [cp.diff(x) >= 0]),
    Case(
        "monotone_decreasing",
        lambda axis=-1: proj.Monotone(increasing=False, axis=axis),
        lambda x: [cp.diff(x) <= 0],
    ),
    Case(
        "epigraph_1",
        lambda axis=-1: proj.NormEpigraph(1, axis),
        lambda x: [cp.norm1(x[1:]) <= x[0]],
    ),
    Case(
        "epigraph_2",
        lambda axis=-1: proj.NormEpigraph(2, axis),
        lambda x: [cp.norm(x[1:]) <= x[0]],
    ),
    Case(
        "epigraph_inf",
        lambda axis=-1: proj.NormEpigraph(np.inf, axis),
        lambda x: [cp.norm_inf(x[1:]) <= x[0]],
    ),
    Case(
        "epigraph_1.5",
        lambda axis=-1: proj.NormEpigraph(1.5, axis),
        lambda x: [cp.pnorm(x[1:], 1.5) <= x[0]],
        oracle_tolerance=2e-5,
        slow=True,
    ),
    Case(
        "epigraph_3",
        lambda axis=-1: proj.NormEpigraph(3, axis),
        lambda x: [cp.pnorm(x[1:], 3) <= x[0]],
        oracle_tolerance=2e-5,
    ),
    Case(
        "total_variation_ball",
        proj.TotalVariationBall,
        lambda x, radius: [cp.tv(x) <= radius],
        {"radius": np.array(1.3)},
    ),
    Case(
        "support",
        lambda axis=-1: proj.Support(2, axis),
        lambda x: [x[2:] == 0],
    ),
]
for case in VECTOR_CASES:
    case.slow = case.name not in ("l1_ball", "hyperplane", "nonnegative")
