"""Nearest point of a box on a hyperplane: min |y - x|^2 / 2, l <= y <= u, <a, y> = b.

y(t) = clip(x - t a, l, u), with the multiplier t a root of the decreasing piecewise
linear function phi(t) = <a, y(t)> - b. Its root is searched for by Newton's method on
the side of the sign of phi, inside a bracket: R. Cominetti, W. F. Mascarenhas,
P. J. S. Silva, "A Newton's method for the continuous quadratic knapsack problem"
(2014). Sorting is not needed, and each step costs one pass over the entries.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


_MOST_STEPS = 100


@partial(jax.jit, static_argnames="axis")
def clip_to_plane(
    x: Float[Array, "..."],
    a: Float[Array, "..."],
    lower: Float[Array, "..."],
    upper: Float[Array, "..."],
    b: Float[Array, "..."],
    axis: int,
) -> Float[Array, "..."]:
    """The nearest point of {y : lower <= y <= upper, <a, y> = b}, which is not empty.

    All derivatives are those of the face that the result lies on: the search is cut
    from differentiation, and what follows it is a formula on that face.

    Args:
        x: the points.
        a: normal, of the shape of `x`, as are the bounds; they may be infinite.
        lower: smallest values.
        upper: largest values.
        b: offset, of length 1 along `axis`.
        axis: the axis along which a point lies.

    Returns:
        The nearest points; NaN where a point has a NaN.
    """
    constants = lax.stop_gradient((a, lower, upper, b))
    moved = x
    # One number cannot hold a multiplier to the precision of a result much smaller
    # than x, so a second search finds what rounding took away.
    for _ in range(2):
        multiplier = _search(lax.stop_gradient(moved), *constants, axis)
        moved = moved - lax.stop_gradient(multiplier) * a
    low, high = moved <= lower, moved >= upper
    free = ~(low | high) & (a != 0)
    fixed = jnp.where(low, lower, jnp.where(high, upper, moved))
    square = jnp.sum(jnp.where(free, a * a, 0), axis, keepdims=True)
    rest = (jnp.sum(a * fixed, axis, keepdims=True) - b) / jnp.where(
        square == 0, 1, square
    )
    rest = jnp.where(square == 0, 0, rest)
    y = jnp.where(free, fixed - rest * a, fixed)
    y = jnp.where(y < lower, lower, jnp.where(y > upper, upper, y))
    bad = jnp.any(jnp.isnan(x), axis, keepdims=True)
    return jnp.where(bad, jnp.nan, y)


def _search(x, a, lower, upper, b, axis):
    """A root of phi, to rounding."""
    safe = jnp.where(a == 0, 1, a)
    # An entry is free, neither at one bound nor at the other, for `begin < t < end`.
    at_lower, at_upper = (x - lower) / safe, (x - upper) / safe
    begin = jnp.where(a == 0, jnp.inf, jnp.minimum(at_lower, at_upper))
    end = jnp.where(a == 0, jnp.inf, jnp.maximum(at_lower, at_upper))
    square = a * a
    eps = float(jnp.finfo(x.dtype).eps)

    def total(values, initial=0):
        if initial == 0:
            return jnp.sum(values, axis, keepdims=True)
        reduce = jnp.min if initial > 0 else jnp.max
        return reduce(values, axis, keepdims=True)

    def step(state):
        t, left, right, phi_left, phi_right, count, _ = state
        terms = a * jnp.minimum(jnp.maximum(x - t * a, lower), upper)
        phi = total(terms) - b
        noise = 4 * eps * (total(jnp.abs(terms)) + jnp.abs(b))
        rising = phi > 0
        free = jnp.where(rising, (begin <= t) & (t < end), (begin < t) & (t <= end))
        slope = total(jnp.where(free, square, 0))
        left, phi_left = jnp.where(rising, t, left), jnp.where(rising, phi, phi_left)
        right = jnp.where(rising, right, t)
        phi_right = jnp.where(rising, phi_right, phi)
        # Without a free entry the next break point is the nearest candidate.
        next_break = jnp.where(
            rising,
            total(jnp.where(begin > t, begin, jnp.inf), 1),
            total(jnp.where(end < t, end, -jnp.inf), -1),
        )
        newton = t + phi / jnp.where(slope == 0, 1, slope)
        new = jnp.where(slope == 0, next_break, newton)
        width = phi_left - phi_right
        secant = left + phi_left / jnp.where(width == 0, 1, width) * (right - left)
        middle = 0.5 * left + 0.5 * right
        # Every other time the bracket is halved, which bounds the number of steps.
        fallback = jnp.where(count % 2 == 0, secant, middle)
        inside = (left < new) & (new < right)
        new = jnp.where(inside, new, fallback)
        active = (jnp.abs(phi) > noise) & (left < new) & (new < right)
        active = active & jnp.isfinite(new)
        return (
            jnp.where(active, new, t),
            left,
            right,
            phi_left,
            phi_right,
            (count + 1),
            active,
        )

    def unfinished(state):
        *_, count, active = state
        return jnp.any(active) & (count < _MOST_STEPS)

    norm = total(square)
    start = (total(a * jnp.minimum(jnp.maximum(x, lower), upper)) - b) / jnp.where(
        norm == 0, 1, norm
    )
    start = jnp.where(jnp.isfinite(start), start, 0)
    infinity = jnp.full_like(start, jnp.inf)
    zero = jnp.zeros_like(start)
    active = jnp.ones(start.shape, bool)
    state = (start, -infinity, infinity, zero, zero, jnp.zeros((), jnp.int32), active)
    return lax.while_loop(unfinished, step, state)[0]
