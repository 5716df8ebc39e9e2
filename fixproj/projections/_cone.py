"""Cones, and their polars and duals by Moreau's decomposition.

For a closed convex cone K with polar K° = {y : y'x <= 0 for all x in K} every point is
the sum of two orthogonal ones, x = P_K(x) + P_K°(x). The dual cone is -K°. So

    P_K°(x) = x - P_K(x),    P_K*(x) = x + P_K(-x).

J.-J. Moreau, "Decomposition orthogonale d'un espace hilbertien selon deux cones
mutuellement polaires" (1962).
"""

from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, PyTree

from fixproj.projections._check import as_inexact
from fixproj.projections._set import AbstractSet


class AbstractCone(AbstractSet):
    """A closed convex cone: a set that has a polar and a dual.

    Subclasses give `axis`, `project` and the class variable `is_self_dual`.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import SecondOrderCone
        >>> print(SecondOrderCone().polar().project(jnp.array([1.0, 3.0, 0.0])))
        [-1.  1.  0.]
    """

    is_self_dual: eqx.AbstractClassVar[bool]

    @final
    def polar(self) -> "AbstractCone":
        """Returns the cone of the `y` with `<x, y> <= 0` for all `x` in this one."""
        if isinstance(self, PolarCone):
            return self.cone
        if isinstance(self, ZeroCone):
            return FreeCone()
        if isinstance(self, FreeCone):
            return ZeroCone()
        return PolarCone(self)  # pyright: ignore[reportCallIssue] # a property

    @final
    def dual(self) -> "AbstractCone":
        """Returns the cone of the `y` with `<x, y> >= 0` for all `x` in this one."""
        if self.is_self_dual:
            return self
        if isinstance(self, DualCone):
            return self.cone
        if isinstance(self, ZeroCone | FreeCone):
            return self.polar()
        return DualCone(self)  # pyright: ignore[reportCallIssue] # a property


class PolarCone(AbstractCone):
    """The polar of a cone: P(x) = x - P_K(x).

    Made by `cone.polar()`.

    Args:
        cone: the cone K.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import ExponentialCone
        >>> polar = ExponentialCone().polar()
        >>> print(polar.project(jnp.array([-1.0, -1.0, -1.0])).round(3))
        [ 0. -1. -1.]
    """

    cone: AbstractCone
    is_self_dual: ClassVar[bool] = False

    @property
    def axis(self) -> Any:
        """That of the cone."""
        return self.cone.axis

    def project(self, x: PyTree[ArrayLike]) -> PyTree[Array]:
        """Returns the nearest point of the polar cone.

        Args:
            x: the point or points, as the cone takes them.

        Returns:
            The nearest point or points.
        """
        nearest = self.cone.project(x)
        return jax.tree.map(lambda a, b: jnp.asarray(a) - b, x, nearest)


class DualCone(AbstractCone):
    """The dual of a cone: P(x) = x + P_K(-x).

    Made by `cone.dual()`.

    Args:
        cone: the cone K.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import ExponentialCone
        >>> dual = ExponentialCone().dual()
        >>> print(dual.project(jnp.array([1.0, 1.0, 1.0])).round(3))
        [0. 1. 1.]
    """

    cone: AbstractCone
    is_self_dual: ClassVar[bool] = False

    @property
    def axis(self) -> Any:
        """That of the cone."""
        return self.cone.axis

    def project(self, x: PyTree[ArrayLike]) -> PyTree[Array]:
        """Returns the nearest point of the dual cone.

        Args:
            x: the point or points, as the cone takes them.

        Returns:
            The nearest point or points.
        """
        nearest = self.cone.project(jax.tree.map(lambda a: -jnp.asarray(a), x))
        return jax.tree.map(lambda a, b: jnp.asarray(a) + b, x, nearest)


class ZeroCone(AbstractCone):
    """The cone {0}; its dual is the whole space.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import ZeroCone
        >>> print(ZeroCone().project(jnp.array([1.0, -2.0])))
        [0. 0.]
    """

    is_self_dual: ClassVar[bool] = False
    axis: ClassVar[None] = None

    def project(self, x: PyTree[ArrayLike]) -> PyTree[Array]:
        """Returns zeros.

        Args:
            x: the point, an array or a pytree of arrays, real or complex.

        Returns:
            Zeros of the shapes and dtypes of `x`. A NaN stays one.

        Raises:
            TypeError: if a leaf of `x` is not floating.
        """
        return jax.tree.map(lambda a: _zero(as_inexact(a, "x")), x)


class FreeCone(AbstractCone):
    """The whole space, as a cone; its dual is {0}.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import FreeCone
        >>> print(FreeCone().project(jnp.array([1.0, -2.0])))
        [ 1. -2.]
    """

    is_self_dual: ClassVar[bool] = False
    axis: ClassVar[None] = None

    def project(self, x: PyTree[ArrayLike]) -> PyTree[Array]:
        """Returns `x`.

        Args:
            x: the point, an array or a pytree of arrays, real or complex.

        Returns:
            The same.

        Raises:
            TypeError: if a leaf of `x` is not floating.
        """
        return jax.tree.map(lambda a: as_inexact(a, "x"), x)


def _zero(x):
    return jnp.where(jnp.isnan(x), x, jnp.zeros_like(x))
