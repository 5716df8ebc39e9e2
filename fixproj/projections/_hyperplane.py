"""Hyperplane: {x : <a, x> = b}; P(x) = x - (<a, x> - b) a / |a|^2.

Written with the unit normal u = a / |a| and c = b / |a|, so that |a|^2 cannot overflow.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import as_axis, as_floating, require, require_finite
from fixproj.projections._normal import as_normal, as_offset, measure_along
from fixproj.projections._set import AbstractSet


class Hyperplane(AbstractSet):
    """The solutions of one linear equation.

    With `a = 0` it is the whole space if `b = 0`, and empty otherwise.

    Args:
        a: normal, of shape (n,); it need not have length one.
        b: offset, a scalar.
        axis: the axis of `x`, of length n, along which a point lies.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if an argument has the wrong shape or is not finite, or if the set
            is empty (a runtime error when they are traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Hyperplane
        >>> print(Hyperplane(jnp.array([0.0, 2.0]), 2.0).project(jnp.array([3.0, 5.0])))
        [3. 1.]
    """

    a: Float[Array, " n"]
    b: Float[Array, ""]
    axis: int = eqx.field(static=True)

    def __init__(self, a: ArrayLike, b: ArrayLike, axis: int = -1):
        self.a = as_normal(a)
        b = as_offset(b, "b")
        self.b = require(
            require_finite(b, "b"),
            lambda a, b: jnp.any(a != 0) | (b == 0),
            self.a,
            b,
            message="`b` must be zero when `a` is zero: the set is empty.",
        )
        self.axis = as_axis(axis)

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns the nearest point of the hyperplane.

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
        offset = self.b.astype(inner.dtype) / length
        y = x.astype(inner.dtype) - (inner - offset) * unit
        # Once more, for what the sum over a point far away has lost to rounding.
        rest = jnp.sum(unit * y, self.axis, keepdims=True) - offset
        return (y - rest * unit).astype(x.dtype)
