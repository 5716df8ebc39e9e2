"""A solve that comes back to the host now and then."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
from jaxtyping import PyTree, Scalar

from . import _tree
from ._check import check_between, check_positive_int
from ._checkpoint import Checkpoint, Store
from ._map import AbstractMethod
from ._solution import RESULTS, Solution
from ._solve import solve


_FIRST_STEPS = 16
_MOST_STEPS = 1024


def solve_in_chunks(
    problem: PyTree,
    method: AbstractMethod | None = None,
    iteration: Any = None,
    *,
    rtol: float | Scalar | None = None,
    atol: float | Scalar | None = None,
    max_steps: int = 10_000,
    norm: Callable[[PyTree], Scalar] = _tree.max_norm,
    state: PyTree | None = None,
    throw: bool = True,
    seconds: float = 0.25,
    checkpoint: Checkpoint | str | os.PathLike | None = None,
) -> Iterator[Solution]:
    """Solve a problem in pieces, to look at it, save it, or stop it on the way.

    The steps are exactly those of [`fixproj.solve`][], and one program serves pieces of
    every length. Ctrl-C is heard between pieces: the last solution is then yielded once
    more, with the result `interrupted`, and the iteration ends.

    Not differentiable: give the last `state` to [`fixproj.solve`][], which then takes a
    single step, and differentiate that.

    Args:
        problem: as for [`fixproj.solve`][].
        method: as for [`fixproj.solve`][].
        iteration: as for [`fixproj.solve`][], but no optimistix solver.
        rtol: as for [`fixproj.solve`][].
        atol: as for [`fixproj.solve`][].
        max_steps: the largest number of steps of all pieces together.
        norm: as for [`fixproj.solve`][].
        state: as for [`fixproj.solve`][].
        throw: whether failure raises, after the failed solution has been yielded.
        seconds: how long a piece should take, a scalar > 0; the number of its steps is
            adapted, on one process; where there are several, all must take the same
            steps, and pieces grow up to 1024 of them. The first piece also compiles.
        checkpoint: where and how often to save the state, a [`fixproj.Checkpoint`][]
            or the path of one. If something is there already, the solve goes on from
            it; `max_steps` counts the steps before as well.

    Yields:
        A [`fixproj.Solution`][] after every piece. Until the last its result is
        `max_steps_reached`. `stats["num_steps"]` counts the steps of all pieces.

    Raises:
        equinox.EquinoxRuntimeError: (a `RuntimeError`) if the solve fails and `throw`
            is true.
        CheckpointError: (a `RuntimeError`) if a checkpoint cannot be written or read,
            or is of another solve.
        ValueError: if an argument is out of range, or `checkpoint` finds a saving where
            `state` is given too.

    Examples:
        >>> import fixproj as fp, jax.numpy as jnp
        >>> problem = fp.FixedPoint(lambda y, args: jnp.cos(y), 1.0)
        >>> for solution in fp.solve_in_chunks(problem):
        ...     saved = solution.state
        >>> print(f"{solution.value:.4f}")
        0.7391
    """
    check_positive_int("solve_in_chunks", "max_steps", max_steps)
    check_between("solve_in_chunks", "seconds", seconds, 0)

    def advance(steps: int, state: PyTree) -> Solution:
        piece = solve(
            problem,
            method,
            iteration,
            rtol=rtol,
            atol=atol,
            max_steps=steps,
            norm=norm,
            state=state,
            throw=False,
        )
        jax.block_until_ready(piece.value)
        return piece

    question = (problem, method, iteration, rtol, atol)
    with _open(checkpoint, question) as store:
        pieces = _pieces(advance, max_steps, seconds, state, store, checkpoint)
        solution = None
        for solution in pieces:
            yield solution
    assert solution is not None
    failed = solution.result != RESULTS.successful
    if throw and bool(failed & (solution.result != RESULTS.interrupted)):
        raise eqx.EquinoxRuntimeError(RESULTS[solution.result])


def _open(checkpoint, question):
    if checkpoint is None:
        return contextlib.nullcontext()
    return Store(_as_checkpoint(checkpoint), question)


def _as_checkpoint(checkpoint: Checkpoint | str | os.PathLike) -> Checkpoint:
    return checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)


def _pieces(advance, max_steps, seconds, state, store, checkpoint):
    taken, length, solution = 0, _FIRST_STEPS, None
    every, saved = max_steps, 0
    if store is not None:
        every = _as_checkpoint(checkpoint).steps
        if store.newest is not None:
            if state is not None:
                raise ValueError(
                    "solve_in_chunks: `state` is given, and `checkpoint` holds a "
                    "saving already. Leave one of them out."
                )
            taken = saved = store.newest
            # One step shows what a state looks like, and where its parts lie.
            state = store.load(advance(1, None).state)
    while True:
        # A saving of a solve that has used up its steps is evaluated once more.
        left = max(min(max_steps, saved + every) - taken, 1)
        try:
            start = time.perf_counter()
            piece = advance(min(length, left), state)
            elapsed = time.perf_counter() - start
            if jax.process_count() > 1:
                length = min(2 * length, _MOST_STEPS)
            elif solution is not None:
                # The first piece is mostly compilation and says nothing of the steps.
                length = int(min(max(length * seconds / elapsed, 1), 4 * length))
            taken += int(piece.stats["num_steps"])
            state = piece.state
            stats = {**piece.stats, "num_steps": taken, "max_steps": max_steps}
            solution = Solution(piece.value, piece.result, stats, state)
            running = bool(solution.result == RESULTS.max_steps_reached)
            running = running and taken < max_steps
            if store is not None and (not running or taken >= saved + every):
                store.save(taken, state)
                saved = taken
        except KeyboardInterrupt:
            if solution is None:
                raise
            if store is not None and taken > saved:
                store.save(taken, state)
            yield eqx.tree_at(lambda s: s.result, solution, RESULTS.interrupted)
            return
        yield solution
        if not running:
            return
