r"""Matrices with orthonormal columns, and rotations.

With X = U diag(s) V^H the nearest matrix with orthonormal columns is the polar factor
U V^H; the nearest rotation is U diag(1, ..., 1, det U V') V', which takes the smallest
singular value for negative if it must. P. H. Schoenemann, "A generalized solution of
the orthogonal Procrustes problem" (1966); W. Kabsch, "A solution for the best rotation
to relate two sets of vectors" (1976).

Derivative: with S = U^H dX V - (U^H dX V)^H and signed singular values,
dP = U (S_ij / (s_i + s_j)) V^H + (I - U U^H) dX V diag(1 / s) V^H.
"""

from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Inexact

from fixproj.projections._set import AbstractSet
from fixproj.projections._spectral import adjoint, as_matrices, compose, widened


class Stiefel(AbstractSet):
    """The matrices of shape (m, n), m >= n, with orthonormal columns.

    A point is a matrix in the last two axes, real or complex. The set is not convex;
    the nearest point is unique where the matrix has full rank, and the derivative is
    exact there. Where the rank is deficient one of the nearest points is returned, and
    the directions in which it is not unique have derivative zero.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Stiefel
        >>> print(Stiefel().project(jnp.array([[0.0], [4.0]])))
        [[0.]
         [1.]]
    """

    axis: ClassVar[tuple[int, int]] = (-2, -1)

    def project(self, x: Inexact[ArrayLike, "... m n"]) -> Inexact[Array, "... m n"]:
        """Returns the nearest matrix with orthonormal columns.

        Args:
            x: the matrix or matrices.

        Returns:
            An array of the shape and dtype of `x`. A matrix with a NaN gives NaNs.

        Raises:
            TypeError: if `x` is not floating, real or complex.
            ValueError: if `x` has fewer than two axes, or fewer rows than columns.
        """
        x = as_matrices(x)
        if x.shape[-2] < x.shape[-1]:
            raise ValueError(
                "`x` must have at least as many rows as columns, but has shape "
                f"{x.shape}."
            )
        return _project(False, widened(x)).astype(x.dtype)


class Orthogonal(AbstractSet):
    """The orthogonal matrices, or the unitary ones if the point is complex.

    Otherwise as `Stiefel`, of which it is the square case.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Orthogonal
        >>> print(Orthogonal().project(jnp.diag(jnp.array([2.0, -3.0]))))
        [[ 1.  0.]
         [ 0. -1.]]
    """

    axis: ClassVar[tuple[int, int]] = (-2, -1)

    def project(self, x: Inexact[ArrayLike, "... n n"]) -> Inexact[Array, "... n n"]:
        """Returns the nearest orthogonal matrix.

        Args:
            x: the matrix or matrices.

        Returns:
            An array of the shape and dtype of `x`. A matrix with a NaN gives NaNs.

        Raises:
            TypeError: if `x` is not floating, real or complex.
            ValueError: if the matrices are not square.
        """
        x = as_matrices(x, square=True)
        return _project(False, widened(x)).astype(x.dtype)


class Rotation(AbstractSet):
    """The rotations: real orthogonal matrices of determinant 1.

    The set is not convex. The nearest point is unique unless the determinant is not
    positive and the smallest singular value repeats, or the rank is below n - 1.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Rotation
        >>> print(Rotation().project(jnp.diag(jnp.array([2.0, -3.0]))))
        [[-1.  0.]
         [ 0. -1.]]
    """

    axis: ClassVar[tuple[int, int]] = (-2, -1)

    def project(self, x: Float[ArrayLike, "... n n"]) -> Float[Array, "... n n"]:
        """Returns the nearest rotation.

        Args:
            x: the matrix or matrices.

        Returns:
            An array of the shape and dtype of `x`. A matrix with a NaN gives NaNs.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if the matrices are not square.
        """
        x = as_matrices(x, square=True)
        if jnp.iscomplexobj(x):
            raise TypeError(f"`x` must be real, but has {x.dtype}.")
        return _project(True, widened(x)).astype(x.dtype)


def _parts(proper, x):
    """U, signed singular values, V, and the signs with which U V^H is joined."""
    u, values, vh = jnp.linalg.svd(x, full_matrices=False)
    signs = jnp.ones_like(values)
    if proper and x.shape[-1] > 0:
        sign = jnp.sign(jnp.linalg.det(u) * jnp.linalg.det(vh))
        signs = jnp.concatenate([signs[..., 1:], sign[..., None]], -1)
    return u, values * signs, adjoint(vh), signs


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _project(proper, x):
    u, _, v, signs = _parts(proper, x)
    return compose(u, signs, v)


@_project.defjvp
def _project_jvp(proper, primals, tangents):
    (x,), (dx,) = primals, tangents
    u, values, v, signs = _parts(proper, x)
    w = u * signs[..., None, :].astype(u.dtype)
    inner = adjoint(w) @ dx @ v
    total = values[..., :, None] + values[..., None, :]
    # Sums that are rounding stand for zero.
    floor = 4 * jnp.finfo(values.dtype).eps * jnp.max(values, -1, initial=0)
    usable = total > floor[..., None, None]
    inverse = jnp.where(usable, 1 / jnp.where(usable, total, 1), 0)
    turn = inverse.astype(inner.dtype) * (inner - adjoint(inner))
    change = w @ turn @ adjoint(v)
    if u.shape[-2] > u.shape[-1]:
        usable = values > floor[..., None]
        inverse = jnp.where(usable, 1 / jnp.where(usable, values, 1), 0)
        change = change + compose(dx @ v - w @ inner, inverse, v)
    return compose(u, signs, v), change
