"""Products of sets: one set for every part of a pytree, or every row of an array."""

from collections.abc import Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from fixproj.projections._check import (
    along,
    as_axis,
    as_inexact,
    as_parameter,
    check_length,
    position,
    require,
)
from fixproj.projections._copies import sum_of_copies
from fixproj.projections._set import AbstractSet


class Product(AbstractSet):
    """The points each part of which lies in a set of its own.

    Args:
        sets: a pytree whose leaves are sets. A point is a pytree with the same
            structure, or one whose parts are again pytrees, if a set takes such.

    Raises:
        TypeError: if a leaf is not a set.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Box, Product, Simplex
        >>> both = Product({"p": Simplex(), "q": Box(0.0, 1.0)})
        >>> y = both.project({"p": jnp.array([1.0, 1.0]), "q": jnp.array([2.0])})
        >>> print(y["p"], y["q"])
        [0.5 0.5] [1.]
    """

    sets: PyTree[AbstractSet]
    axis: ClassVar[None] = None

    def __check_init__(self):
        """Reject leaves that are not sets."""
        for leaf in jax.tree.leaves(self.sets, is_leaf=_is_set):
            if not _is_set(leaf):
                raise TypeError(f"`sets` must be a pytree of sets, but has {leaf!r}.")

    def project(self, x: PyTree[Any]) -> PyTree[Any]:
        """Returns the nearest point of the product.

        Args:
            x: the point.

        Returns:
            The nearest point, part by part.

        Raises:
            ValueError: if the structure of `x` is not that of the sets.
        """
        return jax.tree.map(
            lambda s, part: s.project(part), self.sets, x, is_leaf=_is_set
        )


class Stacked(AbstractSet):
    """Many sets of one kind, as one set whose parameters have a leading axis.

    Row i of a point belongs to set i. All rows are projected by one vectorised
    operation; sharded over the leading axis, every device has its own sets.

    Args:
        sets: a set all of whose array leaves have a leading axis of the same length
            (as `equinox.filter_vmap` of its constructor makes it), or a sequence of
            sets that differ in the values of their leaves only.

    Raises:
        ValueError: if the sets of a sequence differ in more, or it is empty, or the
            leading axes do not agree.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import L2Ball, Stacked
        >>> balls = Stacked([L2Ball(1.0), L2Ball(10.0)])
        >>> print(balls.project(jnp.array([[3.0, 0.0], [30.0, 0.0]])))
        [[ 1.  0.]
         [10.  0.]]
    """

    sets: AbstractSet
    axis: ClassVar[None] = None

    def __init__(self, sets: AbstractSet | Sequence[AbstractSet]):
        self.sets = sets if isinstance(sets, AbstractSet) else _stack(list(sets))
        sizes = {leaf.shape[:1] for leaf in jax.tree.leaves(_arrays(self.sets))}
        if len(sizes) != 1 or () in sizes:
            raise ValueError(
                "`sets` must have array leaves, all with a leading axis of one length, "
                f"but the leading axes are {sorted(sizes)}."
            )

    def project(self, x: PyTree[Array]) -> PyTree[Array]:
        """Returns the nearest point, row by row.

        Args:
            x: the point: arrays whose leading axis counts the sets.

        Returns:
            The nearest point.
        """
        return eqx.filter_vmap(
            lambda one, row: one.project(row), in_axes=(eqx.if_array(0), 0)
        )(self.sets, x)


class Consensus(AbstractSet):
    """The stacks of copies that are all equal: P(x) has the mean of the copies.

    On sharded copies the mean is an all-reduce.

    Args:
        copies_axis: the axis of every array of a point along which the copies lie.
        weights: positive weights of the copies in the metric, of shape (copies,);
            `None` for equal ones.

    Raises:
        TypeError: if the axis is not an integer, or the weights are not real.
        ValueError: if the weights are not positive and finite (a runtime error when
            they are traced).

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj.projections import Consensus
        >>> print(Consensus().project(jnp.array([[1.0, 2.0], [3.0, 6.0]])))
        [[2. 4.]
         [2. 4.]]
    """

    weights: Array | None
    copies_axis: int = eqx.field(static=True)
    axis: ClassVar[None] = None

    def __init__(self, copies_axis: int = 0, weights: Any = None):
        self.copies_axis = as_axis(copies_axis)
        if weights is not None:
            weights = as_parameter(weights, "weights")
            if weights.ndim != 1:
                raise ValueError(
                    "`weights` must have shape (copies,), but has shape "
                    f"{weights.shape}."
                )
            weights = require(
                weights,
                lambda w: (w > 0) & jnp.isfinite(w),
                weights,
                message="`weights` must be positive and finite.",
            )
        self.weights = weights

    def project(self, x: PyTree[Array]) -> PyTree[Array]:
        """Returns the nearest point of which all copies are equal.

        Args:
            x: the point, an array or a pytree of arrays.

        Returns:
            The mean, as many times as there are copies.

        Raises:
            TypeError: if a leaf of `x` is not floating.
            ValueError: if a leaf lacks the axis, or the weights do not fit.
        """
        return jax.tree.map(self._average, x)

    def _average(self, x):
        x = as_inexact(x, "x")
        axis = position(self.copies_axis, x)
        if self.weights is None:
            mean = sum_of_copies(x, axis) / x.shape[axis]
            mean = jnp.expand_dims(mean, axis)
        else:
            check_length("weights", self.weights.shape, x, axis)
            share = self.weights / jnp.sum(self.weights)
            share = along(share.astype(x.dtype), x, axis)
            mean = jnp.expand_dims(sum_of_copies(share * x, axis), axis)
        return jnp.broadcast_to(mean, x.shape).astype(x.dtype)


def _is_set(x):
    return isinstance(x, AbstractSet)


def _arrays(tree):
    return eqx.filter(tree, eqx.is_array)


def _stack(sets):
    if not sets:
        raise ValueError("`sets` must not be empty.")
    structures = {jax.tree.structure(_arrays(s)) for s in sets}
    shapes = {tuple(a.shape for a in jax.tree.leaves(_arrays(s))) for s in sets}
    if len(structures) != 1 or len(shapes) != 1:
        raise ValueError(
            "`sets` must be of one class and agree in all but the values of their "
            f"arrays, but were {sets!r}."
        )
    static = eqx.filter(sets[0], eqx.is_array, inverse=True)
    arrays = jax.tree.map(lambda *a: jnp.stack(a), *[_arrays(s) for s in sets])
    return eqx.combine(arrays, static)
