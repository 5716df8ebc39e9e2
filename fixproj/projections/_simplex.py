"""Simplex: {x : x >= 0, sum x = r}; P(x) = max(x - t, 0) with sum P(x) = r.

The sum is convex, piecewise linear and decreasing in the threshold t, so Newton's
method from the left, t <- (sum_{x > t} x - r) / #{x > t}, is monotone and ends after
finitely many steps, without sorting: C. Michelot, "A finite algorithm for finding the
projection of a point onto the canonical simplex of R^n" (1986); L. Condat, "Fast
projection onto the simplex and the l1 ball" (2016), section 3.
"""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import (
    as_axis,
    as_floating,
    as_radius,
    computing_dtype,
    per_point,
    position,
)
from fixproj.projections._set import AbstractSet


class Simplex(AbstractSet):
    """The points with nonnegative entries that sum to the radius.

    The derivative is the exact one of the active face: with S the support of the
    result, `dP = dx - mean_S(dx) + dr / |S|` on S and zero elsewhere.

    Args:
        radius: sum of the entries, a scalar or an array that broadcasts to the batch:
            the shape of `x` without `axis`.
        axis: the axis of `x` along which a point lies.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if the radius is negative or not finite (a runtime error when it is
            traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Simplex
        >>> print(Simplex().project(jnp.array([[0.5, 1.0, -1.0], [7.0, 7.0, 5.0]])))
        [[0.25 0.75 0.  ]
         [0.5  0.5  0.  ]]
    """

    radius: Float[Array, "..."]
    axis: int = eqx.field(static=True)

    def __init__(self, radius: ArrayLike = 1.0, axis: int = -1):
        self.radius = as_radius(radius)
        self.axis = as_axis(axis)

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns the nearest point of the simplex.

        Args:
            x: the point or points, of any length n >= 1 along `axis`.

        Returns:
            An array of the shape and dtype of `x`. A point with a NaN gives NaNs.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if `x` has length 0 along `axis`, or the radius does not
                broadcast to the batch.
        """
        x = as_floating(x, "x")
        axis = position(self.axis, x)
        if x.shape[axis] == 0:
            raise ValueError(
                f"`x` of shape {x.shape} must have an entry along axis {self.axis}."
            )
        dtype = computing_dtype(x)
        radius = per_point("radius", self.radius.astype(dtype), x, axis)
        return project_to_simplex(axis, x.astype(dtype), radius).astype(x.dtype)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
@partial(jax.jit, static_argnums=0)
def project_to_simplex(axis, x, radius):
    # Relative to the largest entry the threshold lies in [-radius, 0): offsets cancel
    # exactly, and what is clipped is outside the support.
    largest = jnp.max(x, axis, keepdims=True)
    # An infinite one has no nearest point: NaN, and not in that entry alone.
    largest = jnp.where(jnp.isfinite(largest), largest, jnp.nan)
    # A power of two, lest the sum of n entries of the size of the radius overflows.
    shrink = jnp.where(radius > 1e20, 2.0**-50, 1).astype(x.dtype)
    scaled = radius * shrink
    z = _in_blocks(axis, x, -jnp.inf)
    blocks = z.ndim - x.ndim
    spread = tuple(range(axis, axis + blocks))
    limit = jnp.expand_dims(scaled, spread)
    z = (z - jnp.expand_dims(largest, spread)) * jnp.expand_dims(shrink, spread)
    z = jnp.maximum(z, -limit)

    def unfinished(state):
        *_, active = state
        return jnp.any(active)

    def step(state):
        threshold, rest, count, rises, active = state
        excess, new_count = _excess(axis, blocks + 1, (z - threshold) - rest)
        change = (excess - limit) / jnp.maximum(new_count, 1)
        change = jnp.where(active, change, 0)
        threshold, rest = _two_sum(threshold, rest + change)
        # The support only shrinks, but for rounding.
        rises = rises + (new_count > count).astype(jnp.int32)
        active = active & (new_count != count) & (rises < 4)
        return threshold, rest, new_count, rises, active

    # One number cannot hold a threshold to the precision of the (possibly 1e6 times
    # smaller) entries of the result, so there is a second for what rounding takes away.
    start = (
        -limit,
        jnp.zeros_like(limit),
        jnp.full_like(limit, jnp.inf),
        jnp.zeros(limit.shape, jnp.int32),
        jnp.ones(limit.shape, bool),
    )
    threshold, rest, *_ = lax.while_loop(unfinished, step, start)
    threshold, rest = jnp.squeeze(threshold, spread), jnp.squeeze(rest, spread)
    return jnp.maximum(((x - largest) * shrink - threshold) - rest, 0) / shrink


def _in_blocks(axis, x, fill):
    """Splits the axis into several of length 16 and a last one, filled up at the end.

    Compilers turn a sum over few rows of many columns into vector instructions, but
    not one over many adjacent entries, whose order would change. Sums of sums also
    round less.
    """
    n, levels = x.shape[axis], 0
    while 16 ** (levels + 2) <= n:
        levels += 1
    last = -(-n // 16**levels)
    missing = last * 16**levels - n
    if missing:
        widths = [(0, 0, 0)] * x.ndim
        widths[axis] = (0, missing, 0)
        x = lax.pad(x, jnp.array(fill, x.dtype), widths)
    return x.reshape(x.shape[:axis] + (16,) * levels + (last,) + x.shape[axis + 1 :])


def _excess(axis, axes, difference):
    """The sum and the number of the positive entries, in one pass over them."""
    positive = difference > 0
    total = jnp.maximum(difference, 0)
    count = positive.astype(difference.dtype)
    zero = jnp.zeros((), difference.dtype)
    for _ in range(axes - 1):
        total, count = lax.reduce(
            (total, count),
            (zero, zero),
            lambda a, b: (a[0] + b[0], a[1] + b[1]),
            (axis,),
        )
    # XLA adds up long rows pairwise only where one sum is taken.
    total, count = jnp.sum(total, axis), jnp.sum(count, axis)
    places = tuple(range(axis, axis + axes))
    return jnp.expand_dims(total, places), jnp.expand_dims(count, places)


def _two_sum(a, b):
    """The rounded sum and its rounding error: D. Knuth, "Seminumerical Algorithms"."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@project_to_simplex.defjvp
def _project_jvp(axis, primals, tangents):
    x, radius = primals
    dx, dradius = tangents
    y = project_to_simplex(axis, x, radius)
    # The set {0} has no face; as the radius grows from 0, the largest entries gain.
    is_zero = radius == 0
    face = jnp.where(is_zero, x == jnp.max(x, axis, keepdims=True), y > 0)
    # 0 * y passes a NaN on to the derivative.
    face = jnp.where(face, 1, 0 * y)
    size = jnp.maximum(jnp.sum(face, axis, keepdims=True), 1)
    dx = jnp.where(is_zero, 0, dx)
    mean = jnp.sum(face * dx, axis, keepdims=True) / size
    return y, face * (dx - mean + dradius / size)
