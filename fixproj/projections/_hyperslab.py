"""Hyperslab: {x : l <= <a, x> <= u}.

P(x) = x - (<a, x> - clip(<a, x>, l, u)) a / |a|^2.
Written with the unit normal a / |a|, so that |a|^2 cannot overflow.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import as_axis, as_floating, require
from fixproj.projections._normal import as_normal, as_offset, measure_along
from fixproj.projections._set import AbstractSet


class Hyperslab(AbstractSet):
    """The points between two parallel hyperplanes.

    With `a = 0` it is the whole space if zero lies between the bounds, and empty
    otherwise. On a hyperplane the derivative is that of the outside.

    Args:
        a: normal, of shape (n,); it need not have length one.
        lower: smallest value of `<a, x>`, a scalar; `-inf` for no bound.
        upper: largest value; `inf` for no bound.
        axis: the axis of `x`, of length n, along which a point lies.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if an argument has the wrong shape, `a` is not finite, a bound is
            NaN, or the set is empty (a runtime error when they are traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Hyperslab
        >>> slab = Hyperslab(jnp.array([0.0, 2.0]), -2.0, 2.0)
        >>> print(slab.project(jnp.array([[3.0, 5.0], [3.0, -5.0], [0.0, 0.5]])))
        [[ 3.   1. ]
         [ 3.  -1. ]
         [ 0.   0.5]]
    """

    a: Float[Array, " n"]
    lower: Float[Array, ""]
    upper: Float[Array, ""]
    axis: int = eqx.field(static=True)

    def __init__(
        self, a: ArrayLike, lower: ArrayLike, upper: ArrayLike, axis: int = -1
    ):
        self.a = as_normal(a)
        self.upper = as_offset(upper, "upper")
        self.lower = require(
            as_offset(lower, "lower"),
            _leaves_a_point,
            self.a,
            as_offset(lower, "lower"),
            self.upper,
            message=(
                "`lower` must not be larger than `upper`, nor NaN, nor may both be the "
                "same infinity; and zero must lie between them when `a` is zero."
            ),
        )
        self.axis = as_axis(axis)

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns the nearest point of the slab.

        Args:
            x: the point or points, of length n along `axis`.

        Returns:
            An array of the shape and dtype of `x`.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if `x` does not have length n along `axis`.
        """
        x = as_floating(x, "x")
        unit, inner, length = measure_along(self.a, x, self.axis)
        lower = _scale(self.lower.astype(inner.dtype), length)
        upper = _scale(self.upper.astype(inner.dtype), length)
        above, below = inner >= upper, inner <= lower
        # An infinite bound takes part neither here nor in the derivative.
        bound = jnp.where(above, upper, jnp.where(below, lower, 0))
        nearest = (x.astype(inner.dtype) - (inner - bound) * unit).astype(x.dtype)
        return jnp.where(above | below, nearest, x)


def _scale(bound, length):
    # The derivative of an infinite quotient would be NaN.
    infinite = jnp.isinf(bound)
    return jnp.where(infinite, bound, jnp.where(infinite, 0, bound) / length)


def _leaves_a_point(a, lower, upper):
    ordered = (lower <= upper) & (lower < jnp.inf) & (upper > -jnp.inf)
    return ordered & (jnp.any(a != 0) | ((lower <= 0) & (upper >= 0)))
