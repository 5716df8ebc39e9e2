"""Linear function: f(x) = <c, x>; prox(x) = x - s c."""

from typing import Any

from jaxtyping import Array, ArrayLike, Float, PyTree

from fixproj.projections._check import as_parameter, require_finite
from fixproj.projections._function import AbstractFunction, prox_each, total


class Linear(AbstractFunction):
    """The inner product with a vector.

    Args:
        slope: the vector c, a scalar or an array that broadcasts to `x`.

    Raises:
        TypeError: if `slope` is not real.
        ValueError: if it is not finite.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Linear
        >>> print(Linear(jnp.array([1.0, -1.0])).prox(jnp.zeros(2), 0.5))
        [-0.5  0.5]
    """

    slope: Float[Array, "..."]

    def __init__(self, slope: ArrayLike):
        self.slope = require_finite(as_parameter(slope, "slope"), "slope")

    def __call__(self, x: PyTree) -> Float[Array, ""]:
        """Returns `<c, x>`."""
        return total(x, lambda x, c: c * x, slope=self.slope)

    def prox(self, x: PyTree, step: Any = 1.0) -> PyTree:
        """Returns `x - step * c`."""
        return prox_each(x, step, lambda x, s, c: x - s * c, slope=self.slope)
