"""Quadratic programs against OSQP, SCS, Clarabel, jaxopt and qpax.

Random programs one by one and in batches, and gradients against the exact ones. With
`--maros DIR` also the Maros-Meszaros problems, see `maros_meszaros.py`. Peers that are
not installed are left out.
"""

import argparse
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

import fixproj as fp
from benchmarks import _qp_peers, maros_meszaros
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


def by_splitting(*program: Any) -> jax.Array:
    """The solution by ADMM."""
    problem = fp.QuadraticProgram(*program)
    return fp.solve(problem, fp.OperatorSplitting(), throw=False).value


def one_sided(P, q, A, lower, upper) -> tuple:
    """Equations `Ax = b` and inequalities `Gx <= h`, as jaxopt and qpax take them."""
    k = P.shape[0] // 5
    G = jnp.concatenate([A[k:], -A[k:]])
    return P, q, A[:k], lower[:k], G, jnp.concatenate([upper[k:], -lower[k:]])


def by_qpax(*program, **options):
    return qpax.solve_qp(*one_sided(*program), **options)[0]  # pyright: ignore


def by_jaxopt(*program):
    import jaxopt

    P, q, A, b, G, h = one_sided(*program)
    solver = jaxopt.OSQP(tol=1e-6, maxiter=10_000)
    found = solver.run(params_obj=(P, q), params_eq=(A, b), params_ineq=(G, h))
    return found.params.primal


def _reference(P, q, A, lower, upper):
    matrices = sp.csc_array(P), q, sp.csc_array(A), lower, upper
    return _qp_peers.by_osqp(*matrices, 60.0, eps=1e-10)[0]


def batched(rounds: int) -> None:
    """64 programs with 50 unknowns under `jax.vmap`."""
    programs = [random_program(seed, 50) for seed in range(64)]
    stacked = [jnp.asarray(np.stack(part)) for part in zip(*programs, strict=True)]
    solvers: dict[str, Callable] = {"fixproj": ours, "jaxopt.OSQP": by_jaxopt}
    solvers["fixproj, OperatorSplitting"] = by_splitting
    if qpax is not None:
        solvers["qpax"] = by_qpax
        solvers["qpax, tolerance 1e-8"] = lambda *p: by_qpax(*p, solver_tol=1e-8)
    compiled = {k: jax.jit(jax.vmap(v)) for k, v in solvers.items()}
    exact = np.stack([_reference(*p) for p in programs])
    timings = interleaved(
        {k: lambda v=v: v(*stacked) for k, v in compiled.items()}, rounds=rounds
    )
    print("\n| 64 programs, n = 50 | time / fixproj | largest error |\n|---|---|---|")
    for name, solver in compiled.items():
        error = np.max(np.abs(solver(*stacked) - exact))
        print(f"| {name} | {timings.ratio(name, 'fixproj'):.2f} | {error:.1e} |")
    P, _, A, lower, upper = (part[0] for part in stacked)
    qs = stacked[1]
    common = {
        "fixproj": lambda q: ours(P, q, A, lower, upper),
        "fixproj, OperatorSplitting": lambda q: by_splitting(P, q, A, lower, upper),
    }
    shared = {k: jax.jit(jax.vmap(v)) for k, v in common.items()}
    timings = interleaved(
        {k: lambda v=v: v(qs) for k, v in shared.items()}, rounds=rounds
    )
    print("\n| the same, P and A in common | milliseconds |\n|---|---|")
    for name in shared:
        print(f"| {name} | {1e3 * timings.median(name):.1f} |")


def single(sizes: tuple[int, ...], rounds: int) -> None:
    """One program at a time: time, and how far from optimality the answers are."""
    names = ["fixproj", "OperatorSplitting", "OSQP", "SCS", "Clarabel"]
    print(
        "\nTimes relative to OSQP, and the relative residual of the answer.\n\n"
        f"| n | OSQP, ms | {' | '.join(names)} |\n|---|---|{'---|' * len(names)}"
    )
    for n in sizes:
        program = random_program(0, n)
        sparse = [sp.csc_array(p) if p.ndim == 2 else p for p in program]
        arrays = list(map(jnp.asarray, program))
        solvers: dict[str, Callable] = {
            "fixproj": lambda a=arrays: _pair(fp.InteriorPoint(), a),
            "OperatorSplitting": lambda a=arrays: _pair(fp.OperatorSplitting(), a),
        }
        for name in names[2:]:
            solve = _qp_peers.SOLVERS[name]
            solvers[name] = lambda f=solve, p=sparse: f(*p, 60.0)
        timings = interleaved(solvers, rounds=rounds, budget=60)
        cells = []
        for name in names:
            x, y = map(np.asarray, solvers[name]())
            miss = maros_meszaros.quality(tuple(sparse), x, y)
            cells.append(f"{timings.ratio(name, 'OSQP'):.2f} ({miss:.0e})")
        osqp_time = 1e3 * timings.median("OSQP")
        print(f"| {n} | {osqp_time:.1f} | {' | '.join(cells)} |", flush=True)


def _pair(method, arrays):
    solution = fp.solve(fp.QuadraticProgram(*arrays), method, throw=False)
    return solution.value, solution.stats["dual"]


def gradients(seeds: int = 8) -> None:
    """Gradients with respect to all the data against those of the active rows."""
    programs = [random_program(seed, 50) for seed in range(1, seeds + 1)]
    weights = np.cos(np.arange(50.0))
    solvers: dict[str, Callable] = {"fixproj": ours, "jaxopt.OSQP": by_jaxopt}
    solvers["fixproj, OperatorSplitting"] = by_splitting
    if qpax is not None:
        solvers["qpax"] = lambda *p: qpax.solve_qp_primal(*one_sided(*p))  # pyright: ignore
    exact = []
    for program in programs:
        solution = fp.solve(fp.QuadraticProgram(*map(jnp.asarray, program)))
        exact.append(_exact_gradients(program, solution, weights))
    print(
        f"\nLargest error of the gradient, median and worst of {seeds} programs with "
        "50 unknowns.\n\n| | P | q | A | lower | upper |\n|---|---|---|---|---|---|"
    )
    for name, solver in solvers.items():
        loss = lambda *p, f=solver: weights @ f(*p)
        every = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3, 4)))
        errors = []
        for program, expected in zip(programs, exact, strict=True):
            found = list(every(*map(jnp.asarray, program)))
            found[0] = (found[0] + found[0].T) / 2
            # How an equation is split between its two bounds does not matter.
            k = program[0].shape[0] // 5
            together = found[3][:k] + found[4][:k]
            found[3], found[4] = found[3].at[:k].set(together), found[4].at[:k].set(0)
            pairs = zip(found, expected, strict=True)
            errors.append([np.max(np.abs(f - e)) for f, e in pairs])
        middle, worst = np.median(errors, axis=0), np.max(errors, axis=0)
        cells = [f"{a:.0e}, {b:.0e}" for a, b in zip(middle, worst, strict=True)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def _exact_gradients(program, solution, weights) -> list[np.ndarray]:
    """By the dense system of the active rows."""
    P, _, A, lower, upper = program
    x = np.asarray(solution.value)
    near = [np.abs(A @ x - bound) < 1e-9 for bound in (lower, upper)]
    active = near[0] | near[1]
    rows, k = A[active], int(active.sum())
    system = np.block([[P, rows.T], [rows, np.zeros((k, k))]])
    # The point itself, to the last digit, from the same system.
    bound = np.where(near[0], lower, upper)[active]
    point = np.linalg.solve(system, np.concatenate([-program[1], bound]))
    x, y = point[:50], np.zeros(len(A))
    y[active] = point[50:]
    solved = np.linalg.solve(system, np.concatenate([weights, np.zeros(k)]))
    u, v = solved[:50], np.zeros(len(A))
    v[active] = solved[50:]
    dP = -(np.outer(u, x) + np.outer(x, u)) / 2
    dA = -np.outer(y, u) - np.outer(v, x)
    return [dP, -u, dA, np.where(near[0], v, 0), np.where(near[1] & ~near[0], v, 0)]


def special_forms(rounds: int) -> None:
    """A box only, and equations only, against the general way to write them."""
    P, q, A, lower, upper = map(jnp.asarray, random_program(2, 300))
    box = jnp.full((300,), 0.1)
    # Rows whose values are not known when the solver is made stay rows.
    rows = jax.jit(lambda A: fp.solve(fp.QuadraticProgram(P, q, A, -box, box)).value)
    calls = {
        "box": lambda: fp.solve(fp.QuadraticProgram(P, q, None, -box, box)).value,
        "box as rows": lambda: rows(jnp.eye(300)),
        "equations": lambda: (
            fp.solve(fp.QuadraticProgram(P, q, A[:60], lower[:60], lower[:60])).value
        ),
    }
    timings = interleaved(calls, rounds=rounds, budget=30)
    print("\n| n = 300 | milliseconds |\n|---|---|")
    for name in calls:
        print(f"| {name} | {1e3 * timings.median(name):.1f} |")


def main(arguments: list[str] | None = None) -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--maros", help="folder of Maros-Meszaros .mat files")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    with jax.enable_x64(True):
        gradients()
        special_forms(3)
        batched(7 if options.quick else 15)
        sizes = (100, 300) if options.quick else (100, 300, 1000)
        single(sizes, 3 if options.quick else 9)
        if options.maros:
            maros_meszaros.main([options.maros])


if __name__ == "__main__":
    main()
