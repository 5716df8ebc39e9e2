r"""Spectraplex: {X : X = X^H positive semidefinite, trace X = r}.

P(X) = U diag(P_simplex(l)) U^H for the Hermitian part X = U diag(l) U^H: the set is
given by its eigenvalues, which lie in the simplex. A. S. Lewis, "Convex analysis on the
Hermitian matrices" (1996), for such sets in general.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Inexact

from fixproj.projections._check import as_radius
from fixproj.projections._set import AbstractSet
from fixproj.projections._simplex import Simplex
from fixproj.projections._spectral import (
    as_matrices,
    compose,
    eigenvalue_derivative,
    hermitian,
    widened,
)


class Spectraplex(AbstractSet):
    """The positive semidefinite matrices of given trace; with 1, density matrices.

    Real symmetric or complex Hermitian, in the last two axes. Derivatives with respect
    to the point and the radius are exact, also where eigenvalues repeat.

    Args:
        radius: the trace, a scalar.

    Raises:
        TypeError: if the radius is not real.
        ValueError: if it is negative or not finite (a runtime error when it is traced),
            or not a scalar.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Spectraplex
        >>> print(Spectraplex().project(jnp.diag(jnp.array([0.5, 1.0]))))
        [[0.25 0.  ]
         [0.   0.75]]
    """

    radius: Float[Array, ""]
    axis: ClassVar[tuple[int, int]] = (-2, -1)

    def __init__(self, radius: ArrayLike = 1.0):
        self.radius = scalar_radius(radius)

    def project(self, x: Inexact[ArrayLike, "... n n"]) -> Inexact[Array, "... n n"]:
        """Returns the nearest matrix of the spectraplex.

        Args:
            x: the matrix or matrices, with n >= 1.

        Returns:
            An array of the shape and dtype of `x`. A matrix with a NaN gives NaNs.

        Raises:
            TypeError: if `x` is not floating, real or complex.
            ValueError: if the matrices are not square, or empty.
        """
        x = as_matrices(x, square=True)
        wide = hermitian(widened(x))
        radius = self.radius.astype(jnp.real(wide).dtype)
        return _project(wide, radius).astype(x.dtype)


def scalar_radius(radius: ArrayLike) -> Float[Array, ""]:
    """Returns `radius` as a parameter that is a finite scalar and not negative."""
    radius = as_radius(radius)
    if radius.ndim != 0:
        raise ValueError(f"`radius` must be a scalar, but has shape {radius.shape}.")
    return radius


def _simplex(values, radius):
    return Simplex(radius).project(values)


@jax.custom_jvp
def _project(x, radius):
    values, u = jnp.linalg.eigh(x, symmetrize_input=False)
    return hermitian(compose(u, _simplex(values, radius), u))


@_project.defjvp
def _project_jvp(primals, tangents):
    (x, radius), (dx, dradius) = primals, tangents
    values, u = jnp.linalg.eigh(x, symmetrize_input=False)
    mapped = _simplex(values, radius)
    change = eigenvalue_derivative(
        u,
        values,
        mapped,
        mapped > 0,
        dx,
        lambda d: jax.jvp(_simplex, (values, radius), (d, dradius))[1],
    )
    return hermitian(compose(u, mapped, u)), hermitian(change)
