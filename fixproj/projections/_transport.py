"""Transport polytope: {X >= 0 : X 1 = row, X'1 = col}; P(X) = max(X + f 1' + 1 g', 0).

The potentials f and g are those with which the sums are right; see `_transport_dual`.
"""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import as_floating, computing_dtype
from fixproj.projections._marginals import (
    as_marginals,
    balanced,
    check_matrix,
    require_found,
)
from fixproj.projections._set import AbstractSet
from fixproj.projections._transport_dual import couple


class TransportPolytope(AbstractSet):
    """The nonnegative matrices with given row and column sums.

    A point lies along the last two axes. Rows and columns sum to rounding. The result
    is the nearest matrix to rounding where entries of `x` differ by less than about
    1e5 times the largest sum; the further beyond, the more the problem is one of linear
    programming, and then it may be as far from the nearest as some thousandths of the
    sums. The derivative is the exact one of the face.

    Args:
        row: row sums, not negative, of shape (m,).
        col: column sums, likewise, of shape (n,), with the same sum as `row`.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a shape is wrong, an entry is negative or not finite, or the sums
            differ by more than rounding (a runtime error when they are traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import TransportPolytope
        >>> polytope = TransportPolytope(jnp.array([1.0, 2.0]), jnp.array([2.0, 1.0]))
        >>> print(polytope.project(jnp.array([[0.0, 3.0], [0.0, 0.0]])).round(3))
        [[0. 1.]
         [2. 0.]]
    """

    row: Float[Array, " m"]
    col: Float[Array, " n"]
    axis: ClassVar[tuple[int, int]] = (-2, -1)

    def __init__(self, row: ArrayLike, col: ArrayLike):
        self.row, self.col = as_marginals(row, col)

    def project(self, x: Float[ArrayLike, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Returns the nearest matrix.

        Args:
            x: the point or points, of shape (m, n) in the last two axes.

        Returns:
            An array of the shape and dtype of `x`. A point that is not finite gives
            NaNs.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if `x` does not fit the marginals.
            RuntimeError: if the method fails.
        """
        x = as_floating(x, "x")
        check_matrix(x, (self.row.shape[0], self.col.shape[0]))
        return _project(x, self.row, self.col)


class BirkhoffPolytope(AbstractSet):
    """The doubly stochastic matrices: nonnegative, with rows and columns of sum 1.

    A point lies along the last two axes. Its corners are the permutation matrices.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import BirkhoffPolytope
        >>> print(BirkhoffPolytope().project(jnp.array([[0.5, 0.0], [0.0, 0.0]])))
        [[0.625 0.375]
         [0.375 0.625]]
    """

    axis: ClassVar[tuple[int, int]] = (-2, -1)

    def project(self, x: Float[ArrayLike, "*batch n n"]) -> Float[Array, "*batch n n"]:
        """Returns the nearest doubly stochastic matrix.

        Args:
            x: the point or points, square in the last two axes.

        Returns:
            An array of the shape and dtype of `x`. A point that is not finite gives
            NaNs.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if `x` is not square in its last two axes.
            RuntimeError: if the method fails.
        """
        x = as_floating(x, "x")
        if x.ndim < 2 or x.shape[-1] != x.shape[-2] or x.shape[-1] == 0:
            raise ValueError(
                f"`x` must be square in its last two axes, but has shape {x.shape}."
            )
        ones = jnp.ones(x.shape[-1], computing_dtype(x))
        return _project(x, ones, ones)


def _project(x, row, col):
    dtype = computing_dtype(x)
    row, col = balanced(row.astype(dtype), col.astype(dtype))
    flat = x.astype(dtype).reshape(-1, *x.shape[-2:])
    y = couple(False, flat, row, col)
    finite = jnp.where(jnp.isfinite(flat), flat, jnp.nan)
    return require_found(y, finite).reshape(x.shape).astype(x.dtype)
