r"""Positive semidefinite cone: {X : X = X^H, all eigenvalues >= 0}.

Of the Hermitian part X = U diag(l) U^H the negative eigenvalues are cut off,

    P(X) = U diag(max(l, 0)) U^H,
    dP = U (W o (U^H dX U)) U^H,   W_ij = (l_i+ - l_j+) / (l_i - l_j):

N. J. Higham, "Computing a nearest symmetric positive semidefinite matrix" (1988); J.
Malick and H. S. Sendov, "Clarke generalized Jacobian of the projection onto the cone of
positive semidefinite matrices" (2006).
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Inexact

from fixproj.projections._cone import AbstractCone
from fixproj.projections._spectral import (
    as_matrices,
    compose,
    eigenvalue_derivative,
    hermitian,
    widened,
)


class PSDCone(AbstractCone):
    """The positive semidefinite matrices, real symmetric or complex Hermitian.

    A point is a matrix in the last two axes. One that is not Hermitian goes to the
    nearest matrix all the same, which is that of its Hermitian part; the cone is its
    own dual among Hermitian matrices. Derivatives are exact and finite also where
    eigenvalues repeat; second derivatives need distinct ones.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import PSDCone
        >>> print(PSDCone().project(jnp.array([[0.0, 2.0], [2.0, 0.0]])).round(4))
        [[1. 1.]
         [1. 1.]]
    """

    is_self_dual: ClassVar[bool] = True
    axis: ClassVar[tuple[int, int]] = (-2, -1)

    def project(self, x: Inexact[ArrayLike, "... n n"]) -> Inexact[Array, "... n n"]:
        """Returns the nearest positive semidefinite matrix.

        Args:
            x: the matrix or matrices.

        Returns:
            An array of the shape and dtype of `x`. A matrix with a NaN gives NaNs.

        Raises:
            TypeError: if `x` is not floating, real or complex.
            ValueError: if the matrices are not square.
        """
        x = as_matrices(x, square=True)
        return _project(hermitian(widened(x))).astype(x.dtype)


def _decompose(x):
    # Equal to the Hermitian part already; nothing is gained by doing it again.
    return jnp.linalg.eigh(x, symmetrize_input=False)


@jax.jit
def _project(x):
    return _nearest(x)


@jax.custom_jvp
def _nearest(x):
    values, u = _decompose(x)
    return hermitian(compose(u, jnp.maximum(values, 0), u))


@_nearest.defjvp
def _nearest_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    values, u = _decompose(x)
    result = hermitian(compose(u, jnp.maximum(values, 0), u))
    return result, _derivative(values, u, dx)


def psd_derivative(
    x: Inexact[Array, "... n n"], dx: Inexact[Array, "... n n"]
) -> Inexact[Array, "... n n"]:
    """The derivative of the projection of Hermitian `x` along Hermitian `dx`."""
    values, u = _decompose(x)
    return _derivative(values, u, dx)


def _derivative(values, u, dx):
    mapped, active = jnp.maximum(values, 0), values > 0
    change = eigenvalue_derivative(
        u, values, mapped, active, dx, lambda d: jnp.where(active, d, 0)
    )
    return hermitian(change)
