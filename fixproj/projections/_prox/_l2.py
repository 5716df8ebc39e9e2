"""Euclidean norm, the group norm: f(x) = w |x|; prox(x) = max(1 - s w / |x|, 0) x."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import as_floating, broadcast, computing_dtype
from fixproj.projections._function import AbstractFunction, as_step, as_weight
from fixproj.projections._norm import direction_and_norm


class L2(AbstractFunction):
    """The Euclidean norm (not squared) of every point, summed over the points.

    With a matrix `x` it is the group lasso whose groups are the rows. The squared norm
    is never formed, and the derivative at zero is zero.

    Args:
        weight: a factor, a scalar or an array that broadcasts to the batch: the shape
            of `x` without `axis`.
        axis: the axis or axes of `x` along which a point lies; None for all of `x`.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if `weight` is negative or not finite (a runtime error when traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import L2
        >>> print(L2().prox(jnp.array([[6.0, 8.0], [0.3, 0.4]])))
        [[5.4 7.2]
         [0.  0. ]]
    """

    weight: Float[Array, "..."]
    axis: int | tuple[int, ...] | None = eqx.field(static=True)

    def __init__(
        self, weight: ArrayLike = 1.0, axis: int | tuple[int, ...] | None = -1
    ):
        self.weight = as_weight(weight)
        axes = () if axis is None else axis if isinstance(axis, tuple) else (axis,)
        if any(isinstance(a, bool) or not isinstance(a, int) for a in axes):
            raise TypeError(
                f"`axis` must be an integer, several or None, got {axis!r}."
            )
        self.axis = axis

    def __call__(self, x: Float[ArrayLike, "..."]) -> Float[Array, ""]:
        """Returns the weighted sum of the norms of the points."""
        x, weight = self._prepare(x)
        _, norm = direction_and_norm(x, self._axes(x))
        return jnp.sum(weight * norm)

    def prox(self, x: Float[ArrayLike, "..."], step: Any = 1.0) -> Float[Array, "..."]:
        """Returns the points, made shorter by `step * weight` but not below zero."""
        dtype = as_floating(x, "x").dtype
        x, weight = self._prepare(x)
        direction, norm = direction_and_norm(x, self._axes(x))
        threshold = as_step(step, x.dtype) * weight
        shrunk = x - threshold * direction
        # `>=`, so that a weight of zero is the identity; 0 * x passes a NaN on.
        return jnp.where(norm >= threshold, shrunk, 0 * x).astype(dtype)

    def _axes(self, x):
        if self.axis is None:
            return tuple(range(x.ndim))
        axes = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        for axis in axes:
            if not -x.ndim <= axis < x.ndim:
                raise ValueError(
                    f"`axis` = {axis} does not exist in `x` of shape {x.shape}."
                )
        return tuple(axis % x.ndim for axis in axes)

    def _prepare(self, x):
        x = as_floating(x, "x")
        dtype = computing_dtype(x)
        axes = self._axes(x)
        batch = tuple(n for i, n in enumerate(x.shape) if i not in axes)
        target = f"the batch shape {batch} of `x`"
        weight = broadcast("weight", self.weight.astype(dtype), batch, target)
        return x.astype(dtype), jnp.expand_dims(weight, axes)
