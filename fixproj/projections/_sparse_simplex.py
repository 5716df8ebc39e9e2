"""Sparse simplex: {x : x >= 0, sum x = r, at most k entries are not zero}.

P(x) is the projection onto the simplex of the k largest entries: A. Kyrillidis,
S. Becker, V. Cevher, C. Koch, "Sparse projections onto the simplex" (2013), theorem 1.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import (
    as_axis,
    as_floating,
    as_radius,
    computing_dtype,
    per_point,
    position,
)
from fixproj.projections._largest import are_largest, as_count
from fixproj.projections._set import AbstractSet
from fixproj.projections._simplex import project_to_simplex


class SparseSimplex(AbstractSet):
    """The points of the simplex with at most k entries that are not zero.

    Not convex. Of equal entries the first are kept. The derivative is that of the
    simplex in the entries that are kept.

    Args:
        k: the number of entries, at least 1. Static.
        radius: sum of the entries, a scalar or an array that broadcasts to the batch:
            the shape of `x` without `axis`.
        axis: the axis of `x` along which a point lies.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if `k` is less than 1, or the radius is negative or not finite (a
            runtime error when it is traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import SparseSimplex
        >>> print(SparseSimplex(2).project(jnp.array([0.5, 0.75, 0.25])))
        [0.375 0.625 0.   ]
    """

    k: int = eqx.field(static=True)
    radius: Float[Array, "..."]
    axis: int = eqx.field(static=True)

    def __init__(self, k: int, radius: ArrayLike = 1.0, axis: int = -1):
        self.k = as_count(k)
        self.radius = as_radius(radius)
        self.axis = as_axis(axis)

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns a nearest point.

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
        wide = jnp.moveaxis(x.astype(dtype), axis, -1)
        kept = are_largest(wide, self.k)
        # Far below the others, an entry has no part in the simplex.
        candidates = jnp.where(kept, wide, -jnp.inf)
        bad = jnp.any(jnp.isnan(wide), -1, keepdims=True)
        candidates = jnp.where(bad, jnp.nan, candidates)
        radius = jnp.moveaxis(radius, axis, -1)
        y = project_to_simplex(x.ndim - 1, candidates, radius)
        return jnp.moveaxis(y, -1, axis).astype(x.dtype)
