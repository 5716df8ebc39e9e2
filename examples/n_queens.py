"""N queens that do not attack each other, as a search for a point in two sets.

A board is a table x[row, column], 1 where a queen stands. Two sets, with a copy of the
board for each of four rules:

    B   copy 1 has one queen in every row, copy 2 one in every column, copies 3 and 4
        at most one on every diagonal and every antidiagonal
    A   the four copies are equal

RRR searches for a point in both. The diagonals are columns of a sheared board, so all
four projections are a maximum along an axis.

Run `python examples/n_queens.py [--size N] [--out DIR]`. Prints the number of steps,
and writes `out/n_queens.png`.
"""

import argparse
import pathlib
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib
import numpy as np
from jaxtyping import Array, Float

import fixproj as fp


matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


class Agree(eqx.Module):
    """Four equal boards."""

    axis: ClassVar[None] = None

    def project(self, x: Float[Array, "4 n n"]):
        """The mean of the copies, four times."""
        return jnp.broadcast_to(jnp.mean(x, axis=0, keepdims=True), x.shape)


class OneOnEachLine(eqx.Module):
    """One queen in every row and column, at most one on every diagonal."""

    axis: ClassVar[None] = None

    def project(self, x: Float[Array, "4 n n"]):
        """The largest entry of every line; on a diagonal only if it is above 1/2."""
        rows, columns = _largest(x[0], 1), _largest(x[1], 0)
        down = _unshear(_at_most_one(_shear(x[2])))
        up = _unshear(_at_most_one(_shear(x[3][::-1])))[::-1]
        return jnp.stack([rows, columns, down, up])


def _largest(x, axis):
    best = jnp.argmax(x, axis=axis)
    return jax.nn.one_hot(best, x.shape[axis], axis=axis, dtype=x.dtype)


def _at_most_one(x):
    return jnp.where(x > 0.5, _largest(x, 0), 0)


def _shear(x):
    """Row i moved right by n - 1 - i: diagonals become columns. Empty cells are -1."""
    n = x.shape[0]
    padded = jnp.pad(x, ((0, 0), (n - 1, n)), constant_values=-1)
    take = jax.vmap(lambda row, i: jax.lax.dynamic_slice(row, (i,), (2 * n - 1,)))
    return take(padded, jnp.arange(n))


def _unshear(x):
    n = x.shape[0]
    take = jax.vmap(lambda row, i: jax.lax.dynamic_slice(row, (i,), (n,)))
    return take(x, n - 1 - jnp.arange(n))


def place_queens(size: int, key, max_steps: int = 20_000) -> fp.Solution:
    """Search for a board of `size` queens; `value[0]` of a success is a solution."""
    start = jr.uniform(key, (4, size, size), jnp.float32)
    problem = fp.Feasibility([Agree(), OneOnEachLine()], start)
    return fp.solve(problem, fp.RRR(0.5), max_steps=max_steps, throw=False)


def attacks(board: np.ndarray) -> int:
    """How many pairs of queens attack each other, counted from the rules."""
    row, column = np.nonzero(board)
    lines = row, column, row + column, row - column
    return sum(len(line) - len(set(line.tolist())) for line in lines)


def main():
    """Place queens from a few starts and report."""
    parser = argparse.ArgumentParser(description="N queens by RRR.")
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out"))
    options = parser.parse_args()
    board = None
    for start in range(options.starts):
        solution = place_queens(options.size, jr.key(start))
        found = np.rint(np.asarray(solution.value[0]))
        solved = bool(solution.result == fp.RESULTS.successful)
        print(f"start {start}: {int(solution.stats['num_steps'])} steps", end=", ")
        print(f"{int(found.sum())} queens, {attacks(found)} attacks")
        board = found if solved or board is None else board
    assert board is not None
    figure, axis = plt.subplots(figsize=(4.4, 4.4), layout="constrained")
    axis.imshow(np.indices(board.shape).sum(0) % 2, cmap="gray", vmin=-3, vmax=1.2)
    for row, column in np.argwhere(board > 0):
        axis.text(column, row, "♛", ha="center", va="center", size=150 / len(board))
    axis.set(xticks=[], yticks=[], title=f"{options.size} queens by RRR")
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / "n_queens.png", dpi=80)
    print(f"wrote {options.out / 'n_queens.png'}")


if __name__ == "__main__":
    main()
