r"""Balls of the nuclear and the spectral norm, given by singular values.

With X = U diag(s) V^H,

    {sum s <= r}:  P(X) = U diag(max(s - t, 0)) V^H, t >= 0 least with sum <= r,
    {max s <= r}:  P(X) = U diag(min(s, r)) V^H.

J.-F. Cai, E. J. Candes and Z. Shen, "A singular value thresholding algorithm for matrix
completion" (2010), section 2.1.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Inexact

from fixproj.projections._set import AbstractSet
from fixproj.projections._simplex import Simplex
from fixproj.projections._spectral import (
    adjoint,
    as_matrices,
    compose,
    singular_value_derivative,
    slopes,
    widened,
)
from fixproj.projections._spectraplex import scalar_radius


class NuclearBall(AbstractSet):
    """The matrices whose singular values sum to at most the radius.

    A point is a matrix in the last two axes, real or complex. Derivatives with respect
    to the point and the radius are exact, also where singular values repeat.

    Args:
        radius: the bound, a scalar.

    Raises:
        TypeError: if the radius is not real.
        ValueError: if it is negative or not finite (a runtime error when it is traced),
            or not a scalar.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import NuclearBall
        >>> print(NuclearBall(2.0).project(jnp.diag(jnp.array([1.0, 3.0]))).round(4))
        [[0. 0.]
         [0. 2.]]
    """

    radius: Float[Array, ""]
    axis: ClassVar[tuple[int, int]] = (-2, -1)

    def __init__(self, radius: ArrayLike = 1.0):
        self.radius = scalar_radius(radius)

    def project(self, x: Inexact[ArrayLike, "... m n"]) -> Inexact[Array, "... m n"]:
        """Returns the nearest matrix of the ball.

        Args:
            x: the matrix or matrices.

        Returns:
            An array of the shape and dtype of `x`. A matrix with a NaN gives NaNs.

        Raises:
            TypeError: if `x` is not floating, real or complex.
            ValueError: if `x` has fewer than two axes.
        """
        return _checked(_nuclear, x, self.radius)


class SpectralBall(AbstractSet):
    """The matrices whose largest singular value is at most the radius.

    A point is a matrix in the last two axes, real or complex. Derivatives with respect
    to the point and the radius are exact, also where singular values repeat.

    Args:
        radius: the bound, a scalar.

    Raises:
        TypeError: if the radius is not real.
        ValueError: if it is negative or not finite (a runtime error when it is traced),
            or not a scalar.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import SpectralBall
        >>> print(SpectralBall(2.0).project(jnp.diag(jnp.array([1.0, 3.0]))).round(4))
        [[1. 0.]
         [0. 2.]]
    """

    radius: Float[Array, ""]
    axis: ClassVar[tuple[int, int]] = (-2, -1)

    def __init__(self, radius: ArrayLike = 1.0):
        self.radius = scalar_radius(radius)

    def project(self, x: Inexact[ArrayLike, "... m n"]) -> Inexact[Array, "... m n"]:
        """Returns the nearest matrix of the ball.

        Args:
            x: the matrix or matrices.

        Returns:
            An array of the shape and dtype of `x`. A matrix with a NaN gives NaNs.

        Raises:
            TypeError: if `x` is not floating, real or complex.
            ValueError: if `x` has fewer than two axes.
        """
        return _checked(_spectral, x, self.radius)


def _checked(project, x, radius):
    x = as_matrices(x)
    wide = widened(x)
    return project(wide, radius.astype(jnp.real(wide).dtype)).astype(x.dtype)


def _decompose(x):
    u, values, vh = jnp.linalg.svd(x, full_matrices=False)
    return u, values, adjoint(vh)


def _nuclear_values(values, radius):
    # The sum is formed of quotients: it may overflow.
    inside = jnp.sum(values, -1, keepdims=True) <= radius
    return jnp.where(inside, values, Simplex(radius).project(values))


def _spectral_values(values, radius):
    return jnp.where(values >= radius, radius, values)


def _make(map_values, is_active):
    @jax.custom_jvp
    def project(x, radius):
        if x.size == 0:
            return x
        u, values, v = _decompose(x)
        return compose(u, map_values(values, radius), v)

    @project.defjvp
    def project_jvp(primals, tangents):
        (x, radius), (dx, dradius) = primals, tangents
        if x.size == 0:
            return x, dx
        u, values, v = _decompose(x)
        mapped = map_values(values, radius)
        active = is_active(values, mapped)
        change = singular_value_derivative(
            u,
            values,
            v,
            mapped,
            slopes(values, mapped, active),
            active.astype(values.dtype),
            dx,
            lambda d: jax.jvp(map_values, (values, radius), (d, dradius))[1],
        )
        return compose(u, mapped, v), change

    return project


# A singular value of 0 is kept by both balls unless the threshold is above it.
_nuclear = _make(_nuclear_values, lambda s, p: (p > 0) | (s == p))
_spectral = _make(_spectral_values, lambda s, p: s == p)
