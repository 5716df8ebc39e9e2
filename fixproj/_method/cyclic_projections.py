r"""Cyclic projections.

    T(z) = P_m ... P_2 P_1 z        readout z

Kaczmarz (1937) for hyperplanes; Bregman (1965) for closed convex sets: z converges to a
common point whenever there is one. Without one it converges, if a set is bounded, to a
cycle with one point in each set (Gubin, Polyak & Raik, 1967). In a random order for
each sweep, "random reshuffling", the limits are the same common points, and the worst
case of an unlucky order is avoided (Strohmer & Vershynin, 2009).
"""

from typing import Any

import equinox as eqx
import jax
import jax.dtypes
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Key, PyTree, Scalar

from .. import _tree
from .._map import AbstractMap, AbstractMethod
from .._problem import Feasibility
from . import _product_space


class CyclicProjections(AbstractMethod):
    """Project onto one set after the other, however many there are.

    With hundreds of sets of one kind (the rows of a linear system) this is the method
    with the cheapest progress: sets next to each other in the list that only differ in
    their numbers are run over in one compiled loop.

    Args:
        key: None for the given order, or a PRNG key: every sweep then visits the sets
            in a new random order. The order is drawn from the key and the norm of the
            point, so the map stays a function of the point: the same key gives the same
            solve, one key for each lane of a batch gives independent ones, and a solve
            that goes on from a `state` is the one that did not stop. It is for sets
            that have a common point; without one it does not settle.

    Raises:
        TypeError: if `key` is not a single PRNG key.

    References:
        L. M. Bregman (1965), The method of successive projection for finding a common
        point of convex sets. T. Strohmer and R. Vershynin (2009), A randomized Kaczmarz
        algorithm with exponential convergence.

    Examples:
        >>> import fixproj as fp, jax.numpy as jnp, jax.random as jr
        >>> from fixproj import projections as proj
        >>> rows = jnp.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [-1.0, -1.0]])
        >>> bounds = jnp.array([1.0, 1.0, 0.5, -1.0])
        >>> sets = [proj.Halfspace(a, b) for a, b in zip(rows, bounds)]
        >>> method = fp.CyclicProjections(key=jr.key(0))
        >>> x = fp.solve(fp.Feasibility(sets, jnp.array([3.0, 0.0])), method).value
        >>> print(jnp.max(rows @ x - bounds) < 1e-4)
        True
    """

    key: Key[Any, ""] | None = None

    def __check_init__(self):
        if self.key is None:
            return
        dtype = getattr(self.key, "dtype", None)
        is_key = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
        if not is_key or self.key.shape != ():
            raise TypeError(
                "CyclicProjections: `key` must be a PRNG key such as jax.random.key(0),"
                f" got {self.key!r}."
            )

    def make_map(self, problem: Feasibility) -> AbstractMap:
        """One sweep over all sets."""
        parts = _product_space.groups(problem.sets)
        if self.key is None:
            return _Sweep(problem, parts)
        if len(parts) > 1:
            _product_space.reject_families(problem, "CyclicProjections with a key")
        return _RandomSweep(problem, parts, self.key)


class _Sweep(AbstractMap):
    problem: Feasibility
    parts: tuple[_product_space.Group, ...]

    def init(self) -> PyTree:
        return self.problem.y0

    def apply(self, z: PyTree) -> PyTree:
        for group in self.parts:
            z, _ = group.sweep(lambda s, z, _: (s.project(z), None), z, None)
        return z

    def readout(self, z: PyTree) -> PyTree:
        return z

    def violation(self, value: PyTree) -> Scalar:
        return _product_space.largest_distance(self.problem, value)


class _RandomSweep(AbstractMap):
    problem: Feasibility
    parts: tuple[_product_space.Group, ...]
    key: Key[Any, ""]

    def init(self) -> PyTree:
        return self.problem.y0

    def apply(self, z: PyTree) -> PyTree:
        count = self.problem.count
        size = _tree.two_norm(jax.lax.stop_gradient(z)).astype(jnp.float32)
        bits = jax.lax.bitcast_convert_type(size, jnp.uint32)
        order = jr.permutation(jr.fold_in(self.key, bits), count)

        def visit(z, index):
            return self._project(index, z), None

        return jax.lax.scan(visit, z, order)[0]

    def _project(self, index, z):
        if len(self.parts) == 1 and self.parts[0].count is not None:
            arrays, static = eqx.partition(self.parts[0].sets, eqx.is_array)
            pick = lambda x: jax.lax.dynamic_index_in_dim(x, index, 0, keepdims=False)
            return eqx.combine(jax.tree.map(pick, arrays), static).project(z)
        branches = [lambda z, s=s: s.project(z) for s in self.problem.sets]
        return jax.lax.switch(index, branches, z)

    def readout(self, z: PyTree) -> PyTree:
        return z

    def violation(self, value: PyTree) -> Scalar:
        return _product_space.largest_distance(self.problem, value)
