"""Disks packed into a square: pairs that must not overlap, walls, and agreement.

Every pair of disks, and the walls, get their own copy of the two centres they concern:

    B   the centres of each pair are at least two radii apart, and inside the walls
    A   all copies of a centre are equal

The first set is not convex. Its projection pushes both centres of an overlapping pair
apart, each by half of what is missing. RRR searches for a point in both sets (Gravel &
Elser, 2008, Divide and concur).

Run `python examples/disk_packing.py [--disks N] [--radius R] [--out DIR]`. Prints the
steps and the density, and writes `out/disk_packing.png`.
"""

import argparse
import pathlib
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import matplotlib
import matplotlib.patches
import numpy as np
from jaxtyping import Array, Float, Int

import fixproj as fp


matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


class Agree(eqx.Module):
    """Copies of centres that are equal: one for the walls, one for every pair."""

    pairs: Int[Array, "pairs 2"]
    count: int = eqx.field(static=True)
    axis: ClassVar[None] = None

    def centers(self, x) -> Float[Array, "disks 2"]:
        """The mean of all copies of every disk."""
        walls, pairs = x
        total = walls.at[self.pairs.reshape(-1)].add(pairs.reshape(-1, 2))
        # A disk is in a pair with every other one.
        return total / self.count

    def project(self, x):
        """That mean, for every copy."""
        mean = self.centers(x)
        return mean, mean[self.pairs]


class Apart(eqx.Module):
    """Pairs that do not overlap, and disks inside of the unit square."""

    radius: float
    axis: ClassVar[None] = None

    def project(self, x):
        """Clip to the walls; push overlapping pairs apart."""
        walls, pairs = x
        walls = jnp.clip(walls, self.radius, 1 - self.radius)
        gap = pairs[:, 1] - pairs[:, 0]
        length = jnp.sqrt(jnp.sum(gap**2, axis=1, keepdims=True))
        missing = jnp.maximum(2 * self.radius - length, 0) / 2
        push = missing * gap / jnp.maximum(length, 1e-12)
        return walls, jnp.stack([pairs[:, 0] - push, pairs[:, 1] + push], axis=1)


def pack(disks: int, radius: float, key, max_steps: int = 50_000, beta: float = 0.5):
    """Search for a packing; the centres, the steps, and the largest violation."""
    pairs = jnp.asarray(np.stack(np.triu_indices(disks, 1), axis=1), jnp.int32)
    agree = Agree(pairs, disks)
    centers = jr.uniform(key, (disks, 2), jnp.float32)
    problem = fp.Feasibility([agree, Apart(radius)], (centers, centers[pairs]))
    solution = fp.solve(
        problem, fp.RRR(beta), rtol=1e-5, max_steps=max_steps, throw=False
    )
    return np.asarray(solution.value[0]), solution


def overlap(centers: np.ndarray, radius: float) -> float:
    """By how much the worst pair overlaps, or the worst disk leaves the square."""
    i, j = np.triu_indices(len(centers), 1)
    pairs = 2 * radius - np.linalg.norm(centers[i] - centers[j], axis=1)
    walls = radius - np.minimum(centers, 1 - centers)
    return float(max(pairs.max(), walls.max()))


def main():
    """Pack disks and report."""
    parser = argparse.ArgumentParser(description="Disk packing by RRR.")
    parser.add_argument("--disks", type=int, default=30)
    parser.add_argument("--radius", type=float, default=0.09)
    parser.add_argument("--starts", type=int, default=4)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out"))
    options = parser.parse_args()
    centers = None
    for start in range(options.starts):
        centers, solution = pack(options.disks, options.radius, jr.key(start))
        worst = overlap(centers, options.radius)
        print(f"start {start}: {int(solution.stats['num_steps'])} steps", end=", ")
        print(f"largest overlap {worst:.1e}")
        if bool(solution.result == fp.RESULTS.successful):
            break
    assert centers is not None
    density = options.disks * np.pi * options.radius**2
    figure, axis = plt.subplots(figsize=(4.4, 4.4), layout="constrained")
    for x, y in centers:
        axis.add_patch(
            matplotlib.patches.Circle((x, y), options.radius, ec="k", fc="tab:blue")
        )
    title = f"{options.disks} disks, density {density:.3f}"
    axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", title=title)
    axis.set(xticks=[], yticks=[])
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / "disk_packing.png", dpi=80)
    print(f"wrote {options.out / 'disk_packing.png'}")


if __name__ == "__main__":
    main()
