"""Couplings nearest in the Kullback-Leibler divergence: X = diag(e^f) K diag(e^g).

P(K) minimises sum X log(X / K) - X + K over {X >= 0 : X 1 = row, X'1 = col}. That is
Sinkhorn's matrix scaling, here in the log domain and by Newton's method; see
`_transport_dual`.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import as_floating, computing_dtype, require
from fixproj.projections._marginals import (
    as_marginals,
    balanced,
    check_matrix,
    require_found,
)
from fixproj.projections._transport_dual import couple


class KLTransportPolytope(eqx.Module):
    """The nonnegative matrices with given sums, with the divergence as distance.

    A point lies along the last two axes. The projection is not the Euclidean one, so
    this is no [`fixproj.projections.AbstractSet`][]: it has no Euclidean distance.

    Args:
        row: row sums, not negative, of shape (m,).
        col: column sums, likewise, of shape (n,), with the same sum as `row`.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if a shape is wrong, an entry is negative or not finite, or the sums
            differ by more than rounding (a runtime error when they are traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import KLTransportPolytope
        >>> polytope = KLTransportPolytope(jnp.array([1.0, 1.0]), jnp.array([1.0, 1.0]))
        >>> print(polytope.project(jnp.array([[9.0, 1.0], [1.0, 1.0]])).round(2))
        [[0.75 0.25]
         [0.25 0.75]]
    """

    row: Float[Array, " m"]
    col: Float[Array, " n"]

    def __init__(self, row: ArrayLike, col: ArrayLike):
        self.row, self.col = as_marginals(row, col)

    def project(self, x: Float[ArrayLike, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Returns the matrix of least divergence from `x`.

        Args:
            x: the point or points, of shape (m, n) in the last two axes, not negative.
                Zeros stay zeros.

        Returns:
            An array of the shape and dtype of `x`. A point with a NaN gives NaNs.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if `x` does not fit the marginals.
        """
        return self.project_log(jnp.log(_not_negative(x)))

    def project_log(
        self, logits: Float[ArrayLike, "*batch m n"]
    ) -> Float[Array, "*batch m n"]:
        """Returns the matrix of least divergence from `exp(logits)`.

        The exponential is not formed, so the logits may have any size: with
        `logits = -cost / regularisation` this is entropic optimal transport.

        Args:
            logits: the logarithm of the point or points.

        Returns:
            An array of the shape and dtype of `logits`.

        Raises:
            TypeError: if `logits` is not real and floating.
            ValueError: if `logits` does not fit the marginals.
        """
        logits = as_floating(logits, "logits")
        check_matrix(logits, (self.row.shape[0], self.col.shape[0]))
        return _project(logits, self.row, self.col)


class KLBirkhoffPolytope(eqx.Module):
    """The doubly stochastic matrices, with the divergence as distance.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import KLBirkhoffPolytope
        >>> x = KLBirkhoffPolytope().project(jnp.array([[9.0, 1.0], [1.0, 1.0]]))
        >>> print(x.round(2))
        [[0.75 0.25]
         [0.25 0.75]]
    """

    def project(self, x: Float[ArrayLike, "*batch n n"]) -> Float[Array, "*batch n n"]:
        """Returns the doubly stochastic matrix of least divergence from `x`.

        Args:
            x: the point or points, square in the last two axes, not negative.

        Returns:
            An array of the shape and dtype of `x`, as for
            [`fixproj.projections.KLTransportPolytope`][].

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if `x` is not square in its last two axes.
        """
        return self.project_log(jnp.log(_not_negative(x)))

    def project_log(
        self, logits: Float[ArrayLike, "*batch n n"]
    ) -> Float[Array, "*batch n n"]:
        """Returns the doubly stochastic matrix of least divergence from `exp(logits)`.

        Args:
            logits: the logarithm of the point or points.

        Returns:
            An array of the shape and dtype of `logits`.

        Raises:
            TypeError: if `logits` is not real and floating.
            ValueError: if `logits` is not square in its last two axes.
            RuntimeError: if the method fails.
        """
        x = as_floating(logits, "logits")
        if x.ndim < 2 or x.shape[-1] != x.shape[-2] or x.shape[-1] == 0:
            raise ValueError(
                f"`x` must be square in its last two axes, but has shape {x.shape}."
            )
        ones = jnp.ones(x.shape[-1], computing_dtype(x))
        return _project(x, ones, ones)


def _not_negative(x):
    x = as_floating(x, "x")
    # A NaN is passed on.
    message = "`x` must not have negative entries."
    return require(x, lambda x: ~(x < 0), x, message=message)


def _project(logits, row, col):
    dtype = computing_dtype(logits)
    row, col = balanced(row.astype(dtype), col.astype(dtype))
    flat = logits.astype(dtype).reshape(-1, *logits.shape[-2:])
    y = couple(True, flat, row, col)
    return require_found(y, flat).reshape(logits.shape).astype(logits.dtype)
