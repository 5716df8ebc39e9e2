"""Quadratic programs against OSQP, Clarabel, jaxopt and qpax.

Random programs one by one and in batches, and gradients against the exact ones. With
`--maros DIR`, a folder of `.mat` files with P, q, A, l, u: how many are solved, the
residuals measured from the solution by NumPy, relative to their largest terms. Peers
that are not installed are left out.
"""

import argparse
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import osqp
import scipy.io
import scipy.sparse as sp

import fixproj as fp
from benchmarks._timing import interleaved


try:
    import qpax  # pyright: ignore[reportMissingImports]
except ImportError:
    qpax = None


def random_program(seed: int, n: int) -> list[np.ndarray]:
    """A dense program with n/5 equations and n two-sided rows."""
    rng = np.random.default_rng(seed)
    L = rng.standard_normal((n, n)) / np.sqrt(n)
    P, q = L @ L.T + 1e-2 * np.eye(n), rng.standard_normal(n)
    m = n + n // 5
    A = rng.standard_normal((m, n)) / np.sqrt(n)
    middle = A @ rng.standard_normal(n) * 0.1
    half = rng.uniform(0.05, 0.5, m)
    half[: n // 5] = 0
    return [P, q, A, middle - half, middle + half]


def ours(*program: Any) -> jax.Array:
    """The solution."""
    return fp.solve(fp.QuadraticProgram(*program), throw=False).value


def one_sided(P, q, A, lower, upper) -> tuple:
    """Equations `Ax = b` and inequalities `Gx <= h`, as jaxopt and qpax take them."""
    k = P.shape[0] // 5
    G = jnp.concatenate([A[k:], -A[k:]])
    return P, q, A[:k], lower[:k], G, jnp.concatenate([upper[k:], -lower[k:]])


def by_qpax(*program):
    return qpax.solve_qp(*one_sided(*program))[0]  # pyright: ignore


def by_jaxopt(*program):
    import jaxopt

    P, q, A, b, G, h = one_sided(*program)
    solver = jaxopt.OSQP(tol=1e-6, maxiter=10_000)
    found = solver.run(params_obj=(P, q), params_eq=(A, b), params_ineq=(G, h))
    return found.params.primal


def by_osqp(P, q, A, lower, upper, *, eps: float = 1e-8):
    solver = osqp.OSQP()
    matrices = sp.csc_matrix(P), q, sp.csc_matrix(A), lower, upper
    solver.setup(*matrices, eps_abs=eps, eps_rel=eps, max_iter=100_000, verbose=False)
    return solver.solve(raise_error=False).x


def batched(rounds: int) -> None:
    """64 programs with 50 unknowns under `jax.vmap`."""
    programs = [random_program(seed, 50) for seed in range(64)]
    stacked = [jnp.asarray(np.stack(part)) for part in zip(*programs, strict=True)]
    solvers: dict[str, Callable] = {"fixproj": ours, "jaxopt.OSQP": by_jaxopt}
    if qpax is not None:
        solvers["qpax"] = by_qpax
    compiled = {k: jax.jit(jax.vmap(v)) for k, v in solvers.items()}
    exact = np.stack([by_osqp(*p, eps=1e-10) for p in programs])
    timings = interleaved(
        {k: lambda v=v: v(*stacked) for k, v in compiled.items()}, rounds=rounds
    )
    print("\n| 64 programs, n = 50 | time / fixproj | largest error |\n|---|---|---|")
    for name, solver in compiled.items():
        error = np.max(np.abs(solver(*stacked) - exact))
        print(f"| {name} | {timings.ratio(name, 'fixproj'):.2f} | {error:.1e} |")


def single(sizes: tuple[int, ...], rounds: int) -> None:
    """One program at a time."""
    print(
        "\n| n | OSQP / fixproj (time) | difference of the solutions |\n|---|---|---|"
    )
    for n in sizes:
        program = random_program(0, n)
        arrays = list(map(jnp.asarray, program))
        calls: dict[str, Callable] = {"fixproj": lambda a=arrays: ours(*a)}
        calls["OSQP"] = lambda p=program: by_osqp(*p)
        timings = interleaved(calls, rounds=rounds, budget=60)
        gap = np.max(np.abs(np.asarray(ours(*arrays)) - by_osqp(*program)))
        print(f"| {n} | {timings.ratio('OSQP', 'fixproj'):.2f} | {gap:.1e} |")


def gradients() -> None:
    """The gradient with respect to q against that of the active rows."""
    program = random_program(1, 50)
    x = np.asarray(ours(*map(jnp.asarray, program)))
    P, q, A, lower, upper = program
    rows = A[np.minimum(A @ x - lower, upper - A @ x) < 1e-9]
    k = len(rows)
    system = np.block([[P, rows.T], [rows, np.zeros((k, k))]])
    weights = np.cos(np.arange(50.0))
    right = np.concatenate([weights, np.zeros(k)])
    exact = -np.linalg.solve(system, right)[:50]
    solvers: dict[str, Callable] = {"fixproj": ours, "jaxopt.OSQP": by_jaxopt}
    if qpax is not None:
        solvers["qpax"] = lambda *p: qpax.solve_qp_primal(*one_sided(*p))  # pyright: ignore
    print("\n| gradient, n = 50 | largest error |\n|---|---|")
    for name, solver in solvers.items():
        loss = lambda q, f=solver: weights @ f(P, q, A, lower, upper)
        found = jax.grad(loss)(jnp.asarray(q))
        print(f"| {name} | {np.max(np.abs(found - exact)):.1e} |")


def quality(data: Any, x: np.ndarray, y: np.ndarray) -> float:
    """The largest of the three relative residuals."""
    P, A = data["P"], data["A"]
    q, lower, upper = (data[k].ravel().astype(float) for k in "qlu")
    ax, px, aty = A @ x, P @ x, A.T @ y
    big = lambda *v: max(float(np.max(np.abs(u), initial=0)) for u in v)
    primal = big(ax - np.clip(ax, lower, upper)) / (1 + big(ax))
    dual = big(px + q + aty) / (1 + big(px, q, aty))
    ends = np.where(y > 0, upper, lower)
    support = float(np.sum(np.where(y == 0, 0, y * np.where(y == 0, 0, ends))))
    costs = x @ px, q @ x, support
    gap = abs(sum(costs)) / (1 + big(*map(np.asarray, costs)))
    return max(primal, dual, gap) if np.all(np.isfinite(x)) else np.inf


def maros_meszaros(folder: str, largest: int) -> None:
    """Every instance of a folder with at most `largest` unknowns."""
    print("\n| instance | n | m | steps | relative residual | seconds |")
    print("|---|---|---|---|---|---|")
    reached = []
    for path in sorted(pathlib.Path(folder).glob("*.mat")):
        data = scipy.io.loadmat(path)
        q, lower, upper = (data[k].ravel().astype(float) for k in "qlu")
        m, n = data["A"].shape
        if n > largest:
            reached.append(np.inf)
            print(f"| {path.stem} | {n} | {m} | left out | | |")
            continue
        P, A = data["P"].toarray().astype(float), data["A"].toarray().astype(float)
        start = time.perf_counter()
        program = fp.QuadraticProgram(P, q, A, lower, upper)
        solution = fp.solve(program, throw=False, max_steps=200)
        x, y = np.asarray(solution.value), np.asarray(solution.stats["dual"])
        seconds = time.perf_counter() - start
        reached.append(quality(data, x, y))
        steps = int(solution.stats["num_steps"])
        line = f"| {path.stem} | {n} | {m} | {steps} | {reached[-1]:.1e} |"
        print(f"{line} {seconds:.1f} |", flush=True)
    for tolerance in (1e-3, 1e-6):
        count = sum(r <= tolerance for r in reached)
        print(f"\n{count} of {len(reached)} to {tolerance:g}", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--maros", help="folder of Maros-Meszaros .mat files")
    parser.add_argument("--largest", type=int, default=5000, help="most unknowns")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    with jax.enable_x64(True):
        gradients()
        batched(3 if options.quick else 11)
        single((100,) if options.quick else (100, 300, 1000), 3)
        if options.maros:
            maros_meszaros(options.maros, options.largest)


if __name__ == "__main__":
    main()
