"""Sparse vectors: {x : at most k entries are not zero}; P(x) keeps the k largest."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import as_axis, as_floating, position
from fixproj.projections._largest import are_largest, as_count
from fixproj.projections._set import AbstractSet


class Sparse(AbstractSet):
    """The points with at most a given number of entries that are not zero.

    Not convex. Of entries of equal modulus the first are kept. The derivative is one on
    the entries that are kept.

    Args:
        k: the number of entries, at least 1. Static.
        axis: the axis of `x` along which a point lies.

    Raises:
        TypeError: if an argument is not an integer.
        ValueError: if `k` is less than 1.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Sparse
        >>> print(Sparse(2).project(jnp.array([1.0, -3.0, 2.0, -2.0])))
        [ 0. -3.  2.  0.]
    """

    k: int = eqx.field(static=True)
    axis: int = eqx.field(static=True)

    def __init__(self, k: int, axis: int = -1):
        self.k = as_count(k)
        self.axis = as_axis(axis)

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns a nearest point.

        Args:
            x: the point or points.

        Returns:
            An array of the shape and dtype of `x`. A point with a NaN gives NaNs.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if `x` has no such axis.
        """
        x = as_floating(x, "x")
        axis = position(self.axis, x)
        size = jnp.moveaxis(jnp.abs(x), axis, -1)
        kept = jnp.moveaxis(are_largest(size, self.k), -1, axis)
        bad = jnp.any(jnp.isnan(x), axis, keepdims=True)
        return jnp.where(bad, jnp.nan, jnp.where(kept, x, 0))
