"""A solve that comes back to the host now and then."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
from jaxtyping import PyTree, Scalar

from . import _tree
from ._check import check_between, check_positive_int
from ._map import AbstractMethod
from ._solution import RESULTS, Solution
from ._solve import solve


_FIRST_STEPS = 16


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
            adapted. The first piece also compiles.

    Yields:
        A [`fixproj.Solution`][] after every piece. Until the last its result is
        `max_steps_reached`. `stats["num_steps"]` counts the steps of all pieces.

    Raises:
        equinox.EquinoxRuntimeError: (a `RuntimeError`) if the solve fails and `throw`
            is true.
        ValueError: if an argument is out of range.

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
    taken, steps, solution = 0, _FIRST_STEPS, None
    while True:
        try:
            start = time.perf_counter()
            piece = solve(
                problem,
                method,
                iteration,
                rtol=rtol,
                atol=atol,
                max_steps=min(steps, max_steps - taken),
                norm=norm,
                state=state,
                throw=False,
            )
            jax.block_until_ready(piece.value)
            elapsed = time.perf_counter() - start
            if solution is not None:
                # The first piece is mostly compilation and says nothing of the steps.
                steps = int(min(max(steps * seconds / elapsed, 1), 4 * steps))
            taken += int(piece.stats["num_steps"])
            state = piece.state
            stats = {**piece.stats, "num_steps": taken, "max_steps": max_steps}
            solution = Solution(piece.value, piece.result, stats, state)
        except KeyboardInterrupt:
            if solution is None:
                raise
            yield eqx.tree_at(lambda s: s.result, solution, RESULTS.interrupted)
            return
        running = bool(solution.result == RESULTS.max_steps_reached)
        yield solution
        if running and taken < max_steps:
            continue
        if throw and bool(solution.result != RESULTS.successful):
            raise eqx.EquinoxRuntimeError(RESULTS[solution.result])
        return
