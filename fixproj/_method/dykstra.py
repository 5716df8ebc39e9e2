r"""Dykstra's algorithm: the nearest point of an intersection, as a fixed point.

The increments q_i = (y_0 - z_i) of the sets after the first are the governing variable,
kept as the points z_i. A sweep is

    x_1 = P_1(y_0 - sum_{i>1} (y_0 - z_i))
    x_i = P_i(x_{i-1} + y_0 - z_i),    z_i <- z_i + x_i - x_{i-1}    i = 2, ..., m

    readout x_1

The increment of the first set is what the others leave of y_0 - x, so it is not kept.
Dykstra (1983) for cones, Boyle & Dykstra (1986) for closed convex sets: x_i converges
to the point of the intersection nearest to y_0. Each step maximises the dual of that
problem over one increment, exactly (Han, 1988; Gaffke & Mathar, 1989): it is a gradient
method on the dual, which an acceleration turns into a fast one, with no change to the
answer. The residual is the gap between neighbouring x_i: without a common point it does
not vanish, and z drifts at constant speed.
"""

from typing import Any

from jaxtyping import PyTree, Scalar

from .. import _tree
from .._map import AbstractMap, AbstractMethod
from .._problem import Feasibility
from . import _product_space


class Dykstra(AbstractMethod):
    """The common point of convex sets that is nearest to `y0`.

    The answer is unique, so that it has a derivative with respect to every set and to
    `y0`. Best run with `iteration=fixproj.Anderson(memory=8)`, which is what
    [`fixproj.nearest_point`][] does.

    References:
        R. L. Dykstra (1983), An algorithm for restricted least squares regression. J.
        P. Boyle and R. L. Dykstra (1986), A method for finding projections onto the
        intersection of convex sets in Hilbert spaces. N. J. Higham (2002), Computing
        the nearest correlation matrix.
    """

    def make_map(self, problem: Feasibility) -> AbstractMap:
        """One sweep over all sets, as a map of the increments."""
        _product_space.reject_families(problem, "Dykstra")
        sets = list(problem.sets)
        # A single set is visited twice.
        sets = sets if len(sets) > 1 else sets * 2
        return _Map(problem, sets[0], _product_space.groups(tuple(sets[1:])))


class _Map(AbstractMap):
    problem: Feasibility
    first: Any
    parts: tuple[_product_space.Group, ...]

    def init(self) -> PyTree:
        return tuple(g.copies(self.problem.y0) for g in self.parts)

    def apply(self, z: PyTree) -> PyTree:
        y0, x, out = self.problem.y0, self.readout(z), []

        def visit(set_, x, copy):
            # x + (y0 - z), in this order, because z and y0 are close at first.
            shifted = _tree.add_scaled(x, 1, _tree.subtract(y0, copy))
            nearest = set_.project(shifted)
            moved = _tree.add_scaled(copy, 1, _tree.subtract(nearest, x))
            return nearest, moved

        for group, copies in zip(self.parts, z, strict=True):
            x, copies = group.sweep(visit, x, copies)
            out.append(copies)
        return tuple(out)

    def readout(self, z: PyTree) -> PyTree:
        y0, point = self.problem.y0, self.problem.y0
        for group, copies in zip(self.parts, z, strict=True):
            increments = _tree.subtract(copies, group.copies(y0))
            point = _tree.add_scaled(point, 1, group.total(increments))
        return self.first.project(point)

    def violation(self, value: PyTree) -> Scalar:
        return _product_space.largest_distance(self.problem, value)
