"""Largest entry: f(x) = w max x; prox(x) = min(x, t) with sum max(x - t, 0) = s w.

By Moreau's identity x - prox(x) is the projection onto the simplex of radius s w.
"""

from typing import Any

import equinox as eqx
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import as_axis
from fixproj.projections._function import AbstractFunction, as_positive
from fixproj.projections._prox._sum_of_largest import SumOfLargest


class Max(AbstractFunction):
    """The largest entry of every point, summed over the points.

    Args:
        weight: a positive factor, a scalar or an array that broadcasts to the batch.
        axis: the axis of `x` along which a point lies.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if `weight` is not finite and positive.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Max
        >>> print(Max().prox(jnp.array([3.0, 2.5, 1.0])))
        [2.25 2.25 1.  ]
    """

    weight: Float[Array, "..."]
    axis: int = eqx.field(static=True)

    def __init__(self, weight: ArrayLike = 1.0, axis: int = -1):
        self.weight = as_positive(weight, "weight")
        self.axis = as_axis(axis)

    def __call__(self, x: Float[ArrayLike, "..."]) -> Float[Array, ""]:
        """Returns the weighted sum of the largest entries of all points."""
        return SumOfLargest(1, self.weight, self.axis)(x)

    def prox(self, x: Float[ArrayLike, "..."], step: Any = 1.0) -> Float[Array, "..."]:
        """Returns the minimiser: `x` cut off from above."""
        return SumOfLargest(1, self.weight, self.axis).prox(x, step)
