"""Basis pursuit: a sparse signal from fewer measurements than unknowns.

    minimise |x|_1    subject to    A x = b

With random A the sparse signal is found exactly, from surprisingly few measurements
(Candes, Romberg & Tao, 2006; Donoho, 2006). Douglas-Rachford alternates between a soft
threshold and the projection onto the solutions of A x = b. How often it succeeds is
measured for many random signals at the same time, by `vmap`.

Run `python examples/basis_pursuit.py [--size N] [--out DIR]`. Prints the share of the
signals that were found, and writes `out/basis_pursuit.png`.
"""

import argparse
import functools as ft
import pathlib

import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib
import numpy as np

import fixproj as fp
from fixproj import projections as proj


matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


def pursue(A, b, max_steps: int = 5000) -> fp.Solution:
    """The solution of `A x = b` with the least sum of moduli."""
    problem = fp.Composite(
        prox=proj.L1(1.0),
        linear=(None, proj.Affine(A, b)),
        y0=jnp.zeros(A.shape[1], A.dtype),
    )
    return fp.solve(problem, fp.DouglasRachford(), max_steps=max_steps, throw=False)


@ft.partial(jax.jit, static_argnums=(1, 2))
def trial(key, size: int, measurements: int, nonzero):
    """A random sparse signal, what is found, and the relative error."""
    places, values, matrix = jr.split(key, 3)
    order = jr.permutation(places, size)
    x = jnp.where(order < nonzero, jr.normal(values, (size,)), 0)
    A = jr.normal(matrix, (measurements, size)) / np.sqrt(measurements)
    found = pursue(A, A @ x).value
    return x, found, jnp.linalg.norm(found - x) / jnp.linalg.norm(x)


def main():
    """Recover many signals and report."""
    parser = argparse.ArgumentParser(description="Basis pursuit.")
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out"))
    options = parser.parse_args()
    size, measurements = options.size, options.size // 2
    counts = np.unique(np.linspace(size // 20, measurements * 3 // 4, 8).astype(int))
    keys = jr.split(jr.key(0), options.trials)
    run = jax.vmap(trial, (0, None, None, None))
    shares = []
    for count in counts:
        *_, errors = run(keys, size, measurements, jnp.asarray(count))
        shares.append(float(jnp.mean(errors < 1e-2)))
        print(f"{count} of {size} not zero: {shares[-1]:.0%} found")
    x, found, _ = trial(keys[0], size, measurements, jnp.asarray(counts[0] + 5))
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    left.stem(x, linefmt="k-", markerfmt="ko", basefmt="k-", label="signal")
    left.plot(found, "x", color="tab:orange", label="found")
    left.set(xlabel="entry", title=f"{measurements} measurements of {size} entries")
    left.legend()
    right.plot(counts, shares, "o-")
    right.set(xlabel="entries that are not zero", ylabel="share of signals found")
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / "basis_pursuit.png", dpi=70)
    print(f"wrote {options.out / 'basis_pursuit.png'}")


if __name__ == "__main__":
    main()
