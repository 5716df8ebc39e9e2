"""The Maros-Meszaros problems: how many are solved, beside other solvers.

`python -m benchmarks.maros_meszaros DIR [--solvers fixproj OSQP ...]`, DIR a folder of
`.mat` files with P, q, A, l, u. What counts is the largest of three residuals relative
to their terms, measured by NumPy from x and the multipliers: violation, stationarity
and duality gap. Every solver works in a process of its own with a limit of processor
time for each instance, compilation included.
"""

import argparse
import multiprocessing
import pathlib
import resource
import time
from typing import Any

import numpy as np
import scipy.io
import scipy.sparse as sp

from benchmarks import _qp_peers


_LARGEST_DENSE = 6000
_SHIFT = 1.0  # seconds


def load(path: pathlib.Path) -> tuple[Any, ...]:
    """P, q, A, lower, upper."""
    data = scipy.io.loadmat(path)
    P, A = (sp.csc_array(data[k], dtype=float) for k in "PA")
    q, lower, upper = (data[k].ravel().astype(float) for k in "qlu")
    return P, q, A, lower, upper


def quality(program: tuple[Any, ...], x: np.ndarray, y: np.ndarray) -> float:
    """The largest of the three relative residuals."""
    P, q, A, lower, upper = program
    if x is None or not np.all(np.isfinite(x)) or not np.all(np.isfinite(y)):
        return np.inf
    # Nothing holds against a bound that is not there.
    y = np.where(np.abs(upper) < 1e18, y, np.minimum(y, 0))
    y = np.where(np.abs(lower) < 1e18, y, np.maximum(y, 0))
    ax, px, aty = A @ x, P @ x, A.T @ y
    big = lambda *v: max(float(np.max(np.abs(u), initial=0)) for u in v)
    primal = big(ax - np.clip(ax, lower, upper)) / (1 + big(ax))
    dual = big(px + q + aty) / (1 + big(px, q, aty))
    ends = np.where(y == 0, 0, np.where(y > 0, upper, lower))
    costs = x @ px, q @ x, y @ ends
    gap = abs(sum(costs)) / (1 + big(*map(np.asarray, costs)))
    return float(max(primal, dual, gap))


def _work(connection: Any, name: str, seconds: float) -> None:
    """Solves what arrives, until the limit kills it."""
    import jax

    jax.config.update("jax_enable_x64", True)
    while True:
        program = connection.recv()
        used = resource.getrusage(resource.RUSAGE_SELF)
        limit = int(used.ru_utime + used.ru_stime + seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
        start = time.process_time()
        try:
            x, y = _qp_peers.SOLVERS[name](*program, seconds)
        except Exception as error:
            connection.send((None, str(error), 0.0))
        else:
            connection.send((x, y, time.process_time() - start))


class _Worker:
    def __init__(self, name: str, seconds: float):
        self.name, self.seconds = name, seconds
        self.process: Any = None

    def solve(self, program: tuple[Any, ...]) -> tuple[Any, Any, float]:
        """x, y and the seconds; None if the limit was reached."""
        if self.process is None:
            context = multiprocessing.get_context("spawn")
            self.here, there = context.Pipe()
            arguments = there, self.name, self.seconds
            self.process = context.Process(target=_work, args=arguments, daemon=True)
            self.process.start()
            there.close()
        self.here.send(program)
        try:
            return self.here.recv()
        except EOFError:
            self.process.join()
            self.process = None
            return None, "over the limit", self.seconds


def main(arguments: list[str] | None = None) -> None:
    """Prints a table of all instances, and the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--solvers", nargs="+", default=list(_qp_peers.SOLVERS))
    parser.add_argument("--instances", nargs="+", help="these only, by name")
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args(arguments)
    print(
        f"\nAt most {options.seconds:g} s of processor time for each instance;", end=""
    )
    print(
        f" {', '.join(_qp_peers.DENSE)} only with n + m <= {_LARGEST_DENSE}.\n\n"
        f"| instance | n | m | {' | '.join(options.solvers)} |\n"
        f"|---|---|---|{'---|' * len(options.solvers)}",
        flush=True,
    )
    workers = [_Worker(name, options.seconds) for name in options.solvers]
    reached: dict[str, list[float]] = {name: [] for name in options.solvers}
    took: dict[str, list[float]] = {name: [] for name in options.solvers}
    for path in sorted(options.folder.glob("*.mat")):
        if options.instances and path.stem not in options.instances:
            continue
        program = load(path)
        m, n = program[2].shape
        cells = []
        for worker in workers:
            dense = worker.name in _qp_peers.DENSE
            if dense and n + m > _LARGEST_DENSE:
                reached[worker.name].append(np.inf)
                took[worker.name].append(options.seconds)
                cells.append("-")
                continue
            x, y, seconds = worker.solve(program)
            miss = np.inf if x is None else quality(program, x, y)
            if dense and x is not None:
                # Signs of multipliers differ from solver to solver.
                miss = min(miss, quality(program, x, -y))
            reached[worker.name].append(miss)
            took[worker.name].append(seconds if miss <= 1e-3 else options.seconds)
            cells.append("limit" if x is None else f"{miss:.0e}, {seconds:.1f} s")
        print(f"| {path.stem} | {n} | {m} | {' | '.join(cells)} |", flush=True)
    for tolerance in (1e-3, 1e-6):
        counts = [sum(r <= tolerance for r in v) for v in reached.values()]
        cells = " | ".join(
            f"{count} of {len(reached[options.solvers[0]])}" for count in counts
        )
        print(f"| **to {tolerance:g}** | | | {cells} |", flush=True)
    # Shifted geometric mean; what misses 1e-3 counts with the limit.
    means = [np.exp(np.mean(np.log(np.add(v, _SHIFT)))) - _SHIFT for v in took.values()]
    cells = " | ".join(f"{mean:.1f} s" for mean in means)
    print(f"| **mean time** | | | {cells} |", flush=True)


if __name__ == "__main__":
    main()
