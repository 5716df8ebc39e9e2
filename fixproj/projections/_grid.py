"""Grid: {x : every entry is a level}; P(x)_i is the level nearest to x_i."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import as_floating, as_parameter, require
from fixproj.projections._set import AbstractSet


class Grid(AbstractSet):
    """The points whose entries are integers, or taken from a list of levels.

    All of `x` is one point. Not convex. Halfway between two levels the lower one is
    taken, between two integers the even one. The derivative with respect to `x` is
    zero; with respect to a level it is one where the level was taken.

    Args:
        levels: the levels, ascending, of shape (k,); `None` for all integers.

    Raises:
        TypeError: if the levels are not real.
        ValueError: if they have the wrong shape, or are not finite and ascending (a
            runtime error when they are traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Grid
        >>> print(Grid().project(jnp.array([0.7, -1.2, 3.0])))
        [ 1. -1.  3.]
        >>> print(Grid(jnp.array([-1.0, 1.0])).project(jnp.array([0.3, -7.0])))
        [ 1. -1.]
    """

    levels: Float[Array, " k"] | None
    axis: ClassVar[None] = None

    def __init__(self, levels: ArrayLike | None = None):
        if levels is None:
            self.levels = None
            return
        levels = as_parameter(levels, "levels")
        if levels.ndim != 1 or levels.size == 0:
            raise ValueError(
                "`levels` must have shape (k,) with k >= 1, but has shape "
                f"{levels.shape}."
            )
        self.levels = require(
            levels,
            lambda v: jnp.all(jnp.isfinite(v)) & jnp.all(v[1:] >= v[:-1]),
            levels,
            message="`levels` must be finite and ascending.",
        )

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns a nearest point.

        Args:
            x: the point, of any shape.

        Returns:
            An array of the shape and dtype of `x`. A NaN stays one.

        Raises:
            TypeError: if `x` is not real and floating.
        """
        x = as_floating(x, "x")
        if self.levels is None:
            return jnp.round(x)
        levels = self.levels.astype(x.dtype)
        middles = levels[:-1] * 0.5 + levels[1:] * 0.5
        nearest = levels[jnp.searchsorted(middles, x, side="left")]
        return jnp.where(jnp.isnan(x), jnp.nan, nearest)
