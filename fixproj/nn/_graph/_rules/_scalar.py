r"""Nodes y = f(x), elementwise: the nearest point by a safeguarded scalar solve.

With u the movement of x and Δ(u) = f(x + u) - f(x), the nearest point of (x, f(x) + d)
minimises phi(u) = a u^2 + c (Δ(u) - d)^2. As phi(0) = c d^2, the least minimum has
|u| <= sqrt(c / a) |d|. Candidates are taken there (evenly, geometrically near 0, and
at the kinks of f); from the best, Gauss-Newton steps that may only descend. Where u is
tiny Δ is a trapezoid of slopes, as the difference of values would be rounding.

A weak projection is c f' d / a, to which the first Gauss-Newton step tends as a grows.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from fixproj.projections._scalar_root import bracketed_root


_EVEN = np.linspace(-1, 1, 65)
_GEOMETRIC = np.concatenate([-(1.6 ** -np.arange(1, 24.0)), 1.6 ** -np.arange(1, 24.0)])
_OFFSETS = np.concatenate([_EVEN, _GEOMETRIC])
_STEPS = 24
_TINY = 1e-4


def scalar_displacement(
    function: Callable[[Array], Array],
    x: Array,
    displacement: Array,
    a,
    c,
    kinks: Sequence[float] = (),
    weak: bool = False,
    furthest: float = math.inf,
) -> Array:
    """How far x moves when (x, f(x) + displacement) is projected onto the graph.

    Args:
        function: f, which keeps the shape.
        x: where f is evaluated.
        displacement: of y, the shape of x.
        a: metric weight of x.
        c: metric weight of y.
        kinks: values of x where f may not be smooth.
        weak: take the first-order movement.
        furthest: no nearest point is further from x.
    """
    dtype = x.dtype
    a, c = jnp.asarray(a, dtype), jnp.asarray(c, dtype)

    def slope_at(point):
        return jax.jvp(function, (point,), (jnp.ones_like(point),))

    value, slope = slope_at(x)
    slope = jnp.where(jnp.isfinite(slope), slope, 0)
    if weak:
        return c / a * slope * displacement
    first = c * slope * displacement / (a + c * slope**2)

    def rise(u):
        new, new_slope = slope_at(x + u)
        trapezoid = 0.5 * u * (slope + new_slope)
        small = jnp.abs(u) < _TINY * (1 + jnp.abs(x))
        return jnp.where(small, trapezoid, new - value), new_slope

    def cost_of(u, gap):
        total = a * u**2 + c * (gap - displacement) ** 2
        return jnp.where(jnp.isfinite(total), total, jnp.inf)

    def cost(u):
        return cost_of(u, rise(u)[0])

    reach = jnp.minimum(jnp.sqrt(c / a) * jnp.abs(displacement), furthest)
    offsets = jnp.asarray(_OFFSETS, dtype)

    def keep(best, u):
        new = cost(u)
        better = new < best[1]
        return jnp.where(better, u, best[0]), jnp.where(better, new, best[1])

    zero = jnp.zeros_like(x)
    best = (zero, c * displacement**2)
    best = lax.fori_loop(
        0, len(_OFFSETS), lambda k, best: keep(best, offsets[k] * reach), best
    )
    best = keep(best, first)
    for kink in kinks:
        best = keep(best, jnp.asarray(kink, dtype) - x)

    def step(_, state):
        u, least, damping = state
        gap, tilt = rise(u)
        tilt = jnp.where(jnp.isfinite(tilt), tilt, 0)
        bend = (a + c * tilt**2) * (1 + damping)
        new = u - (a * u + c * (gap - displacement) * tilt) / bend
        value = cost(new)
        better = value <= least
        damping = jnp.where(better, damping / 4, 4 * damping + 0.5)
        damping = jnp.where(damping < 1e-3, 0, damping)
        return jnp.where(better, new, u), jnp.where(better, value, least), damping

    return lax.fori_loop(0, _STEPS, step, (*best, zero))[0]


def product_of_two(x, y, displacement, a, b, c, weak=False):
    r"""How far x and y move when (x, y, x y + d) is projected onto {z = x y}.

    With X = sqrt(a) x, Y = sqrt(b) y, s = X + Y, t = X - Y, the nearest point has
    s / (1 - m) and t / (1 + m) for the root m in (-1, 1) of the increasing function

        (s/2)^2 m (2 - m) / (1 - m)^2 + (t/2)^2 m (2 + m) / (1 + m)^2 + m a b / c
            = sqrt(a b) d,

    see `projections.Bilinear`; here the value at the point itself is left out on both
    sides, which would cancel.
    """
    if weak:
        return y * displacement * (c / a), x * displacement * (c / b)
    dtype = x.dtype
    root_a, root_b = (jnp.sqrt(jnp.asarray(w, dtype)) for w in (a, b))
    ratio = jnp.asarray(a, dtype) * jnp.asarray(b, dtype) / jnp.asarray(c, dtype)
    total, gap = root_a * x + root_b * y, root_a * x - root_b * y
    # From a saddle (x = y = 0) any direction is as good; this one is not zero.
    least = jnp.asarray(1e-7 if dtype == jnp.float64 else 1e-5, dtype)
    total = jnp.where(total == 0, least, total)
    gap = jnp.where(gap == 0, least, gap)
    wanted = displacement * root_a * root_b

    def missing(m):
        up = (total / 2 / (1 - m)) ** 2 * m * (2 - m)
        down = (gap / 2 / (1 + m)) ** 2 * m * (2 + m)
        return up + down + ratio * m - wanted

    one = jnp.ones_like(x)
    slope = 0.5 * total**2 + 0.5 * gap**2 + ratio
    start = jnp.clip(wanted / slope, -0.9, 0.9)
    m = bracketed_root(missing, -one, one, start, 60)
    edge = 1 - jnp.finfo(dtype).eps
    m = jnp.clip(m, -edge, edge)
    d_total, d_gap = total * m / (1 - m), -gap * m / (1 + m)
    return 0.5 * (d_total + d_gap) / root_a, 0.5 * (d_total - d_gap) / root_b
