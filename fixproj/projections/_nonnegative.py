"""Nonnegative orthant: {x : x >= 0}; P(x) = max(x, 0), entry by entry."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import as_floating
from fixproj.projections._set import AbstractSet


class NonNegative(AbstractSet):
    """The points without negative entries.

    All of `x` is one point. The derivative at zero is zero, as on the bounds of a box.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import NonNegative
        >>> print(NonNegative().project(jnp.array([-2.0, 5.0])))
        [0. 5.]
    """

    axis: ClassVar[None] = None

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns the positive part.

        Args:
            x: the point, of any shape.

        Returns:
            An array of the shape and dtype of `x`. A NaN stays one.

        Raises:
            TypeError: if `x` is not real and floating.
        """
        x = as_floating(x, "x")
        return jnp.where(x <= 0, jnp.zeros_like(x), x)
