r"""Peaceman-Rachford splitting for feasibility: alternating reflections.

    x = P_A z,    y = P_B(2x - z),    T(z) = R_B R_A z = z + 2 (y - x)

    readout x

with R = 2P - I; three or more sets in the product space, with the diagonal as A.
Peaceman & Rachford (1955); Lions & Mercier (1979), algorithm I. T is nonexpansive for
closed convex sets, and need not converge by repetition: it does when one of the sets
has a common point in its interior, while half of it, `Picard(relaxation=0.5)`, always
does, and is Douglas-Rachford.
"""

from typing import ClassVar

from jaxtyping import PyTree, Scalar

from .. import _tree
from .._map import AbstractMap, AbstractMethod
from .._problem import Feasibility
from . import _product_space


class PeacemanRachford(AbstractMethod):
    """Reflect in one set, then in the other: alternating reflections.

    The undamped limit of [`fixproj.DouglasRachford`][]: where it converges, often in a
    finite number of steps, and otherwise around the solution for ever. Run it with
    `iteration=fixproj.Anderson()`, [`fixproj.Halpern`][] or
    `fixproj.Picard(relaxation=...)` below 1 when in doubt.

    References:
        D. W. Peaceman and H. H. Rachford (1955), The numerical solution of parabolic
        and elliptic differential equations. P.-L. Lions and B. Mercier (1979),
        Splitting algorithms for the sum of two nonlinear operators.
    """

    def make_map(self, problem: Feasibility) -> AbstractMap:
        """The composition of the two reflections."""
        return _Map(problem, _product_space.TwoSets(problem))


class _Map(AbstractMap):
    settles: ClassVar[bool] = False
    problem: Feasibility
    pair: _product_space.TwoSets

    def init(self) -> PyTree:
        return self.pair.start()

    def apply(self, z: PyTree) -> PyTree:
        x = self.pair.onto_a(z)
        y = self.pair.onto_b(_product_space.reflect(x, z))
        return _tree.add_scaled(z, 2, _tree.subtract(y, x))

    def readout(self, z: PyTree) -> PyTree:
        return self.pair.answer(z)

    def violation(self, value: PyTree) -> Scalar:
        return _product_space.largest_distance(self.problem, value)
