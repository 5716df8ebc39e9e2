"""Box cut by a hyperplane: {x : lower <= x <= upper, <a, x> = b}.

P(x) = clip(x - t a, lower, upper) with the t for which <a, P(x)> = b; see `_knapsack`.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import (
    along,
    as_axis,
    as_floating,
    as_parameter,
    broadcast,
    check_length,
    computing_dtype,
    position,
    require,
    require_finite,
)
from fixproj.projections._knapsack import clip_to_plane
from fixproj.projections._normal import as_normal, as_offset
from fixproj.projections._set import AbstractSet


class BoxHyperplane(AbstractSet):
    """The points of a box that satisfy one linear equation.

    Bounds may be infinite and entries of `a` zero or negative. The derivative is the
    exact one of the face: entries at a bound move with the bound, the others stay on
    the hyperplane.

    Args:
        lower: smallest values, a scalar or of shape (n,); `-inf` for no bound.
        upper: largest values, likewise; `inf` for no bound.
        a: normal of the hyperplane, of shape (n,).
        b: offset of the hyperplane, a scalar.
        axis: the axis of `x`, of length n, along which a point lies.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a shape is wrong, `a` or `b` is not finite, `lower > upper`, or
            the hyperplane misses the box (a runtime error when they are traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import BoxHyperplane
        >>> section = BoxHyperplane(0.0, 1.0, jnp.array([1.0, 1.0, 2.0]), 2.0)
        >>> print(section.project(jnp.array([3.0, 0.0, 1.0])).round(3))
        [1.  0.  0.5]
    """

    lower: Float[Array, "..."]
    upper: Float[Array, "..."]
    a: Float[Array, " n"]
    b: Float[Array, ""]
    axis: int = eqx.field(static=True)

    def __init__(
        self,
        lower: ArrayLike,
        upper: ArrayLike,
        a: ArrayLike,
        b: ArrayLike,
        axis: int = -1,
    ):
        self.a = as_normal(a)
        target = f"the shape {self.a.shape} of `a`"
        lower = as_parameter(lower, "lower")
        upper = as_parameter(upper, "upper")
        broadcast("lower", lower, self.a.shape, target)
        broadcast("upper", upper, self.a.shape, target)
        self.lower = require(
            lower, _ordered, lower, upper, message="`lower` must not exceed `upper`."
        )
        self.upper = upper
        b = require_finite(as_offset(b, "b"), "b")
        self.b = require(
            b,
            _meets,
            lower,
            upper,
            self.a,
            b,
            message=(
                "`b` must lie between the smallest and the largest value of <a, x> in "
                "the box, otherwise the hyperplane misses it."
            ),
        )
        self.axis = as_axis(axis)

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns the nearest point.

        Args:
            x: the point or points, of length n along `axis`.

        Returns:
            An array of the shape and dtype of `x`. A point with a NaN gives NaNs.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if `x` does not have length n along `axis`.
        """
        x = as_floating(x, "x")
        check_length("a", self.a.shape, x, self.axis)
        dtype = computing_dtype(x)
        axis = position(self.axis, x)

        def laid(parameter):
            parameter = parameter.astype(dtype)
            if parameter.ndim == 1:
                return along(parameter, x, axis)
            return parameter.reshape([1] * x.ndim)

        y = clip_to_plane(
            x.astype(dtype),
            laid(self.a),
            laid(self.lower),
            laid(self.upper),
            laid(self.b),
            axis,
        )
        return y.astype(x.dtype)


def _ordered(lower, upper):
    dtype = computing_dtype(lower, upper)
    shape = jnp.broadcast_shapes(lower.shape, upper.shape)
    lower = jnp.broadcast_to(lower.astype(dtype), shape)
    upper = jnp.broadcast_to(upper.astype(dtype), shape)
    return (lower <= upper) & (lower < jnp.inf) & (upper > -jnp.inf)


def _meets(lower, upper, a, b):
    dtype = computing_dtype(lower, upper, a, b)
    a = a.astype(dtype)
    lower = jnp.broadcast_to(lower.astype(dtype), a.shape)
    upper = jnp.broadcast_to(upper.astype(dtype), a.shape)
    # An infinite bound times zero is zero.
    at_lower = jnp.where(a == 0, 0, a * jnp.where(a == 0, 0, lower))
    at_upper = jnp.where(a == 0, 0, a * jnp.where(a == 0, 0, upper))
    smallest = jnp.sum(jnp.minimum(at_lower, at_upper))
    largest = jnp.sum(jnp.maximum(at_lower, at_upper))
    # The entries are known to their own precision only.
    finite = jnp.where(jnp.isinf(at_lower), 0, jnp.abs(at_lower)) + jnp.where(
        jnp.isinf(at_upper), 0, jnp.abs(at_upper)
    )
    eps = jnp.finfo(jnp.float32 if dtype == jnp.float32 else jnp.float64).eps
    noise = 8 * float(eps) * (jnp.sum(finite) + jnp.abs(b.astype(dtype)))
    b = b.astype(dtype)
    return (smallest - noise <= b) & (b <= largest + noise)
