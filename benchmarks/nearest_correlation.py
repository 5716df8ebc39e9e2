"""The nearest correlation matrix, next to Newton's method and to SCS through cvxpy.

Matrices are those of `examples/nearest_correlation.py`. Ours counts eigenvalue
decompositions until the relative residual is 1e-8. Newton's method for the dual (Qi &
Sun, 2006), written here with NumPy and conjugate gradients, is the reference for the
error, as it converges quadratically; `projections.CorrelationMatrices` is that method
with JAX. SCS is stopped at the first of the tolerances 1e-3, 1e-6 and 1e-9 that is as
accurate as ours; errors are the largest over all entries.
"""

import argparse
import importlib.util
import pathlib
import time

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._timing import markdown_table
from fixproj import projections as proj


PATH = pathlib.Path(__file__).parents[1] / "examples" / "nearest_correlation.py"


def by_newton(matrix, tolerance=1e-13):
    """The nearest correlation matrix and the decompositions, from the dual.

    The gradient of the dual at y is diag(X) - 1 with X = P(matrix + Diag(y)), and its
    derivative in a direction h is diag(V (W * V'Diag(h)V) V'), with V the eigenvectors
    and W the divided differences of max(., 0) at the eigenvalues.
    """

    def dual(y):
        values, vectors = np.linalg.eigh(matrix + np.diag(y))
        plus = np.maximum(values, 0)
        x = (vectors * plus) @ vectors.T
        return x, np.sum(plus**2) / 2 - y.sum(), values, vectors

    y, count = 1 - np.diag(matrix), 1
    x, height, values, vectors = dual(y)
    while np.abs(np.diag(x) - 1).max() > tolerance * len(y) and count < 50:
        plus = np.maximum(values, 0)
        gap = values[:, None] - values[None, :]
        close = np.abs(gap) < 1e-12
        weights = np.where(
            close, values[:, None] > 0, (plus[:, None] - plus) / (gap + close)
        )

        def apply(h, weights=weights, vectors=vectors):
            inside = weights * ((vectors.T * h) @ vectors)
            return np.sum((vectors @ inside) * vectors, axis=1) + 1e-14 * h

        gradient = np.diag(x) - 1
        step = _conjugate_gradients(apply, -gradient)
        size, slope = 1.0, gradient @ step
        while True:
            trial = dual(y + size * step)
            count += 1
            if trial[1] <= height + 1e-4 * size * slope + 1e-13 * abs(height):
                break
            size /= 2
        y, (x, height, values, vectors) = y + size * step, trial
    return x, count


def _conjugate_gradients(apply, b, tolerance=1e-10, most=500):
    x, r = np.zeros_like(b), b.copy()
    p, rho = r.copy(), r @ r
    goal = tolerance**2 * rho
    for _ in range(most):
        if rho <= goal:
            break
        q = apply(p)
        step = rho / (p @ q)
        x, r = x + step * p, r - step * q
        rho, old = r @ r, rho
        p = r + rho / old * p
    return x


def by_scs(matrix, tolerance):
    """The matrix and the seconds inside of SCS."""
    n = matrix.shape[0]
    x = cp.Variable((n, n), PSD=True)
    cost = cp.Minimize(cp.sum_squares(x - matrix))
    program = cp.Problem(cost, [cp.diag(x) == 1])
    options = {"eps_abs": tolerance, "eps_rel": tolerance, "max_iters": 20_000}
    began = time.perf_counter()
    program.solve(solver=cp.SCS, **options)
    seconds = time.perf_counter() - began
    assert x.value is not None and program.solver_stats is not None
    return x.value, program.solver_stats.num_iters, seconds


def _example():
    spec = importlib.util.spec_from_file_location("nearest_correlation_example", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _rows(n, seed, with_scs):
    module = _example()
    matrix = module.patched(n, seed)
    began = time.perf_counter()
    exact, count = by_newton(matrix)
    seconds = time.perf_counter() - began
    yield [n, seed, "Newton (NumPy)", count, None, seconds]
    run = jax.jit(lambda m, rtol: module.nearest_correlation(m, rtol=rtol, throw=False))
    given = jnp.asarray(matrix)
    newton = jax.jit(proj.CorrelationMatrices().project)
    value = jax.block_until_ready(newton(given))
    began = time.perf_counter()
    jax.block_until_ready(newton(given))
    seconds = time.perf_counter() - began
    gap = float(np.abs(np.asarray(value) - exact).max())
    yield [n, seed, "fixproj, projections.CorrelationMatrices", None, gap, seconds]
    error = np.inf
    for rtol in (1e-8, 1e-12):
        solution = jax.block_until_ready(run(given, rtol))
        began = time.perf_counter()
        solution = jax.block_until_ready(run(given, rtol))
        seconds = time.perf_counter() - began
        gap = float(np.abs(np.asarray(solution.value) - exact).max())
        steps = int(solution.stats["num_steps"])
        yield [n, seed, f"fixproj, nearest_point to {rtol:.0e}", steps, gap, seconds]
        error = min(error, gap)
    if not with_scs:
        return
    for tolerance in (1e-3, 1e-6, 1e-9):
        x, steps, seconds = by_scs(matrix, tolerance)
        gap = float(np.abs(x - exact).max())
        yield [n, seed, f"cvxpy, SCS to {tolerance:.0e}", steps, gap, seconds]
        if gap <= error or seconds > 60:
            return


def main(arguments=None):
    """Print a table."""
    parser = argparse.ArgumentParser(description="Nearest correlation matrices.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int, default=4)
    options = parser.parse_args(arguments)
    with jax.enable_x64(True):
        rows = [row for k in range(options.seeds) for row in _rows(100, k, k == 0)]
        if not options.quick:
            rows += _rows(500, 0, True)
    header = ["n", "seed", "by", "decompositions or steps", "error", "seconds"]
    print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
