"""Sudoku as a feasibility problem, a thousand puzzles at a time.

A grid is a table of candidates x[row, column, digit] in {0, 1}. Four rules hold at
once: one digit in every cell, and every digit once in each row, column and block. Each
rule gets its own copy of the table, so that

    B   copy k obeys rule k: a one-hot vector in each of its groups
    A   the four copies are equal, and zero where a clue rules the candidate out

and both projections are cheap: a maximum over each group, and a mean. RRR with beta = 1
searches for a point in both (Elser, Rankenburg & Thibault, 2007, section 5). A search
that has not ended after 300 steps starts again from another random point.

Lanes of a batch are solved side by side in one compiled program. On the host, lanes
that are done are replaced by puzzles that wait, so the batch stays full.
"""

import functools as ft
import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._method import RRR
from .._problem import Feasibility


BETA = 1.0
MAX_STEPS = 4000
RESTART = 300
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
    map_ = RRR(BETA).make_map(Feasibility(sets, z))
    z = jax.lax.fori_loop(0, CHUNK, lambda _, z: map_.apply(z), z)
    agreed = sets[0].project(z)
    chosen = sets[1].project(2 * agreed - z)
    same = jnp.all(chosen == chosen[:1], axis=(0, 1, 2, 3))
    return z, jnp.argmax(chosen[0], axis=2).astype(jnp.int32) + 1, same


def solve_puzzles(
    puzzles: np.ndarray, *, max_steps: int = MAX_STEPS, seed: int = 0
) -> np.ndarray:
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

    References:
        V. Elser, I. Rankenburg and P. Thibault (2007), Searching with iterated maps,
        PNAS 104, 418-423.

    Examples:
        >>> import numpy as np
        >>> from fixproj.puzzles import solve_puzzles
        >>> puzzle = np.array([[1, 0, 0, 0], [0, 0, 3, 0], [0, 0, 0, 2], [0, 0, 0, 0]])
        >>> int(solve_puzzles(puzzle[None])[0].sum())
        40
    """
    return solve_with_steps(puzzles, max_steps=max_steps, seed=seed)[0]


def solve_with_steps(puzzles, *, max_steps: int = MAX_STEPS, seed: int = 0):
    """The solutions as `solve_puzzles` gives them, and the number of steps of each."""
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
