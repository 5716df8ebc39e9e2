"""Ellipsoid: {x : (x - c)'Q (x - c) <= r^2}, with Q positive semidefinite.

Outside, u = P(x) - c solves (I + s Q) u = x - c, with the multiplier s > 0 for which
u'Q u = r^2. In the eigenvectors of Q, with eigenvalues q and z = V'(x - c), that is the
secular equation sum_i q_i z_i^2 / (1 + s q_i)^2 = r^2. In the form |u(s)| = r, with
|u(s)| the left side's root, 1 / |u(s)| - 1 / r is concave and increasing, so Newton's
method from s = 0 converges fast and from one side: J. J. More and D. C. Sorensen,
"Computing a trust region step" (1983), section 3.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._center import as_center, spread_center
from fixproj.projections._check import (
    as_axis,
    as_floating,
    as_parameter,
    as_radius,
    check_length,
    computing_dtype,
    is_concrete,
    per_point,
    require,
    require_finite,
)
from fixproj.projections._set import AbstractSet


_MOST_STEPS = 60


class Ellipsoid(AbstractSet):
    """The points at most a radius from the centre in the norm of a matrix.

    The matrix is factorised once, at construction; its symmetric part counts. To change
    it build a new set. The half-axes are `radius / sqrt(q)`, with q the eigenvalues; a
    direction of eigenvalue zero is free. On the boundary the derivative is that of the
    outside.

    Args:
        Q: positive semidefinite matrix of shape (n, n), or its diagonal, of shape (n,).
        radius: radius, a scalar or an array that broadcasts to the batch: the shape of
            `x` without `axis`. It must be positive.
        center: centre, of shape (n,), or a scalar for all entries, or `None` for zero.
        axis: the axis of `x`, of length n, along which a point lies.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a shape is wrong, a value is not finite, `Q` has a negative
            eigenvalue, or the radius is not positive (a runtime error when they are
            traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Ellipsoid
        >>> ellipse = Ellipsoid(jnp.array([0.25, 1.0]))  # half-axes 2 and 1
        >>> print(ellipse.project(jnp.array([[3.0, 0.0], [0.5, 0.5]])).round(3))
        [[2.  0. ]
         [0.5 0.5]]
    """

    Q: Float[Array, "..."]
    radius: Float[Array, "..."]
    center: Float[Array, "..."] | None
    _basis: Float[Array, "..."]
    _eigenvalues: Float[Array, " n"]
    axis: int = eqx.field(static=True)

    def __init__(
        self,
        Q: ArrayLike,
        radius: ArrayLike = 1.0,
        center: ArrayLike | None = None,
        axis: int = -1,
    ):
        Q = require_finite(as_parameter(Q, "Q"), "Q")
        if Q.ndim not in (1, 2) or Q.shape[0] != Q.shape[-1] or Q.size == 0:
            raise ValueError(
                f"`Q` must have shape (n, n) or (n,), but has shape {Q.shape}."
            )
        if is_concrete(Q):
            with jax.ensure_compile_time_eval():
                self._basis, self._eigenvalues = _factorise(Q)
        else:
            self._basis, self._eigenvalues = _factorise(Q)
        self.Q = require(
            Q,
            _no_negative,
            self._eigenvalues,
            message="`Q` must be positive semidefinite.",
        )
        radius = as_radius(radius)
        self.radius = require(
            radius, lambda r: r > 0, radius, message="`radius` must be positive."
        )
        self.center = as_center(center)
        self.axis = as_axis(axis)

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns the nearest point of the ellipsoid.

        Args:
            x: the point or points, of length n along `axis`.

        Returns:
            An array of the shape and dtype of `x`. A point with a NaN gives NaNs.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if a parameter does not fit the shape of `x`.
        """
        x = as_floating(x, "x")
        check_length("Q", self.Q.shape, x, self.axis)
        dtype = computing_dtype(x)
        radius = per_point("radius", self.radius.astype(dtype), x, self.axis)
        center = spread_center(self.center, x, self.axis, dtype)
        offset = jnp.moveaxis(x.astype(dtype) - center, self.axis, -1)
        Q = self.Q.astype(dtype)
        matrix = Q if Q.ndim == 1 else 0.5 * (Q + Q.T)
        radius = jnp.moveaxis(radius, self.axis, -1)
        factors = (self._basis.astype(dtype), self._eigenvalues.astype(dtype))
        factors = lax.stop_gradient(factors)
        nearest, _ = _project(matrix, offset, radius, *factors)
        y = center + jnp.moveaxis(nearest, -1, self.axis)
        value = _weighted_norm(lax.stop_gradient(offset), *factors)
        inside = jnp.moveaxis(value < radius, -1, self.axis)
        return jnp.where(inside, x, y.astype(x.dtype))


def _factorise(Q):
    Q = lax.stop_gradient(Q).astype(computing_dtype(Q))
    if Q.ndim == 1:
        return jnp.ones(Q.shape[0], Q.dtype), Q
    eigenvalues, basis = jnp.linalg.eigh(0.5 * (Q + Q.T))
    # What rounding makes of zero is zero.
    noise = 8 * Q.shape[0] * float(jnp.finfo(Q.dtype).eps)
    small = jnp.abs(eigenvalues) <= noise * jnp.max(jnp.abs(eigenvalues))
    return basis, jnp.where(small, 0, eigenvalues)


def _no_negative(eigenvalues):
    return eigenvalues >= 0


def _dot(x, matrix):
    """X M for a matrix, or for the diagonal of one."""
    if matrix.ndim == 1:
        return x * matrix.reshape([1] * (x.ndim - 1) + [-1])
    return jnp.matmul(x, matrix, precision=lax.Precision.HIGHEST)


def _weighted_norm(offset, basis, eigenvalues):
    weights = jnp.sqrt(eigenvalues).reshape([1] * (offset.ndim - 1) + [-1])
    return _norm(weights * _dot(offset, basis))


def _norm(x):
    largest = jnp.max(jnp.abs(x), -1, keepdims=True)
    scaled = x / jnp.where(largest == 0, 1, largest)
    return largest * jnp.sqrt(jnp.sum(scaled**2, -1, keepdims=True))


@jax.custom_jvp
@jax.jit
def _project(matrix, offset, radius, basis, eigenvalues):
    """The nearest point of the surface to a point outside, and the multiplier."""
    del matrix
    q = eigenvalues.reshape([1] * (offset.ndim - 1) + [-1])
    z = _dot(offset, basis)
    # |u(s)| / r as the norm of w / (1 + s q).
    w = jnp.sqrt(q) * z / radius

    def step(state):
        s, count, _ = state
        shrunk = w / (1 + s * q)
        norm = _norm(shrunk)
        unit = shrunk / jnp.where(norm == 0, 1, norm)
        slope = jnp.sum(unit**2 * q / (1 + s * q), -1, keepdims=True)
        new = s + (norm - 1) / jnp.where(slope == 0, 1, slope)
        # From the left the steps go right, until rounding stops them.
        active = (norm > 1) & (new > s)
        return jnp.where(active, new, s), count + 1, active

    def unfinished(state):
        _, count, active = state
        return jnp.any(active) & (count < _MOST_STEPS)

    start = jnp.zeros(radius.shape, offset.dtype)
    active = jnp.ones(radius.shape, bool)
    state = (start, jnp.zeros((), jnp.int32), active)
    s, *_ = lax.while_loop(unfinished, step, state)
    return _dot(z / (1 + s * q), basis.T), s


@_project.defjvp
def _project_jvp(primals, tangents):
    matrix, offset, radius, basis, eigenvalues = primals
    dmatrix, doffset, dradius, _, _ = tangents
    u, s = _project(*primals)
    q = eigenvalues.reshape([1] * (u.ndim - 1) + [-1])

    # The factors only help to solve; what is solved is said by the matrix, so that
    # derivatives of any order are right.
    def apply(v):
        return v + s * _dot(v, matrix)

    def solve(_, v):
        return _dot(_dot(v, basis) / (1 + lax.stop_gradient(s) * q), basis.T)

    def resolvent(v):
        return lax.custom_linear_solve(apply, v, solve, symmetric=True)

    # (I + s Q) du = d(x - c) - s dQ u - ds Q u, and u'Q du + u'dQ u / 2 = r dr.
    gradient, change = _dot(u, matrix), _dot(u, dmatrix)
    free = resolvent(doffset - s * change)
    inward = resolvent(gradient)

    def inner(v, w):
        return jnp.sum(v * w, -1, keepdims=True)

    slope = inner(gradient, inward)
    rest = inner(gradient, free) + 0.5 * inner(u, change) - radius * dradius
    ds = rest / jnp.where(slope == 0, 1, slope)
    ds = jnp.where(slope == 0, 0, ds)
    return (u, s), (free - ds * inward, ds)
