r"""Sets moved, stretched, and pulled back.

    C + c:           P(x) = c + P_C(x - c)
    s C:             P(x) = s P_C(x / s)
    {x : A x in C}:  P(x) = x - A' (A x - P_C(A x)) / c,  if A A' = c I.

H. H. Bauschke and P. L. Combettes, "Convex analysis and monotone operator theory"
(2017), proposition 29.1 and example 29.18.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PyTree

from fixproj.projections._check import (
    as_axis,
    as_floating,
    as_parameter,
    check_length,
    computing_dtype,
    require,
    require_finite,
)
from fixproj.projections._set import AbstractSet


class Translated(AbstractSet):
    """A set moved by an offset: the points c + x with x in the set.

    Args:
        set: the set.
        offset: the vector c: an array that broadcasts to the point, or a
            pytree of such.

    Raises:
        TypeError: if the offset is not real.
        ValueError: if the offset is not finite (a runtime error when it is traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Simplex, Translated
        >>> moved = Translated(Simplex(), jnp.array([10.0, 0.0]))
        >>> print(moved.project(jnp.array([12.0, 0.0])))
        [11.  0.]
    """

    set: AbstractSet
    offset: PyTree[Array]

    def __init__(self, set: AbstractSet, offset: PyTree[ArrayLike]):
        self.set = set
        self.offset = jax.tree.map(
            lambda c: require_finite(as_parameter(c, "offset"), "offset"), offset
        )

    @property
    def axis(self) -> Any:
        """That of the set."""
        return self.set.axis

    def project(self, x: PyTree[ArrayLike]) -> PyTree[Array]:
        """Returns the nearest point of the moved set.

        Args:
            x: the point or points.

        Returns:
            An array, or a pytree, of the shape and dtype of `x`.

        Raises:
            ValueError: if the offset does not broadcast to `x`.
        """
        x = jax.tree.map(jnp.asarray, x)
        offset = _like(self.offset, x, "offset")
        moved = self.set.project(jax.tree.map(jnp.subtract, x, offset))
        return jax.tree.map(jnp.add, moved, offset)


class Scaled(AbstractSet):
    """A set stretched by a factor: the points s x with x in the set.

    Args:
        set: the set.
        factor: the number s, not zero; -1 mirrors the set.

    Raises:
        TypeError: if the factor is not real.
        ValueError: if it is not a scalar, zero, or not finite (a runtime error when it
            is traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Scaled, Simplex
        >>> print(Scaled(Simplex(), -2.0).project(jnp.array([-3.0, 0.0])))
        [-2. -0.]
    """

    set: AbstractSet
    factor: Float[Array, ""]

    def __init__(self, set: AbstractSet, factor: ArrayLike):
        self.set = set
        factor = as_parameter(factor, "factor")
        if factor.ndim != 0:
            raise ValueError(
                f"`factor` must be a scalar, but has shape {factor.shape}."
            )
        self.factor = require(
            factor,
            lambda s: (s != 0) & jnp.isfinite(s),
            factor,
            message="`factor` must be finite and not zero.",
        )

    @property
    def axis(self) -> Any:
        """That of the set."""
        return self.set.axis

    def project(self, x: PyTree[ArrayLike]) -> PyTree[Array]:
        """Returns the nearest point of the stretched set.

        Args:
            x: the point or points.

        Returns:
            An array, or a pytree, of the shape and dtype of `x`.
        """
        shrunk = jax.tree.map(lambda a: jnp.asarray(a) / self._as(a), x)
        return jax.tree.map(lambda a: a * self._as(a), self.set.project(shrunk))

    def _as(self, a):
        return self.factor.astype(jnp.asarray(a).dtype)


class LinearPreimage(AbstractSet):
    """The points that a matrix takes into a set: {x : A x in C}.

    Exact for a tight frame, a matrix with A A' = c I: orthogonal rows of one length, as
    of a selection, a rotation, a sum, or a Fourier or Haar transform. For any other
    matrix the projection has no formula: `Intersection` of the graph y = A x (an
    `Affine`) and C, on pairs (x, y) weighted to taste, or a splitting method, does it.

    Args:
        set: the set C of points of length m along their last axis.
        A: matrix of shape (m, n).
        axis: the axis of `x`, of length n, along which a point lies.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if A is not a matrix, not finite, or A A' is not a positive multiple
            of the identity (a runtime error when it is traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Box, LinearPreimage
        >>> bounded_sum = LinearPreimage(Box(0.0, 1.0), jnp.ones((1, 4)))
        >>> print(bounded_sum.project(jnp.array([1.0, 2.0, 3.0, 3.0])))
        [-1.  0.  1.  1.]
    """

    set: AbstractSet
    A: Float[Array, "m n"]
    axis: int = eqx.field(static=True)

    def __init__(self, set: AbstractSet, A: ArrayLike, axis: int = -1):
        A = as_parameter(A, "A")
        if A.ndim != 2 or A.shape[0] == 0:
            raise ValueError(
                f"`A` must have shape (m, n), m >= 1, but has shape {A.shape}."
            )
        A = require_finite(A, "A")
        self.A = require(
            A,
            _is_tight,
            A,
            message=(
                "`A A'` must be a positive multiple of the identity; for another `A` "
                "use an Intersection."
            ),
        )
        self.set = set
        self.axis = as_axis(axis)

    def project(self, x: Float[ArrayLike, "..."]) -> Float[Array, "..."]:
        """Returns the nearest point whose image is in the set.

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
        A = self.A.astype(dtype)
        wide = jnp.moveaxis(x.astype(dtype), self.axis, -1)
        image = wide @ A.T
        square = jnp.sum(A * A) / A.shape[0]
        excess = (image - self.set.project(image)) / square
        return jnp.moveaxis(wide - excess @ A, -1, self.axis).astype(x.dtype)


def _is_tight(A):
    gram = A @ A.T
    square = jnp.trace(gram) / A.shape[0]
    error = jnp.max(jnp.abs(gram - square * jnp.eye(A.shape[0], dtype=A.dtype)))
    tolerance = 64 * jnp.finfo(A.dtype).eps * max(A.shape) ** 0.5
    return (square > 0) & (error <= tolerance * square)


def _like(offset, x, name):
    """The offset with the structure, shapes and dtypes of a point."""

    def spread(a, c):
        if len(jnp.broadcast_shapes(a.shape, c.shape)) != a.ndim:
            raise ValueError(
                f"`{name}` of shape {c.shape} does not broadcast to {a.shape}."
            )
        return jnp.broadcast_to(c.astype(a.dtype), a.shape)

    return jax.tree.map(spread, x, offset)
