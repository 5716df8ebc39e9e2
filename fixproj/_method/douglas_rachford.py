r"""Douglas-Rachford splitting for feasibility.

    two sets:   x = P_A z                    more sets:  x = (z_1 + ... + z_m) / m
                y = P_B(2x - z)                          y_i = P_i(2x - z_i)
                T(z) = z + relaxation (y - x)            likewise for each copy

    readout x

The second column is the first one in the product space, with the diagonal as A. Douglas
& Rachford (1956); Lions & Mercier (1979), algorithm II; for sets: Bauschke, Combettes &
Luke (2002). For closed convex sets with a common point and 0 < relaxation < 2, z
converges, and x to a common point; without one, z drifts along the gap between them.
"""

from jaxtyping import PyTree, Scalar

from .. import _tree
from .._check import check_between
from .._composite import Composite
from .._map import AbstractMap, AbstractMethod
from .._problem import Feasibility
from . import _product_space, _splitting
from .davis_yin import ThreeOperatorMap


class DouglasRachford(AbstractMethod):
    """Reflect, reflect, average.

    The default for [`fixproj.Feasibility`][]. Its governing variable lives outside of
    the sets; the answer is the projection of it onto the first set (with three or more
    sets: the mean of one copy for each set).

    Args:
        relaxation: a scalar in (0, 2), an array leaf that may be traced. The residual
            is proportional to it.
        step: for a [`fixproj.Composite`][] with `prox` g and `linear` (None, h): the
            step of both proximal operators, a positive scalar.

    Raises:
        ValueError: if `relaxation` is a concrete number outside (0, 2).

    References:
        P.-L. Lions and B. Mercier (1979), Splitting algorithms for the sum of two
        nonlinear operators. H. H. Bauschke, P. L. Combettes and D. R. Luke (2002),
        Phase retrieval, error reduction algorithm, and Fienup variants.
    """

    relaxation: float | Scalar = 1.0
    step: float | Scalar = 1.0

    def __check_init__(self):
        check_between("DouglasRachford", "relaxation", self.relaxation, 0, 2)
        check_between("DouglasRachford", "step", self.step, 0)

    def make_map(self, problem: Feasibility | Composite) -> AbstractMap:
        """The Douglas-Rachford operator of the two sets, or of the product space."""
        if isinstance(problem, Composite):
            _splitting.require_identity("DouglasRachford", problem)
            if problem.smooth is not None:
                raise ValueError(
                    "DouglasRachford cannot treat `smooth`; use fixproj.DavisYin."
                )
            return ThreeOperatorMap(problem, self.step, self.relaxation)
        return _Map(problem, _product_space.TwoSets(problem), self.relaxation)


class _Map(AbstractMap):
    problem: Feasibility
    pair: _product_space.TwoSets
    relaxation: float | Scalar

    def init(self) -> PyTree:
        return self.pair.start()

    def apply(self, z: PyTree) -> PyTree:
        x = self.pair.onto_a(z)
        y = self.pair.onto_b(_product_space.reflect(x, z))
        return _tree.add_scaled(z, self.relaxation, _tree.subtract(y, x))

    def readout(self, z: PyTree) -> PyTree:
        return self.pair.answer(z)

    def violation(self, value: PyTree) -> Scalar:
        return _product_space.largest_distance(self.problem, value)
