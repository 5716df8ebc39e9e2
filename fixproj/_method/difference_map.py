r"""The difference map.

    f_A(z) = P_A z + gamma_A (P_A z - z),    f_B(z) = P_B z + gamma_B (P_B z - z)
    x = P_A f_B(z),    y = P_B f_A(z),       T(z) = z + beta (x - y)

    readout x

with gamma_A = -1/beta and gamma_B = 1/beta unless given; three or more sets in the
product space, with the diagonal as A. Elser (2003), Phase retrieval by iterated
projections, equations (8) to (12); Elser, Rankenburg & Thibault (2007), Searching with
iterated maps. The residual is beta times the gap x - y: it vanishes if and only if x
lies in both sets. beta = 1 is Douglas-Rachford with B first, beta = -1 with A first.
Convergence is proven for convex sets at |beta| = 1 only.
"""

from jaxtyping import PyTree, Scalar

from .. import _tree
from .._check import check_between, is_traced
from .._map import AbstractMap, AbstractMethod
from .._problem import Feasibility
from . import _product_space


class DifferenceMap(AbstractMethod):
    """The difference of two projections, each taken at the other's estimate.

    A search method for sets that are not convex, like [`fixproj.RRR`][], at twice the
    projections for each step.

    Args:
        beta: the step, a scalar that is not 0, usually in [-1.2, 1.2]; an array leaf
            that may be traced. Its sign exchanges the roles of the sets.
        gammas: the pair `(gamma_A, gamma_B)` of the estimates' relaxations; None is
            `(-1 / beta, 1 / beta)`, which makes solutions most attractive for sets
            that meet at right angles.

    Raises:
        ValueError: if `beta` is 0, or `gammas` is not a pair of real scalars.

    References:
        V. Elser (2003), Phase retrieval by iterated projections. V. Elser, I.
        Rankenburg and P. Thibault (2007), Searching with iterated maps.
    """

    beta: float | Scalar = 1.0
    gammas: tuple[float | Scalar, float | Scalar] | None = None

    def __check_init__(self):
        infinity = float("inf")
        check_between("DifferenceMap", "beta", self.beta, -infinity, infinity)
        if not is_traced(self.beta) and float(self.beta) == 0:
            raise ValueError("DifferenceMap: `beta` must not be 0.")
        if self.gammas is None:
            return
        if not isinstance(self.gammas, tuple | list) or len(self.gammas) != 2:
            raise ValueError(
                "DifferenceMap: `gammas` must be a pair (gamma_A, gamma_B), got "
                f"{self.gammas!r}."
            )
        for gamma in self.gammas:
            check_between("DifferenceMap", "gammas", gamma, -infinity, infinity)

    def make_map(self, problem: Feasibility) -> AbstractMap:
        """The difference map of the two sets, or of the product space."""
        gammas = self.gammas
        if gammas is None:
            gammas = (-1 / self.beta, 1 / self.beta)
        first, second = gammas
        pair = _product_space.TwoSets(problem)
        return _Map(problem, pair, self.beta, (first, second))


class _Map(AbstractMap):
    problem: Feasibility
    pair: _product_space.TwoSets
    beta: float | Scalar
    gammas: tuple[float | Scalar, float | Scalar]

    def init(self) -> PyTree:
        return self.pair.start()

    def apply(self, z: PyTree) -> PyTree:
        x = self.pair.onto_a(self._estimate_b(z))
        y = self.pair.onto_b(_estimate(self.pair.onto_a(z), z, self.gammas[0]))
        return _tree.add_scaled(z, self.beta, _tree.subtract(x, y))

    def readout(self, z: PyTree) -> PyTree:
        return self.pair.answer(self._estimate_b(z))

    def violation(self, value: PyTree) -> Scalar:
        return _product_space.largest_distance(self.problem, value)

    def _estimate_b(self, z):
        return _estimate(self.pair.onto_b(z), z, self.gammas[1])


def _estimate(x: PyTree, z: PyTree, gamma: float | Scalar) -> PyTree:
    return _tree.add_scaled(x, gamma, _tree.subtract(x, z))
