"""Toeplitz and Hankel matrices: linear spaces; P(X) has the means of the diagonals.

An (m, n) array padded by m columns and read with rows one shorter is skewed: row i is
shifted by i, so the antidiagonals, i + j constant, become columns.
"""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Inexact

from fixproj.projections._set import AbstractSet
from fixproj.projections._spectral import as_matrices, widened


class Hankel(AbstractSet):
    """The matrices whose entries depend on i + j only.

    A point is a matrix in the last two axes, of any shape, real or complex.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Hankel
        >>> print(Hankel().project(jnp.array([[1.0, 2.0], [4.0, 5.0]])))
        [[1. 3.]
         [3. 5.]]
    """

    axis: ClassVar[tuple[int, int]] = (-2, -1)

    def project(self, x: Inexact[ArrayLike, "... m n"]) -> Inexact[Array, "... m n"]:
        """Returns the nearest Hankel matrix.

        Args:
            x: the matrix or matrices.

        Returns:
            An array of the shape and dtype of `x`.

        Raises:
            TypeError: if `x` is not floating, real or complex.
            ValueError: if `x` has fewer than two axes.
        """
        x = as_matrices(x)
        return _average(widened(x)).astype(x.dtype)


class Toeplitz(AbstractSet):
    """The matrices whose entries depend on i - j only.

    A point is a matrix in the last two axes, of any shape, real or complex.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Toeplitz
        >>> print(Toeplitz().project(jnp.array([[1.0, 2.0], [4.0, 5.0]])))
        [[3. 2.]
         [4. 3.]]
    """

    axis: ClassVar[tuple[int, int]] = (-2, -1)

    def project(self, x: Inexact[ArrayLike, "... m n"]) -> Inexact[Array, "... m n"]:
        """Returns the nearest Toeplitz matrix.

        Args:
            x: the matrix or matrices.

        Returns:
            An array of the shape and dtype of `x`.

        Raises:
            TypeError: if `x` is not floating, real or complex.
            ValueError: if `x` has fewer than two axes.
        """
        x = as_matrices(x)
        return jnp.flip(_average(jnp.flip(widened(x), -1)), -1).astype(x.dtype)


def _average(x):
    """The means over the antidiagonals, laid out again."""
    *batch, m, n = x.shape
    if m == 0 or n == 0:
        return x
    width = m + n - 1
    padded = jnp.concatenate([x, jnp.zeros((*batch, m, m), x.dtype)], -1)
    skewed = padded.reshape(*batch, m * (m + n))[..., : m * width]
    total = jnp.sum(skewed.reshape(*batch, m, width), -2)
    counts = np.convolve(np.ones(m), np.ones(n))
    mean = total / jnp.asarray(counts, x.dtype).reshape([1] * len(batch) + [width])
    spread = jnp.broadcast_to(mean[..., None, :], (*batch, m, width))
    flat = spread.reshape(*batch, m * width)
    flat = jnp.concatenate([flat, jnp.zeros((*batch, m), x.dtype)], -1)
    return flat.reshape(*batch, m, m + n)[..., :n]
