"""Projections onto sets, against jaxopt on the same points, float32.

    python -m benchmarks.projections [--quick]

"ratio" is jaxopt's time divided by ours, the median over interleaved rounds.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import jaxopt.projection as peer
import numpy as np

from benchmarks._timing import interleaved, markdown_table
from fixproj import projections as proj


@dataclass(frozen=True)
class Row:
    """One comparison: functions of the point, and the shape of the point."""

    name: str
    ours: Callable
    theirs: Callable
    shape: tuple[int, ...]


def _gradient(function):
    return jax.grad(lambda x: jnp.sum(jnp.sin(function(x))))


def _section(n):
    lower, upper, a = jnp.zeros(n), jnp.ones(n), jnp.ones(n)
    ours = proj.BoxHyperplane(0.0, 1.0, a, n / 4).project
    return ours, lambda x: peer.projection_box_section(x, (lower, upper, a, n / 4))


def rows(quick: bool) -> list[Row]:
    """The comparisons; other files may append their own."""
    made = []
    simplex, ball = proj.Simplex().project, proj.L1Ball().project
    for n in (1_000, 10_000) if quick else (1_000, 10_000, 100_000, 1_000_000):
        made += [
            Row("simplex", simplex, peer.projection_simplex, (n,)),
            Row("l1 ball", ball, peer.projection_l1_ball, (n,)),
            Row(
                "simplex, gradient",
                _gradient(simplex),
                _gradient(peer.projection_simplex),
                (n,),
            ),
            Row("box and hyperplane", *_section(n), (n,)),
        ]
    batch = jax.vmap(peer.projection_simplex)
    made.append(Row("simplex, batch", simplex, batch, (256, 1_000)))
    ones = jnp.ones(200) / 200
    transport = proj.KLTransportPolytope(ones, ones).project_log
    made.append(
        Row(
            "transport, divergence",
            transport,
            lambda x: peer.kl_projection_transport(x, (ones, ones)),
            (200, 200),
        )
    )
    return made


def main(arguments=None):
    """Print the table."""
    parser = argparse.ArgumentParser(description="Time projections.")
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args(arguments).quick
    table = []
    for row in rows(quick):
        x = np.random.default_rng(0).normal(size=row.shape)
        x = jnp.asarray(x, jnp.float32)
        ours, theirs = jax.jit(row.ours), jax.jit(row.theirs)
        calls = {"ours": lambda f=ours, x=x: f(x), "peer": lambda f=theirs, x=x: f(x)}
        times = interleaved(calls, rounds=5 if quick else 11)
        ratio = times.ratio("peer", "ours")
        shape = " x ".join(map(str, row.shape))
        table.append(
            (row.name, shape, times.median("ours"), times.median("peer"), ratio)
        )
    print(markdown_table(["what", "shape", "seconds", "jaxopt", "ratio"], table))


if __name__ == "__main__":
    main()
