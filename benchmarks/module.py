"""What a module with kinds costs more than a plain Equinox module.

A perceptron of 50 layers, as `nn.Module` and as `equinox.Module` with the same arrays:
flatten, unflatten, the dispatch of a compiled call, and the selection of parameters.
The least of several interleaved samples counts, since these calls are short.
"""

import argparse

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr

from benchmarks._timing import interleaved, markdown_table
from fixproj import nn


LAYERS, WIDTH = 50, 8


class Plain(eqx.Module):
    """The plain twin of `nn.MLP`."""

    layers: tuple[eqx.nn.Linear, ...]

    def __init__(self, key):
        keys = jr.split(key, LAYERS)
        self.layers = tuple(eqx.nn.Linear(WIDTH, WIDTH, key=k) for k in keys)


def main(arguments=None):
    """Print the table."""
    parser = argparse.ArgumentParser(description="Time modules against Equinox's.")
    parser.add_argument("--rounds", type=int, default=31, help="of interleaved samples")
    rounds = parser.parse_args(arguments).rounds
    kinds = nn.MLP([WIDTH] * LAYERS, features_in=WIDTH).init(0)
    plain = Plain(jr.key(0))
    call = jax.jit(lambda model: jnp.zeros(()))
    rows = []

    def compare(what, ours, theirs, aim):
        timings = interleaved({"ours": ours, "theirs": theirs}, rounds=rounds)
        a, b = timings.best("ours"), timings.best("theirs")
        rows.append((what, 1e6 * a, 1e6 * b, a / b, aim))

    compare(
        "flatten",
        lambda: jax.tree.flatten(kinds),
        lambda: jax.tree.flatten(plain),
        1.1,
    )
    leaves, ours = jax.tree.flatten(kinds)
    arrays, theirs = jax.tree.flatten(plain)
    compare(
        "unflatten",
        lambda: Opaque(ours.unflatten(leaves)),
        lambda: Opaque(theirs.unflatten(arrays)),
        1.1,
    )
    compare("jit dispatch", lambda: call(kinds), lambda: call(plain), 1.1)
    compare(
        "filter, against flatten and unflatten",
        lambda: Opaque(nn.filter(kinds, nn.Parameter)),
        lambda: Opaque(theirs.unflatten(jax.tree.flatten(plain)[0])),
        2,
    )
    compare(
        "filter, against flatten",
        lambda: Opaque(nn.filter(kinds, nn.Parameter)),
        lambda: jax.tree.flatten(plain),
        2,
    )
    compare(
        "partition, against equinox.partition",
        lambda: Opaque(nn.partition(kinds, nn.Parameter)),
        lambda: Opaque(eqx.partition(plain, eqx.is_inexact_array)),
        1.0,
    )
    header = ["what", "microseconds", "Equinox", "ratio", "aim"]
    print(markdown_table(header, rows))


class Opaque:
    """Keeps `block_until_ready` from walking through what was made."""

    def __init__(self, value):
        self.value = value


if __name__ == "__main__":
    main()
