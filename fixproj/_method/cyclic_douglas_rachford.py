r"""Cyclic Douglas-Rachford.

    T = T_{m,1} ... T_{2,3} T_{1,2},    T_{i,j} z = z + P_j(2 P_i z - z) - P_i z

    readout P_1 z

Borwein & Tam (2014), A cyclic Douglas-Rachford iteration scheme, theorem 3.1: for
closed convex sets with a common point z converges, and its projections onto all of the
sets are one and the same common point. No product space: one copy of the point serves
any number of sets, at two projections for each.
"""

from typing import Any

import equinox as eqx
from jaxtyping import PyTree, Scalar

from .. import _tree
from .._map import AbstractMap, AbstractMethod
from .._problem import Feasibility
from . import _product_space


class CyclicDouglasRachford(AbstractMethod):
    """Douglas-Rachford steps for each pair of neighbours in a circle of sets.

    References:
        J. M. Borwein and M. K. Tam (2014), A cyclic Douglas-Rachford iteration scheme.
    """

    def make_map(self, problem: Feasibility) -> AbstractMap:
        """One turn around the circle."""
        _product_space.reject_families(problem, "CyclicDouglasRachford")
        successors = (*problem.sets[1:], problem.sets[0])
        pairs = map(_Neighbours, problem.sets, successors)
        return _Map(problem, _product_space.groups(tuple(pairs)))


class _Neighbours(eqx.Module):
    first: Any
    second: Any


class _Map(AbstractMap):
    problem: Feasibility
    pairs: tuple[_product_space.Group, ...]

    def init(self) -> PyTree:
        return self.problem.y0

    def apply(self, z: PyTree) -> PyTree:
        for group in self.pairs:
            z, _ = group.sweep(_step, z, None)
        return z

    def readout(self, z: PyTree) -> PyTree:
        return self.problem.sets[0].project(z)

    def violation(self, value: PyTree) -> Scalar:
        return _product_space.largest_distance(self.problem, value)


def _step(pair, z, copy):
    x = pair.first.project(z)
    y = pair.second.project(_product_space.reflect(x, z))
    return _tree.add_scaled(z, 1, _tree.subtract(y, x)), copy
