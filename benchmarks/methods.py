"""Steps of every method for feasibility, by plain iteration and with Anderson.

Two problems with a common interior: a box, a halfspace, a ball and a plane in six
dimensions, and, without `--quick`, eight halfspaces and a ball in five. In float64, to
the default tolerance, from one start; a method that does not end in 100 000 steps has a
dash. The last column is how far the answers of the first run are from the nearest
point.
"""

import argparse

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import fixproj as fp
from benchmarks._timing import markdown_table
from fixproj import projections as proj


METHODS = {
    "AlternatingProjections": fp.AlternatingProjections(),
    "CyclicProjections": fp.CyclicProjections(),
    "CyclicProjections(key)": fp.CyclicProjections(jr.key(0)),
    "AveragedProjections": fp.AveragedProjections(),
    "AveragedProjections(extrapolate=True)": fp.AveragedProjections(extrapolate=True),
    "Dykstra": fp.Dykstra(),
    "Haugazeau": fp.Haugazeau(),
    "DouglasRachford": fp.DouglasRachford(),
    "CyclicDouglasRachford": fp.CyclicDouglasRachford(),
    "PeacemanRachford": fp.PeacemanRachford(),
    "DifferenceMap(1.0)": fp.DifferenceMap(1.0),
    "RRR(0.5)": fp.RRR(0.5),
    "RAAR(0.75)": fp.RAAR(0.75),
}
MAX_STEPS = 100_000


def four_sets():
    """A box, a halfspace, a ball and a plane, and a start."""
    n = 6
    sets = [
        proj.Box(-1.0, 1.0),
        proj.Halfspace(jnp.ones(n), 1.0),
        proj.L2Ball(1.2),
        proj.Affine(jnp.arange(1.0, n + 1)[None, :], jnp.array([3.0])),
    ]
    return sets, 3.0 * jnp.ones(n)


def polyhedron(n=5, m=8):
    """Halfspaces and a ball, and a start."""
    draw = np.random.default_rng(3)
    a, inside = draw.normal(size=(m, n)), draw.normal(size=n)
    b = a @ inside + 0.1
    sides = [proj.Halfspace(jnp.asarray(a[i]), jnp.asarray(b[i])) for i in range(m)]
    return [*sides, proj.L2Ball(0.5, jnp.asarray(inside))], jnp.asarray(inside + 2)


def _steps(sets, start, method, iteration):
    """The number of steps, or none, and the answer."""
    problem = fp.Feasibility(sets, start)
    solution = fp.solve(problem, method, iteration, max_steps=MAX_STEPS, throw=False)
    solved = bool(solution.result == fp.RESULTS.successful)
    return int(solution.stats["num_steps"]) if solved else None, solution.value


def main(arguments=None):
    """Print a table."""
    parser = argparse.ArgumentParser(description="Methods.")
    parser.add_argument("--quick", action="store_true", help="the first problem only")
    quick = parser.parse_args(arguments).quick
    rows = []
    with jax.enable_x64(True):
        problems = [four_sets()] if quick else [four_sets(), polyhedron()]
        nearest = [fp.nearest_point(*problem).value for problem in problems]
        for name, method in METHODS.items():
            row = [name]
            for problem, best in zip(problems, nearest, strict=True):
                plain, answer = _steps(*problem, method, fp.Picard())
                fast, _ = _steps(*problem, method, fp.Anderson())
                row += [plain, fast, float(jnp.linalg.norm(answer - best))]
            rows.append(row)
    header = ["method"]
    for name in ("four sets", "polyhedron and ball")[: len(problems)]:
        header += [name, "with Anderson", "from the nearest"]
    print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
