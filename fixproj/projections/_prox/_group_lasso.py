"""Group lasso: f(x) = sum_g w_g |x_g|; prox(x)_g = max(1 - s w_g / |x_g|, 0) x_g."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import (
    as_axis,
    as_floating,
    check_length,
    computing_dtype,
    is_concrete,
)
from fixproj.projections._function import AbstractFunction, as_step, as_weight


class GroupLasso(AbstractFunction):
    """The weighted sum of the Euclidean norms of groups of entries.

    For groups of equal size that are the rows of a matrix, `L2` is cheaper.

    Args:
        groups: the group of every entry, integers from 0 of shape (n,). They are part
            of the program, so they cannot be traced.
        weights: one factor for each group; None is the square root of its size.
        axis: the axis of `x`, of length n, along which a point lies.

    Raises:
        TypeError: if `groups` is traced or not made of integers.
        ValueError: if `groups` has a negative entry or not one axis, or `weights` is
            negative, not finite, or not one for each group.

    References:
        M. Yuan and Y. Lin (2006), Model selection and estimation in regression with
        grouped variables.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import GroupLasso
        >>> f = GroupLasso([0, 0, 1], weights=jnp.array([5.0, 1.0]))
        >>> print(f.prox(jnp.array([6.0, 8.0, 0.5])))
        [3. 4. 0.]
    """

    weights: Float[Array, " groups"]
    groups: tuple[int, ...] = eqx.field(static=True)
    axis: int = eqx.field(static=True)

    def __init__(self, groups: Any, weights: ArrayLike | None = None, axis: int = -1):
        if not is_concrete(groups):
            raise TypeError("`groups` must be known when the program is traced.")
        labels = np.asarray(groups)
        if labels.dtype.kind not in "iu":
            raise TypeError(f"`groups` must be integers, but has dtype {labels.dtype}.")
        if labels.ndim != 1 or labels.size == 0 or labels.min() < 0:
            raise ValueError(
                "`groups` must be integers >= 0 of shape (n,), n >= 1; the shape was "
                f"{labels.shape}."
            )
        self.groups = tuple(int(g) for g in labels)
        sizes = np.bincount(labels)
        self.weights = as_weight(
            np.sqrt(sizes).astype(float) if weights is None else weights, "weights"
        )
        if self.weights.shape != sizes.shape:
            raise ValueError(
                f"`weights` must have shape ({sizes.size},), one for each group, but "
                f"has shape {self.weights.shape}."
            )
        self.axis = as_axis(axis)

    def __call__(self, x: Float[ArrayLike, "..."]) -> Float[Array, ""]:
        """Returns the weighted sum of the norms of all groups."""
        x, _, norm, weights = self._prepare(x)
        del x
        return jnp.sum(weights * norm)

    def prox(self, x: Float[ArrayLike, "..."], step: Any = 1.0) -> Float[Array, "..."]:
        """Returns the groups, each made shorter by `step` times its weight."""
        dtype = as_floating(x, "x").dtype
        x, direction, norm, weights = self._prepare(x)
        groups = np.asarray(self.groups)
        threshold = as_step(step, x.dtype) * weights
        keep = (norm >= threshold)[groups]
        shrunk = x - (threshold * jnp.ones_like(norm))[groups] * direction
        z = jnp.where(keep, shrunk, 0 * x)
        return jnp.moveaxis(z, 0, self.axis).astype(dtype)

    def _prepare(self, x):
        x = as_floating(x, "x")
        check_length("groups", (len(self.groups),), x, self.axis)
        dtype = computing_dtype(x)
        x = jnp.moveaxis(x.astype(dtype), self.axis, 0)
        groups = np.asarray(self.groups)
        count = self.weights.shape[0]
        # As for one norm: scaled by the largest modulus, which is no variable.
        largest = jax.ops.segment_max(jnp.abs(x), groups, count)
        largest = stop_gradient(jnp.where(largest > 0, largest, 1))
        scaled = x / largest[groups]
        square = jax.ops.segment_sum(scaled**2, groups, count)
        root = jnp.sqrt(jnp.where(square == 0, 1, square))
        norm = jnp.where(square == 0, 0 * square, largest * root)
        weights = self.weights.astype(dtype).reshape([-1] + [1] * (x.ndim - 1))
        return x, scaled / root[groups], norm, weights
