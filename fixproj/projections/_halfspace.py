"""Half-space: {x : <a, x> <= b}; P(x) = x - max(0, <a, x> - b) a / |a|^2.

Written with the unit normal u = a / |a| and c = b / |a|, so that |a|^2 cannot overflow.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import (
    along,
    as_axis,
    as_floating,
    as_parameter,
    check_length,
    computing_dtype,
    require,
    require_finite,
)
from fixproj.projections._norm import direction_and_norm
from fixproj.projections._set import AbstractSet


class Halfspace(AbstractSet):
    """The points on one side of a hyperplane.

    With `a = 0` it is the whole space if `b >= 0`, and empty otherwise. On the
    hyperplane the derivative is that of the outside.

    Args:
        a: outward normal, of shape (n,); it need not have length one.
        b: offset, a scalar.
        axis: the axis of `x`, of length n, along which a point lies.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if an argument has the wrong shape or is not finite, or if the set
            is empty (a runtime error when they are traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Halfspace
        >>> halfspace = Halfspace(jnp.array([0.0, 2.0]), 2.0)
        >>> print(halfspace.project(jnp.array([[3.0, 5.0], [0.0, 0.0]])))
        [[3. 1.]
         [0. 0.]]
    """

    a: Float[Array, " n"]
    b: Float[Array, ""]
    axis: int = eqx.field(static=True)

    def __init__(self, a: ArrayLike, b: ArrayLike, axis: int = -1):
        a = as_parameter(a, "a")
        b = as_parameter(b, "b")
        if a.ndim != 1:
            raise ValueError(f"`a` must have shape (n,), but has shape {a.shape}.")
        if b.ndim != 0:
            raise ValueError(f"`b` must be a scalar, but has shape {b.shape}.")
        self.a = require_finite(a, "a")
        self.b = require(
            require_finite(b, "b"),
            lambda a, b: jnp.any(a != 0) | (b >= 0),
            a,
            b,
            message="`b` must not be negative when `a` is zero: the set is empty.",
        )
        self.axis = as_axis(axis)

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns the nearest point of the half-space.

        Args:
            x: the point or points, of length n along `axis`.

        Returns:
            An array of the shape and dtype of `x`.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if `x` does not have length n along `axis`.
        """
        x = as_floating(x, "x")
        check_length("a", self.a.shape, x, self.axis)
        dtype = computing_dtype(x)
        unit, length = direction_and_norm(self.a.astype(dtype), None)
        offset = self.b.astype(dtype) / jnp.where(length[0] == 0, 1, length[0])
        unit = along(unit, x, self.axis)
        inner = jnp.sum(unit * x.astype(dtype), axis=self.axis, keepdims=True)
        excess = inner - offset
        nearest = (x.astype(dtype) - excess * unit).astype(x.dtype)
        return jnp.where(excess >= 0, nearest, x)
