"""The interface of a set: its projection, and what follows from it.

For a closed set C and the Euclidean norm, P(x) is a point of C nearest to x. Then
dist(x, C) = |x - P(x)|, and P is the proximal operator of the indicator function of C
for every step size, as the indicator only takes the values 0 and infinity.
"""

import abc
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, PyTree

from fixproj.projections._check import computing_dtype
from fixproj.projections._norm import direction_and_norm


class AbstractSet(eqx.Module):
    """A closed set with a projection. Subclasses give `axis` and `project`.

    `axis` says what one point of the set is. `None`: all of `x` (which may be a pytree)
    is one point. An axis, or several: every slice of `x` along it is a point, the other
    axes are a batch.

    Examples:
        >>> from typing import ClassVar
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import AbstractSet
        >>> class NonNegative(AbstractSet):
        ...     axis: ClassVar[None] = None
        ...
        ...     def project(self, x):
        ...         return jnp.maximum(x, 0)
        >>> print(NonNegative().distance(jnp.array([-3.0, 1.0, -4.0])))
        5.0
    """

    axis: eqx.AbstractVar[int | tuple[int, ...] | None]

    @abc.abstractmethod
    def project(self, x: Any) -> Any:
        """Returns the nearest point of the set, with the shapes and dtypes of `x`.

        Args:
            x: the point or points.

        Returns:
            The nearest point or points.
        """

    @final
    def distance(self, x: PyTree[ArrayLike]) -> Float[Array, "..."]:
        """Returns the Euclidean distance of `x` from the set.

        The gradient of the distance from a point inside the set is zero.

        Args:
            x: the point or points.

        Returns:
            The shape of `x` without `axis`: a scalar if `axis` is `None`.
        """
        return _norm(_difference(x, self.project(x)), self.axis)

    @final
    def contains(
        self, x: PyTree[ArrayLike], tol: ArrayLike | None = None
    ) -> Bool[Array, "..."]:
        """Whether `x` is in the set, up to a tolerance.

        Args:
            x: the point or points.
            tol: the largest distance that counts as inside. The default is
                `16 * eps * max(1, |x|)`, with `eps` the machine epsilon of the dtype
                of `x`. Give `tol` when the set is much smaller than 1, or when `x` was
                projected from so far away that rounding there matters here.

        Returns:
            Booleans, of the shape of `distance(x)`. False where `x` has a NaN.
        """
        distance = self.distance(x)
        if tol is None:
            tolerance = 16 * _epsilon(x) * jnp.maximum(1, _norm(x, self.axis))
        else:
            tolerance = jnp.asarray(tol).astype(distance.dtype)
            tolerance = jnp.broadcast_to(tolerance, distance.shape)
        return distance <= tolerance

    @final
    def prox(
        self, x: PyTree[ArrayLike], step: ArrayLike = 1.0
    ) -> PyTree[Float[Array, "..."]]:
        """Returns `project(x)`: the proximal operator of the indicator function.

        Args:
            x: the point or points.
            step: without effect; it is there so that a set serves as a function.

        Returns:
            The nearest point or points.
        """
        del step
        return self.project(x)


def _difference(x, y):
    return jax.tree.map(lambda a, b: jnp.asarray(a) - b, x, y)


def _epsilon(x):
    return max(float(jnp.finfo(jnp.asarray(a).dtype).eps) for a in jax.tree.leaves(x))


def _norm(x, axis):
    norms = []
    for leaf in jax.tree.leaves(x):
        leaf = jnp.asarray(leaf)
        if jnp.iscomplexobj(leaf):
            leaf = jnp.abs(leaf)
        _, norm = direction_and_norm(leaf, axis)
        norms.append(
            jnp.squeeze(norm, tuple(range(leaf.ndim)) if axis is None else axis)
        )
    if len(norms) == 1:
        return norms[0]
    same = len({norm.dtype for norm in norms}) == 1
    dtype = norms[0].dtype if same else computing_dtype(*norms)
    _, norm = direction_and_norm(jnp.stack([n.astype(dtype) for n in norms]), 0)
    return norm[0]
