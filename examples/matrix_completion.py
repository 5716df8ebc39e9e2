"""Matrix completion: all entries of a low-rank matrix from some of them.

    minimise (sum of singular values of X)    subject to    X = the data where observed

The nuclear norm is the convex stand-in for the rank (Candes & Recht, 2009). Two
proximal operators, a soft threshold of the singular values and an exchange of entries,
make it a problem for Douglas-Rachford; Anderson's method makes it fast.

Run `python examples/matrix_completion.py [--size N] [--rank R] [--out DIR]`. Prints the
error on the entries that were not seen, and writes `out/matrix_completion.png`.
"""

import argparse
import pathlib
from typing import ClassVar

import jax.numpy as jnp
import matplotlib
import numpy as np
from jaxtyping import Array, Bool, Float

import fixproj as fp
from fixproj import projections as proj


matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


class Observed(proj.AbstractSet):
    """Matrices that agree with the data where `seen` is true."""

    data: Float[Array, "m n"]
    seen: Bool[Array, "m n"]
    axis: ClassVar[None] = None

    def project(self, x: Float[Array, "m n"]):
        """The data where seen, `x` elsewhere."""
        return jnp.where(self.seen, self.data, x)


def complete(data, seen, step: float = 10.0, iteration=None) -> fp.Solution:
    """The matrix with the least nuclear norm that agrees with the data."""
    problem = fp.Composite(
        prox=proj.Nuclear(1.0),
        linear=(None, Observed(data, seen)),
        y0=jnp.where(seen, data, 0),
    )
    iteration = fp.Anderson() if iteration is None else iteration
    return fp.solve(
        problem, fp.DouglasRachford(step=step), iteration, max_steps=2000, throw=False
    )


def low_rank(size: int, rank: int, share: float, seed: int = 0):
    """A random matrix of that rank, and which of its entries are seen."""
    draw = np.random.default_rng(seed)
    waves = np.cumsum(draw.normal(size=(2, size, rank)), axis=1) / np.sqrt(size)
    seen = draw.random((size, size)) < share
    return jnp.asarray(waves[0] @ waves[1].T), jnp.asarray(seen)


def main():
    """Complete a matrix and report."""
    parser = argparse.ArgumentParser(description="Matrix completion.")
    parser.add_argument("--size", type=int, default=60)
    parser.add_argument("--rank", type=int, default=3)
    parser.add_argument("--share", type=float, default=0.3, help="of entries seen")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out"))
    options = parser.parse_args()
    matrix, seen = low_rank(options.size, options.rank, options.share)
    found = {}
    for name, iteration in (("plain", fp.Picard()), ("Anderson", fp.Anderson())):
        solution = complete(matrix, seen, iteration=iteration)
        found = solution.value
        error = jnp.linalg.norm(jnp.where(seen, 0, found - matrix))
        error = error / jnp.linalg.norm(jnp.where(seen, 0, matrix))
        print(f"{name}: {int(solution.stats['num_steps'])} decompositions", end=", ")
        print(f"relative error {float(error):.1e} on entries not seen")
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
    pictures = jnp.where(seen, matrix, jnp.nan), found, matrix
    titles = f"{float(jnp.mean(seen)):.0%} of the entries", "completed", "truth"
    for axis, picture, title in zip(axes, pictures, titles, strict=True):
        axis.imshow(picture, cmap="RdBu", vmin=-1.5, vmax=1.5)
        axis.set(title=title, xticks=[], yticks=[])
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / "matrix_completion.png", dpi=70)
    print(f"wrote {options.out / 'matrix_completion.png'}")


if __name__ == "__main__":
    main()
