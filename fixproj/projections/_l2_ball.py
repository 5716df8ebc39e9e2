"""Euclidean ball: {x : |x - c| <= r}; P(x) = c + r (x - c) / max(r, |x - c|)."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import (
    along,
    as_axis,
    as_floating,
    as_parameter,
    as_radius,
    check_length,
    computing_dtype,
    is_within,
    per_point,
    require_finite,
)
from fixproj.projections._norm import direction_and_norm
from fixproj.projections._set import AbstractSet


class L2Ball(AbstractSet):
    """The points within a Euclidean distance of a centre.

    The squared norm is never formed, so entries of 1e30 in float32 do no harm. On the
    sphere the derivative is that of the outside; everywhere it is finite.

    Args:
        radius: radius, a scalar or an array that broadcasts to the batch: the shape of
            `x` without `axis`.
        center: centre, of shape (n,), or a scalar for all entries, or `None` for zero.
        axis: the axis of `x`, of length n, along which a point lies.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if the radius is negative, or a value is not finite (a runtime error
            when it is traced), or the centre has more than one axis.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import L2Ball
        >>> print(L2Ball(10.0).project(jnp.array([[12.0, 16.0], [3.0, 4.0]])))
        [[6. 8.]
         [3. 4.]]
    """

    radius: Float[Array, "..."]
    center: Float[Array, "..."] | None
    axis: int = eqx.field(static=True)

    def __init__(
        self,
        radius: ArrayLike = 1.0,
        center: ArrayLike | None = None,
        axis: int = -1,
    ):
        self.radius = as_radius(radius)
        if center is None:
            self.center = None
        else:
            center = as_parameter(center, "center")
            if center.ndim > 1:
                raise ValueError(
                    "`center` must be a scalar or have shape (n,), but has shape "
                    f"{center.shape}."
                )
            self.center = require_finite(center, "center")
        self.axis = as_axis(axis)

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns the nearest point of the ball.

        Args:
            x: the point or points, of length n along `axis`.

        Returns:
            An array of the shape and dtype of `x`.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if the radius or centre does not fit the shape of `x`.
        """
        x = as_floating(x, "x")
        dtype = computing_dtype(x)
        radius = per_point("radius", self.radius.astype(dtype), x, self.axis)
        center = self._center(x, dtype)
        direction, norm = direction_and_norm(x.astype(dtype) - center, self.axis)
        nearest = (center + radius * direction).astype(x.dtype)
        return jnp.where(is_within(norm, radius), x, nearest)

    def _center(self, x, dtype):
        if self.center is None:
            return jnp.zeros([1] * x.ndim, dtype)
        if self.center.ndim == 0:
            return self.center.astype(dtype).reshape([1] * x.ndim)
        check_length("center", self.center.shape, x, self.axis)
        return along(self.center.astype(dtype), x, self.axis)
