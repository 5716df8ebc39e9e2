r"""RAAR: relaxed averaged alternating reflections.

    x = P_A z,    y = P_B(2x - z),    T(z) = beta (z + y - x) + (1 - beta) x

    readout x

Three or more sets in the product space, with the diagonal as A. Luke (2005), Relaxed
averaged alternating reflections for diffraction imaging, equation (9). beta -> 1 is
Douglas-Rachford. For closed convex sets and 0 < beta < 1 there are fixed points as soon
as some pair of points is nearest between the sets, also where the sets do not meet
(lemma 3.1), and z converges; with a common point, to a common point.
"""

from jaxtyping import PyTree, Scalar

from .. import _tree
from .._check import check_between
from .._map import AbstractMap, AbstractMethod
from .._problem import Feasibility
from . import _product_space


class RAAR(AbstractMethod):
    """Douglas-Rachford, pulled back to the first set at every step.

    For sets that only nearly meet, as data with noise do: where Douglas-Rachford drifts
    along the gap, this settles, and the result says `infeasible_suspected` with the
    size of the gap in `stats["violation"]`.

    Args:
        beta: the share of Douglas-Rachford, a scalar in (0, 1), an array leaf that may
            be traced.

    Raises:
        ValueError: if `beta` is a concrete number outside (0, 1).

    References:
        D. R. Luke (2005), Relaxed averaged alternating reflections for diffraction
        imaging. D. R. Luke (2008), Finding best approximation pairs relative to a
        convex and a prox-regular set in a Hilbert space.
    """

    beta: float | Scalar = 0.75

    def __check_init__(self):
        check_between("RAAR", "beta", self.beta, 0, 1)

    def make_map(self, problem: Feasibility) -> AbstractMap:
        """The relaxed averaged alternating reflections operator."""
        return _Map(problem, _product_space.TwoSets(problem), self.beta)


class _Map(AbstractMap):
    problem: Feasibility
    pair: _product_space.TwoSets
    beta: float | Scalar

    def init(self) -> PyTree:
        return self.pair.start()

    def apply(self, z: PyTree) -> PyTree:
        x = self.pair.onto_a(z)
        y = self.pair.onto_b(_product_space.reflect(x, z))
        # x + beta (z + y - 2x)
        step = _tree.subtract(y, _product_space.reflect(x, z))
        return _tree.add_scaled(x, self.beta, step)

    def readout(self, z: PyTree) -> PyTree:
        return self.pair.answer(z)

    def violation(self, value: PyTree) -> Scalar:
        return _product_space.largest_distance(self.problem, value)
