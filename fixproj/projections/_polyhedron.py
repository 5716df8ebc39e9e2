"""Polyhedron: {x : lower <= A x <= upper}; P(x) = x - A_W' (A_W A_W')^-1 (A_W x - b_W).

W are the constraints that are active at the nearest point and b_W their bounds; a dual
active-set method finds them, see `_dual_active_set`.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import (
    as_axis,
    as_floating,
    as_parameter,
    broadcast,
    check_length,
    computing_dtype,
    require,
    require_finite,
)
from fixproj.projections._dual_active_set import active_constraints
from fixproj.projections._norm import direction_and_norm
from fixproj.projections._set import AbstractSet


_ATTEMPTS = 4


class Polyhedron(AbstractSet):
    """The points whose linear functions lie between bounds.

    Equal bounds make an equation. The result is exact, not the limit of an iteration:
    it solves a linear system on the active constraints. Its derivative, in all
    arguments, is that of this system. Rows may depend on each other. Relative to |x|
    and the bounds, constraints hold to some units of rounding, and to 1000 units where
    rows are almost dependent.

    Args:
        A: matrix of shape (m, n).
        lower: smallest values of `A x`, of shape (m,) or a scalar; `-inf` for no bound.
        upper: largest values, likewise; `inf` for no bound.
        axis: the axis of `x`, of length n, along which a point lies.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a shape is wrong, `A` is not finite, `lower > upper`, or no point
            satisfies all constraints (a runtime error when they are traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Polyhedron
        >>> A = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> triangle = Polyhedron(A, jnp.array([0.0, 0.0, -jnp.inf]), 1.0)
        >>> print(triangle.project(jnp.array([[1.0, 1.0], [2.0, -1.0]])).round(3))
        [[0.5 0.5]
         [1.  0. ]]
    """

    A: Float[Array, "m n"]
    lower: Float[Array, "..."]
    upper: Float[Array, "..."]
    axis: int = eqx.field(static=True)

    def __init__(
        self, A: ArrayLike, lower: ArrayLike, upper: ArrayLike, axis: int = -1
    ):
        A = as_parameter(A, "A")
        if A.ndim != 2 or A.size == 0:
            raise ValueError(
                f"`A` must have shape (m, n), none of them 0, but has shape {A.shape}."
            )
        self.A = require_finite(A, "A")
        lower = as_parameter(lower, "lower")
        upper = as_parameter(upper, "upper")
        target = f"the number of rows of `A` of shape {A.shape}"
        broadcast("lower", lower, A.shape[:1], target)
        broadcast("upper", upper, A.shape[:1], target)
        self.upper = upper
        lower = require(
            lower,
            _ordered,
            lower,
            upper,
            message=(
                "`lower` must not be larger than `upper`, nor NaN, nor may both be the "
                "same infinity."
            ),
        )
        self.lower = require(
            lower,
            _has_a_point,
            A,
            lower,
            upper,
            message=(
                "no point satisfies all constraints: `lower` <= `A` x <= `upper` is "
                "infeasible."
            ),
        )
        self.axis = as_axis(axis)

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns the nearest point of the polyhedron.

        Args:
            x: the point or points, of length n along `axis`.

        Returns:
            An array of the shape and dtype of `x`. A point that is not finite gives
            NaNs.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if `x` does not have length n along `axis`.
            RuntimeError: if rounding keeps the method from its end, for example where
                rows of `A` are almost dependent.
        """
        x = as_floating(x, "x")
        check_length("A", self.A.shape, x, self.axis)
        dtype = computing_dtype(x)
        wide = jnp.moveaxis(x.astype(dtype), self.axis, -1)
        rows = _unit_rows(*(v.astype(dtype) for v in (self.A, self.lower, self.upper)))
        flat = wide.reshape(-1, wide.shape[-1])
        y, found = jax.vmap(lambda point: _project(point, *rows))(flat)
        y = eqx.error_if(
            y,
            jnp.all(jnp.isfinite(flat), 1) & ~found,
            "`Polyhedron.project` found no nearest point: no point satisfies all "
            "constraints to rounding. Rows of `A` may be almost dependent, or `x` so "
            "far away that its rounding hides the bounds; float64 may help.",
        )
        return jnp.moveaxis(y.reshape(wide.shape), -1, self.axis).astype(x.dtype)


def _unit_rows(A, lower, upper):
    """The same constraints with rows of length one, where they are not zero."""
    rows, lengths = direction_and_norm(A, 1)
    lengths = jnp.where(lengths[:, 0] == 0, 1, lengths[:, 0])
    bounds = (jnp.broadcast_to(bound, lengths.shape) for bound in (lower, upper))
    # An infinite bound is left out of the division, whose derivative would be NaN.
    lower, upper = (
        jnp.where(jnp.isinf(b), b, jnp.where(jnp.isinf(b), 0, b) / lengths)
        for b in bounds
    )
    return rows, lower, upper


def _project(x, A, lower, upper):
    active, multiplier, at_upper, found = _search(
        *lax.stop_gradient((x, A, lower, upper))
    )
    # The formula on the active constraints, with the others replaced by 0 = 0. As the
    # multipliers enter as constants, its derivatives of any order are those of the
    # exact solution, and its value corrects their rounding.
    rows = jnp.where(active[:, None], A, 0)
    bound = jnp.where(active, jnp.where(at_upper, upper, lower), 0)
    bound = jnp.where(active, bound, 0)
    system = _dot(rows, rows.T) + jnp.diag(jnp.where(active, 0, 1).astype(A.dtype))
    factor = jax.scipy.linalg.cho_factor(system)
    for _ in range(2):
        residual = _dot(rows, x - _dot(multiplier, rows)) - bound
        multiplier = multiplier + jax.scipy.linalg.cho_solve(factor, residual)
    y = x - _dot(multiplier, rows)
    return jnp.where(found, y, jnp.nan), found


@jax.jit
def _search(x, A, lower, upper):
    value = _dot(A, x)
    finite = [jnp.where(jnp.isinf(b), 0, jnp.abs(b)) for b in (lower, upper)]
    largest = jnp.max(jnp.abs(x))
    size = jnp.sqrt(jnp.sum((x / jnp.where(largest == 0, 1, largest)) ** 2)) * largest
    eps = float(jnp.finfo(x.dtype).eps)
    tolerance = 16 * eps * (size + jnp.maximum(*finite))
    gram = _dot(A, A.T)

    def unfinished(state):
        *_, found, attempt = state
        return ~found & (attempt < _ATTEMPTS)

    def search(state):
        *_, attempt = state
        # Rounding may break one of two constraints that almost coincide, whatever the
        # other does.
        loose = tolerance * 4.0 ** attempt.astype(x.dtype)
        found = active_constraints(gram, value, lower, upper, loose)
        return *found, attempt + 1

    nothing = jnp.zeros(value.shape, bool)
    is_finite = jnp.all(jnp.isfinite(x))
    attempt = jnp.where(is_finite, 0, _ATTEMPTS).astype(jnp.int32)
    start = (nothing, jnp.zeros_like(value), nothing, jnp.array(False), attempt)
    *result, _ = lax.while_loop(unfinished, search, start)
    return tuple(result)


def _dot(x, y):
    return jnp.matmul(x, y, precision=lax.Precision.HIGHEST)


def _ordered(lower, upper):
    dtype = computing_dtype(lower, upper)
    shape = jnp.broadcast_shapes(lower.shape, upper.shape)
    lower = jnp.broadcast_to(lower.astype(dtype), shape)
    upper = jnp.broadcast_to(upper.astype(dtype), shape)
    return (lower <= upper) & (lower < jnp.inf) & (upper > -jnp.inf)


@jax.jit
def _has_a_point(A, lower, upper):
    A, lower, upper = lax.stop_gradient((A, lower, upper))
    dtype = computing_dtype(A, lower, upper)
    rows = _unit_rows(A.astype(dtype), lower.astype(dtype), upper.astype(dtype))
    start = jnp.zeros(A.shape[1], dtype)
    *_, found = _search(start, *rows)
    # Unordered bounds and infinite rows are told elsewhere.
    told = ~(jnp.all(_ordered(lower, upper)) & jnp.all(jnp.isfinite(A)))
    return found | told
