"""Conic programs against Clarabel and SCS.

Small programs over every cone, with gradients against differences; then the nearest
correlation matrix and the semidefinite relaxation of maximum cut, beside SCS.
"""

import argparse
from collections.abc import Callable
from typing import Any

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
import scs

import fixproj as fp
from benchmarks._timing import interleaved
from fixproj.projections import PSDCone, ZeroCone


def small_programs() -> dict[str, tuple[Any, Any, Any, np.ndarray]]:
    """A problem, its parameter, its variable, and the parameter's value."""
    sums: Any = lambda x: cp.sum(x) == 1
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((6, 6))
    point = rng.standard_normal(6)
    programs = {}
    x, t = cp.Variable(6), cp.Parameter(6)
    cost = cp.norm2(x - t) + 0.1 * cp.norm1(x)
    programs["second-order"] = (
        cp.Problem(cp.Minimize(cost), [sums(x)]),
        t,
        x,
        point,
    )
    x, t = cp.Variable(6), cp.Parameter(6)
    cost = cp.sum(cp.entr(x)) + t @ x
    programs["exponential"] = (
        cp.Problem(cp.Maximize(cost), [sums(x)]),
        t,
        x,
        point,
    )
    x, t = cp.Variable(3), cp.Parameter(2, pos=True)
    cone = cp.PowCone3D(x[0], x[1], x[2], 0.3)
    problem = cp.Problem(cp.Maximize(x[2] - t @ cp.square(x[:2])), [cone])
    programs["power"] = problem, t, x, np.array([0.4, 0.3])
    X, C = cp.Variable((6, 6), PSD=True), cp.Parameter((6, 6), symmetric=True)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(X - C)), [cp.diag(X) == 1])
    programs["semidefinite"] = problem, C, X, matrix + matrix.T
    return programs


def small() -> None:
    """Differences to Clarabel, and of the derivative to that of the solution."""
    print(
        "\n| cone | difference to Clarabel | of the derivative to central differences |"
    )
    print("|---|---|---|")
    settings = {f"tol_{k}": 1e-10 for k in ("gap_abs", "gap_rel", "feas")}
    for name, (problem, parameter, variable, value) in small_programs().items():
        whole = fp.from_cvxpy(problem, [parameter], [variable])
        function = jax.jit(lambda v, f=whole: f(v)[0])
        found = function(jnp.asarray(value))
        parameter.value = value
        problem.solve(solver=cp.CLARABEL, **settings)
        error = np.max(np.abs(found - variable.value))
        direction = np.cos(np.arange(value.size)).reshape(value.shape)
        direction = direction + direction.T if value.ndim == 2 else direction
        _, derivative = jax.jvp(
            function, (jnp.asarray(value),), (jnp.asarray(direction),)
        )
        ends = [function(jnp.asarray(value + s * direction)) for s in (1e-5, -1e-5)]
        miss = np.max(np.abs(derivative - (ends[0] - ends[1]) / 2e-5))
        print(f"| {name} | {error:.0e} | {miss:.0e} |", flush=True)


def semidefinite(kind: str, n: int) -> tuple[fp.ConicProgram, np.ndarray]:
    """The unknowns are all entries of a matrix with unit diagonal; and its cost."""
    rng = np.random.default_rng(n)
    if kind == "nearest correlation":
        noise = rng.standard_normal((n, n)) / 2
        cost, P = -(np.eye(n) + noise + noise.T), sp.eye_array(n * n)
    else:
        weights = np.triu(rng.uniform(size=(n, n)) < 10 / n, 1).astype(float)
        weights *= rng.uniform(0.5, 1.5, (n, n))
        weights = weights + weights.T
        cost, P = (weights - np.diag(weights.sum(1))) / 4, None
    diagonal = sp.csr_array(sp.eye_array(n * n))[:: n + 1]
    A = sp.vstack([diagonal, -sp.eye_array(n * n)])
    b = np.concatenate([np.ones(n), np.zeros(n * n)])
    cones = [(ZeroCone(), n), (PSDCone(), (n, n))]
    return fp.ConicProgram(P, cost.ravel(), A, b, cones), cost


def by_scs(kind: str, cost: np.ndarray, eps: float) -> np.ndarray:
    """The lower triangle, column by column, is the unknown."""
    n = len(cost)
    column, row = np.triu_indices(n)
    scale = np.where(row == column, 1, np.sqrt(2))
    size = row.size
    on_diagonal = np.flatnonzero(row == column)
    ones = np.ones(n), (np.arange(n), on_diagonal)
    A = sp.vstack([sp.csr_array(ones, shape=(n, size)), -sp.eye_array(size)])
    data = {"A": sp.csc_matrix(A), "b": np.concatenate([np.ones(n), np.zeros(size)])}
    data["c"] = (scale * cost[row, column]).ravel()
    if kind == "nearest correlation":
        data["P"] = sp.csc_matrix(sp.eye_array(size))
    options = {"eps_abs": eps, "eps_rel": eps, "max_iters": 100_000, "verbose": False}
    found = scs.SCS(data, {"z": n, "s": [n]}, **options).solve()["x"] / scale
    X = np.zeros((n, n))
    X[row, column] = X[column, row] = found
    return X


def large(n: int, rounds: int) -> None:
    """Beside SCS, at two of its tolerances."""
    print(
        f"\n| n = {n} | fixproj, s | steps | SCS 1e-6, s | SCS 1e-9, s | cost of ours "
        "- SCS 1e-9 | least eigenvalue | difference of X |\n|" + "---|" * 8
    )
    for kind in ("nearest correlation", "maximum cut"):
        program, cost = semidefinite(kind, n)
        calls: dict[str, Callable] = {
            "fixproj": lambda p=program: fp.solve(p).value,
            "1e-6": lambda k=kind, c=cost: by_scs(k, c, 1e-6),
            "1e-9": lambda k=kind, c=cost: by_scs(k, c, 1e-9),
        }
        timings = interleaved(calls, rounds=rounds, budget=60)
        solution = fp.solve(program)
        X, Y = np.asarray(solution.value).reshape(n, n), calls["1e-9"]()
        square = 0.5 if kind == "nearest correlation" else 0
        value = lambda X, c=cost, s=square: np.sum(c * X) + s * np.sum(X**2)
        cells = [f"{timings.median('fixproj'):.2f}", int(solution.stats["num_steps"])]
        cells += [f"{timings.median(k):.2f}" for k in ("1e-6", "1e-9")]
        cells += [f"{value(X) - value(Y):.1e}", f"{np.linalg.eigvalsh(X)[0]:.1e}"]
        cells += [f"{np.max(np.abs(X - Y)):.1e}"]
        print(f"| {kind} | {' | '.join(map(str, cells))} |", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    with jax.enable_x64(True):
        small()
        large(60 if options.quick else 100, 1 if options.quick else 5)


if __name__ == "__main__":
    main()
