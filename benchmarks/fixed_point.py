"""Fixed-point iterations: evaluations, wall time, and the cost of a step.

    python -m benchmarks.fixed_point [--quick] [--problems a b] [--dtype float32]

`--quick` takes 13 of the problems, 3 rounds of timing and a short limit for SciPy.

Every solver runs in this process, in turns with the others, to the same 2-norm of
f(y) - y. All are compiled once with `jax.jit` and timed after that; the column "Picard,
as called" is `fixproj.solve` without a `jit` around it.
"""

import functools
import math
import sys
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp

import fixproj as fp
from benchmarks._timing import interleaved, markdown_table
from benchmarks.peers_fixed_point import (
    PEERS,
    Record,
    Run,
    Solver,
    Task,
    arguments,
    jitted,
    measure,
    plain,
    scipy_anderson,
    select,
    tables,
)
from tests.fixed_point_problems import PROBLEMS, by_name


ITERATIONS: Mapping[str, fp.AbstractIteration] = {
    "Picard": fp.Picard(),
    "Anderson": fp.Anderson(),
    "Anderson m=5, every step": fp.Anderson(memory=5, period=1),
    "Anderson I": fp.Anderson(kind="I", period=3),
    "ACX": fp.ACX(),
    "Squarem": fp.Squarem(),
    "Broyden": fp.Broyden(),
}
# Those that stand for the library where a peer is given its best of three settings.
BEST_OF = ("Anderson", "Anderson I", "ACX")
# What a short run makes do with: half of them are slow for plain iteration.
QUICK = [
    "hasselblad",
    "mix3",
    "linear_100_rho99",
    "value_iteration",
    "candecomp",
    "chandrasekhar_9999",
    "power",
    "simple_vector",
    "perceptron",
    "linear",
    "higham",
    "nlsolve_exponential",
    "lasso_douglas_rachford",
]


def ours(iteration: fp.AbstractIteration, task: Task, *, jit: bool = True):
    """`fixproj.solve` to the task's tolerance."""

    def solve(y0, args):
        solution = fp.solve(
            fp.FixedPoint(task.fn, y0, args),
            iteration=iteration,
            rtol=0.0,
            atol=task.tolerance,
            norm=fp.two_norm,
            max_steps=task.max_evaluations,
            throw=False,
        )
        return solution.value, solution.stats["num_steps"]

    return [jitted(solve, task) if jit else Run(lambda: solve(task.y0, task.args))]


def solvers(seconds: float) -> Mapping[str, Solver]:
    """All columns of the first part, the bare loop first."""

    def named(iteration, jit=True):
        return functools.partial(ours, iteration, jit=jit)

    peers = dict(PEERS)
    peers["scipy anderson"] = functools.partial(scipy_anderson, seconds=seconds)
    del peers["jaxopt FixedPointIteration"]
    return {
        "plain loop": peers.pop("plain loop"),
        "Picard, as called": named(ITERATIONS["Picard"], jit=False),
        **{name: named(iteration) for name, iteration in ITERATIONS.items()},
        **peers,
    }


def geometric_mean(values: Sequence[float]) -> float | None:
    """The geometric mean; None of nothing."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def _mean_quotient(pairs: Sequence[tuple[Record, Record]], field: str):
    return geometric_mean([getattr(a, field) / getattr(b, field) for a, b in pairs])


def summary(records: Sequence[Record]) -> str:
    """How far the aims are met, on the problems tuned on and on those held out."""
    by_key = {(r.problem, r.name): r for r in records}
    names = list(dict.fromkeys(r.problem for r in records))
    columns = list(dict.fromkeys(r.name for r in records))
    hints = {p.name: p.picard_steps_hint or math.inf for p in PROBLEMS}
    sets = {
        "held out": [n for n in names if not by_name(n).tuned_on],
        "tuned on": [n for n in names if by_name(n).tuned_on],
        "all": names,
    }

    def best(problem):
        found = [by_key[problem, name] for name in BEST_OF]
        return min(
            (r for r in found if r.converged),
            key=lambda r: r.evaluations or math.inf,
            default=found[0],
        )

    chosen: dict[str, Callable[[str], Record]] = {
        "Anderson": lambda p: by_key[p, "Anderson"],
        "Anderson I": lambda p: by_key[p, "Anderson I"],
        "ACX": lambda p: by_key[p, "ACX"],
        "best of these three": best,
    }
    slow, fast = [], []
    for title, members in sets.items():
        compared = [n for n in members if hints[n] > 200]
        for name, pick in chosen.items():
            pairs = [(pick(n), by_key[n, "jaxopt Anderson"]) for n in compared]
            both = [(a, b) for a, b in pairs if a.converged and b.converged]
            slow.append(
                [
                    title,
                    name,
                    _mean_quotient(both, "evaluations"),
                    _mean_quotient(both, "seconds"),
                    len(both),
                    sum(a.converged and not b.converged for a, b in pairs),
                    sum(b.converged and not a.converged for a, b in pairs),
                ]
            )
        quick = [n for n in members if hints[n] < 150]
        for name in ("Picard", "Picard, as called"):
            ratios = [by_key[n, name].relative for n in quick]
            ratios = [r for r in ratios if r is not None]
            worst = max(ratios, default=None)
            fast.append([title, name, geometric_mean(ratios), worst, len(ratios)])
    solved = [n for n in names if any(by_key[n, c].converged for c in columns)]
    missed = []
    for name in ITERATIONS:
        lost = [n for n in solved if not by_key[n, name].converged]
        missed.append(f"{name}: {', '.join(lost) or 'none'}")
    header = [
        "problems",
        "iteration",
        "evaluations / jaxopt",
        "time / jaxopt",
        "compared",
        "only ours solved",
        "only jaxopt solved",
    ]
    return "\n\n".join(
        [
            "Problems that plain iteration fails on or needs more than 200 steps for, "
            "against jaxopt's Anderson at the best of its three settings; geometric "
            "means over the problems that both solve. Aim: evaluations <= 0.5, time "
            "<= 0.33.",
            markdown_table(header, slow),
            "Problems that plain iteration solves in less than 150 steps: time of the "
            "default iteration / time of the bare loop. Aim: at most 1.2 on each.",
            markdown_table(
                ["problems", "iteration", "geometric mean", "worst", "count"], fast
            ),
            "Solved by someone, but not by\n\n- " + "\n- ".join(missed),
            "Settings were chosen on: " + (", ".join(sets["tuned on"]) or "none"),
        ]
    )


def _fixed_steps(fn, y0, args, iteration, steps: int):
    """A compiled solve that cannot meet its tolerance, and the steps that it took."""

    @jax.jit
    def run(y0, args):
        solution = fp.solve(
            fp.FixedPoint(fn, y0, args),
            iteration=iteration,
            rtol=0.0,
            atol=0.0,
            max_steps=steps,
            throw=False,
        )
        return solution.value, solution.stats["num_steps"]

    return lambda: run(y0, args), int(run(y0, args)[1])


def step_cost(dtype: str, rounds: int, steps: int = 2000) -> str:
    """Time of a step / time of an evaluation, for vectors of 10 000 entries."""
    chosen = {
        "Picard": (fp.Picard(), 1.2),
        "ACX": (fp.ACX(), 1.5),
        "Anderson m=5": (fp.Anderson(memory=5), 3.0),
        "Anderson": (fp.Anderson(), None),
    }
    rows = []
    for problem in ("bratu", "electric_jacobi"):
        with jax.enable_x64(dtype == "float64"):
            fn, y0, args = by_name(problem).make(dtype)
            alone = jax.jit(
                lambda y, args, fn=fn: jax.lax.fori_loop(
                    0, steps, lambda _, y: fn(y, args), y
                )
            )
            passes = jax.jit(_eight_passes(steps))
            vectors = jnp.ones((8, *y0.shape), y0.dtype)
            callables = {
                "f": lambda f=alone, y=y0, a=args: f(y, a),
                "passes": lambda f=passes, y=y0, v=vectors: f(y, v),
            }
            counts = {"f": steps, "passes": steps}
            for name, (iteration, _) in chosen.items():
                callables[name], counts[name] = _fixed_steps(
                    fn, y0, args, iteration, steps
                )
            timings = interleaved(callables, rounds=rounds)
        micro = {n: 1e6 * timings.median(n) / counts[n] for n in callables}
        ratio = {n: timings.ratio(n, "f") * counts["f"] / counts[n] for n in callables}
        for name, (_, aim) in chosen.items():
            rows.append(
                [
                    problem,
                    name,
                    counts[name],
                    micro["f"],
                    micro[name],
                    ratio[name],
                    aim and f"<= {aim}",
                ]
            )
        total = micro["f"] + micro["passes"]
        name = "floor: f and 8 vector passes"
        rows.append(
            [problem, name, steps, micro["f"], total, 1 + ratio["passes"], None]
        )
    header = ["problem", "iteration", "steps", "f (us)", "step (us)", "ratio", "aim"]
    return markdown_table(header, rows)


def _eight_passes(steps: int):
    def run(y, vectors):
        def one(j, y):
            # The weight depends on y, or the compiler would do the work only once.
            return y + (1e-9 * y[0, 0]) * vectors[j]

        def step(_, y):
            return jax.lax.fori_loop(0, vectors.shape[0], one, y)

        return jax.lax.fori_loop(0, steps, step, y)

    return run


def step_overhead(dtype: str, rounds: int, steps: int = 20_000) -> str:
    """Microseconds a step adds to the bare loop, on a 3-vector.

    Raises:
        RuntimeError: If an iteration stopped early.
    """

    def wander(y, args):
        # A turn of the torus by about a half: it has no fixed point and no cycle.
        moved = y + args + 0.1 * jnp.sin(y[::-1])
        return moved - jnp.floor(moved)

    chosen = {
        **ITERATIONS,
        "Halpern": fp.Halpern(),
        "Steffensen": fp.Steffensen(),
    }
    aims = {"Picard": "<= 2", "Anderson": "<= 8"}
    with jax.enable_x64(dtype == "float64"):
        y0 = jnp.asarray([0.1, 0.4, 0.7], dtype)
        args = jnp.asarray([0.41, 0.47, 0.53], dtype)
        task = Task(wander, y0, args, 0.0, steps)
        (bare,) = plain(task)
        callables = {"bare loop": bare.solve}
        if int(bare.solve()[1]) != steps:
            raise RuntimeError("the bare loop stopped early")
        for name, iteration in chosen.items():
            callables[name], count = _fixed_steps(wander, y0, args, iteration, steps)
            if count != steps:
                raise RuntimeError(f"{name} stopped after {count} steps of {steps}")
        timings = interleaved(callables, rounds=rounds)
    micro = {name: 1e6 * timings.median(name) / steps for name in callables}
    rows = [
        [name, micro[name], micro[name] - micro["bare loop"], aims.get(name)]
        for name in callables
    ]
    return markdown_table(["iteration", "step (us)", "over bare (us)", "aim"], rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the three parts."""
    parser = arguments("Iterations on the fixed-point problems, beside their peers.")
    options = parser.parse_args(argv)
    names = options.problems
    if names is None and options.quick:
        names = QUICK
    rounds = 3 if options.quick else 11
    seconds = 0.5 if options.quick else 10.0
    columns = solvers(seconds=2.0 if options.quick else 30.0)
    records = []
    for problem in select(names, options.quick):
        print(f"running {problem.name}", file=sys.stderr, flush=True)
        records += measure(
            problem, columns, dtype=options.dtype, rounds=rounds, seconds=seconds
        )
    print(f"### Evaluations and wall time, {options.dtype}\n")
    print(tables(records), end="\n\n")
    print(summary(records), end="\n\n")
    print(f"### Cost of a step / cost of f, 10 000 unknowns, {options.dtype}\n")
    print(step_cost(options.dtype, rounds), end="\n\n")
    print(f"### Overhead of a step, 3 unknowns, {options.dtype}\n")
    print(step_overhead(options.dtype, rounds))


if __name__ == "__main__":
    main()
