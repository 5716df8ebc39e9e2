"""Epigraph of a norm: {(t, x) : |x|_p <= t}, a cone, for p from 1 to infinity.

With s the new height of a point (t, x) that lies neither inside nor below:

- p = 1: s = t + d and P(x) = sign(x) max(|x| - d, 0), with d > 0 so that |P(x)|_1 = s;
- p = 2: s = (t + |x|) / 2 and P(x) = s x / |x|;
- p = infinity: P(x) = clip(x, -s, s), with s = t + sum_i max(|x_i| - s, 0);
- others: P(x) = sign(x) s w, with s w + d w^(p-1) = |x| and d = s - t so that
  sum w^p = 1; see `_power_norm`.

The first and the third are roots of piecewise linear functions, convex and decreasing
or concave and increasing, so Newton's method from the left never passes the root and
ends after finitely many steps. The regions: N. Parikh and S. Boyd, "Proximal
algorithms" (2014), section 6.6.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import (
    as_axis,
    as_floating,
    computing_dtype,
    is_concrete,
    position,
)
from fixproj.projections._norm import direction_and_norm
from fixproj.projections._power_norm import power_norm, shared_excess
from fixproj.projections._set import AbstractSet


class NormEpigraph(AbstractSet):
    """The vectors whose first entry is at least the norm of the others.

    For p = 2 this is the second-order cone. On the boundary the derivative is that of
    the outside; at the tip it is finite. For p = 1, 2 and `inf` the result is exact
    after finitely many passes; for others a scalar equation is solved for every entry,
    to some units in the last place, at roughly a hundred times the cost.

    Args:
        p: which norm: a number from 1 to `inf`. Static.
        axis: the axis of `x` along which (t, x) lies, t first.

    Raises:
        TypeError: if `axis` is not an integer, or `p` is traced.
        ValueError: if `p` is less than 1 or NaN.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import NormEpigraph
        >>> print(NormEpigraph(1).project(jnp.array([1.0, 3.0, -1.0])).round(3))
        [2. 2. 0.]
    """

    p: float = eqx.field(static=True)
    axis: int = eqx.field(static=True)

    def __init__(self, p: float, axis: int = -1):
        if not is_concrete(p):
            raise TypeError("`p` must be a number that is not traced.")
        self.p = float(p)
        if not self.p >= 1:
            raise ValueError(f"`p` must be a number from 1 to inf, but was {p!r}.")
        self.axis = as_axis(axis)

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns the nearest point of the epigraph.

        Args:
            x: the point or points (t, x), of any length n >= 1 along `axis`.

        Returns:
            An array of the shape and dtype of `x`. A point with a NaN gives NaNs.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if `x` has length 0 along `axis`.
        """
        x = as_floating(x, "x")
        axis = position(self.axis, x)
        if x.shape[axis] == 0:
            raise ValueError(
                f"`x` of shape {x.shape} must have an entry along axis {self.axis}."
            )
        wide = jnp.moveaxis(x.astype(computing_dtype(x)), axis, -1)
        height, vector = wide[..., :1], wide[..., 1:]
        special = {1.0: _one, 2.0: _two, float("inf"): _infinity}
        if self.p in special:
            parts = special[self.p](height, vector)
        else:
            parts = _other(self.p, height, vector)
        y = jnp.concatenate(parts, -1)
        y = jnp.where(jnp.any(jnp.isnan(wide), -1, keepdims=True), jnp.nan, y)
        return jnp.moveaxis(y, -1, axis).astype(x.dtype)


def _sum(x):
    return jnp.sum(x, -1, keepdims=True)


def _largest(x):
    return jnp.max(x, -1, keepdims=True, initial=0)


def _choose(height, vector, norm, dual_norm, outside):
    """The point itself inside, the tip below, else what lies between."""
    inside, below = norm < height, dual_norm <= -height
    zero = jnp.zeros_like
    return tuple(
        jnp.where(below, zero(a), jnp.where(inside, a, b))
        for a, b in zip((height, vector), outside, strict=True)
    )


def _newton(step, start):
    """The limit of increasing steps that rounding ends."""

    def body(state):
        value, _ = state
        new = step(value)
        active = new > value
        return jnp.where(active, new, value), active

    state = (start, jnp.ones(start.shape, bool))
    return lax.while_loop(lambda state: jnp.any(state[1]), body, state)[0]


def _two(height, vector):
    direction, norm = direction_and_norm(vector, -1)
    # Halved first, so that the sum cannot overflow.
    s = 0.5 * height + 0.5 * norm
    return _choose(height, vector, norm, norm, (s, s * direction))


@jax.jit
def _one(height, vector):
    size = jnp.abs(vector)

    def shrinkage(size, height, d):
        kept = lax.stop_gradient(size) > d
        count = 1 + _sum(kept.astype(size.dtype))
        return (_sum(jnp.where(kept, size, 0)) - height) / count, kept

    constant = lax.stop_gradient((size, height))
    d = _newton(lambda d: shrinkage(*constant, d)[0], jnp.zeros_like(height))
    d, kept = shrinkage(size, height, d)
    shrunk = jnp.where(kept, jnp.sign(vector) * (size - d), 0)
    outside = (height + d, shrunk)
    return _choose(height, vector, _sum(size), _largest(size), outside)


@jax.jit
def _infinity(height, vector):
    size = jnp.abs(vector)

    def level(size, height, s):
        cut = lax.stop_gradient(size) > s
        count = 1 + _sum(cut.astype(size.dtype))
        return (height + _sum(jnp.where(cut, size, 0))) / count, cut

    constant = lax.stop_gradient((size, height))
    s = _newton(lambda s: level(*constant, s)[0], jnp.zeros_like(height))
    s, cut = level(size, height, s)
    outside = (s, jnp.where(cut, jnp.sign(vector) * s, vector))
    return _choose(height, vector, _largest(size), _sum(size), outside)


def _other(p, height, vector):
    norm, dual_norm = power_norm(p, vector), power_norm(p / (p - 1), vector)
    outside = shared_excess(p, height, vector)
    return _choose(height, vector, norm, dual_norm, outside)
