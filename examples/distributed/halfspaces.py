r"""A point in a million halfspaces of R^1000, which no machine holds together.

    find x with   a_i' x <= b_i,   i = 1, ..., count

Every process makes the halfspaces of its own devices. The method is averaged
projections with Pierra's long step: one pass over the halfspaces, and one all-reduce of
`dimension + 1` numbers, for each step.

    cd examples/distributed
    python launch.py --processes 4 halfspaces.py --count 1000000 --dimension 1000

Without the launcher it runs on all devices of one process. With `--checkpoint DIR` it
goes on from where it was stopped.
"""

import argparse
import time

import cluster
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import fixproj as fp
from fixproj import projections as proj


_BLOCK = 250


def make_halfspaces(mesh, count: int, dimension: int):
    """Halfspaces that all hold a small ball around the same hidden point."""
    hidden = np.random.default_rng(0).normal(size=dimension).astype(np.float32)

    def normals(i):
        draw = np.random.default_rng([1, i])
        return draw.standard_normal((_BLOCK, dimension), dtype=np.float32)

    def bounds(i):
        a = normals(i)
        return a @ hidden + 0.05 * np.linalg.norm(a, axis=1).astype(np.float32)

    blocks = count // _BLOCK
    a = cluster.by_blocks(
        mesh, blocks, normals, np.empty((_BLOCK, dimension), np.float32)
    )
    b = cluster.by_blocks(mesh, blocks, bounds, np.empty((_BLOCK,), np.float32))
    return a, b


def main(argv=None):
    """Makes the halfspaces, solves, and prints what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=200)
    parser.add_argument("--checkpoint")
    arguments = parser.parse_args(argv)
    mesh = cluster.join()
    if arguments.count % (_BLOCK * mesh.size):
        parser.error(f"--count must be a multiple of {_BLOCK * mesh.size}")
    start = time.perf_counter()
    a, b = make_halfspaces(mesh, arguments.count, arguments.dimension)
    cluster.say(
        f"{arguments.count} halfspaces in R^{arguments.dimension} on {mesh.size} "
        f"devices of {jax.process_count()} processes, made in "
        f"{time.perf_counter() - start:.1f} s"
    )
    family = proj.Family(eqx.filter_vmap(proj.Halfspace)(a, b))
    problem = fp.Feasibility([family], jnp.zeros(arguments.dimension))
    method = fp.AveragedProjections(extrapolate=True)
    start = time.perf_counter()
    for solution in fp.solve_in_chunks(
        problem, method, rtol=1e-5, checkpoint=arguments.checkpoint
    ):
        stats = solution.stats
        cluster.say(f"step {stats['num_steps']}, residual {stats['residual']:.2e}")
    cluster.say(
        f"solved in {time.perf_counter() - start:.1f} s with compilation; the farthest "
        f"halfspace is {stats['violation']:.1e} away in any coordinate"
    )
    return solution


if __name__ == "__main__":
    main()
