"""Which iteration: residual against evaluations, on six kinds of map.

1. a linear map with eigenvalues up to 0.99;
2. expectation maximisation for a mixture of two normal distributions that overlap;
3. an equilibrium layer y = tanh(W y + b);
4. Kepler's equation for 500 orbits, whose entries do not depend on each other;
5. Douglas-Rachford for an affine subspace and the simplex;
6. rotations: nonexpansive, but not a contraction, so that plain iteration circles.

Run `python examples/which_iteration.py [--out DIR]`. Prints the number of evaluations
that each iteration needs, and how each fares on four more maps that are not
contractions, and writes `out/which_iteration.png`. Takes less than a minute.
"""

import argparse
import pathlib

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np

import fixproj as fp
from fixproj import projections as proj


matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


TOLERANCE = 1e-10
MAX_STEPS = 3000
ITERATIONS = {
    "Picard": fp.Picard(),
    "Anderson": fp.Anderson(),
    "ACX": fp.ACX(),
    "Squarem": fp.Squarem(),
    "Broyden": fp.Broyden(),
    "Halpern": fp.Halpern(),
    "Picard(0.5)": fp.Picard(relaxation=0.5),
    "Steffensen": fp.Steffensen(),
}
# All but these two are run on everything: one wants independent entries, the other is
# for maps that are not contractions.
ONLY_FOR = {
    "Steffensen": [
        "500 Kepler equations",
        "1 - y (a cycle of two)",
        "y + 1 (no fixed point)",
    ],
    "Picard(0.5)": [
        "Rotations (not a contraction)",
        "Eigenvalues from -3 to 0.5",
        "Eigenvalues from 1.5 to 3",
        "1 - y (a cycle of two)",
        "y + 1 (no fixed point)",
    ],
}


def slow_linear(draw):
    """A y + b, with A symmetric, eigenvalues from 0 to 0.99."""
    basis, _ = np.linalg.qr(draw.normal(size=(100, 100)))
    matrix = jnp.asarray(basis * np.linspace(0, 0.99, 100) @ basis.T)
    offset = jnp.asarray(draw.normal(size=100))
    return fp.FixedPoint(
        lambda y, args: args[0] @ y + args[1], offset, (matrix, offset)
    )


def mixture(draw):
    """The share and the means of two normal distributions of unit variance."""
    points = draw.normal(size=1000) + np.where(np.arange(1000) < 400, 0.0, 2.0)

    def step(y, points):
        share, low, high = y["share"], y["low"], y["high"]
        odds = share / (1 - share)
        # The posterior probability of the lower component (E), then means (M).
        log_ratio = ((points - high) ** 2 - (points - low) ** 2) / 2
        weight = jax.nn.sigmoid(jnp.log(odds) + log_ratio)
        return {
            "share": jnp.mean(weight),
            "low": jnp.sum(weight * points) / jnp.sum(weight),
            "high": jnp.sum((1 - weight) * points) / jnp.sum(1 - weight),
        }

    start = {"share": 0.5, "low": -1.0, "high": 1.0}
    return fp.FixedPoint(step, jax.tree.map(jnp.asarray, start), jnp.asarray(points))


def equilibrium_layer(draw):
    """Y -> tanh(Y W + B) for a batch of 32 and 64 units."""
    basis, _ = np.linalg.qr(draw.normal(size=(64, 64)))
    weight, drive = jnp.asarray(0.98 * basis), jnp.asarray(draw.normal(size=(32, 64)))
    fn = lambda y, args: jnp.tanh(y @ args[0] + 0.3 * args[1])
    return fp.FixedPoint(fn, jnp.zeros((32, 64)), (weight, drive))


def kepler(draw):
    """E -> M + e sin(E) for 500 orbits with eccentricities up to 0.95."""
    anomaly = jnp.asarray(draw.uniform(0, np.pi, 500))
    eccentricity = jnp.asarray(draw.uniform(0, 0.95, 500))
    fn = lambda y, args: args[0] + args[1] * jnp.sin(y)
    return fp.FixedPoint(fn, anomaly, (anomaly, eccentricity))


def two_sets(draw):
    """A sparse point of the simplex that meets forty linear equations."""
    matrix = draw.normal(size=(40, 100))
    inside = draw.dirichlet(np.full(100, 0.1))
    equations = proj.Affine(jnp.asarray(matrix), jnp.asarray(matrix @ inside))
    return fp.Feasibility([equations, proj.Simplex()], jnp.full(100, 0.01))


def rotations(draw):
    """20 planes in general position, turned by angles between 11 and 172 degrees."""
    basis, _ = np.linalg.qr(draw.normal(size=(40, 40)))
    turn = np.zeros((40, 40))
    for k, angle in enumerate(np.linspace(0.2, 3.0, 20)):
        c, s = np.cos(angle), np.sin(angle)
        turn[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = [[c, -s], [s, c]]
    matrix = jnp.asarray(basis @ turn @ basis.T)
    start = jnp.asarray(draw.normal(size=40))
    return fp.FixedPoint(lambda y, matrix: matrix @ y, start, matrix)


PROBLEMS = {
    "Slow linear map": slow_linear,
    "EM, two overlapping normals": mixture,
    "Equilibrium layer": equilibrium_layer,
    "500 Kepler equations": kepler,
    "Douglas-Rachford, affine ∩ simplex": two_sets,
    "Rotations (not a contraction)": rotations,
}


def symmetric(eigenvalues, draw):
    """The map A y + b with a symmetric A of these eigenvalues."""
    basis, _ = np.linalg.qr(draw.normal(size=(20, 20)))
    matrix = jnp.asarray(basis * np.asarray(eigenvalues) @ basis.T)
    offset = jnp.asarray(draw.normal(size=20))
    fn = lambda y, args: args[0] @ y + args[1]
    return fp.FixedPoint(fn, jnp.zeros(20), (matrix, offset))


NOT_CONTRACTIONS = {
    "Eigenvalues from -3 to 0.5": lambda draw: symmetric(
        np.linspace(-3, 0.5, 20), draw
    ),
    "Eigenvalues from 1.5 to 3": lambda draw: symmetric(np.linspace(1.5, 3, 20), draw),
    "1 - y (a cycle of two)": lambda draw: fp.FixedPoint(
        lambda y, args: 1 - y, jnp.asarray(draw.normal(size=5))
    ),
    "y + 1 (no fixed point)": lambda draw: fp.FixedPoint(
        lambda y, args: y + 1, jnp.asarray(draw.normal(size=5))
    ),
}
# What is printed for a solve that failed.
FAILURES = {
    "max steps": fp.RESULTS.max_steps_reached,
    "diverged": fp.RESULTS.diverged,
    "stagnated": fp.RESULTS.stagnated,
    "nonfinite": fp.RESULTS.nonfinite,
}


def run(problem, iteration):
    """The residual of each step, and the number of steps or why the solve failed."""
    solution = fp.solve(
        problem,
        iteration=iteration,
        rtol=0.0,
        atol=TOLERANCE,
        norm=fp.two_norm,
        max_steps=MAX_STEPS,
        throw=False,
        history=True,
    )
    steps = int(solution.stats["num_steps"])
    outcome = str(steps)
    for name, result in FAILURES.items():
        if solution.result == result:
            outcome = name
    return np.asarray(solution.stats["residual_history"])[:steps], outcome


def run_all(problems):
    """Every iteration on every problem, with a printed row for each problem."""
    results = {}
    print(f"{'':<36}" + "".join(f"{name:>12}" for name in ITERATIONS))
    for title, make in problems.items():
        problem = make(np.random.default_rng(0))
        results[title] = {
            name: run(problem, iteration)
            for name, iteration in ITERATIONS.items()
            if title in ONLY_FOR.get(name, [title])
        }
        cells = [results[title].get(name, ("", "-"))[1] for name in ITERATIONS]
        print(f"{title:<36}" + "".join(f"{c:>12}" for c in cells), flush=True)
    return results


def draw_curves(path, results):
    """One panel for each problem, one line for each iteration."""
    # Narrow, so that its letters can be read where it is shrunk to a telephone.
    figure, panels = plt.subplots(3, 2, figsize=(6.4, 9.2), layout="constrained")
    lines, floor = {}, TOLERANCE / 30
    for axes, (title, curves) in zip(panels.flat, results.items(), strict=True):
        for name, (curve, outcome) in curves.items():
            color = f"C{list(ITERATIONS).index(name)}"
            steps = np.arange(1, len(curve) + 1)
            curve = np.maximum(curve, floor)
            (lines[name],) = axes.loglog(steps, curve, color=color, lw=1.4)
            if outcome not in FAILURES:
                axes.plot(steps[-1], curve[-1], "o", color=color, ms=5, clip_on=False)
        axes.axhline(TOLERANCE, color="black", lw=0.8, ls=":")
        axes.set_title(title, fontsize=10)
        axes.set(xlim=(1, MAX_STEPS), ylim=(floor, 1e2))
        axes.grid(alpha=0.25)
    for axes in panels[-1]:
        axes.set_xlabel("map evaluations")
    for axes in panels[:, 0]:
        axes.set_ylabel("residual $|T(z) - z|_2$")
    figure.legend(
        [lines[name] for name in ITERATIONS],
        list(ITERATIONS),
        loc="outside lower center",
        ncols=4,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main():
    """Run every iteration on every problem, print the table, draw the picture."""
    parser = argparse.ArgumentParser(description="Iterations side by side.")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out"))
    out = parser.parse_args().out
    print(f"Evaluations until the residual is {TOLERANCE:.0e} (2-norm, float64)\n")
    with jax.enable_x64(True):
        results = run_all(PROBLEMS)
        print("\nMaps that are not contractions\n")
        run_all(NOT_CONTRACTIONS)
    draw_curves(out / "which_iteration.png", results)
    print(f"\nWrote {out / 'which_iteration.png'}")


if __name__ == "__main__":
    main()
