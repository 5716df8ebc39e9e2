r"""Power cone: {(x, y, z) : x^alpha y^(1 - alpha) >= |z|, x, y >= 0}.

Outside the simple cases the projection of (x0, y0, z0) is (x, y, r sign(z0)) with
0 < r < |z0|, m = r (|z0| - r), and

    x^2 - x0 x = alpha m,   y^2 - y0 y = (1 - alpha) m,   x^alpha y^(1 - alpha) = r.

L. T. K. Hien, "Differential properties of Euclidean projection onto power cone" (2015),
theorem 2.3. The last equation is solved in logarithms, for the variable v with
r = |z0| / (1 + e^-v), which keeps the digits of r and of |z0| - r:

    x = sqrt(alpha m) e^p,   p = asinh(x0 / (2 sqrt(alpha m))),   the same for y and q,

so that nothing underflows however thin the cone is.

Derivative: by implicit differentiation. With s = r / |z0|, t = 1 - s, sigma the
logistic function, P = alpha sigma(-2 p) + (1 - alpha) sigma(-2 q), D = t (1 - P) + s P
and w = (sqrt(alpha) / (2 cosh p), sqrt(1 - alpha) / (2 cosh q)), for z0 > 0,

    dP = [diag(sigma(2 p), sigma(2 q)) + (t - s) / D w w',  sqrt(s t) / D w]
         [sqrt(s t) / D w',                                         s P / D].
"""

import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
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
    # Nothing is left of the root where x = 0 and m has underflowed.
    small = 2 * m / jnp.where(positive | (root == x), 1, root - x)
    return jnp.where(positive, 0.5 * (x + root), small)


@jax.custom_jvp
def _log_ratio(t, log_g):
    """asinh(t / (2 g)): the positive root of s^2 - t s = g^2 is g times its exp."""
    d = jnp.log(jnp.abs(t)) - log_g - math.log(2)
    small = jnp.exp(-jnp.abs(d))
    long = jnp.sqrt(1 + small * small)
    rest = jnp.where(d > 0, d, 0) + jnp.log(long + jnp.where(d > 0, 1, small))
    return jnp.sign(t) * rest


def _log_ratio_jvp(primals, tangents):
    (t, log_g), (dt, dlog_g) = primals, tangents
    result = _log_ratio(t, log_g)
    if isinstance(dlog_g, SymbolicZero):
        dlog_g = jnp.zeros_like(log_g)
    change = -jnp.tanh(result) * dlog_g
    # In the search for the root t is constant, and this is half of the work.
    if not isinstance(dt, SymbolicZero):
        # 1 / sqrt(t^2 + 4 g^2), which is 1 / (2 g cosh); g may have underflowed.
        log_inverse = _log_half_sech(result) - log_g
        limit = 80.0 if t.dtype == jnp.float32 else 700.0
        change = change + jnp.exp(jnp.minimum(log_inverse, limit)) * dt
    return result, change


_log_ratio.defjvp(_log_ratio_jvp, symbolic_zeros=True)


def _log_half_sech(t):
    return jax.nn.log_sigmoid(2 * t) - t


def _pieces(alpha, x, y, z):
    """The equation of v, |z|, and the two logarithms of x / g_x and y / g_y."""
    # z = 0 has its limit as z -> 0, which is nearer than rounding.
    least = 1e-17 if x.dtype == jnp.float32 else 1e-30
    size = jnp.maximum(jnp.abs(z), least)
    log_size, beta = jnp.log(size), 1 - alpha

    def logarithms(v):
        log_h = log_size + _log_half_sech(0.5 * v)
        log_gx, log_gy = log_h + 0.5 * jnp.log(alpha), log_h + 0.5 * jnp.log(beta)
        return log_gx, log_gy, _log_ratio(x, log_gx), _log_ratio(y, log_gy)

    def function(v):
        log_gx, log_gy, lx, ly = logarithms(v)
        log_r = log_size + jax.nn.log_sigmoid(v)
        return log_r - alpha * (log_gx + lx) - beta * (log_gy + ly)

    return function, size, lambda v: logarithms(v)[2:]


@jax.jit
def _project(alpha, v):
    alpha = jnp.broadcast_to(alpha, v.shape[1:])
    root = _root(*jax.lax.stop_gradient((alpha, v)))
    return _nearest(alpha, v, jax.lax.stop_gradient(root))


def _root(alpha, v):
    x, y, z = normalised(v)[0]
    function, _, _ = _pieces(alpha, x, y, z)
    # Beyond, r or |z| - r is so small that its power is below rounding.
    single = x.dtype == jnp.float32
    reach = (36.0 if single else 76.0) / jnp.minimum(alpha, 1 - alpha)
    steps = 24 if single else 44
    return bracketed_root(function, -reach, reach, jnp.zeros_like(z), steps)


@jax.custom_jvp
def _nearest(alpha, v, root):
    v, restore = normalised(v)
    x, y, z = v
    inside, polar = _cases(alpha, x, y, z)
    _, size, _ = _pieces(alpha, x, y, z)
    r = size * jax.nn.sigmoid(root)
    m = r * (size * jax.nn.sigmoid(-root))
    new_x, new_y = _positive_root(x, alpha * m), _positive_root(y, (1 - alpha) * m)
    result = jnp.stack([new_x, new_y, jnp.sign(z) * r])
    result = jnp.where(polar[None], 0, result)
    # 0 * v lets no NaN vanish, and makes one of an infinity.
    result = jnp.where(inside[None], v, result) + 0 * jnp.sum(v, 0, keepdims=True)
    return restore(result)


@_nearest.defjvp
def _nearest_jvp(primals, tangents):
    alpha, given, root = primals
    dalpha, dv, _ = tangents
    v, restore = normalised(given)
    x0, y0, z0 = v
    inside, polar = _cases(alpha, x0, y0, z0)
    function, size, logarithms = _pieces(alpha, x0, y0, z0)
    root = with_derivative(function, root)
    lx, ly = logarithms(root)
    beta = 1 - alpha
    sign = jnp.where(z0 < 0, -1, 1).astype(x0.dtype)
    # With h = |z| sech(v / 2) / 2 = sqrt(m), every entry is one of rounding or more.
    s, t = jax.nn.sigmoid(root), jax.nn.sigmoid(-root)
    part = alpha * jax.nn.sigmoid(-2 * lx) + beta * jax.nn.sigmoid(-2 * ly)
    rest = alpha * jax.nn.sigmoid(2 * lx) + beta * jax.nn.sigmoid(2 * ly)
    slope = t * rest + s * part
    slope = jnp.maximum(slope, float(jnp.finfo(slope.dtype).tiny))
    wx = jnp.sqrt(alpha) * jnp.exp(_log_half_sech(lx))
    wy = jnp.sqrt(beta) * jnp.exp(_log_half_sech(ly))
    mean = jnp.exp(_log_half_sech(0.5 * root))
    # Tangents are of the given point, and alpha's act on a scaled one.
    lift = size * restore(dalpha[None])[0]
    bend = jax.nn.sigmoid(-2 * lx) - jax.nn.sigmoid(-2 * ly) + lx - ly
    bend = bend + 0.5 * (jnp.log(alpha) - jnp.log(beta))
    dx0, dy0, dz0 = dv[0], dv[1], sign * dv[2]
    common = (wx * dx0 + wy * dy0 + lift * mean * bend) / slope
    across = (t - s) * common + mean / slope * dz0
    dx = jax.nn.sigmoid(2 * lx) * dx0 + wx * (across + lift * mean / alpha)
    dy = jax.nn.sigmoid(2 * ly) * dy0 + wy * (across - lift * mean / beta)
    dr = mean * common + s * part / slope * dz0
    moved = jnp.stack([dx, dy, sign * dr])
    moved = jnp.where(polar[None], 0, moved)
    return _nearest(alpha, given, root), jnp.where(inside[None], dv, moved)
