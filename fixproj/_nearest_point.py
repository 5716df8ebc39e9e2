"""The nearest point of an intersection, by the method that fits the sets."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import PyTree

from ._iteration import Anderson
from ._method import Dykstra, InteriorPointProjection, _linear_sets
from ._problem import Feasibility
from ._solution import Solution
from ._solve import solve


_LARGEST = 1000
_MOST_ENTRIES = 10_000_000


def nearest_point(
    sets: Sequence[Any], x: PyTree, iteration: Any = None, **options: Any
) -> Solution:
    """The point of the intersection of convex sets that is nearest to `x`.

    For a vector of up to 1000 entries and sets given by linear inequalities and balls,
    [`fixproj.InteriorPointProjection`][]: some ten factorisations, whatever the shape
    of the sets. For all others, Dykstra's algorithm, which is a gradient method for the
    dual problem; written as a fixed point ([`fixproj.Dykstra`][]) it takes any
    iteration, and the limit is exact.

    Args:
        sets: closed convex sets, as for [`fixproj.Feasibility`][].
        x: the point, a pytree of real or complex arrays that every set can project.
        iteration: how the dual is solved by Dykstra's algorithm; None leaves the choice
            of the method to the sets, and is
            `fixproj.Anderson(memory=8, mixing=1.6, safeguard=2.0, period=1)` for that
            algorithm.
        **options: passed on to [`fixproj.solve`][]: `rtol`, `atol`, `max_steps`,
            `adjoint`, `throw`, `state` and so on.

    Returns:
        A [`fixproj.Solution`][], whose `value` is the nearest point. Its derivative
        with respect to `x` and to the sets is that of the projection onto the
        intersection.

    Raises:
        equinox.EquinoxRuntimeError: (a `RuntimeError`) if the solve fails, with
            `infeasible_suspected` where the sets have no common point.
        ValueError: as for [`fixproj.Feasibility`][] and [`fixproj.solve`][].
        TypeError: likewise.

    Examples:
        >>> import fixproj as fp, jax.numpy as jnp
        >>> from fixproj import projections as proj
        >>> sets = [proj.L2Ball(1.0), proj.Halfspace(jnp.array([1.0, 0.0]), 0.6)]
        >>> print(fp.nearest_point(sets, jnp.array([2.0, 1.0])).value.round(3))
        [0.6 0.8]
    """
    problem = Feasibility(sets, x)
    if iteration is None and _is_small_and_linear(problem):
        return solve(problem, InteriorPointProjection(), **options)
    if iteration is None:
        # Strict: on the plateaus of a dual a wild step is not taken back otherwise. The
        # dual has curvature 1 where no constraint is slack and less elsewhere, so that
        # gradient steps of up to 2 are safe and longer ones than 1 mostly better.
        iteration = Anderson(memory=8, mixing=1.6, safeguard=2.0, period=1)
    return solve(problem, Dykstra(), iteration, **options)


def _is_small_and_linear(problem: Feasibility) -> bool:
    """Whether dense factorisations are cheap."""
    if not _linear_sets.is_linear(problem):
        return False
    n = problem.y0.size
    return n <= _LARGEST and n * _linear_sets.count_rows(problem) <= _MOST_ENTRIES
