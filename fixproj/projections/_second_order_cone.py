r"""Second-order cones: {(t, x) : |x| <= t} and {(u, v, x) : |x|^2 <= 2 u v, u, v >= 0}.

With d = x / |x| a point has two spectral values, t + |x| along (1, d) and t - |x| along
(1, -d); the projection cuts the negative ones off. The derivative has their divided
difference k across d:

    P(t, x) = (t + |x|)+ (1, d) / 2 + (t - |x|)+ (1, -d) / 2
    dP = the same of the derivatives along (1, d), (1, -d), and k across,
    k = ((t + |x|)+ - (t - |x|)+) / (2 |x|).

M. Fukushima, Z.-Q. Luo and P. Tseng, "Smoothing functions for second-order-cone
complementarity problems" (2002), proposition 3.3. The rotated cone is the same after a
rotation of (u, v) by 45 degrees.
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import (
    as_axis,
    as_floating,
    computing_dtype,
    position,
)
from fixproj.projections._cone import AbstractCone
from fixproj.projections._norm import direction_and_norm


class SecondOrderCone(AbstractCone):
    """The points (t, x) with |x| <= t, the Lorentz or ice cream cone.

    The first entry of a point is t, as in cvxpy and SCS. Derivatives are exact, and
    finite everywhere; at the apex they are those of the polar cone, which are zero.

    Args:
        axis: the axis of `x`, of any length n >= 1, along which a point (t, x) lies.

    Raises:
        TypeError: if `axis` is not an integer.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import SecondOrderCone
        >>> print(SecondOrderCone().project(jnp.array([0.0, 3.0, 4.0])))
        [2.5 1.5 2. ]
    """

    is_self_dual: ClassVar[bool] = True
    axis: int = eqx.field(static=True)

    def __init__(self, axis: int = -1):
        self.axis = as_axis(axis)

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns the nearest point of the cone.

        Args:
            x: the point or points (t, x) along `axis`.

        Returns:
            An array of the shape and dtype of `x`.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if `x` has length 0 along `axis`.
        """
        x, axis = _checked(x, self.axis, 1)
        y = jnp.moveaxis(x.astype(computing_dtype(x)), axis, -1)
        return jnp.moveaxis(_project(y), -1, axis).astype(x.dtype)


class RotatedSecondOrderCone(AbstractCone):
    """The points (u, v, x) with |x|^2 <= 2 u v, u >= 0, v >= 0.

    The first two entries of a point are u and v. The factor 2 makes the cone self-dual;
    a constraint |x|^2 <= u v is had by halving u.

    Args:
        axis: the axis of `x`, of any length n >= 2, along which a point lies.

    Raises:
        TypeError: if `axis` is not an integer.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import RotatedSecondOrderCone
        >>> import numpy as np
        >>> cone = RotatedSecondOrderCone()
        >>> print(cone.contains(jnp.array([1.0, 2.0, 2.0])))
        True
        >>> print(np.round(cone.project(jnp.array([1.0, 1.0, -4.0])), 3))
        [ 1.914  1.914 -2.707]
    """

    is_self_dual: ClassVar[bool] = True
    axis: int = eqx.field(static=True)

    def __init__(self, axis: int = -1):
        self.axis = as_axis(axis)

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns the nearest point of the cone.

        Args:
            x: the point or points (u, v, x) along `axis`.

        Returns:
            An array of the shape and dtype of `x`.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if `x` has fewer than 2 entries along `axis`.
        """
        x, axis = _checked(x, self.axis, 2)
        y = jnp.moveaxis(x.astype(computing_dtype(x)), axis, -1)
        y = _rotate(_project(_rotate(y)))
        return jnp.moveaxis(y, -1, axis).astype(x.dtype)


def _checked(x, axis, least):
    x = as_floating(x, "x")
    axis = position(axis, x)
    if x.shape[axis] < least:
        raise ValueError(
            f"`x` of shape {x.shape} must have at least {least} entries along axis "
            f"{axis}."
        )
    return x, axis


def _rotate(x):
    """(u, v) -> (u + v, u - v) / sqrt(2), which is its own inverse."""
    half = float(np.sqrt(0.5))
    u, v = half * x[..., :1], half * x[..., 1:2]
    return jnp.concatenate([u + v, u - v, x[..., 2:]], -1)


def _spectrum(x):
    t = x[..., :1]
    direction, norm = direction_and_norm(x[..., 1:], -1)
    return t, direction, norm


@jax.jit
def _project(x):
    return _nearest(x)


@jax.custom_jvp
def _nearest(x):
    t, direction, norm = _spectrum(x)
    # Halves first: the sum of two large numbers may overflow.
    outer = jnp.maximum(0.5 * t + 0.5 * norm, 0)
    boundary = jnp.concatenate([outer, outer * direction], -1)
    # 0 * x lets no NaN vanish.
    return jnp.where(t >= norm, x, boundary + 0 * jnp.sum(x, -1, keepdims=True))


@_nearest.defjvp
def _nearest_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    t, direction, norm = _spectrum(x)
    dt, dx = dx[..., :1], dx[..., 1:]
    along = jnp.sum(direction * dx, -1, keepdims=True)
    outer = jnp.where(t + norm > 0, dt + along, 0)
    inner = jnp.where(t >= norm, dt - along, 0)
    # On the cone and on its polar the divided difference is 1 and 0, also on the axis.
    safe = jnp.where(norm == 0, 1, norm)
    across = jnp.where(t >= norm, 1, jnp.clip(0.5 + 0.5 * t / safe, 0, 1))
    across = jnp.where((t <= -norm) & (t < norm), 0, across)
    # At the apex all of it is the derivative on the polar cone.
    apex = (t == 0) & (norm == 0)
    outer, inner, across = (jnp.where(apex, 0, v) for v in (outer, inner, across))
    change = across * (dx - along * direction) + 0.5 * (outer - inner) * direction
    return _nearest(x), jnp.concatenate([0.5 * (outer + inner), change], -1)
