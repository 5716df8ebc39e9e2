"""Random problems, hostile ones among them, solved many at a time.

A case is a family of problems, a method, an iteration, a dtype and a size; its lanes
are problems with random numbers, from harmless to infinite. The outcome of every lane
must be a finite answer that satisfies what a success claims, or a failure with a name.

`python -m tests.scale.fuzz [--solves N] [--seed N]` is the long form, `make fuzz`.
"""

import argparse
import collections
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np

import fixproj as fp
from fixproj import projections as proj


LANES = 64
ITERATIONS = [
    fp.Picard(),
    fp.Picard(relaxation=0.5),
    fp.Halpern(),
    fp.Anderson(),
    fp.Anderson(memory=2, period=1),
    fp.Anderson(kind="I"),
    fp.ACX(),
    fp.Squarem(),
    fp.Broyden(),
]
METHODS = [
    fp.AlternatingProjections(),
    fp.CyclicProjections(),
    fp.AveragedProjections(extrapolate=True),
    fp.DouglasRachford(),
    fp.DifferenceMap(),
    fp.RRR(),
    fp.RAAR(),
    fp.Dykstra(),
    fp.Haugazeau(),
]
# What a lane's numbers are multiplied by: mostly harmless, sometimes not.
SCALES = np.array([1, 1, 1, 1, 1e-3, 1e3, 0, 1e-20, 1e18, np.inf, np.nan])


def _affine(y, p):
    return p["matrix"] @ y + p["shift"]


def _tanh(y, p):
    return jnp.tanh(p["matrix"] @ y) + p["shift"]


def _chaos(y, p):
    return (3.5 + 0.5 * jnp.tanh(p["shift"])) * y * (1 - y)


def _leaves_its_domain(y, p):
    return jnp.sqrt(p["shift"] - 0.5 * y)


def _grows(y, p):
    return y * y + p["shift"]


def _cycles(y, p):
    return p["shift"] - y


MAPS = [_affine, _tanh, _chaos, _leaves_its_domain, _grows, _cycles]


def _convex(p):
    sets = [
        proj.Halfspace(p["normal"], p["offset"]),
        proj.Box(-1.0, 1.0),
        proj.L2Ball(1.5),
    ]
    return sets[: 2 + p["matrix"].shape[0] % 2]


def _discrete(p):
    return [proj.OneHot(), proj.Hyperplane(p["normal"], p["offset"])]


SETS = [_convex, _discrete]


@st.composite
def cases(draw):
    """A family, what solves it, and the seed of its numbers."""
    family = draw(st.sampled_from([*MAPS, *SETS]))
    methods = [None] if family in MAPS else METHODS
    return {
        "family": family,
        "method": draw(st.sampled_from(methods)),
        "iteration": draw(st.sampled_from(ITERATIONS)),
        "dtype": draw(st.sampled_from(["float32", "float64", "bfloat16", "float16"])),
        "size": draw(st.integers(1, 5)),
        "seed": draw(st.integers(0, 2**32 - 1)),
    }


def _numbers(case):
    rng, n, dtype = np.random.default_rng(case["seed"]), case["size"], case["dtype"]
    scale = rng.choice(SCALES, size=LANES)
    with np.errstate(invalid="ignore", over="ignore"):
        radius = rng.uniform(0, 1.2, size=(LANES, 1, 1)) / np.sqrt(n)
        numbers = {
            "matrix": radius * rng.normal(size=(LANES, n, n)),
            "shift": scale[:, None] * rng.normal(size=(LANES, n)),
            "start": rng.permuted(scale)[:, None] * rng.normal(size=(LANES, n)),
            # The parameters of sets are checked when a set is made; the points are not.
            "normal": rng.normal(size=(LANES, n)) + 0.1,
            "offset": rng.choice([0.1, 1.0, -1.0, -50.0], size=LANES),
        }
        return {name: jnp.asarray(x, dtype) for name, x in numbers.items()}


def _solve(case, p):
    family, method = case["family"], case["method"]
    options: dict[str, Any] = {"iteration": case["iteration"], "max_steps": 300}
    if family in MAPS:
        problem = fp.FixedPoint(family, p["start"], p)
        solution = fp.solve(problem, **options, throw=False)
        gap = jnp.max(jnp.abs(family(solution.value, p) - solution.value))
    else:
        sets = family(p)
        problem = fp.Feasibility(sets, p["start"])
        solution = fp.solve(problem, method, **options, throw=False)
        x = solution.value
        gap = jnp.max(jnp.stack([jnp.max(jnp.abs(s.project(x) - x)) for s in sets]))
    names = ["num_steps", "residual"]
    figures = [solution.stats[name] for name in names]
    return solution.value, solution.result, gap, *figures


def check(case) -> collections.Counter:
    """Solves the lanes of a case; how they ended, or an AssertionError."""
    with (
        jax.enable_x64(case["dtype"] == "float64"),
        jax.numpy_dtype_promotion("standard"),
    ):
        numbers = _numbers(case)
        solve = jax.jit(jax.vmap(lambda p: _solve(case, p)))
        value, result, gap, steps, residual = solve(numbers)
        tolerance = float(jnp.finfo(case["dtype"]).eps) ** 0.75
        value, gap, steps, residual = (
            np.asarray(x).astype(np.float64) for x in (value, gap, steps, residual)
        )
    outcomes = collections.Counter()
    for name in NAMED:
        here = np.asarray(result == getattr(fp.RESULTS, name))
        outcomes[name] = int(np.sum(here))
    assert sum(outcomes.values()) == LANES, f"a result without a name: {case}"
    good = np.asarray(result == fp.RESULTS.successful)
    assert np.all((steps >= 1) & (steps <= 300)), f"{steps} steps: {case}"
    assert np.all(np.isfinite(value[good])), f"successful, but not finite: {case}"
    size = 1 + np.max(np.abs(value), axis=1, initial=0)
    slack = 2 * tolerance if case["family"] in MAPS else 2 * np.sqrt(tolerance)
    claimed = slack * size * (1 if case["family"] in MAPS else np.sqrt(size))
    unmet = good & ~(gap <= claimed)
    assert not np.any(unmet), f"successful with a gap of {gap[unmet]}: {case}"
    assert np.all(np.isfinite(residual[good])), f"successful, residual: {case}"
    return outcomes


NAMED = [
    "successful",
    "max_steps_reached",
    "nonfinite",
    "diverged",
    "stagnated",
    "infeasible_suspected",
]


def run(solves: int, seed: int) -> collections.Counter:
    """Cases until so many problems were solved."""
    outcomes = collections.Counter()

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=-(-solves // LANES),
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(cases())
    def search(case):
        outcomes.update(check(case))
        if sum(outcomes.values()) % (50 * LANES) == 0:
            jax.clear_caches()

    search()
    return outcomes


def main():
    """Prints how the solves ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--solves", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    outcomes = run(arguments.solves, arguments.seed)
    print(f"{sum(outcomes.values())} solves, seed {arguments.seed}")
    for name, count in outcomes.most_common():
        print(f"  {name}: {count}")


if __name__ == "__main__":
    main()
