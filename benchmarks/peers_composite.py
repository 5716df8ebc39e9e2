"""Lasso, basis pursuit and total variation by pyproximal and scico.

Run by `composite.py` in an environment that has them: `python peers_composite.py NAME
DATA.npz` prints one line of JSON for each library, with the smallest number of
iterations whose objective is within 1e-6 of the best one. Steps are
those of the theory: the inverse of the squared norm of the operator.
"""

import importlib
import json
import sys
import time

import numpy as np


GOAL = 1e-6
LASSO, TV = 0.1, 0.3


def off(name, x, d):
    """The larger of the relative error of the objective and the violation."""
    x, best = np.asarray(x), float(d["best"])
    if name == "lasso":
        value = np.sum((d["A"] @ x - d["b"]) ** 2) / 2 + LASSO * np.abs(x).sum()
        return abs(value - best) / best
    if name == "basis pursuit":
        violation = np.abs(d["A"] @ x - d["exact"]).max()
        return max(abs(np.abs(x).sum() - best) / best, violation)
    variation = sum(np.abs(np.diff(x, axis=i)).sum() for i in (0, 1))
    value = np.sum((x - d["image"]) ** 2) / 2 + TV * variation
    return abs(value - best) / best


def by_pyproximal(name, d):
    """A function of the number of iterations."""
    pylops, pyproximal = map(importlib.import_module, ("pylops", "pyproximal"))
    primal = pyproximal.optimization.primal
    if name == "lasso":
        A = pylops.MatrixMult(d["A"])
        f, g = pyproximal.L2(Op=A, b=d["b"]), pyproximal.L1(sigma=LASSO)
        step, zero = 1 / np.linalg.norm(d["A"], 2) ** 2, np.zeros(d["A"].shape[1])
        run = primal.ProximalGradient
        return lambda n: run(f, g, zero, tau=step, niter=n, acceleration="fista")
    if name == "basis pursuit":
        A = pylops.MatrixMult(d["A"])
        f = pyproximal.L1()
        g = pyproximal.AffineSet(A, d["exact"], niter=100)
        zero = np.zeros(d["A"].shape[1])
        run = primal.DouglasRachfordSplitting
        return lambda n: run(f, g, zero, tau=0.2, niter=n)[0]
    shape = d["image"].shape
    forward = dict(edge=False, kind="forward", dtype=float)
    K = pylops.VStack(
        [pylops.FirstDerivative(shape, axis=i, **forward) for i in (0, 1)]
    )
    f, g = pyproximal.L2(b=d["image"].ravel()), pyproximal.L1(sigma=TV)
    step, zero = 0.99 / np.sqrt(8), d["image"].ravel()
    run = pyproximal.optimization.primaldual.PrimalDual
    solve = lambda n: run(f, g, K, x0=zero, tau=step, mu=step, theta=1.0, niter=n)
    return lambda n: solve(n).reshape(shape)


def by_scico(name, d):
    """Likewise."""
    jax = importlib.import_module("jax")
    jax.config.update("jax_enable_x64", True)
    jnp = jax.numpy
    functional, linop, loss, optimize = (
        importlib.import_module(f"scico.{m}")
        for m in ("functional", "linop", "loss", "optimize")
    )
    A = jnp.asarray(d["A"])
    if name == "lasso":
        f = loss.SquaredL2Loss(y=jnp.asarray(d["b"]), A=linop.MatrixOperator(A))
        g, bound = LASSO * functional.L1Norm(), float(np.linalg.norm(d["A"], 2) ** 2)
        zero = jnp.zeros(A.shape[1])
        make = lambda n: optimize.AcceleratedPGM(f=f, g=g, L0=bound, x0=zero, maxiter=n)
    elif name == "basis pursuit":
        solver = jnp.linalg.pinv(A)
        exact = jnp.asarray(d["exact"])

        class Exact(functional.Functional):
            has_eval, has_prox = False, True

            def prox(self, v, lam=1.0, **kwargs):
                return v - solver @ (A @ v - exact)

        identity = linop.Identity((A.shape[1],), input_dtype=A.dtype)
        make = lambda n: optimize.LinearizedADMM(
            f=Exact(), g=functional.L1Norm(), C=identity, mu=0.2, nu=0.2,
            x0=jnp.zeros(A.shape[1]), maxiter=n,
        )  # fmt: skip
    else:
        image = jnp.asarray(d["image"])
        K = linop.FiniteDifference(image.shape, input_dtype=image.dtype, append=0)
        make = lambda n: optimize.PDHG(
            f=loss.SquaredL2Loss(y=image), g=TV * functional.L1Norm(), C=K,
            tau=0.99 / np.sqrt(8), sigma=0.99 / np.sqrt(8), x0=image, maxiter=n,
        )  # fmt: skip
    return lambda n: np.asarray(make(n).solve())


def _fewest(reached, most=6400, longest=5.0):
    """The number of iterations: doubled from 25, then halved back to within 7%.

    Doubling also ends where a run takes longer than `longest` seconds.
    """
    high = 25
    while high < most:
        began = time.perf_counter()
        if reached(high):
            break
        if time.perf_counter() - began > longest:
            return high
        high *= 2
    else:
        return high
    low = high // 2
    while high - low > max(1, high // 15):
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def main():
    """Print a line for each library."""
    name, path = sys.argv[1:]
    d = dict(np.load(path))
    for label, make in (("pyproximal", by_pyproximal), ("scico", by_scico)):
        run = make(name, d)
        steps = _fewest(lambda n, run=run: off(name, run(n), d) <= GOAL)
        began = time.perf_counter()
        x = np.asarray(run(steps))
        seconds = time.perf_counter() - began
        row = {"label": label, "steps": steps, "seconds": seconds, "x": x.tolist()}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
