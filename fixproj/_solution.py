"""What a solve returns."""

import warnings
from typing import Any

import equinox as eqx
import optimistix as optx
from jaxtyping import PyTree


with warnings.catch_warnings():
    # Two messages of the parents are given a remedy; equinox warns of any new wording.
    warnings.filterwarnings("ignore", message="Enumeration has duplicate")

    class RESULTS(optx.RESULTS):  # pyright: ignore[reportGeneralTypeIssues]
        """How a solve ended; every member's message names the cause and a remedy.

        Extends `optimistix.RESULTS`, which extends `lineax.RESULTS`: a result of either
        can be promoted with `RESULTS.promote`.
        """

        successful = ""
        max_steps_reached = (
            "The iteration took `max_steps` steps without reaching the tolerance. "
            "Raise `max_steps`, loosen `rtol`/`atol`, try "
            "`iteration=fixproj.Anderson()`, or go on from this point with "
            "`state=solution.state`."
        )
        nonfinite = (
            "A NaN or an infinity appeared in the iterates. Check the map at the start "
            "`y0`, scale the problem, or damp the iteration with "
            "`fixproj.Picard(relaxation=0.5)`."
        )
        diverged = (
            "The residual grew without bound: the map is not a contraction near these "
            "iterates. Damp it (`relaxation` < 1), start closer, or use "
            "`fixproj.Anderson()`, or an optimistix root finder as `iteration`."
        )
        stagnated = (
            "The residual stopped changing before it met the tolerance: the iterates "
            "cycle, or sit at the rounding level of their dtype. Damp the iteration "
            "(`relaxation` < 1), loosen `rtol`/`atol`, or use float64."
        )
        interrupted = (
            "The solve was interrupted from outside. Go on from this point with "
            "`state=solution.state`."
        )
        infeasible_suspected = (
            "The sets seem to have no point in common: the iterates settled while the "
            "distance between the sets did not go to zero. See `stats['violation']`; "
            "relax a constraint, or check that each set is what was meant."
        )
        infeasible = (
            "The problem is infeasible: no point satisfies all constraints, which "
            "`stats['certificate']` proves. Relax a constraint, or check the signs and "
            "the order of the bounds."
        )
        unbounded = (
            "The problem is unbounded: the cost falls for ever along "
            "`stats['certificate']`, within the constraints. Bound the unknowns, or "
            "check the sign of the cost."
        )
        nonconvex = (
            "`P` is not positive semidefinite, so the program is not convex. Check its "
            "sign, or add a multiple of the identity."
        )
        adjoint_failed = (
            "The linear system of the derivative was not solved: I - dT/dz is singular "
            "or nearly so at the solution, or the adjoint iteration needs more steps. "
            "Check that the solution is isolated, or pass another `adjoint`."
        )


class Solution(eqx.Module):
    """The solution of a problem.

    Attributes:
        value: the solution `x = R(z)`, a pytree with the structure of the problem's
            `y0`. Differentiable with respect to every inexact array of the problem.
        result: a member of [`fixproj.RESULTS`][]; `RESULTS[result]` is its message.
            Under `jax.vmap` every lane has its own.
        stats: `num_steps` (int32, map evaluations made by this call), `max_steps`,
            `residual` (the norm of `T(z) - z` at the last evaluated `z`; of `value`
            itself when successful), `violation` (how far `value` is from the problem's
            constraints; 0 for problems that have none), and on demand
            `residual_history`.
        state: everything needed to continue: pass it as `solve(..., state=state)`.
    """

    value: PyTree
    result: RESULTS
    stats: dict[str, Any]
    state: PyTree
