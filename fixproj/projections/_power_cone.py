r"""Power cone: {(x, y, z) : x^alpha y^(1 - alpha) >= |z|, x, y >= 0}.

Outside the simple cases the projection of (x0, y0, z0) is (x, y, r sign(z0)) with
0 < r < |z0|, m = r (|z0| - r), and

    x^2 - x0 x = alpha m,   y^2 - y0 y = (1 - alpha) m,   x^alpha y^(1 - alpha) = r.

L. T. K. Hien, "Differential properties of Euclidean projection onto power cone" (2015),
theorem 2.3. The last equation is solved in logarithms, for the variable v with
r = |z0| / (1 + e^-v), which keeps the digits of r and of |z0| - r.

Derivative: by implicit differentiation of the three equations, arranged such that every
denominator is a sum of nonnegative terms.
"""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import (
    as_axis,
    as_parameter,
    computing_dtype,
    per_point,
    require,
)
from fixproj.projections._cone import AbstractCone
from fixproj.projections._exponential_cone import normalised, triples
from fixproj.projections._scalar_root import bracketed_root, with_derivative


class PowerCone(AbstractCone):
    """The points (x, y, z) with x^alpha y^(1 - alpha) >= |z| and x, y >= 0.

    The order of the entries is that of cvxpy and SCS. The root is bracketed and solved
    to the precision of the dtype by a fixed number of steps, all points at once.
    Derivatives with respect to the point and to alpha are exact, and finite on the
    faces and at the apex.

    Args:
        alpha: exponent, strictly between 0 and 1; a scalar or an array that broadcasts
            to the batch: the shape of `x` without `axis`.
        axis: the axis of `x`, of length 3, along which a point lies.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if alpha is not strictly between 0 and 1 (a runtime error when it is
            traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import PowerCone
        >>> print(PowerCone(0.5).project(jnp.array([0.0, 0.0, 2.0])).round(4))
        [0.6667 0.6667 0.6667]
    """

    alpha: Float[Array, "..."]
    is_self_dual: ClassVar[bool] = False
    axis: int = eqx.field(static=True)

    def __init__(self, alpha: ArrayLike, axis: int = -1):
        alpha = as_parameter(alpha, "alpha")
        self.alpha = require(
            alpha,
            lambda a: (a > 0) & (a < 1),
            alpha,
            message="`alpha` must be strictly between 0 and 1.",
        )
        self.axis = as_axis(axis)

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns the nearest point of the cone.

        Args:
            x: the point or points (x, y, z) along `axis`.

        Returns:
            An array of the shape and dtype of `x`. A point with a NaN gives NaNs.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if `x` does not have length 3 along `axis`, or alpha does not
                broadcast to the batch.
        """
        x, axis = triples(x, self.axis)
        dtype = computing_dtype(x)
        alpha = per_point("alpha", self.alpha.astype(dtype), x, axis)
        v = jnp.moveaxis(x.astype(dtype), axis, 0)
        y = _project(jnp.squeeze(alpha, axis), v)
        return jnp.moveaxis(y, 0, axis).astype(x.dtype)


def _cases(alpha, x, y, z):
    """Whether the point is in the cone, and in the polar cone."""
    size = jnp.abs(z)

    def power(x, y):
        usable = (x > 0) & (y > 0)
        logs = alpha * jnp.log(jnp.where(usable, x, 1))
        logs = logs + (1 - alpha) * jnp.log(jnp.where(usable, y, 1))
        return jnp.where(usable, jnp.exp(logs), 0)

    inside = (x >= 0) & (y >= 0) & (size <= power(x, y))
    polar = (x <= 0) & (y <= 0) & (size <= power(-x / alpha, -y / (1 - alpha)))
    return inside, polar


def _positive_root(x, m):
    """The positive root of t^2 - x t = m, and the root of the discriminant."""
    root = jnp.sqrt(x * x + 4 * m)
    positive = x > 0
    small = 2 * m / jnp.where(positive, 1, root - x)
    return jnp.where(positive, 0.5 * (x + root), small)


def _solve(alpha, x, y, z):
    """x, y, r, m of the projection of a normalised point outside the simple cases."""
    dtype = x.dtype
    # z = 0 has its limit as z -> 0, which is nearer than rounding.
    least = 1e-17 if dtype == jnp.float32 else 1e-30
    size = jnp.maximum(jnp.abs(z), least)

    def parts(v):
        r = size * jax.nn.sigmoid(v)
        m = r * (size * jax.nn.sigmoid(-v))
        return r, m, _positive_root(x, alpha * m), _positive_root(y, (1 - alpha) * m)

    def function(v):
        r, _, new_x, new_y = parts(v)
        return jnp.log(r) - alpha * jnp.log(new_x) - (1 - alpha) * jnp.log(new_y)

    # Beyond, r or |z| - r is so small that its power is below rounding.
    single = dtype == jnp.float32
    reach = (36.0 if single else 76.0) / jnp.minimum(alpha, 1 - alpha)
    reach = jnp.minimum(reach, 80.0 if single else 600.0)
    reach = jnp.broadcast_to(reach, size.shape)
    steps = 24 if dtype == jnp.float32 else 44
    v = bracketed_root(function, -reach, reach, jnp.zeros_like(size), steps)
    return v, function, parts


@jax.custom_jvp
def _project(alpha, v):
    v, restore = normalised(v)
    x, y, z = v
    inside, polar = _cases(alpha, x, y, z)
    root, _, parts = _solve(alpha, x, y, z)
    r, _, new_x, new_y = parts(root)
    result = jnp.stack([new_x, new_y, jnp.sign(z) * r])
    result = jnp.where(polar[None], 0, result)
    # 0 * v lets no NaN vanish, and makes one of an infinity.
    result = jnp.where(inside[None], v, result) + 0 * jnp.sum(v, 0, keepdims=True)
    return restore(result)


@_project.defjvp
def _project_jvp(primals, tangents):
    alpha, given = primals
    dalpha, dv = tangents
    v, restore = normalised(given)
    x0, y0, z0 = v
    inside, polar = _cases(alpha, x0, y0, z0)
    root, function, parts = _solve(alpha, x0, y0, z0)
    r, m, x, y = parts(with_derivative(function, root))
    sign = jnp.where(z0 < 0, -1, 1).astype(x.dtype)
    dx0, dy0, dz0 = dv[0], dv[1], sign * dv[2]
    # Tangents are of the given point, and alpha's act on a scaled one.
    dalpha = restore(dalpha[None])[0]
    beta = 1 - alpha
    norm_x, norm_y = x * x + alpha * m, y * y + beta * m
    share = (alpha * r) ** 2 / norm_x + (beta * r) ** 2 / norm_y
    rest = alpha * x * x / norm_x + beta * y * y / norm_y
    bend = alpha * m / norm_x - beta * m / norm_y + jnp.log(x / y)
    change = alpha * x * dx0 / norm_x + beta * y * dy0 / norm_y + dalpha * bend
    dr = (r * change + share * dz0) / (rest + share)
    # dm = (|z| - 2 r) dr + r d|z|, with |z| = r + m / r.
    dm = (m / r - r) * dr + r * dz0
    dx = (x * dx0 + alpha * dm + m * dalpha) * (x / norm_x)
    dy = (y * dy0 + beta * dm - m * dalpha) * (y / norm_y)
    moved = jnp.stack([dx, dy, sign * dr])
    moved = jnp.where(polar[None], 0, moved)
    return _project(alpha, given), jnp.where(inside[None], dv, moved)
