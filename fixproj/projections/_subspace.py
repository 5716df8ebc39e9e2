"""Subspace: the span of the columns of a matrix B; P(x) = B B^+ x.

The range of B is the orthogonal complement of the kernel of B', so P(x) = x - Q(x) with
Q the projection onto the affine set {x : B'x = 0}, whose factors, rank decision and
derivatives are used as they are.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._affine import Affine
from fixproj.projections._check import (
    as_axis,
    as_floating,
    as_parameter,
    check_length,
    computing_dtype,
)
from fixproj.projections._set import AbstractSet


class Subspace(AbstractSet):
    """The linear combinations of given vectors.

    The vectors may depend on each other. They are factorised once, at construction.
    For the kernel of a matrix take `Affine(A, jnp.zeros(m))`.

    Args:
        basis: matrix of shape (n, k), whose columns span the subspace.
        axis: the axis of `x`, of length n, along which a point lies.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if the basis is not a finite matrix (a runtime error when it is
            traced and not finite).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Subspace
        >>> plane = Subspace(jnp.array([[1.0], [1.0]]))
        >>> print(plane.project(jnp.array([2.0, 0.0])).round(3))
        [1. 1.]
    """

    basis: Float[Array, "n k"]
    _complement: Affine
    axis: int = eqx.field(static=True)

    def __init__(self, basis: ArrayLike, axis: int = -1):
        basis = as_parameter(basis, "basis")
        if basis.ndim != 2:
            raise ValueError(
                f"`basis` must have shape (n, k), but has shape {basis.shape}."
            )
        try:
            zeros = jnp.zeros(basis.shape[1], basis.dtype)
            complement = Affine(basis.T, zeros)
        except ValueError as error:
            raise ValueError(str(error).replace("`A`", "`basis`")) from error
        self._complement = complement
        self.basis = basis
        self.axis = as_axis(axis)

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns the nearest point of the subspace.

        Args:
            x: the point or points, of length n along `axis`.

        Returns:
            An array of the shape and dtype of `x`.

        Raises:
            TypeError: if `x` is not real and floating.
            ValueError: if `x` does not have length n along `axis`.
        """
        x = as_floating(x, "x")
        check_length("basis.T", self.basis.T.shape, x, self.axis)
        wide = jnp.moveaxis(x.astype(computing_dtype(x)), self.axis, -1)
        # The leaf `basis` carries the derivative.
        complement = eqx.tree_at(lambda s: s.A, self._complement, self.basis.T)
        y = wide - complement.project(wide)
        return jnp.moveaxis(y, -1, self.axis).astype(x.dtype)
