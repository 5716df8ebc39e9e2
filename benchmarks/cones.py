"""Cones: a million points at once, and against peers on the same points, float32.

    python -m benchmarks.cones [--quick]

"ratio" is the peer's time divided by ours, the median over interleaved rounds. SciPy
and cvxpy take one point after the other; their time is that of the points they were
given, scaled to the number of points in the row.
"""

import argparse

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.optimize
from cvxpy.constraints.exponential import ExpCone

from benchmarks._timing import interleaved, markdown_table
from fixproj import projections as proj


def _points(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def _cvxpy_exponential(points):
    """Clarabel, compiled once as a parametrised problem."""
    given, v = cp.Parameter(3), cp.Variable(3)
    constraint = ExpCone(v[0], v[1], v[2])
    problem = cp.Problem(cp.Minimize(cp.sum_squares(v - given)), [constraint])

    def run():
        for x in points:
            given.value = x
            problem.solve(solver=cp.CLARABEL)

    return run


def _scipy_power(points, alpha):
    """Sequential quadratic programming on the constraint in logarithms."""

    def slack(y):
        x = np.maximum(y[:2], 1e-12)
        return x[0] ** alpha * x[1] ** (1 - alpha) - abs(y[2])

    constraint = {"type": "ineq", "fun": slack}
    bounds = [(0, None), (0, None), (None, None)]

    def run():
        for x in points:
            scipy.optimize.minimize(
                lambda y, x=x: np.sum((y - x) ** 2),
                np.maximum(x, 0.1),
                bounds=bounds,
                constraints=[constraint],
                method="SLSQP",
            )

    return run


def _scipy_semidefinite(x):
    """LAPACK's divide and conquer, as SciPy calls it."""

    def run():
        values, u = scipy.linalg.eigh(x, driver="evd")
        return (u * np.maximum(values, 0)) @ u.T

    return run


def _clarabel_second_order(points):
    """cvxpy, as jaxopt has no second-order cone."""
    given, v = cp.Parameter(points.shape[1]), cp.Variable(points.shape[1])
    constraint = cp.SOC(v[0], v[1:])
    problem = cp.Problem(cp.Minimize(cp.sum_squares(v - given)), [constraint])

    def run():
        for x in points:
            given.value = x
            problem.solve(solver=cp.CLARABEL)

    return run


def main(arguments=None):
    """Print the table."""
    parser = argparse.ArgumentParser(description="Time projections onto cones.")
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args(arguments).quick
    rounds, count, given = (3, 100_000, 10) if quick else (7, 1_000_000, 50)
    x = _points(count, 3)
    scale = count / given
    comparisons = []
    for name, cone, loop in (
        ("exponential, cvxpy", proj.ExponentialCone(), _cvxpy_exponential(x[:given])),
        ("power, scipy", proj.PowerCone(0.3), _scipy_power(x[:given], 0.3)),
    ):
        run = jax.jit(lambda x, cone=cone: cone.project(x))
        comparisons.append((name, x.shape, run, jnp.asarray(x), loop, scale))
    for n in (10, 1000):
        points = _points(100_000 // n, n)
        run = jax.jit(lambda x: proj.SecondOrderCone().project(x))
        loop = _clarabel_second_order(points[:10])
        comparisons.append(
            (
                "second order, cvxpy",
                points.shape,
                run,
                jnp.asarray(points),
                loop,
                points.shape[0] / 10,
            )
        )
    for n in (100,) if quick else (100, 500):
        matrix = _points(n, n)
        matrix = 0.5 * (matrix + matrix.T)
        run = jax.jit(proj.PSDCone().project)
        comparisons.append(
            (
                "semidefinite, scipy",
                (n, n),
                run,
                jnp.asarray(matrix),
                _scipy_semidefinite(matrix),
                1,
            )
        )
    table = []
    for name, shape, run, points, loop, factor in comparisons:
        ours = lambda f=run, x=points: f(x)
        times = interleaved({"ours": ours, "peer": loop}, rounds=rounds, budget=60.0)
        table.append(
            (
                name,
                " x ".join(map(str, shape)),
                times.median("ours"),
                times.median("peer") * factor,
                times.ratio("peer", "ours") * factor,
            )
        )
    print(markdown_table(["cone, peer", "shape", "seconds", "peer", "ratio"], table))


if __name__ == "__main__":
    main()
