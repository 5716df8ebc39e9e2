"""Ball of the l1/l2 mixed norm: {x : sum_g |x_g| <= r}, x_g the entries of group g.

P(x)_g = x_g max(|x_g| - t, 0) / |x_g|: the norms of the groups are projected onto the
l1 ball, and each group keeps its direction.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int

from fixproj.projections._check import (
    as_axis,
    as_floating,
    as_radius,
    check_length,
    computing_dtype,
    is_concrete,
    is_within,
    per_point,
)
from fixproj.projections._set import AbstractSet
from fixproj.projections._simplex import project_to_simplex


class GroupBall(AbstractSet):
    """The points whose group norms sum to at most the radius.

    With one entry per group this is the l1 ball, with one group the Euclidean one. On
    the boundary the derivative is that of the inside.

    Args:
        groups: the group of each entry, integers of shape (n,) from 0 to the number of
            groups minus 1. The entries of a group need not be neighbours. Not traced,
            as the number of groups is a shape.
        radius: radius, a scalar or an array that broadcasts to the batch: the shape of
            `x` without `axis`.
        axis: the axis of `x`, of length n, along which a point lies.

    Raises:
        TypeError: if an argument has the wrong type, or the groups are traced.
        ValueError: if the groups have the wrong shape or are negative, or the radius
            is negative or not finite (a runtime error when it is traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import GroupBall
        >>> ball = GroupBall([0, 1, 1], 5.0)
        >>> print(ball.project(jnp.array([6.0, 0.0, 3.0])))
        [4. 0. 1.]
    """

    groups: Int[Array, " n"]
    radius: Float[Array, "..."]
    num_groups: int = eqx.field(static=True)
    axis: int = eqx.field(static=True)

    def __init__(self, groups: ArrayLike, radius: ArrayLike = 1.0, axis: int = -1):
        if not is_concrete(*jax.tree.leaves(groups)):
            raise TypeError("`groups` must not be traced: their number is a shape.")
        known = np.asarray(groups)
        if not np.issubdtype(known.dtype, np.integer):
            raise TypeError(f"`groups` must be integers, but have dtype {known.dtype}.")
        if known.ndim != 1 or known.size == 0:
            raise ValueError(
                f"`groups` must have shape (n,) with n >= 1, but has shape "
                f"{known.shape}."
            )
        if known.min() < 0:
            raise ValueError(f"`groups` must not be negative, but has {known.min()}.")
        self.num_groups = int(known.max()) + 1
        self.groups = jnp.asarray(known, jnp.int32)
        self.radius = as_radius(radius)
        self.axis = as_axis(axis)

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns the nearest point of the ball.

        Args:
            x: the point or points, of length n along `axis`.

        Returns:
            An array of the shape and dtype of `x`. A point with a NaN gives NaNs.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if a parameter does not fit the shape of `x`.
        """
        x = as_floating(x, "x")
        check_length("groups", self.groups.shape, x, self.axis)
        dtype = computing_dtype(x)
        radius = per_point("radius", self.radius.astype(dtype), x, self.axis)
        radius = jnp.moveaxis(radius, self.axis, -1)
        wide = jnp.moveaxis(x.astype(dtype), self.axis, -1)
        # Scaled by the largest entry, squares neither overflow nor vanish.
        largest = lax.stop_gradient(jnp.max(jnp.abs(wide), -1, keepdims=True))
        # One may not divide by a subnormal number, which is flushed to zero.
        largest = jnp.where(largest < jnp.finfo(dtype).tiny, 0, largest)
        scaled = wide / jnp.where(largest == 0, 1, largest)
        squares = jax.ops.segment_sum(
            jnp.moveaxis(scaled**2, -1, 0), self.groups, self.num_groups
        )
        squares = jnp.moveaxis(squares, 0, -1)
        roots = jnp.sqrt(jnp.where(squares == 0, 1, squares))
        norms = largest * jnp.where(squares == 0, 0, roots)
        inside = is_within(jnp.sum(norms, -1, keepdims=True), radius)
        shrunk = project_to_simplex(norms.ndim - 1, norms, radius)
        # Inside it is not used, where the square of a small norm would vanish.
        factors = shrunk / jnp.where(inside | (norms == 0), 1, norms)
        nearest = wide * jnp.take(factors, self.groups, axis=-1)
        y = jnp.where(inside, wide, nearest)
        return jnp.moveaxis(y, -1, self.axis).astype(x.dtype)
