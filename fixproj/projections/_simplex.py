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
    x = jnp.maximum(x - largest, -radius)
    n = x.shape[axis]
    start = jnp.maximum((jnp.sum(x, axis, keepdims=True) - radius) / n, -radius)
    # One number cannot hold a threshold to the precision of the (possibly 1e6 times
    # smaller) entries of the result, so a second search finds what rounding took away.
    x = x - _threshold(axis, x, radius, start)
    start, _ = _newton_step(axis, x, radius, jnp.zeros_like(start))
    return jnp.maximum(x - _threshold(axis, x, radius, start), 0)


def _threshold(axis, x, radius, start):
    def unfinished(state):
        _, _, active = state
        return jnp.any(active)

    def step(state):
        threshold, count, active = state
        new_threshold, new_count = _newton_step(axis, x, radius, threshold)
        # The support only shrinks, so this ends whatever rounding (or a NaN) does.
        active = active & (new_count < count)
        threshold = jnp.where(active, new_threshold, threshold)
        return threshold, jnp.where(active, new_count, count), active

    count = jnp.full(start.shape, x.shape[axis] + 1, jnp.int32)
    active = jnp.ones(start.shape, bool)
    threshold, _, _ = lax.while_loop(unfinished, step, (start, count, active))
    return threshold


def _newton_step(axis, x, radius, threshold):
    support = x > threshold
    count = jnp.sum(support, axis, keepdims=True, dtype=jnp.int32)
    total = jnp.sum(jnp.where(support, x, 0), axis, keepdims=True)
    return (total - radius) / jnp.maximum(count, 1).astype(x.dtype), count


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
