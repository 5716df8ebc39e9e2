"""Fixed-point problems solved by other libraries: evaluations, residual, wall time.

    python -m benchmarks.peers_fixed_point [--quick] [--dtype float32] [--problems a b]

Everyone runs until the 2-norm (over all leaves) of f(y) - y, unscaled, is at most the
problem's tolerance. The residual is then computed anew, in float64 sums, at the point
that was returned. Most solvers return the image of the point they tested, so a solver
counts as converged up to twice the tolerance.

Evaluations of f are
- carried in the state of the bare loop;
- the number of steps reported by jaxopt and optimistix, which evaluate f once per step
  (jaxopt's own `num_fun_eval` adds one for an evaluation that is compiled away; the
  steps were compared with a counting callback inside f);
- counted inside the function for SciPy.

Where a solver has settings that matter, all are run and the converged one with the
fewest evaluations is reported: "best of three".
"""

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import scipy.optimize
from jax.flatten_util import ravel_pytree

from benchmarks._timing import interleaved, markdown_table
from tests.fixed_point_problems import PROBLEMS, Problem


with warnings.catch_warnings():
    warnings.simplefilter(
        "ignore", DeprecationWarning
    )  # jaxopt is no longer maintained
    import jaxopt


@dataclass(frozen=True)
class Task:
    """One problem at one precision: what a solver is given."""

    fn: Callable[[Any, Any], Any]
    y0: Any
    args: Any
    tolerance: float
    max_evaluations: int


@dataclass(frozen=True)
class Run:
    """A solver ready to go: calling `solve` gives (y, evaluations)."""

    solve: Callable[[], tuple[Any, Any]]
    setting: str = ""


@dataclass(frozen=True)
class Record:
    """What came of one solver on one problem.

    `evaluations` and `residual` are None if the solver raised an error, `seconds` is a
    median for solvers that converged, else the time of one run with compilation.
    `relative` is the median over rounds of the time against that of the first solver,
    None unless both converged.
    """

    problem: str
    name: str
    setting: str
    evaluations: int | None
    residual: float | None
    seconds: float | None
    converged: bool
    relative: float | None = None


# A solver prepares alternatives; the best is reported.
Solver = Callable[[Task], Sequence[Run]]


def two_norm(tree: Any) -> jax.Array:
    """2-norm over all leaves."""
    return jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(tree)))


def residual(task: Task, y: Any) -> float:
    """2-norm of f(y) - y, the difference and the sum in float64."""
    image = jax.jit(task.fn)(y, task.args)
    pairs = zip(jax.tree.leaves(image), jax.tree.leaves(y), strict=True)
    with np.errstate(all="ignore"):
        squares = (
            np.sum((np.asarray(a, float) - np.asarray(b)) ** 2) for a, b in pairs
        )
        return float(np.sqrt(sum(squares)))


def jitted(
    solve: Callable[[Any, Any], tuple[Any, Any]], task: Task, setting: str = ""
) -> Run:
    """A solver that is compiled with the start and the arguments as inputs."""
    compiled = jax.jit(solve)
    return Run(lambda: compiled(task.y0, task.args), setting)


def plain(task: Task) -> Sequence[Run]:
    """The least loop that iterates f and looks at the residual."""

    def solve(y0, args):
        def go_on(carry):
            _, squared, count = carry
            return (squared > task.tolerance**2) & (count < task.max_evaluations)

        def step(carry):
            y, _, count = carry
            new = task.fn(y, args)
            pairs = zip(jax.tree.leaves(new), jax.tree.leaves(y), strict=True)
            return new, sum(jnp.sum((a - b) ** 2) for a, b in pairs), count + 1

        dtype = jax.tree.leaves(y0)[0].dtype
        start = (y0, jnp.asarray(jnp.inf, dtype), jnp.asarray(0))
        y, _, count = jax.lax.while_loop(go_on, step, start)
        return y, count

    return [jitted(solve, task)]


def _jaxopt(solver: Any, task: Task, setting: str = "") -> Run:
    def solve(y0, args):
        y, state = solver.run(y0, args)
        return y, state.iter_num

    return jitted(solve, task, setting)


def jaxopt_fixed_point_iteration(task: Task) -> Sequence[Run]:
    """`jaxopt.FixedPointIteration`."""
    solver = jaxopt.FixedPointIteration(
        task.fn, maxiter=task.max_evaluations, tol=task.tolerance
    )
    return [_jaxopt(solver, task)]


def jaxopt_anderson(task: Task) -> Sequence[Run]:
    """`jaxopt.AndersonAcceleration`: its default, and two with less regularisation.

    The ridge is added to the Gram matrix of residuals as it is, so it stops
    acceleration once residuals fall below its square root.
    """
    double = jax.tree.leaves(task.y0)[0].dtype == jnp.float64
    settings: Mapping[str, Mapping[str, Any]] = {
        "default": {},
        "m=5 ridge=1e-8": {"history_size": 5, "ridge": 1e-8, "beta": 1.0},
        "m=10 ridge=tiny": {"history_size": 10, "ridge": 1e-14 if double else 1e-10},
    }
    return [
        _jaxopt(
            jaxopt.AndersonAcceleration(
                task.fn, maxiter=task.max_evaluations, tol=task.tolerance, **setting
            ),
            task,
            name,
        )
        for name, setting in settings.items()
    ]


def optimistix_fixed_point_iteration(task: Task) -> Sequence[Run]:
    """`optimistix.FixedPointIteration`."""
    solver = optx.FixedPointIteration(rtol=0.0, atol=task.tolerance, norm=two_norm)

    def solve(y0, args):
        solution = optx.fixed_point(
            task.fn, solver, y0, args, max_steps=task.max_evaluations, throw=False
        )
        return solution.value, solution.stats["num_steps"]

    return [jitted(solve, task)]


class _Stop(Exception):
    """Ends a SciPy run that has used up its evaluations or its time."""


def scipy_anderson(task: Task, seconds: float = 60.0) -> Sequence[Run]:
    """`scipy.optimize.anderson` on f(y) - y: default, and two without line search.

    Without line search the derivative of f(y) - y starts as -1, plain iteration.
    """
    flat, unravel = ravel_pytree(task.y0)
    compiled = jax.jit(lambda y, args: ravel_pytree(task.fn(unravel(y), args))[0])
    settings: Mapping[str, Mapping[str, Any]] = {
        "default": {},
        "m=5 no search": {"M": 5, "alpha": 1.0, "line_search": None},
        "m=10 no search": {"M": 10, "alpha": 1.0, "line_search": None},
    }

    def run(setting):
        def solve():
            count, last, end = 0, np.asarray(flat), time.perf_counter() + seconds

            def equation(y):
                nonlocal count, last
                if count >= task.max_evaluations or time.perf_counter() > end:
                    raise _Stop
                count, last = count + 1, y.astype(flat.dtype)
                return np.asarray(compiled(last, task.args)) - last

            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    last = scipy.optimize.anderson(
                        equation,
                        np.asarray(flat),
                        f_tol=task.tolerance,
                        tol_norm=np.linalg.norm,
                        maxiter=task.max_evaluations,
                        **setting,
                    )
                except (
                    _Stop,
                    ValueError,  # not finite
                    np.linalg.LinAlgError,
                    scipy.optimize.NoConvergence,
                ):
                    pass  # the last point tried is judged like any other
            return unravel(jnp.asarray(last, flat.dtype)), count

        return solve

    return [Run(run(setting), name) for name, setting in settings.items()]


PEERS: Mapping[str, Solver] = {
    "plain loop": plain,
    "jaxopt FixedPointIteration": jaxopt_fixed_point_iteration,
    "optimistix FixedPointIteration": optimistix_fixed_point_iteration,
    "jaxopt Anderson": jaxopt_anderson,
    "scipy anderson": scipy_anderson,
}


def make_task(problem: Problem, dtype: str) -> Task:
    """The problem as a task; call it under the x64 setting that `dtype` needs.

    A solver may use 2000 evaluations, or 1.2 times what plain iteration needs if that
    is more, but no more than 6e8 scalars' worth: 11 361 evaluations of the lid-driven
    cavity, of which plain iteration needs 29 772.
    """
    fn, y0, args = problem.make(dtype)
    most = max(2000, int(1.2 * (problem.picard_steps_hint or 0)))
    return Task(fn, y0, args, problem.tol(dtype), min(most, int(6e8 / problem.size)))


def measure(
    problem: Problem,
    solvers: Mapping[str, Solver],
    *,
    dtype: str = "float64",
    rounds: int = 7,
    seconds: float = 10.0,
) -> list[Record]:
    """Runs solvers on one problem, side by side in this process.

    Args:
        problem: The problem.
        solvers: By name.
        dtype: "float32" (run with x64 off) or "float64" (x64 on).
        rounds: Rounds of interleaved timing of the solvers that converged.
        seconds: Limit on the timing.

    Returns:
        One record per solver, in order.
    """
    with jax.enable_x64(dtype == "float64"):
        task = make_task(problem, dtype)
        best = {
            name: _best(problem, name, task, solver) for name, solver in solvers.items()
        }
        solved = {n: run.solve for n, (r, run) in best.items() if run and r.converged}
        timings = interleaved(solved, rounds=rounds, budget=seconds, warm_up=False)
    first = next(iter(solvers))
    return [
        Record(
            record.problem,
            name,
            record.setting,
            record.evaluations,
            record.residual,
            timings.median(name) if name in solved else record.seconds,
            record.converged,
            timings.ratio(name, first) if name in solved and first in solved else None,
        )
        for name, (record, _) in best.items()
    ]


def _best(problem: Problem, name: str, task: Task, solver: Solver):
    """The record of the best alternative, and the alternative itself."""
    found = []
    for run in solver(task):
        try:
            start = time.perf_counter()
            y, count = jax.block_until_ready(run.solve())
        except (TypeError, ValueError, RuntimeError) as error:
            setting = f"{run.setting} {type(error).__name__}".strip()
            failed = Record(problem.name, name, setting, None, None, None, False)
            found.append((failed, None))
            continue
        taken = time.perf_counter() - start
        norm = residual(task, y)
        converged = bool(norm <= 2 * task.tolerance)
        record = Record(
            problem.name, name, run.setting, int(count), norm, taken, converged
        )
        found.append((record, run))

    def rank(pair):
        record, _ = pair
        missed = np.inf if record.residual is None else record.residual
        missed = np.inf if np.isnan(missed) else missed
        return (0, record.evaluations) if record.converged else (1, missed)

    return min(found, key=rank)


def tables(records: Sequence[Record]) -> str:
    """Evaluations, then milliseconds; one row per problem, one column per solver."""
    names = list(dict.fromkeys(r.name for r in records))
    problems = list(dict.fromkeys(r.problem for r in records))
    by_key = {(r.problem, r.name): r for r in records}

    def evaluations(record):
        if record.evaluations is None:
            return "error"
        if record.converged:
            return str(record.evaluations)
        return f"fails ({record.residual:.0e} after {record.evaluations})"

    def milliseconds(record):
        return 1e3 * record.seconds if record.converged else None

    parts = [
        markdown_table(
            ["problem", *names],
            [[p, *(show(by_key[p, n]) for n in names)] for p in problems],
        )
        for show in (evaluations, milliseconds)
    ]
    solved = [
        f"{name}: {sum(by_key[p, name].converged for p in problems)}" for name in names
    ]
    chosen = [
        [r.problem, r.name, r.setting] for r in records if r.setting and r.converged
    ]
    return "\n\n".join(
        [
            "Evaluations of f:\n\n" + parts[0],
            "Milliseconds:\n\n" + parts[1],
            f"Solved, of {len(problems)}: " + ", ".join(solved),
            "Best settings:\n\n"
            + markdown_table(["problem", "solver", "setting"], chosen),
        ]
    )


def select(names: Sequence[str] | None, quick: bool) -> list[Problem]:
    """The named problems, or all; of these without the slow ones if `quick`."""
    if names is not None:
        return [p for p in PROBLEMS if p.name in names]
    return [p for p in PROBLEMS if not (quick and p.slow)]


def arguments(description: str) -> argparse.ArgumentParser:
    """The command line shared with the benchmark that adds fixproj's columns."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="fewer problems, 3 rounds")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float64")
    known = [p.name for p in PROBLEMS]
    parser.add_argument("--problems", nargs="+", choices=known, metavar="NAME")
    return parser


def main() -> None:
    options = arguments("Other libraries on the fixed-point problems.").parse_args()
    limits = {"rounds": 3, "seconds": 2.0} if options.quick else {}
    records = []
    for problem in select(options.problems, options.quick):
        print(f"running {problem.name}", file=sys.stderr, flush=True)
        records += measure(problem, PEERS, dtype=options.dtype, **limits)
    print(f"Other libraries, {options.dtype}, 2-norm residual\n")
    print(tables(records))


if __name__ == "__main__":
    main()
