"""Affine set: {x : A x = b}; P(x) = x - A^+ (A x - b), with A^+ the pseudo-inverse.

The set keeps the thin factors of A^+ = V G', from the singular values A = U S V':
V (n, k) spans the row space of A, and G = U S^-1 (m, k); both have zero columns beyond
the rank. Then P(x) = x - V (V'x - G'b), which costs two products with V, is idempotent
to rounding whatever the condition of A, and leaves a residual A P(x) - b of the size of
rounding in A x. The normal equations, which square the condition, do not occur.

Derivatives, for changes of A that keep its rank, follow from G. H. Golub and V.
Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares problems
whose variables separate" (1973), equation (4.12):

    d(A^+) = -A^+ dA A^+ + A^+ A^+' dA' (I - A A^+) + (I - A^+ A) dA' A^+' A^+

No differences of singular values are divided by, so repeated ones do no harm.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import (
    as_axis,
    as_floating,
    as_parameter,
    check_length,
    computing_dtype,
    is_concrete,
    require,
    require_finite,
)
from fixproj.projections._set import AbstractSet


class Affine(AbstractSet):
    """The solutions of a consistent system of linear equations.

    The factorisation (a singular value decomposition of `A`, in its dtype but at least
    float32) happens once, at construction. `A` may have any shape and rank: singular
    values below `8 sqrt(max(m, n)) eps` times the largest count as zero. Derivatives
    with respect to `A`, `b` and `x` are exact in every mode and to every order; where
    `A` has not full rank they are those of the pseudo-inverse for changes that keep the
    rank. To change `A` build a new set: the leaf alone would leave the factors behind.

    Args:
        A: matrix of shape (m, n).
        b: right-hand side of shape (m,).
        axis: the axis of `x`, of length n, along which a point lies.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a shape is wrong, a value is not finite, or the equations
            contradict each other: the residual of their least-squares solution is
            larger than rounding explains (a runtime error when they are traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Affine
        >>> affine = Affine(jnp.array([[1.0, 1.0, 0.0]]), jnp.array([2.0]))
        >>> print(affine.project(jnp.array([2.0, 2.0, 5.0])).round(3))
        [1. 1. 5.]
    """

    A: Float[Array, "m n"]
    b: Float[Array, " m"]
    _basis: Float[Array, "n k"]
    _dual: Float[Array, "m k"]
    axis: int = eqx.field(static=True)

    def __init__(self, A: ArrayLike, b: ArrayLike, axis: int = -1):
        A = as_parameter(A, "A")
        b = as_parameter(b, "b")
        if A.ndim != 2:
            raise ValueError(f"`A` must have shape (m, n), but has shape {A.shape}.")
        if b.shape != A.shape[:1]:
            raise ValueError(
                f"`b` must have shape ({A.shape[0]},) to go with `A` of shape "
                f"{A.shape}, but has shape {b.shape}."
            )
        self.A = require_finite(A, "A")
        b = require_finite(b, "b")
        if is_concrete(self.A):
            # A constant matrix is factorised once, while the program is traced.
            with jax.ensure_compile_time_eval():
                self._basis, self._dual, scale = _factorise(self.A)
        else:
            self._basis, self._dual, scale = _factorise(self.A)
        self.b = _require_consistent(self.A, b, self._basis, self._dual, scale)
        self.axis = as_axis(axis)

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns the nearest solution.

        Args:
            x: the point or points, of length n along `axis`.

        Returns:
            An array of the shape and dtype of `x`.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if `x` does not have length n along `axis`.
        """
        x = as_floating(x, "x")
        check_length("A", self.A.shape, x, self.axis)
        dtype = computing_dtype(x)
        y = _project(
            self.A.astype(dtype),
            self.b.astype(dtype),
            self._basis.astype(dtype),
            self._dual.astype(dtype),
            jnp.moveaxis(x.astype(dtype), self.axis, -1),
        )
        return jnp.moveaxis(y, -1, self.axis).astype(x.dtype)


def _factorise(A):
    A = lax.stop_gradient(A).astype(computing_dtype(A))
    m, n = A.shape
    if min(m, n) == 0:
        return (
            jnp.zeros((n, 0), A.dtype),
            jnp.zeros((m, 0), A.dtype),
            jnp.zeros((), A.dtype),
        )
    left, singular, right = jnp.linalg.svd(A, full_matrices=False)
    nonzero = singular > _rank_tolerance(A) * singular[0]
    inverse = jnp.where(nonzero, 1 / jnp.where(nonzero, singular, 1), 0)
    basis = jnp.where(nonzero[None, :], right.T, 0)
    return basis, left * inverse[None, :], singular[0]


def _rank_tolerance(A):
    return float(8 * np.sqrt(max(A.shape)) * jnp.finfo(A.dtype).eps)


def _require_consistent(A, b, basis, dual, scale):
    def small(A, b, basis, dual, scale):
        residual, allowed = _residual(A, b, basis, dual, scale)
        return residual <= allowed

    message = "`b` is not in the range of `A`: the equations contradict each other, as "
    operands = (A, b, basis, dual, scale)
    if is_concrete(*operands):
        with jax.ensure_compile_time_eval():
            residual, allowed = _residual(*operands)
            message += (
                f"the residual |A x - b| = {float(residual):.3g} of the least-squares "
                f"solution is larger than rounding explains ({float(allowed):.3g})."
            )
    else:
        message += "the least-squares solution has a residual |A x - b| > 0."
    return require(b, small, *operands, message=message)


def _residual(A, b, basis, dual, scale):
    A, b = lax.stop_gradient((A.astype(basis.dtype), b.astype(basis.dtype)))
    solution = _dot(basis, _dot(dual.T, b))
    residual = jnp.linalg.norm(_dot(A, solution) - b)
    size = scale * jnp.linalg.norm(solution) + jnp.linalg.norm(b)
    # Entries of b are known to its own precision only.
    return residual, 8 * _rank_tolerance(A) * size


def _dot(x, y):
    return jnp.matmul(x, y, precision=lax.Precision.HIGHEST)


@jax.custom_jvp
def _project(A, b, basis, dual, x):
    """P(x), with the derivatives of its definition: the factors depend on A."""
    return x - _dot(_coordinates(b, basis, dual, x), basis.T)


def _coordinates(b, basis, dual, x):
    """V'x - G'b: the coordinates of x - P(x) in the row space."""
    known = _dot(b, dual)
    return _dot(x, basis) - known.reshape([1] * (x.ndim - 1) + [-1])


def _project_jvp(primals, tangents):
    A, b, basis, dual, x = primals
    dA, db, _, _, dx = tangents
    # The factors as functions of A, which matters for second derivatives only.
    basis, dual = _factors(A, basis, dual)
    y = _project(A, b, basis, dual, x)
    # dP = (I - V V') (dx - dA' l) - V G' (dA P - db), with the multipliers
    # l = G (V'x - G'b), which satisfy x - P = A' l. The pseudo-inverse's term in
    # b - A A^+ b is left out: it is zero, and its rounding would be multiplied by the
    # square of the condition.
    outward = jnp.zeros_like(x) if isinstance(dx, SymbolicZero) else dx
    inward = jnp.zeros(x.shape[:-1] + basis.shape[1:], x.dtype)
    if not isinstance(dA, SymbolicZero):
        multipliers = _dot(_coordinates(b, basis, dual, x), dual.T)
        outward = outward - _dot(multipliers, dA)
        inward = inward - _dot(_dot(y, dA.T), dual)
    if not isinstance(db, SymbolicZero):
        inward = inward + _dot(db, dual).reshape([1] * (x.ndim - 1) + [-1])
    return y, outward - _dot(_dot(outward, basis) - inward, basis.T)


_project.defjvp(_project_jvp, symbolic_zeros=True)


@jax.custom_jvp
def _factors(A, basis, dual):
    """The given factors V, G of A, with their derivatives with respect to A.

    V and G are unique up to one rotation of their columns; its derivative is chosen so
    that V'dV = 0.
    """
    del A
    return basis, dual


@_factors.defjvp
def _factors_jvp(primals, tangents):
    A, basis, dual = primals
    dA, _, _ = tangents
    basis, dual = _factors(A, basis, dual)
    change = _dot(dA.T, dual)
    dbasis = change - _dot(basis, _dot(basis.T, change))
    mapped = _dot(_dot(dA, basis), _dot(dual.T, dual))
    # A A^+ = A V G'
    ddual = (
        mapped
        - _dot(_dot(A, basis), _dot(dual.T, mapped))
        - _dot(dual, _dot(basis.T, change))
    )
    return (basis, dual), (dbasis, ddual)
