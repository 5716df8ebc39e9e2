r"""Alternating projections.

    two sets:   T(z) = P_B P_A z                    readout z
    more sets:  T(z) = (P_1 z + ... + P_m z) / m    readout z

The second line is the first one in the product space (Pierra, 1984), where B is the
diagonal. Von Neumann (1933) for subspaces; Bregman (1965) for convex sets. Converges to
a point of the intersection of closed convex sets whenever there is one, and otherwise,
for two sets, to a pair at the smallest distance (Cheney & Goldstein, 1959).
"""

from jaxtyping import PyTree, Scalar

from .._map import AbstractMap, AbstractMethod
from .._problem import Feasibility
from . import _product_space


class AlternatingProjections(AbstractMethod):
    """Project onto one set after the other.

    The simplest method for [`fixproj.Feasibility`][]: monotone and parameter-free, but
    slow where the sets meet at a small angle. Three or more sets are projected onto at
    the same time and averaged.

    References:
        L. M. Bregman (1965), The method of successive projection for finding a common
        point of convex sets. G. Pierra (1984), Decomposition through formalization in a
        product space.
    """

    def make_map(self, problem: Feasibility) -> AbstractMap:
        """The composition, or the mean, of the projections."""
        if problem.count <= 2:
            _product_space.reject_families(problem, "AlternatingProjections")
        return _Map(problem, _product_space.groups(problem.sets))


class _Map(AbstractMap):
    problem: Feasibility
    parts: tuple[_product_space.Group, ...]

    def init(self) -> PyTree:
        return self.problem.y0

    def apply(self, z: PyTree) -> PyTree:
        if self.problem.count > 2:
            return _product_space.mean_of_projections(self.parts, z)
        for s in self.problem.sets:
            z = s.project(z)
        return z

    def readout(self, z: PyTree) -> PyTree:
        return z

    def violation(self, value: PyTree) -> Scalar:
        return _product_space.largest_distance(self.problem, value)
