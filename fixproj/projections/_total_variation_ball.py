r"""Ball of the total variation: {x : sum |x_{i+1} - x_i| <= r}.

Outside, P(x) is the prox z(c) of c times the total variation, with the c for which the
variation of z(c) is r. On the segments where z(c) is constant, with signs p of the jump
after one less that of the jump before it,

    z = mean(x) + c p / size,
    variation = - sum p z = - sum p mean(x) - c sum p^2 / size.

As c grows, segments merge and never split, which makes p^2 / size smaller: the
variation is convex, decreasing and piecewise linear in c. So Newton's method from c = 0
never passes the root, and ends as soon as a step merges no segments. One step is one
prox, see `_prox._tv1d`.
"""

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
    is_within,
    per_point,
    position,
)
from fixproj.projections._prox._tv1d import Segments, denoised, segments_of
from fixproj.projections._set import AbstractSet


class TotalVariationBall(AbstractSet):
    """The sequences whose steps have moduli that sum to at most the radius.

    Exact. On the boundary the derivative is that of the inside.

    Args:
        radius: the largest variation, a scalar or an array that broadcasts to the
            batch: the shape of `x` without `axis`.
        axis: the axis of `x` along which a sequence lies.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if the radius is negative or not finite (a runtime error when it is
            traced).

    References:
        J. Friedman, T. Hastie, H. Hofling, R. Tibshirani (2007), Pathwise coordinate
        optimization, for the merging. J. M. Fadili, G. Peyre (2011), Total variation
        projection with first order schemes.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import TotalVariationBall
        >>> print(TotalVariationBall(2.0).project(jnp.array([0.0, 3.0, 0.0, 0.0])))
        [0.72727275 1.5454545  0.36363637 0.36363637]
    """

    radius: Float[Array, "..."]
    axis: int = eqx.field(static=True)

    def __init__(self, radius: ArrayLike = 1.0, axis: int = -1):
        self.radius = as_radius(radius)
        self.axis = as_axis(axis)

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns the nearest sequence of the ball.

        Args:
            x: the sequence or sequences, of any length along `axis`.

        Returns:
            An array of the shape and dtype of `x`. A sequence that is not finite gives
            NaNs.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if the radius does not broadcast to the batch.
        """
        x = as_floating(x, "x")
        axis = position(self.axis, x)
        dtype = computing_dtype(x)
        radius = per_point("radius", self.radius.astype(dtype), x, axis)
        if x.size == 0:
            return x
        wide = jnp.moveaxis(x.astype(dtype), axis, -1)
        rows = wide.reshape(-1, wide.shape[-1])
        y = _project(rows, radius.reshape(-1)).reshape(wide.shape)
        return jnp.moveaxis(y, -1, axis).astype(x.dtype)


@jax.jit
def _project(rows, radii):
    return jax.vmap(_nearest)(rows, radii)


def _nearest(x, radius):
    finite = jnp.all(jnp.isfinite(x))
    if x.shape[0] == 1:
        return jnp.where(finite, x, jnp.nan)
    inside = is_within(jnp.sum(jnp.abs(jnp.diff(x))), radius)
    # Differences from one entry: a large offset costs no digits.
    offset = lax.stop_gradient(x[0])
    moved = x - offset
    on = _face(*lax.stop_gradient((moved, radius)), inside | ~finite)
    mean, c = on.mean(moved), _strength(on, moved, radius)
    z = (mean + c * on.pull / jnp.maximum(on.size, 1))[on.of] + offset
    return jnp.where(finite, jnp.where(inside, x, z), jnp.nan)


def _strength(on: Segments, x, radius):
    """The c for which the variation is r on these segments."""
    slope = jnp.sum(on.pull**2 / jnp.maximum(on.size, 1))
    excess = -jnp.sum(on.pull * on.mean(x)) - radius
    return jnp.where(slope == 0, 0, excess / jnp.where(slope == 0, 1, slope))


def _face(x, radius, skip) -> Segments:
    """The segments of the nearest point, by Newton's method."""

    def step(state):
        on, c, _ = state
        new_c = _strength(on, x, radius)
        new = segments_of(denoised(x, jnp.maximum(new_c, c)))
        # Some segments have merged, or these were the right ones.
        merged = new.of[-1] < on.of[-1]
        on = jax.tree.map(lambda a, b: jnp.where(merged, a, b), new, on)
        return on, jnp.maximum(new_c, c), merged

    start = segments_of(x), jnp.zeros_like(radius), ~skip
    return lax.while_loop(lambda state: state[2], step, start)[0]
