"""Gradients through fixed points: accuracy, time and memory, against other libraries.

    python -m benchmarks.implicit [--quick | --full] [--fax CHECKOUT] [--rows NAME ...]

Rows: linear maps y -> A y + b with a Gaussian A of spectral radius rho (its eigenvalues
fill a disc, which no acceleration can exploit) or a symmetric one, power iteration, and
an equilibrium layer y -> tanh(y W + x) for a batch of 64 and 256 units. Tolerance 1e-10
in float64, 1e-5 in float32, for every library. All run in this process, in turns.

"error" is the largest error of the gradient relative to its largest entry, against a
dense implicit solve by NumPy in float64. fax is compared with if a checkout of it is
named; two functions that JAX has dropped since are given back to it.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import jaxopt
import lineax as lx
import numpy as np
import optimistix as optx

import fixproj as fp
from benchmarks._timing import (
    first_call_seconds,
    interleaved,
    markdown_table,
    temporary_bytes,
)


MAX_STEPS = 20_000


@dataclass(frozen=True)
class Row:
    """One map, the gradient of `vdot(weights, y)`, and what it should be."""

    name: str
    fn: Callable[[Any, Any], Any]
    y0: Any
    args: Any
    weights: Any
    expected: tuple[np.ndarray, ...]
    tolerance: float
    steps: int

    def loss(self, solve):
        """From the args to a number, by `solve(fn, y0, args)`."""
        return lambda args: jnp.vdot(self.weights, solve(self.fn, self.y0, args))


def linear(n, rho, symmetric, dtype):
    """Y -> A y + b."""
    draw = np.random.default_rng(n)
    a = draw.normal(size=(n, n))
    if symmetric:
        a = a + a.T
    a *= rho / np.abs(np.linalg.eigvals(a)).max()
    b, c = draw.normal(size=(2, n))
    y = np.linalg.solve(np.eye(n) - a, b)
    u = np.linalg.solve((np.eye(n) - a).T, c)
    kind = "symmetric" if symmetric else "linear"
    fn = lambda y, args: args[0] @ y + args[1]
    name = f"{kind} n={n} rho={rho}"
    return _row(name, fn, np.zeros(n), (a, b), c, (np.outer(u, y), u), dtype)


def power(n, dtype):
    """Y -> A y / |A y| for a positive matrix."""
    draw = np.random.default_rng(n)
    a = draw.uniform(0.5, 1.5, size=(n, n))
    c = draw.normal(size=n)
    y = np.ones(n)
    for _ in range(500):
        y = a @ y
        y /= np.linalg.norm(y)
    size = np.linalg.norm(a @ y)
    tangential = (np.eye(n) - np.outer(y, y)) / size
    u = tangential @ np.linalg.solve((np.eye(n) - tangential @ a).T, c)

    def fn(y, args):
        y = args[0] @ y
        return y / jnp.linalg.norm(y)

    name = f"power n={n}"
    return _row(name, fn, np.ones(n) / n**0.5, (a,), c, (np.outer(u, y),), dtype)


def layer(dtype, batch=64, units=256):
    """Y -> tanh(y W + x), contracting by about .5."""
    draw = np.random.default_rng(0)
    w = 0.5 * draw.normal(size=(units, units)) / units**0.5
    x, c = draw.normal(size=(2, batch, units))
    y = np.zeros((batch, units))
    for _ in range(500):
        y = np.tanh(y @ w + x)
    slope = 1 - y**2
    jacobians = slope[:, :, None] * w.T
    transposed = np.swapaxes(np.eye(units) - jacobians, 1, 2)
    u = np.linalg.solve(transposed, c[..., None])[..., 0] * slope
    fn = lambda y, args: jnp.tanh(y @ args[0] + args[1])
    name = f"layer {batch}x{units}"
    return _row(name, fn, np.zeros((batch, units)), (w, x), c, (y.T @ u, u), dtype)


def _row(name, fn, y0, args, weights, expected, dtype):
    tolerance = 1e-10 if dtype == "float64" else 1e-5
    y0, args, weights = jax.tree.map(
        lambda x: jnp.asarray(x, dtype), (y0, args, weights)
    )
    solution = fp.solve(
        fp.FixedPoint(fn, y0, args), rtol=tolerance, atol=tolerance, max_steps=MAX_STEPS
    )
    steps = int(solution.stats["num_steps"])
    return Row(name, fn, y0, args, weights, expected, tolerance, steps)


def ours(tolerance, iteration=None, adjoint=None):
    def solve(fn, y0, args):
        problem = fp.FixedPoint(fn, y0, args)
        return fp.solve(
            problem,
            iteration=iteration,
            adjoint=adjoint,
            rtol=tolerance,
            atol=tolerance,
            max_steps=MAX_STEPS,
        ).value

    return solve


def of_jaxopt(tolerance):
    def solve(fn, y0, args):
        solver = jaxopt.FixedPointIteration(fn, tol=tolerance, maxiter=MAX_STEPS)
        return solver.run(y0, args).params

    return solve


def of_optimistix(tolerance, adjoint):
    def solve(fn, y0, args):
        solver = optx.FixedPointIteration(rtol=tolerance, atol=tolerance)
        return optx.fixed_point(
            fn, solver, y0, args, max_steps=MAX_STEPS, adjoint=adjoint
        ).value

    return solve


def of_scan(steps):
    def solve(fn, y0, args):
        return jax.lax.scan(lambda y, _: (fn(y, args), None), y0, None, length=steps)[0]

    return solve


def of_fax(checkout, tolerance):
    for module in (jax, jax.tree_util):
        for dropped in ("tree_map", "tree_multimap"):
            setattr(module, dropped, jax.tree.map)
    if checkout not in sys.path:
        sys.path.insert(0, checkout)
    from fax.implicit import twophase  # pyright: ignore[reportMissingImports]

    def solve(fn, y0, args):
        test = twophase.default_convergence_test(tolerance, tolerance, y0.dtype)
        solver = twophase.default_solver(test, max_iter=MAX_STEPS)
        return twophase.two_phase_solve(
            lambda args: lambda y: fn(y, args), y0, args, (solver, solver)
        )

    return solve


def contenders(row: Row, fax: str | None) -> dict[str, Callable]:
    """All solvers for a row, by name."""
    tolerance = row.tolerance
    large = row.y0.size > 2000
    gmres = optx.ImplicitAdjoint(lx.GMRES(rtol=tolerance, atol=tolerance))
    adjoint = gmres if large else optx.ImplicitAdjoint()
    solvers = {
        "fixproj": ours(tolerance),
        "fixproj Anderson": ours(tolerance, fp.Anderson()),
        "fixproj TwoPhase": ours(tolerance, adjoint=fp.implicit.TwoPhase()),
        "optimistix": of_optimistix(tolerance, adjoint),
        "jaxopt": of_jaxopt(tolerance),
        "scan": of_scan(row.steps),
    }
    if fax is not None:
        solvers["fax"] = of_fax(fax, tolerance)
    return solvers


def measure(row: Row, fax: str | None, budget: float, rounds: int):
    """Errors and milliseconds of every contender's gradient."""
    errors, calls = {}, {}
    for name, solve in contenders(row, fax).items():
        gradient = jax.jit(jax.grad(row.loss(solve)))
        try:
            found = jax.block_until_ready(gradient(row.args))
        except (RuntimeError, TypeError, ValueError) as error:
            errors[name] = type(error).__name__
            continue
        errors[name] = max(
            float(np.abs(np.asarray(g, np.float64) - e).max() / np.abs(e).max())
            for g, e in zip(found, row.expected, strict=True)
        )
        calls[name] = lambda gradient=gradient: gradient(row.args)
    forward = jax.jit(row.loss(ours(row.tolerance)))
    jax.block_until_ready(forward(row.args))
    calls["forward"] = lambda: forward(row.args)
    timings = interleaved(calls, rounds=rounds, budget=budget, warm_up=False)
    return errors, timings


_FIRST = """
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
draw = np.random.default_rng(0)
a = draw.normal(size=(100, 100))
a, b = jnp.asarray(0.9 * a / np.linalg.norm(a, 2)), jnp.asarray(draw.normal(size=100))
f = lambda y, args: args[0] @ y + args[1]
"""
FIRST_CALLS = {
    "fixproj": (
        "import fixproj as fp",
        "fp.solve(fp.FixedPoint(f, 0 * b, args), rtol=1e-10, atol=1e-10).value",
    ),
    "optimistix": (
        "import optimistix as optx",
        "optx.fixed_point(f, optx.FixedPointIteration(1e-10, 1e-10), 0 * b, args,"
        " max_steps=5000).value",
    ),
    "jaxopt": (
        "import jaxopt",
        "jaxopt.FixedPointIteration(f, tol=1e-10, maxiter=5000)"
        ".run(0 * b, args).params",
    ),
}


def first_calls():
    """Seconds of the first gradient call in a new process."""
    rows = []
    for name, (setup, solve) in FIRST_CALLS.items():
        code = f"jax.jit(jax.grad(lambda args: jnp.sum({solve})))((a, b))"
        rows.append((name, first_call_seconds(f"{_FIRST}\n{setup}", code)))
    print("\nFirst gradient call, linear n=100 (seconds):\n")
    print(markdown_table(["library", "seconds"], rows))


def memory():
    """Temporary bytes of the compiled gradient against the number of steps."""
    row = layer("float32")
    steps = (10, 1000, 100_000)

    def ours_with(max_steps):
        def loss(args):
            problem = fp.FixedPoint(row.fn, row.y0, args)
            solution = fp.solve(problem, max_steps=max_steps, throw=False)
            return jnp.vdot(row.weights, solution.value)

        return loss

    table = [
        [
            "fixproj",
            *(temporary_bytes(jax.grad(ours_with(k)), row.args) for k in steps),
        ],
        [
            "scan",
            *(temporary_bytes(jax.grad(row.loss(of_scan(k))), row.args) for k in steps),
        ],
    ]
    print("\nTemporary bytes of the gradient, layer 64x256 in float32, by steps:\n")
    print(markdown_table(["library", *map(str, steps)], table))


# What a short run makes do with: slow, fast, symmetric, large, a network's layer.
QUICK = {
    "float64": (
        "linear n=100 rho=0.5",
        "linear n=100 rho=0.99",
        "symmetric n=100 rho=0.9",
        "linear n=1000 rho=0.9",
        "power n=100",
    ),
    "float32": ("linear n=100 rho=0.9", "layer 64x256"),
}


def rows(full: bool, dtype: str):
    """From names to what makes a row."""
    found = {}
    for n in (100, 1000):
        for rho in (0.5, 0.9, 0.99):
            for symmetric in (False, True):
                kind = "symmetric" if symmetric else "linear"
                if full or n == 100 or (rho == 0.9 and not symmetric):
                    found[f"{kind} n={n} rho={rho}"] = (
                        lambda n=n, rho=rho, symmetric=symmetric: linear(
                            n, rho, symmetric, dtype
                        )
                    )
    for n in (2, 100, 1000):
        if full or n < 1000:
            found[f"power n={n}"] = lambda n=n: power(n, dtype)
    found["layer 64x256"] = lambda: layer(dtype)
    return found


def main(arguments=None):
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Gradients through fixed points.")
    parser.add_argument("--full", action="store_true", help="all rows, more rounds")
    parser.add_argument("--quick", action="store_true", help="fewer rows, less time")
    parser.add_argument("--fax", metavar="CHECKOUT", help="a checkout of fax")
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="only these")
    parser.add_argument("--dtype", choices=["float32", "float64"])
    options = parser.parse_args(arguments)
    budget, rounds = (20.0, 11) if options.full else (4.0, 5)
    if options.quick:
        budget = 2.0
    for dtype in [options.dtype] if options.dtype else ["float64", "float32"]:
        with jax.enable_x64(dtype == "float64"):
            errors, times = [], []
            chosen = options.rows or (QUICK[dtype] if options.quick else None)
            for name, make in rows(options.full, dtype).items():
                if chosen and name not in chosen:
                    continue
                print(f"running {name} {dtype}", file=sys.stderr, flush=True)
                row = make()
                error, timings = measure(row, options.fax, budget, rounds)
                names = list(error)
                milliseconds = [
                    1e3 * timings.median(n) if n in timings.samples else None
                    for n in ["forward", *names]
                ]
                errors.append([name, *(error[n] for n in names)])
                backward = timings.ratio("fixproj", "forward") - 1
                peers = [n for n in timings.samples if not n.startswith("f")]
                peers += [n for n in timings.samples if n == "fax"]
                least = min(timings.ratio("fixproj", n) for n in peers)
                best = max(timings.ratio("fixproj", n) for n in peers)
                times.append([name, row.steps, *milliseconds, backward, best, least])
        if not errors:
            continue
        tolerance = "1e-10" if dtype == "float64" else "1e-5"
        print(f"\nError of the gradient, {dtype}, tolerance {tolerance}:\n")
        print(markdown_table(["row", *names], errors))
        print(f"\nMilliseconds of the gradient, {dtype}:\n")
        header = ["row", "steps", "forward", *names]
        header += ["backward / forward", "of best peer", "of worst peer"]
        print(markdown_table(header, times))
    if not options.rows:
        first_calls()
        memory()


if __name__ == "__main__":
    main()
