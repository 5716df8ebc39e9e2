"""Many sets as two: each gets its own copy of the point, and the copies must agree.

    x in C_1, ..., x in C_m
    <=>  (x_1, ..., x_m) in C_1 x ... x C_m  and  x_1 = ... = x_m

Pierra (1984), Decomposition through formalization in a product space. Neighbours of one
kind in the list of sets are stacked, so that hundreds of them are one batched
projection, and one leaf for each leaf of the point, whatever their number.
"""

import functools as ft
import itertools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, PyTree, Scalar

from .. import _tree
from .._problem import Feasibility
from ..projections import Family
from ..projections._copies import sum_of_copies


# Below this many neighbours of one kind, a batched program is not smaller.
_WORTHWHILE = 4
# Numbers in the copies of a point that are held at once, of each device.
_HELD = 2**18


def _lanes(count: int, size: int) -> int:
    """How many of the sets to take at once, a divisor of their number."""
    devices = jax.device_count()
    if count * size <= 16 * _HELD * devices:
        return count
    most = max(_HELD // size, 1) * devices
    fits = [d for d in range(devices, most + 1, devices) if count % d == 0]
    return fits[-1] if fits and 8 * fits[-1] >= most else count


class Group(eqx.Module):
    """One set (`count` is None), or neighbours of one kind, stacked leaf by leaf."""

    sets: Any
    count: int | None = eqx.field(static=True)

    @property
    def size(self) -> int:
        """The number of sets."""
        return 1 if self.count is None else self.count

    def copies(self, x: PyTree) -> PyTree:
        """One copy of a point for every set."""
        if self.count is None:
            return x
        return jtu.tree_map(lambda a: jnp.broadcast_to(a, (self.count, *a.shape)), x)

    def project(self, points: PyTree) -> PyTree:
        """Every copy onto its own set."""
        if self.count is None:
            return self.sets.project(points)
        return eqx.filter_vmap(lambda s, x: s.project(x))(self.sets, points)

    def summed(self, fn: Callable, x: PyTree, *rows: Array) -> PyTree:
        """The sum over the sets of the pytree `fn(set, x, row of each)`."""
        if self.count is None:
            return fn(self.sets, x, *(row[0] for row in rows))
        pieces = self._by_blocks(fn, x, rows, jnp.add)
        return jtu.tree_map(lambda a: sum_of_copies(a, 0), pieces)

    def largest(self, fn: Callable, x: PyTree) -> Scalar:
        """The largest of the numbers `fn(set, x)` of the sets; NaN if one is NaN."""
        if self.count is None:
            return fn(self.sets, x)
        return jnp.max(self._by_blocks(fn, x, (), jnp.maximum))

    def _by_blocks(self, fn, x, rows, combine):
        """`fn` for all sets, or for so many as fit in a cache, combined one by one.

        Row i of a block is of the sets `i k, ..., i k + k - 1`, where k is the number
        of blocks: sets that are sharded over devices stay where they are.
        """
        for_each = eqx.filter_vmap(lambda one, row: fn(one, x, *row))
        lanes = _lanes(self.size, _tree.real_size(x))
        if lanes == self.size:
            return for_each(self.sets, rows)
        moving, still = eqx.partition((self.sets, rows), eqx.is_array)
        moving = jtu.tree_map(lambda a: a.reshape(lanes, -1, *a.shape[1:]), moving)

        def block(j):
            index = lambda a: jax.lax.dynamic_index_in_dim(a, j, 1, keepdims=False)
            return for_each(*eqx.combine(jtu.tree_map(index, moving), still))

        # What a derivative needs of a block is computed again, not kept.
        @jax.checkpoint
        def step(total, j):
            return jtu.tree_map(combine, total, block(j)), None

        blocks = jnp.arange(1, self.size // lanes)
        return jax.lax.scan(step, block(jnp.zeros((), blocks.dtype)), blocks)[0]

    def total(self, points: PyTree) -> PyTree:
        """The sum of the copies."""
        if self.count is None:
            return points
        return jtu.tree_map(lambda a: sum_of_copies(a, 0), points)

    def sweep(
        self,
        visit: Callable[[Any, PyTree, PyTree], tuple[PyTree, PyTree]],
        x: PyTree,
        copies: PyTree,
    ) -> tuple[PyTree, PyTree]:
        """`x, copy = visit(set, x, copy)` for one set after the other."""
        if self.count is None:
            return visit(self.sets, x, copies)
        arrays, static = eqx.partition(self.sets, eqx.is_array)

        def step(x, item):
            part, copy = item
            return visit(eqx.combine(part, static), x, copy)

        return jax.lax.scan(step, x, (arrays, copies))


def groups(sets: tuple[Any, ...]) -> tuple[Group, ...]:
    """The sets in their order, neighbours of one kind taken together."""
    out = []
    for _, run in itertools.groupby(sets, _kind):
        run = tuple(run)
        if isinstance(run[0], Family):
            out += [Group(s.sets, s.size) for s in run]
            continue
        if len(run) < _WORTHWHILE or not jtu.tree_leaves(run[0]):
            out += [Group(s, None) for s in run]
            continue
        stack = lambda x, *rest: jnp.stack([x, *rest]) if _is_array(x) else x
        out.append(Group(jtu.tree_map(stack, *run), len(run)))
    return tuple(out)


def reject_families(problem: Feasibility, owner: str) -> None:
    """A TypeError if the sets of a problem are not all listed."""
    if any(isinstance(s, Family) for s in problem.sets):
        raise TypeError(
            f"{owner}: `sets` holds a Family, which this method cannot take apart. "
            "List its members, or use AveragedProjections, AlternatingProjections, "
            "CyclicProjections, Haugazeau, or DouglasRachford on three sets or more."
        )


def _kind(set_: Any) -> Any:
    leaves, structure = jtu.tree_flatten(set_)
    signature = tuple(
        (x.shape, x.dtype) if _is_array(x) else (type(x), x) for x in leaves
    )
    return structure, signature


def _is_array(x: Any) -> bool:
    return eqx.is_array(x) or isinstance(x, np.ndarray)


class TwoSets(eqx.Module):
    """Any sets as two, A and B.

    Two sets are A and B themselves, and one is both. Of three or more, A is the
    diagonal of the product space, and B their product.
    """

    first: Any
    parts: tuple[Group, ...]
    y0: PyTree

    def __init__(self, problem: Feasibility):
        sets = list(problem.sets)
        if problem.count > 2:
            self.first, self.parts = None, groups(tuple(sets))
        else:
            reject_families(problem, "Two sets")
            self.first, self.parts = sets[0], (Group(sets[-1], None),)
        self.y0 = problem.y0

    def start(self) -> PyTree:
        """`y0`, or a copy of it for every set."""
        if self.first is None:
            return tuple(g.copies(self.y0) for g in self.parts)
        return self.y0

    def onto_a(self, z: PyTree) -> PyTree:
        """The projection onto A: the first set, or the diagonal."""
        if self.first is None:
            x = self.answer(z)
            return tuple(g.copies(x) for g in self.parts)
        return self.first.project(z)

    def onto_b(self, z: PyTree) -> PyTree:
        """The projection onto B: the second set, or each copy onto its own."""
        if self.first is None:
            return tuple(g.project(c) for g, c in zip(self.parts, z, strict=True))
        return self.parts[0].project(z)

    def answer(self, z: PyTree) -> PyTree:
        """The projection onto A as one point of the original space."""
        if self.first is None:
            totals = [g.total(c) for g, c in zip(self.parts, z, strict=True)]
            return _scaled_sum(totals, sum(g.size for g in self.parts))
        return self.first.project(z)


def mean_of_projections(parts: tuple[Group, ...], x: PyTree) -> PyTree:
    """The mean of the projections of one point onto every set."""
    totals = [g.summed(lambda one, x: one.project(x), x) for g in parts]
    return _scaled_sum(totals, sum(g.size for g in parts))


def _scaled_sum(trees: list, size: int) -> PyTree:
    return jtu.tree_map(lambda *x: sum(x[1:], x[0]) / size, *trees)


def reflect(x: PyTree, z: PyTree) -> PyTree:
    """`2 x - z`."""
    return _tree.subtract(_tree.add_scaled(x, 1, x), z)


def largest_distance(problem: Feasibility, value: PyTree) -> Scalar:
    """The largest entry by which a projection would move `value`, over all the sets."""
    distance = lambda one, x: _tree.max_norm(_tree.subtract(one.project(x), x))
    distances = [g.largest(distance, value) for g in groups(problem.sets)]
    return ft.reduce(jnp.maximum, distances)
