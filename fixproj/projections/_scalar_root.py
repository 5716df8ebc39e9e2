"""Roots of increasing scalar functions, many at once, and their derivatives.

Newton's iteration kept inside a bracket: a step that would leave it goes to its end, or
bisects where that end has been seen. The number of steps is fixed, so that a batch is
one compiled loop without branches. The point with the least |f| seen is returned.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def bracketed_root(
    function: Callable[[Array], Array],
    lower: Float[Array, "..."],
    upper: Float[Array, "..."],
    start: Float[Array, "..."],
    steps: int,
) -> Float[Array, "..."]:
    """Solves f(u) = 0 for every entry; not differentiable, see `with_derivative`.

    Args:
        function: elementwise and increasing (in sign at least); it may be infinite at
            the ends of the bracket, and closes over what else it depends on.
        lower: a point with f <= 0.
        upper: a point with f >= 0.
        start: a point of the bracket.
        steps: number of evaluations.

    Returns:
        The roots.
    """

    def body(_, carry):
        low, high, u, best, least = carry
        value, slope = jax.jvp(function, (u,), (jnp.ones_like(u),))
        size = jnp.abs(value)
        better = size < least
        best, least = jnp.where(better, u, best), jnp.where(better, size, least)
        low = jnp.where(value < 0, u, low)
        high = jnp.where(value < 0, high, u)
        newton = u - value / slope
        # An end that has not been looked at yet may be very near the root.
        newton = jnp.where((newton < low) & (low == lower) & (u > low), low, newton)
        newton = jnp.where((newton > high) & (high == upper) & (u < high), high, newton)
        inside = (newton >= low) & (newton <= high)
        u = jnp.where(inside, newton, low + 0.5 * (high - low))
        return low, high, u, best, least

    start = lax.stop_gradient(jnp.clip(start, lower, upper))
    lower, upper = lax.stop_gradient((lower, upper))
    unknown = jnp.full_like(start, jnp.inf)
    carry = lax.fori_loop(0, steps, body, (lower, upper, start, start, unknown))
    return carry[3]


def with_derivative(
    function: Callable[[Array], Array], root: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Attaches the derivatives of a root with respect to all that f closes over.

    A Newton step from the root has the first derivatives of the root, and a second one
    its derivatives up to the third: each doubles the order to which it agrees with the
    root as a function of the parameters. The value of the root is left as it is.

    Args:
        function: as for `bracketed_root`, but monotone only near the root.
        root: its root.

    Returns:
        The root. Where f has slope zero it has derivative zero.
    """
    u = lax.stop_gradient(root)
    for _ in range(2):
        value, slope = jax.jvp(function, (u,), (jnp.ones_like(u),))
        usable = (slope != 0) & jnp.isfinite(slope) & jnp.isfinite(value)
        step = jnp.where(usable, value, 0) / jnp.where(usable, slope, 1)
        u = u - (step - lax.stop_gradient(step))
    return u
