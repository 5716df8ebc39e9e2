r"""Exponential cone: the closure of {(x, y, z) : y > 0, y exp(x / y) <= z}.

Outside the simple cases the point v = (x, y, z) is a u(rho) - b w(rho), where a, b > 0
and u, w are orthogonal rays of the cone and of its dual:

    u = (rho, 1, e^rho),    w = (-1, rho - 1, e^-rho),
    a = (y + (rho - 1) x) / D,   b = (x - rho y) / D,   D = rho^2 - rho + 1,

and rho is the root of the third coordinate, a e^rho - b e^-rho = z, which increases
where a, b > 0: H. A. Friberg, "Projection onto the exponential cone: a univariate
root-finding problem" (2021), section 4. The projection is a u(rho).

Solved here is its logarithm, rho = log((z + sqrt(z^2 + 4 a b)) / (2 a)), which is
nearly linear in rho and neither overflows nor needs an exponential. The substitution
rho -> 1 - rho swaps x with y and a with b; it is used to have rho >= 1/2, whence the
unbounded side is always the upper one, and a start is Lambert's W.

Derivative: with e the part of u' across u, |e| = g, and k = a g^2 / (a g^2 + b),
dP = u u' / |u|^2 + k e e' / g^2: all of a change along the ray, a part k along the
cone's surface, and none along its normal w.
"""

import math
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import (
    as_axis,
    as_floating,
    computing_dtype,
    position,
)
from fixproj.projections._cone import AbstractCone
from fixproj.projections._scalar_root import bracketed_root, with_derivative


# In double and in single precision.
_STEPS = {False: 24, True: 16}


class ExponentialCone(AbstractCone):
    """The closure of the points (x, y, z) with y > 0 and y exp(x / y) <= z.

    The order of the entries is that of cvxpy and SCS. The closure adds the face
    {x <= 0, y = 0, z >= 0}. The root is bracketed and solved to the precision of the
    dtype by a fixed number of steps, all points at once. Derivatives are exact, and
    finite on the faces and at the apex.

    Args:
        axis: the axis of `x`, of length 3, along which a point lies.

    Raises:
        TypeError: if `axis` is not an integer.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import ExponentialCone
        >>> cone = ExponentialCone()
        >>> y = cone.project(jnp.array([1.0, 1.0, 1.0]))
        >>> print(*(f"{v:.3f}" for v in y))
        0.426 0.752 1.325
        >>> print(cone.project(jnp.array([-2.0, -1.0, 1.0])))
        [-2.  0.  1.]
    """

    is_self_dual: ClassVar[bool] = False
    axis: int = eqx.field(static=True)

    def __init__(self, axis: int = -1):
        self.axis = as_axis(axis)

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns the nearest point of the cone.

        Args:
            x: the point or points (x, y, z) along `axis`.

        Returns:
            An array of the shape and dtype of `x`. A point with a NaN gives NaNs.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if `x` does not have length 3 along `axis`.
        """
        x, axis = triples(x, self.axis)
        v = jnp.moveaxis(x.astype(computing_dtype(x)), axis, 0)
        return jnp.moveaxis(_project(v), 0, axis).astype(x.dtype)


def triples(x: Float[ArrayLike, "..."], axis: int) -> tuple[Array, int]:
    """Returns the points and the position of their axis, which has length 3."""
    x = as_floating(x, "x")
    axis = position(axis, x)
    if x.shape[axis] != 3:
        raise ValueError(
            f"`x` must have length 3 along axis {axis}, but has shape {x.shape}."
        )
    return x, axis


def normalised(
    v: Float[Array, "3 ..."],
) -> tuple[Array, Callable[[Array], Array]]:
    """Returns the points scaled to a largest entry of about 1, and the way back."""
    scale = jax.lax.stop_gradient(jnp.max(jnp.abs(v), 0, keepdims=True))
    safe = jnp.where((scale > 0) & jnp.isfinite(scale), scale, 1)
    # A power of two, so that scaling rounds nothing; in two factors, as the whole may
    # be beyond the range.
    _, exponent = jnp.frexp(safe)
    half = exponent // 2
    one = jnp.ones_like(safe)

    def restore(w):
        return w * jnp.ldexp(one, half) * jnp.ldexp(one, exponent - half)

    return v * jnp.ldexp(one, -half) * jnp.ldexp(one, half - exponent), restore


class _Rays(NamedTuple):
    """The decomposition v = a u(rho) - b w(rho), and the z of the projection."""

    rho: Array
    a: Array
    b: Array
    z: Array


def _cases(x, y, z):
    """Whether the point is in the cone, over the face y = 0, and in the polar cone."""
    ratio = x / jnp.where(y > 0, y, 1)
    inside = (y > 0) & (y * jnp.exp(ratio) <= z)
    face = (x <= 0) & (y <= 0)
    ratio = y / jnp.where(x > 0, x, 1)
    polar = (x > 0) & (x * jnp.exp(ratio - 1) <= -z)
    return inside, face, polar


def _squares(rho):
    return rho * rho - rho + 1


def _pieces(x, y, z):
    """The equation of delta = rho - first, its bracket, and what follows from it."""
    dtype = x.dtype
    epsilon = float(jnp.finfo(dtype).eps)
    tiny = float(jnp.finfo(dtype).tiny)
    # At rho = 1/2, where that is possible, the function's sign tells the side.
    middle = (2 * y > x) & (2 * x > y)
    root = math.exp(0.5)
    value = (4 / 3) * ((y - 0.5 * x) * root - (x - 0.5 * y) / root) - z
    swap = jnp.where(middle, value > 0, (y > 0) & (y >= 2 * x))
    s, r = jnp.where(swap, x, y), jnp.where(swap, y, x)
    target, shift = jnp.where(swap, -z, z), jnp.where(swap, 1, 0).astype(dtype)
    # Moves the point by less than rounding, and keeps rho within 1/eps.
    r = jnp.maximum(r, epsilon)
    ratio = s / r
    first = jnp.maximum(1 - ratio, 0.5)
    offset = jnp.maximum(ratio - 0.5, 0)

    def coefficients(delta):
        rho = first + delta
        squares = _squares(rho)
        a = r * (offset + delta) / squares
        b = jnp.maximum((r - rho * s) / squares, 0)
        return rho, a, b

    def function(delta):
        rho, a, b = coefficients(delta)
        size = jnp.sqrt(jnp.maximum(target * target + 4 * a * b, tiny))
        positive = target >= 0
        over = jnp.where(positive, target + size, 2 * b)
        under = jnp.where(positive, 2 * a, size - target)
        return rho - shift - jnp.log(over / under)

    _, _, b0 = coefficients(jnp.zeros_like(r))
    height = jnp.maximum(target + b0 * jnp.exp(shift - first), tiny)
    # For delta = upper the ray alone exceeds the height; see the bound on D there.
    level = jnp.log(height) + jnp.log(_squares(first)) + shift - first - jnp.log(r)
    upper = jnp.maximum(2 * (level + 1.3), 1)
    safe = jnp.where(s > 0, s, 1)
    limit = jnp.where(s > 0, jnp.minimum(r / safe, 2 / epsilon), jnp.inf)
    upper = jnp.minimum(upper, limit - first)
    below = jnp.where(target < 0, -target, 1)
    limit = jnp.log(jnp.maximum(b0, tiny) / below) + shift - first
    upper = jnp.where(target < 0, jnp.minimum(upper, limit), upper)
    upper = jnp.maximum(upper, 0)
    # delta e^delta = e^level, by an approximation of Lambert's W.
    log1p = jnp.logaddexp(level + jnp.minimum(offset, 2), 0)
    start = log1p * (1 - jnp.log1p(log1p) / (2 + log1p)) - offset
    # Below this a distance from the end is rounding in rho.
    lower = 0.1 * epsilon * first
    bracket = lower, jnp.maximum(upper, lower), start
    return _Pieces(function, coefficients, bracket, swap, shift, target)


class _Pieces(NamedTuple):
    """The equation whose root is rho - first, and what the point is made of."""

    function: Callable[[Array], Array]
    coefficients: Callable[[Array], tuple[Array, Array, Array]]
    bracket: tuple[Array, Array, Array]
    swap: Array
    shift: Array
    target: Array


def _assemble(pieces, delta):
    rho, _, b = pieces.coefficients(delta)
    decay = jnp.exp(pieces.shift - rho)
    height = jnp.maximum(pieces.target + b * decay, 0)
    a = height * decay
    swap = pieces.swap
    z = jnp.where(swap, b * jnp.exp(1 - rho), height)
    return _Rays(
        jnp.where(swap, 1 - rho, rho), jnp.where(swap, b, a), jnp.where(swap, a, b), z
    )


@jax.jit
def _project(v):
    return _nearest(v, jax.lax.stop_gradient(_root(jax.lax.stop_gradient(v))))


def _root(v):
    pieces = _pieces(*normalised(v)[0])
    steps = _STEPS[v.dtype == jnp.float32]
    return bracketed_root(pieces.function, *pieces.bracket, steps)


@jax.custom_jvp
def _nearest(v, root):
    v, restore = normalised(v)
    x, y, z = v
    inside, face, polar = _cases(x, y, z)
    rho, a, _, height = _assemble(_pieces(x, y, z), root)
    ray = jnp.stack([a * rho, a, height])
    edge = jnp.stack([x, jnp.zeros_like(y), jnp.maximum(z, 0)])
    result = jnp.where(polar[None], 0, ray)
    result = jnp.where(face[None], edge, result)
    # 0 * v lets no NaN vanish, and makes one of an infinity.
    result = jnp.where(inside[None], v, result) + 0 * jnp.sum(v, 0, keepdims=True)
    return restore(result)


@_nearest.defjvp
def _nearest_jvp(primals, tangents):
    (given, root), (dv, _) = primals, tangents
    v, _ = normalised(given)
    inside, face, polar = _cases(*v)
    pieces = _pieces(*v)
    rho, a, b, _ = _assemble(pieces, with_derivative(pieces.function, root))
    ray, across, slope = _frame(rho)
    bent = a * slope * slope
    part = bent / jnp.where(bent + b > 0, bent + b, 1)
    along = jnp.sum(ray * dv, 0, keepdims=True) * ray
    surface = jnp.sum(across * dv, 0, keepdims=True) * across
    along = along + part[None] * surface
    edge = jnp.stack([dv[0], jnp.zeros_like(dv[1]), jnp.where(v[2] > 0, dv[2], 0)])
    result = jnp.where(polar[None], 0, along)
    result = jnp.where(face[None], edge, result)
    result = jnp.where(inside[None], dv, result)
    return _nearest(given, root), result


def _frame(rho):
    """The unit vectors along u and along the part of u' across it, and g = |e| / |u|.

    Here g is that of u itself, not of the unit vector: e is the part of u' across u.
    """
    small = jnp.exp(-jnp.abs(rho))
    squares = _squares(rho)
    positive = rho >= 0
    # u and e up to factors; both are written without an e^rho that overflows.
    p = jnp.where(positive, 1, small)
    q = jnp.where(positive, small, 1)
    ray = jnp.stack([rho * q, q, p])
    across = jnp.where(
        positive[None],
        jnp.stack([1 + q * q - rho, -(1 + rho * q * q), q * squares]),
        jnp.stack([1 + p * p - rho * p * p, -(p * p + rho), p * squares]),
    )
    ray_square = jnp.sum(ray * ray, 0)
    across_norm = jnp.sqrt(jnp.sum(across * across, 0))
    return (
        ray / jnp.sqrt(ray_square)[None],
        across / across_norm[None],
        across_norm / ray_square,
    )
