"""Nearest point of a box on a hyperplane: min |y - x|^2 / 2, l <= y <= u, <a, y> = b.

y(t) = clip(x - t a, l, u), with the multiplier t a root of the decreasing piecewise
linear function phi(t) = <a, y(t)> - b. Its root is searched for by Newton's method
inside a bracket: R. Cominetti, W. F. Mascarenhas, P. J. S. Silva, "A Newton's method
for the continuous quadratic knapsack problem" (2014). Sorting is not needed, and a step
costs one pass over the entries with two sums.

With y on a face, F the entries between their bounds, the derivative follows from
y_F = x_F - t a_F and <a, y> = b:

    dy_F = dx_F - t da_F - a_F dt,   dy = dl, du at the bounds,
    |a_F|^2 dt = <da, y> + <a_F, dx_F - t da_F> + <a, dl or du> - db.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


_MOST_STEPS = 200


def clip_to_plane(
    x: Float[Array, "..."],
    a: Float[Array, "..."],
    lower: Float[Array, "..."],
    upper: Float[Array, "..."],
    b: Float[Array, "..."],
    axis: int,
) -> Float[Array, "..."]:
    """The nearest point of {y : lower <= y <= upper, <a, y> = b}, which is not empty.

    All derivatives are those of the face that the result lies on.

    Args:
        x: the points.
        a: normal, of the rank of `x`, as all parameters: of length 1, or that of `x`,
            along each axis.
        lower: smallest values; they may be infinite.
        upper: largest values, likewise.
        b: offset, of length 1 along `axis`.
        axis: the axis along which a point lies.

    Returns:
        The nearest points; NaN where a point has a NaN.
    """
    return _solve(axis, x, a, lower, upper, b)[0]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
@partial(jax.jit, static_argnums=0)
def _solve(axis, x, a, lower, upper, b):
    """The nearest point and the multiplier."""
    total = partial(jnp.sum, axis=axis, keepdims=True)
    # All points and one number for each of them, whatever broadcasts against what.
    a = jnp.broadcast_to(a, [*a.shape[:axis], x.shape[axis], *a.shape[axis + 1 :]])
    b = jnp.broadcast_to(b, total(x).shape)
    square = total(a * a)
    # On the hyperplane alone. What whole points are moved by cancels here.
    start = (total(a * x) - b) / jnp.where(square == 0, 1, square)
    has_nan = lax.cond(
        jnp.any(jnp.isnan(start)),
        lambda: jnp.any(jnp.isnan(x), axis, keepdims=True),
        lambda: jnp.zeros(start.shape, bool),
    )
    start = jnp.where(jnp.isfinite(start), start, 0)
    eps = float(jnp.finfo(x.dtype).eps)
    multiplier = _search(axis, x, a, lower, upper, b, start, eps * jnp.abs(b))
    # One number cannot hold a multiplier to the precision of a result much smaller
    # than x, so what rounding took away is found from the moved point.
    moved = x - multiplier * a
    y = jnp.minimum(jnp.maximum(moved, lower), upper)
    phi = total(a * y) - b
    noise = 4 * eps * (total(jnp.abs(a * y)) + jnp.abs(b))
    rest = lax.cond(
        jnp.any(jnp.abs(phi) > noise),
        lambda: _search(axis, moved, a, lower, upper, b, jnp.zeros_like(phi), noise),
        lambda: jnp.zeros_like(phi),
    )
    y = jnp.minimum(jnp.maximum(moved - rest * a, lower), upper)
    return jnp.where(has_nan, jnp.nan, y), multiplier + rest


def _search(axis, x, a, lower, upper, b, start, noise):
    """The multiplier for which phi is zero but for noise, or as near as it gets."""
    total = partial(jnp.sum, axis=axis, keepdims=True)

    def from_flat(t, phi, rising):
        """A step from where no entry is strictly between its bounds."""
        # An entry is free for `begin < t < end`. At either end only one side counts.
        safe = jnp.where(a == 0, 1, a)
        ends = (x - lower) / safe, (x - upper) / safe
        begin = jnp.where(a == 0, jnp.inf, jnp.minimum(*ends))
        end = jnp.where(a == 0, jnp.inf, jnp.maximum(*ends))
        free = jnp.where(rising, (begin <= t) & (t < end), (begin < t) & (t <= end))
        slope = total(jnp.where(free, a * a, 0))
        right = jnp.min(jnp.where(begin > t, begin, jnp.inf), axis, keepdims=True)
        left = jnp.max(jnp.where(end < t, end, -jnp.inf), axis, keepdims=True)
        next_break = jnp.where(rising, right, left)
        newton = t + phi / jnp.where(slope == 0, 1, slope)
        return jnp.where(slope == 0, next_break, newton)

    def step(state):
        t, left, right, _, count = state
        moved = x - t * a
        phi = total(a * jnp.minimum(jnp.maximum(moved, lower), upper)) - b
        free = (moved > lower) & (moved < upper)
        slope = total(jnp.where(free, a * a, 0))
        rising, flat = phi > 0, slope == 0
        left, right = jnp.where(rising, t, left), jnp.where(rising, right, t)
        newton = t + phi / jnp.where(flat, 1, slope)
        wrong = jnp.abs(phi) > noise
        new = lax.cond(
            jnp.any(flat & wrong),
            lambda: jnp.where(flat, from_flat(t, phi, rising), newton),
            lambda: newton,
        )
        # Halving the bracket bounds the number of steps.
        new = jnp.where((left < new) & (new < right), new, 0.5 * left + 0.5 * right)
        active = wrong & (left < new) & (new < right) & jnp.isfinite(new)
        return jnp.where(active, new, t), left, right, active, count + 1

    def unfinished(state):
        *_, active, count = state
        return jnp.any(active) & (count < _MOST_STEPS)

    infinity = jnp.full_like(start, jnp.inf)
    active = jnp.ones(start.shape, bool)
    count = jnp.zeros((), jnp.int32)
    state = (start, -infinity, infinity, active, count)
    return lax.while_loop(unfinished, step, state)[0]


@_solve.defjvp
def _solve_jvp(axis, primals, tangents):
    x, a, lower, upper, b = primals
    dx, da, dlower, dupper, db = tangents
    y, t = _solve(axis, *primals)
    low, high = y <= lower, y >= upper
    free = ~(low | high)
    inner = jnp.where(free, dx - t * da, jnp.where(low, dlower, dupper))
    square = jnp.sum(jnp.where(free, a * a, 0), axis, keepdims=True)
    rest = jnp.sum(da * y + a * inner, axis, keepdims=True) - db
    dt = jnp.where(square == 0, 0, rest / jnp.where(square == 0, 1, square))
    # 0 y passes a NaN on to the derivative.
    return (y, t), (jnp.where(free, inner - dt * a, inner) + 0 * y, dt)
