"""Sudoku as a feasibility problem, a thousand puzzles at a time.

A grid is a table of candidates x[row, column, digit] in {0, 1}. Four rules hold at
once: one digit in every cell, and every digit once in each row, column and block. Each
rule gets its own copy of the table, so that

    B   copy k obeys rule k: a one-hot vector in each of its groups
    A   the four copies are equal, and zero where a clue rules the candidate out

and both projections are cheap: a maximum over each group, and a mean. RRR with beta = 1
searches for a point in both (Elser, Rankenburg & Thibault, 2007, section 5). A search
that has not ended after 1000 steps starts again from another random point.

Lanes of a batch are solved side by side in one compiled program. On the host, lanes
that are done are replaced by puzzles that wait, so the batch stays full.

Run `python examples/sudoku.py [--count N] [--out DIR]`. Prints how many were solved and
how fast, and writes `out/sudoku.png`.
"""

import argparse
import functools as ft
import math
import pathlib
import time
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

import fixproj as fp


BETA = 1.0
MAX_STEPS = 4000
RESTART = 1000
CHUNK = 20
LANES = 128


class Agree(eqx.Module):
    """The copies are equal, and zero where a candidate is not allowed."""

    allowed: Bool[Array, "row column digit lane"]
    axis: ClassVar[None] = None

    def project(self, x: Float[Array, "rule row column digit lane"]):
        """The mean of the copies, where allowed."""
        mean = jnp.where(self.allowed, jnp.mean(x, axis=0), 0)
        return jnp.broadcast_to(mean[None], x.shape)


class OneInEachGroup(eqx.Module):
    """Each copy is one-hot in every group of its own rule."""

    allowed: Bool[Array, "row column digit lane"]
    axis: ClassVar[None] = None

    def project(self, x: Float[Array, "rule row column digit lane"]):
        """One at the largest allowed entry of each group, zero elsewhere."""
        n, lanes = x.shape[1], x.shape[-1]
        box = math.isqrt(n)
        x = jnp.where(self.allowed[None], x, -1e9)
        blocks = x[3].reshape(box, box, box, box, n, lanes)
        chosen = [
            _largest(x[0], 2),
            _largest(x[1], 1),
            _largest(x[2], 0),
            _largest(blocks, (1, 3)).reshape(n, n, n, lanes),
        ]
        return jnp.stack(chosen).astype(x.dtype)


def _largest(x, axis):
    return x >= jnp.max(x, axis=axis, keepdims=True)


@ft.partial(jax.jit, donate_argnums=0)
def search(z, allowed):
    """`CHUNK` steps of RRR for all lanes; the copy of the first rule, and if all agree.

    Args:
        z: the governing variable, shape (4, n, n, n, lanes).
        allowed: the candidates that the clues leave, shape (n, n, n, lanes).

    Returns:
        The new `z`, digits of shape (n, n, lanes), and a boolean for each lane.
    """
    sets = [Agree(allowed), OneInEachGroup(allowed)]
    map_ = fp.RRR(BETA).make_map(fp.Feasibility(sets, z))
    z = jax.lax.fori_loop(0, CHUNK, lambda _, z: map_.apply(z), z)
    agreed = sets[0].project(z)
    chosen = sets[1].project(2 * agreed - z)
    same = jnp.all(chosen == chosen[:1], axis=(0, 1, 2, 3))
    return z, jnp.argmax(chosen[0], axis=2).astype(jnp.int32) + 1, same


def solve_puzzles(puzzles, *, max_steps: int = MAX_STEPS, seed: int = 0):
    """Solve a batch of puzzles.

    Args:
        puzzles: integers of shape (N, n, n) with n = 4, 9 or 16; 0 is an empty cell.
        max_steps: the largest number of steps for one puzzle, over all its restarts.
        seed: of the random starts.

    Returns:
        An integer array of the same shape. A puzzle that was not solved within
        `max_steps`, because it has no solution or because the search was not lucky,
        is all zeros; every other grid obeys all rules and keeps the clues.

    Raises:
        ValueError: if the shape is wrong, or an entry is not an integer from 0 to n.
    """
    return _solve(puzzles, max_steps, seed)[0]


def _solve(puzzles, max_steps, seed):
    """The solutions, and the number of steps of each."""
    puzzles = np.asarray(puzzles)
    _check(puzzles)
    count, n, _ = puzzles.shape
    solutions, steps = np.zeros_like(puzzles), np.zeros(count, int)
    draw = np.random.default_rng(seed)
    start = lambda lanes: draw.random((4, n, n, n, lanes), np.float32)
    candidates, possible = _candidates(puzzles)
    waiting = list(np.flatnonzero(possible)[::-1])
    lanes = min(LANES, 1 << max(len(waiting) - 1, 0).bit_length())
    owner = np.full(lanes, -1)
    allowed = np.ones((n, n, n, lanes), bool)
    z = jnp.asarray(start(lanes))
    while True:
        free = np.flatnonzero(owner < 0)[: len(waiting)]
        if free.size:
            owner[free] = [waiting.pop() for _ in free]
            allowed[..., free] = np.moveaxis(candidates[owner[free]], 0, -1)
        taken = steps[owner]
        tired = np.flatnonzero((owner >= 0) & (taken > 0) & (taken % RESTART == 0))
        fresh = np.union1d(free, tired).astype(int)
        if fresh.size:
            z = jnp.asarray(_replace(np.array(z), fresh, start(fresh.size)))
        active = np.flatnonzero(owner >= 0)
        if active.size == 0:
            return solutions, steps
        if 16 < lanes and active.size <= lanes // 4:
            # The last searches go on in a smaller batch.
            lanes = max(lanes // 4, 8)
            keep = np.resize(active, lanes)
            z, allowed = z[..., keep], allowed[..., keep]
            owner = np.where(np.arange(lanes) < active.size, owner[keep], -1)
        z, digits, same = search(z, jnp.asarray(allowed))
        digits, same = np.asarray(digits), np.asarray(same)
        active = np.flatnonzero(owner >= 0)
        steps[owner[active]] += CHUNK
        for lane in active[same[active]]:
            solutions[owner[lane]] = digits[..., lane]
        over = same[active] | (steps[owner[active]] >= max_steps)
        owner[active[over]] = -1


def _replace(z, lanes, values):
    z[..., lanes] = values
    return z


def _candidates(puzzles):
    """What the clues leave in each cell, (N, n, n, n), and if they are consistent."""
    n = puzzles.shape[1]
    box = math.isqrt(n)
    given = puzzles[..., None] == np.arange(1, n + 1)
    blocks = given.reshape(-1, box, box, box, box, n).sum((2, 4), keepdims=True)
    blocks = np.broadcast_to(blocks, (len(puzzles), box, box, box, box, n))
    # A clue is counted once by itself in each of its row, column and block.
    others = given.sum(1, keepdims=True) + given.sum(2, keepdims=True)
    others = others + blocks.reshape(given.shape) - 3 * given
    empty = ~given.any(3, keepdims=True)
    possible = ~(given & (others > 0)).any((1, 2, 3))
    return given | (empty & (others == 0)), possible


def _check(puzzles):
    n = puzzles.shape[-1] if puzzles.ndim else 0
    square = puzzles.ndim == 3 and puzzles.shape[1] == n and math.isqrt(n) ** 2 == n > 0
    if not square:
        raise ValueError(
            "solve_puzzles: `puzzles` must have the shape (N, n, n) with n a square "
            f"number, such as (N, 9, 9); got {puzzles.shape}."
        )
    if not np.issubdtype(puzzles.dtype, np.integer):
        raise ValueError(
            f"solve_puzzles: `puzzles` must be integers, got {puzzles.dtype}."
        )
    if puzzles.size and (puzzles.min() < 0 or puzzles.max() > n):
        raise ValueError(
            f"solve_puzzles: entries of `puzzles` must be from 0 (empty) to {n}, got "
            f"{puzzles.min()} to {puzzles.max()}."
        )


# Royle's list of puzzles with 17 clues has this as its first.
EXAMPLE = (
    "000000010400000000020000000000050407008000300001090000300400200050100000000806000"
)


def _shuffled(puzzle, draw):
    """The same puzzle in another form: digits renamed, lines exchanged."""
    names = np.concatenate([[0], 1 + draw.permutation(9)])
    lines = lambda: np.concatenate(
        [3 * band + draw.permutation(3) for band in draw.permutation(3)]
    )
    return names[puzzle][lines()][:, lines()]


def draw_picture(path, puzzle, solution, steps):
    """A puzzle with its solution, and how many steps the others took."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
    left.set(xlim=(0, 9), ylim=(9, 0), aspect="equal", xticks=[], yticks=[])
    for k in range(10):
        width = 2 if k % 3 == 0 else 0.5
        left.plot([k, k], [0, 9], "k", lw=width)
        left.plot([0, 9], [k, k], "k", lw=width)
    for (row, column), digit in np.ndenumerate(solution):
        given = puzzle[row, column] > 0
        style = {"color": "k", "weight": "bold"} if given else {"color": "tab:blue"}
        left.text(
            column + 0.5, row + 0.5, digit, ha="center", va="center", size=13, **style
        )
    right.hist(steps, bins=40, color="tab:blue")
    right.set(xlabel="steps", ylabel="puzzles", title="Steps of RRR, beta = 1")
    figure.savefig(path, dpi=80)


def main():
    """Solve many forms of a hard puzzle and report."""
    parser = argparse.ArgumentParser(description="Sudoku by RRR.")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out"))
    options = parser.parse_args()
    draw = np.random.default_rng(0)
    base = np.array(list(EXAMPLE), int).reshape(9, 9)
    puzzles = np.stack([_shuffled(base, draw) for _ in range(options.count)])
    solve_puzzles(puzzles[:1])
    began = time.perf_counter()
    solutions, steps = _solve(puzzles, MAX_STEPS, 0)
    seconds = time.perf_counter() - began
    solved = solutions.any((1, 2))
    print(f"solved {solved.sum()} of {len(puzzles)} puzzles with 17 clues")
    print(f"steps: median {np.median(steps):.0f}, mean {steps.mean():.0f}")
    print(f"{1e3 * seconds / len(puzzles):.2f} ms for each, compilation included")
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "sudoku.png"
    draw_picture(path, puzzles[0], solutions[0], steps)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
