"""The nearest correlation matrix: two convex sets, and the point nearest to a third.

A matrix of correlations that were estimated pair by pair, or patched by hand, often has
negative eigenvalues. The correlation matrix nearest to it is its projection onto

    A   positive semidefinite matrices
    B   symmetric matrices with a unit diagonal

Dykstra's algorithm finds it (Higham, 2002), here as a fixed point that is accelerated.

Run `python examples/nearest_correlation.py [--size N] [--out DIR]`. Prints the number
of eigenvalue decompositions with and without acceleration, and writes
`out/nearest_correlation.png`.
"""

import argparse
import pathlib
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from jaxtyping import Array, Float

import fixproj as fp


matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


class Semidefinite(eqx.Module):
    """Symmetric matrices without negative eigenvalues."""

    axis: ClassVar[None] = None

    def project(self, x: Float[Array, "n n"]):
        """The positive part of the symmetric part."""
        values, vectors = jnp.linalg.eigh((x + x.T) / 2)
        return (vectors * jnp.maximum(values, 0)[None, :]) @ vectors.T


class UnitDiagonal(eqx.Module):
    """Matrices with ones on the diagonal."""

    axis: ClassVar[None] = None

    def project(self, x: Float[Array, "n n"]):
        """Ones on the diagonal, the rest as it is."""
        return jnp.where(jnp.eye(x.shape[0], dtype=bool), 1, x)


def nearest_correlation(matrix, **options) -> fp.Solution:
    """The correlation matrix nearest to a symmetric one."""
    return fp.nearest_point([Semidefinite(), UnitDiagonal()], matrix, **options)


def patched(size: int, seed: int = 0):
    """A random correlation matrix with errors of up to a half in its entries."""
    draw = np.random.default_rng(seed)
    factor = draw.normal(size=(size, size // 4))
    covariance = factor @ factor.T + np.eye(size)
    scale = np.sqrt(np.diag(covariance))
    noise = np.triu(draw.uniform(-0.5, 0.5, (size, size)), 1)
    matrix = covariance / np.outer(scale, scale) + noise + noise.T
    np.fill_diagonal(matrix, 1)
    return np.clip(matrix, -1, 1)


def main():
    """Repair a matrix and report."""
    parser = argparse.ArgumentParser(description="The nearest correlation matrix.")
    parser.add_argument("--size", type=int, default=100)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out"))
    options = parser.parse_args()
    matrix = jnp.asarray(patched(options.size))
    runs = {"Dykstra": fp.Picard(), "Dykstra, accelerated": None}
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    for name, iteration in runs.items():
        solution = nearest_correlation(
            matrix, iteration=iteration, rtol=1e-8, history=True, max_steps=2000
        )
        steps = int(solution.stats["num_steps"])
        left.semilogy(solution.stats["residual_history"][:steps], label=name)
        lowest = float(jnp.min(jnp.linalg.eigvalsh(solution.value)))
        change = float(jnp.linalg.norm(solution.value - matrix))
        print(f"{name}: {steps} decompositions, moved by {change:.9f}", end=", ")
        print(f"lowest eigenvalue {lowest:.1e}")
        right.plot(jnp.linalg.eigvalsh(solution.value), label=name)
    right.plot(jnp.linalg.eigvalsh(matrix), "k:", label="given")
    left.set(xlabel="eigenvalue decompositions", ylabel="residual")
    right.set(xlabel="index", ylabel="eigenvalue")
    left.legend()
    right.legend()
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / "nearest_correlation.png", dpi=80)
    print(f"wrote {options.out / 'nearest_correlation.png'}")


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main()
