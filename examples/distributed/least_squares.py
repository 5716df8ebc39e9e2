"""Least-squares training (ZORB) on batches that are spread over processes.

The trainer needs sums over examples only. A batch that is sharded is summed where its
parts are, so that no process holds more than its own part of one batch, and all end
with the same weights. The data here are made, and never stored: any number of examples
takes the same memory.

    cd examples/distributed
    python launch.py --processes 4 least_squares.py --examples 100000
"""

import argparse
import time

import cluster
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from fixproj import nn


_FEATURES = 20
_BLOCK = 250


class Batches:
    """Noisy points of a curved boundary, made anew at every pass."""

    def __init__(self, mesh, examples: int, batch: int):
        self.mesh, self.count, self.batch = mesh, examples // batch, batch

    def __iter__(self):
        """Inputs and labels, batch by batch; every process makes its own rows."""
        blocks = self.batch // _BLOCK
        for first in range(0, self.count * blocks, blocks):
            make = lambda i, first=first: points(first + i)
            x, y = points(0)
            yield (
                cluster.by_blocks(self.mesh, blocks, lambda i, f=make: f(i)[0], x),
                cluster.by_blocks(self.mesh, blocks, lambda i, f=make: f(i)[1], y),
            )


def points(block: int):
    """A block of points, and on which side of the boundary they are."""
    rng = np.random.default_rng([7, block])
    x = rng.standard_normal((_BLOCK, _FEATURES), dtype=np.float32)
    side = np.sum(x[:, :4] ** 2, axis=1) + x[:, 4] * x[:, 5] > 3.5
    return x, side.astype(np.int32)


def main(argv=None):
    """Trains, and prints the accuracy on points that were not seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3, help="see nn.ZORB")
    arguments = parser.parse_args(argv)
    mesh = cluster.join()
    least = _BLOCK * mesh.size
    if arguments.batch % least or arguments.examples % arguments.batch:
        parser.error(f"--batch must be a multiple of {least}, and --examples of it")
    start = time.perf_counter()
    model = eqx.nn.MLP(_FEATURES, 2, 512, 1, key=jr.key(0))
    trainer = nn.ZORB(sweeps=1, rounds=arguments.rounds, start="pairs")
    model = trainer.solve(model, Batches(mesh, arguments.examples, arguments.batch))
    blocks = [points(10**9 + i) for i in range(20)]
    x, y = (jnp.concatenate(parts) for parts in zip(*blocks, strict=True))
    accuracy = float(jnp.mean(jnp.argmax(jax.vmap(model)(x), axis=1) == y))
    weights = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
    cluster.say(
        f"{arguments.examples} examples on {mesh.size} devices of "
        f"{jax.process_count()} processes: test accuracy {accuracy:.4f}, "
        f"sum of weights {sum(float(jnp.sum(w)) for w in weights):.5f}, "
        f"{time.perf_counter() - start:.1f} s with compilation"
    )
    return accuracy


if __name__ == "__main__":
    main()
