"""Dual active-set method for the nearest point of {y : lower <= A y <= upper}.

The point y = x - A'm satisfies the active constraints, and the multipliers m of the
inactive ones are zero. While a constraint is violated, the worst one enters: m moves in
the direction that keeps the active ones satisfied, until the violation is gone or the
multiplier of an active one changes sign, which then leaves: D. Goldfarb and A. Idnani,
"A numerically stable dual method for solving strictly convex quadratic programs"
(1983). Every step raises the dual objective, so there are finitely many.

With G = A A', everything a step needs is one column of the tableau that Gauss-Jordan
pivots on the active diagonal entries make of G; a step costs one pivot, m^2 operations,
and no factorisation.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float


def active_constraints(
    gram: Float[Array, "m m"],
    value: Float[Array, " m"],
    lower: Float[Array, " m"],
    upper: Float[Array, " m"],
    tolerance: Float[Array, " m"],
) -> tuple[Bool[Array, " m"], Float[Array, " m"], Bool[Array, " m"], Bool[Array, ""]]:
    """Finds which constraints hold with equality at the nearest point.

    Args:
        gram: A A', for rows of length one (or zero).
        value: A x.
        lower: smallest values of A y.
        upper: largest values of A y.
        tolerance: violations that count as none.

    Returns:
        The active constraints (their rows are independent), the multipliers, which of
        the active ones are at the upper bound, and whether the search succeeded:
        otherwise no point satisfies all constraints, or rounding prevented the end.
    """
    m = value.shape[0]
    places = jnp.arange(m)
    equality = lower == upper
    dtype = value.dtype
    # Rows this close to the span of the active ones are taken to depend on them.
    dependent = 32 * m * float(jnp.finfo(dtype).eps)

    def pick(vector, place):
        return lax.dynamic_index_in_dim(vector, place, keepdims=False)

    def excesses(value, active):
        above, below = value - upper, lower - value
        excess = jnp.where(active, 0, jnp.maximum(above, below))
        return jnp.where(excess > tolerance, excess, 0), jnp.where(
            above >= below, 1, -1
        ).astype(dtype)

    def body(state):
        tableau, value, multiplier, active, side, entering, sign, count, _ = state
        # A constraint that has begun to enter stays until it is satisfied.
        excess, signs = excesses(value, active)
        fresh = entering < 0
        entering = jnp.where(fresh, jnp.argmax(excess), entering)
        sign = jnp.where(fresh, pick(signs, entering), sign)
        is_entering = places == entering

        column = lax.dynamic_index_in_dim(tableau, entering, 1, keepdims=False)
        violation = pick(jnp.where(sign > 0, value - upper, lower - value), entering)
        curvature = pick(column, entering)
        # Of the active multipliers; the entering one grows with slope `sign`.
        slope = jnp.where(active, -sign * column, 0)
        shrinking = active & ~equality & (side * slope < 0)
        reach = jnp.where(
            shrinking,
            jnp.maximum(-multiplier / jnp.where(shrinking, slope, 1), 0),
            jnp.inf,
        )
        leaving = jnp.argmin(reach)
        blocked = pick(reach, leaving)
        moves = curvature > dependent
        full = jnp.where(moves, violation / jnp.where(moves, curvature, 1), jnp.inf)
        length = jnp.minimum(blocked, full)
        infeasible = jnp.isinf(length)
        length = jnp.where(infeasible, 0, length)
        enters = full <= blocked

        multiplier = multiplier + length * slope
        multiplier = multiplier + jnp.where(is_entering, length * sign, 0)
        leaves = ~enters & ~infeasible
        multiplier = jnp.where(leaves & (places == leaving), 0, multiplier)
        # Where nothing may move, rounding must not.
        change = jnp.where(active | ~moves, 0, column)
        value = value - length * sign * change

        pivot = jnp.where(enters, entering, leaving)
        tableau = jnp.where(infeasible, tableau, _pivot(tableau, pivot, places))
        active = jnp.where(infeasible, active, active ^ (places == pivot))
        side = jnp.where(is_entering, sign, side)
        finished = enters & ~infeasible
        entering = jnp.where(finished, -1, entering)
        status = jnp.where(infeasible, 2, 0).astype(jnp.int32)
        violated, _ = excesses(value, active)
        is_done = finished & ~jnp.any(violated > 0)
        status = jnp.where(is_done, 1, status)
        return (
            tableau,
            value,
            multiplier,
            active,
            side,
            entering,
            sign,
            count + 1,
            status,
        )

    def unfinished(state):
        *_, count, status = state
        return (status == 0) & (count < 20 * m + 100)

    active = jnp.zeros(m, bool)
    violated, _ = excesses(value, active)
    status = jnp.where(jnp.any(violated > 0), 0, 1).astype(jnp.int32)
    state = (
        gram,
        value,
        jnp.zeros_like(value),
        active,
        jnp.ones_like(value),
        jnp.array(-1, places.dtype),
        jnp.ones((), dtype),
        jnp.zeros((), jnp.int32),
        status,
    )
    state = lax.while_loop(unfinished, body, state)
    _, _, multiplier, active, side, *_, status = state
    return active, jnp.where(active, multiplier, 0), side > 0, status == 1


def _pivot(tableau, place, places):
    """Exchanges the roles of the variable and the value at one place.

    Its inverse is itself up to the signs of the row and the column; those are kept so
    that entries of inactive and active columns mean d value and d multiplier.
    """
    row = lax.dynamic_index_in_dim(tableau, place, 0, keepdims=False)
    column = lax.dynamic_index_in_dim(tableau, place, 1, keepdims=False)
    here = places == place
    entry = lax.dynamic_index_in_dim(row, place, keepdims=False)
    inverse = 1 / entry
    new = tableau - (column * inverse)[:, None] * row[None, :]
    new = jnp.where(here[:, None], (row * inverse)[None, :], new)
    new = jnp.where(here[None, :], (-column * inverse)[:, None], new)
    return jnp.where(here[:, None] & here[None, :], inverse, new)
