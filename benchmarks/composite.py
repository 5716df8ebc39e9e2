"""Composite problems: lasso, basis pursuit, total variation, and other libraries.

Each library gets the same numbers in float64 on one thread and runs until its objective
is within 1e-6 (relative) of Clarabel's, called through cvxpy with tolerances of 1e-10,
and its constraints hold to 1e-6. Times are those of a compiled program or of a second
call; for cvxpy, of `solve` with the default accuracy of the solver. pyproximal and
scico are called from `peers_composite.py` by the Python given as `--peers`, with the
smallest number of iterations that gets there.
"""

import argparse
import json
import os
import pathlib
import subprocess
import tempfile
import time

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np

import fixproj as fp
from fixproj import projections as proj


GOAL = 1e-6
WEIGHT = {"lasso": 0.1, "tv": 0.3}


def data(quick):
    """The arrays of the three problems."""
    draw = np.random.default_rng(0)
    m, n, side = (100, 200, 24) if quick else (400, 1000, 64)
    sparse = draw.normal(size=n) * (draw.random(n) < 0.05)
    A = draw.normal(size=(m, n)) / np.sqrt(m)
    image = np.zeros((side, side))
    image[side // 4 : side // 2, side // 4 : 3 * side // 4] = 1
    return {
        "A": A,
        "b": A @ sparse + 0.01 * draw.normal(size=m),
        "exact": A @ sparse,
        "image": image + 0.2 * draw.normal(size=image.shape),
    }


def objective(name, x, d):
    """The objective and the violation of the constraints, by NumPy."""
    if name == "lasso":
        fit = np.sum((d["A"] @ x - d["b"]) ** 2) / 2
        return fit + WEIGHT[name] * np.abs(x).sum(), 0.0
    if name == "basis pursuit":
        return np.abs(x).sum(), np.abs(d["A"] @ x - d["exact"]).max()
    rows, columns = np.abs(np.diff(x, axis=0)).sum(), np.abs(np.diff(x, axis=1)).sum()
    return np.sum((x - d["image"]) ** 2) / 2 + WEIGHT["tv"] * (rows + columns), 0.0


def by_cvxpy(name, d):
    """The problem for cvxpy."""
    if name == "tv":
        x = cp.Variable(d["image"].shape)
        cost = cp.sum_squares(x - d["image"]) / 2
        variation = sum(cp.sum(cp.abs(cp.diff(x, axis=i))) for i in (0, 1))
        return cp.Problem(cp.Minimize(cost + WEIGHT["tv"] * variation))
    x = cp.Variable(d["A"].shape[1])
    if name == "lasso":
        cost = cp.sum_squares(d["A"] @ x - d["b"]) / 2 + WEIGHT[name] * cp.norm1(x)
        return cp.Problem(cp.Minimize(cost))
    return cp.Problem(cp.Minimize(cp.norm1(x)), [d["A"] @ x == d["exact"]])


def _lasso(A, b):
    smooth = lambda x, args: jnp.sum((args[0] @ x - args[1]) ** 2) / 2
    zero = jnp.zeros(A.shape[1])
    return fp.Composite(smooth, proj.L1(WEIGHT["lasso"]), y0=zero, args=(A, b))


def _pursuit(A, b):
    pair = (None, proj.Affine(A, b))
    return fp.Composite(prox=proj.L1(1.0), linear=pair, y0=jnp.zeros(A.shape[1]))


def _total_variation(image):
    down, right = (lambda x: jnp.diff(x, axis=0)), lambda x: jnp.diff(x, axis=1)
    pairs = [(down, proj.L1(WEIGHT["tv"])), (right, proj.L1(WEIGHT["tv"]))]
    smooth = lambda x, image: jnp.sum((x - image) ** 2) / 2
    return fp.Composite(smooth, None, pairs, image, image)


def _from_dual(p, image):
    """The image that belongs to multipliers of its differences."""
    differences = lambda x: jnp.concatenate(
        [jnp.diff(x, axis=0).reshape(-1), jnp.diff(x, axis=1).reshape(-1)]
    )
    (back,) = jax.linear_transpose(differences, image)(p)
    return image - back


def _total_variation_dual(image):
    smooth = lambda p, image: jnp.sum(_from_dual(p, image) ** 2) / 2
    bound = proj.Box(-WEIGHT["tv"], WEIGHT["tv"])
    zero = jnp.zeros(2 * image.shape[0] * (image.shape[0] - 1))
    return fp.Composite(smooth, bound, y0=zero, args=image)


# The problem, which data it is made of, and what its solution says of x.
PROBLEMS = {
    "lasso": (_lasso, ("A", "b"), lambda x, *_: x),
    "basis pursuit": (_pursuit, ("A", "exact"), lambda x, *_: x),
    "tv": (_total_variation, ("image",), lambda x, *_: x),
    "tv, dual": (_total_variation_dual, ("image",), _from_dual),
}


def by_fixproj(name, d, method, iteration):
    """A compiled function of the tolerance: x and the number of steps."""
    problem, names, primal = PROBLEMS[name]
    options = {"max_steps": 20_000, "throw": False}

    @jax.jit
    def run(rtol, *a):
        solution = fp.solve(problem(*a), method, iteration, rtol=rtol, **options)
        return primal(solution.value, *a), solution.stats["num_steps"]

    given = [jnp.asarray(d[key]) for key in names]
    return lambda rtol: run(rtol, *given)


def ours(name, d):
    """Name, formulation, method and iteration of each of our ways."""
    fast = fp.ForwardBackward(accelerate=True)
    if name == "lasso":
        # As for the others, the norm of A is known.
        step = float(1 / np.linalg.norm(d["A"], 2) ** 2)
        known = fp.ForwardBackward(step=step, accelerate=True)
        yield "ForwardBackward(step, accelerate=True)", name, known, None
        yield "ForwardBackward(accelerate=True)", name, fast, None
        yield "ForwardBackward, Anderson", name, fp.ForwardBackward(), fp.Anderson()
    elif name == "basis pursuit":
        split = fp.DouglasRachford(step=0.2)
        yield "DouglasRachford", name, split, None
        yield "DouglasRachford, Anderson", name, split, fp.Anderson()
    else:
        known = fp.ForwardBackward(step=1 / 8, accelerate=True)
        yield "ForwardBackward(step, accelerate=True), dual", "tv, dual", known, None
        yield (
            "ForwardBackward, Anderson, dual",
            "tv, dual",
            fp.ForwardBackward(step=1 / 8),
            fp.Anderson(),
        )
        yield "CondatVu, Anderson", name, fp.CondatVu(), fp.Anderson()


def _close(name, x, d, best):
    value, violation = objective(name, np.asarray(x), d)
    return abs(value - best) / abs(best), violation


def _best_time(call, rounds=5):
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - began)
    return min(times)


def _rows(name, d, peers):
    program = by_cvxpy(name, d)
    tight = dict(tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    program.solve(solver=cp.CLARABEL, **tight)  # pyright: ignore
    best = float(program.value)  # pyright: ignore
    for solver in (cp.CLARABEL, cp.OSQP):
        fresh = by_cvxpy(name, d)
        began = time.perf_counter()
        fresh.solve(solver=solver)  # pyright: ignore
        seconds = time.perf_counter() - began
        close = _close(name, fresh.variables()[0].value, d, best)
        yield [name, f"cvxpy, {solver}", None, *close, 1e3 * seconds]
    for label, form, method, iteration in ours(name, d):
        run = by_fixproj(form, d, method, iteration)
        rtol, x, steps, close = 0.0, None, 0, (np.inf, np.inf)
        for rtol in (1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10):
            x, steps = run(rtol)
            close = _close(name, x, d, best)
            if max(close) <= GOAL:
                break
        yield [
            name,
            f"fixproj {label}",
            int(steps),
            *close,
            1e3 * _best_time(lambda run=run, rtol=rtol: run(rtol)),
        ]
    if peers is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "data.npz"
        np.savez(path, best=best, **d)
        script = pathlib.Path(__file__).with_name("peers_composite.py")
        done = subprocess.run(
            [peers, script, name, path], capture_output=True, text=True, check=False
        )
        for line in done.stdout.splitlines():
            row = json.loads(line)
            x = np.asarray(row["x"]).reshape(_shape(name, d))
            close = _close(name, x, d, best)
            yield [name, row["label"], row["steps"], *close, 1e3 * row["seconds"]]
        if done.returncode:
            print(f"{name}: peers failed: {done.stderr[-300:]}")


def _shape(name, d):
    return d["image"].shape if name == "tv" else (d["A"].shape[1],)


def main(arguments=None):
    """Print a table."""
    parser = argparse.ArgumentParser(description="Composite problems.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument(
        "--peers",
        default=os.environ.get("COMPOSITE_PEERS"),
        help="a Python that has pyproximal and scico",
    )
    options = parser.parse_args(arguments)
    print("| problem | by | steps | objective off by | violation | ms |")
    print("|---|---|---|---|---|---|")
    with jax.enable_x64(True):
        d = data(options.quick)
        for name in ("lasso", "basis pursuit", "tv"):
            for problem, label, steps, off, violation, ms in _rows(
                name, d, options.peers
            ):
                count = "-" if steps is None else steps
                print(f"| {problem} | {label} | {count} | {off:.0e} ", end="")
                print(f"| {violation:.0e} | {ms:.3g} |", flush=True)


if __name__ == "__main__":
    main()
