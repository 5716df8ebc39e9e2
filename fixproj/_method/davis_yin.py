r"""Davis-Yin three-operator splitting, for min f(x) + g(x) + h(x).

    x = prox_{t g}(z)
    y = prox_{t h}(2 x - z - t grad f(x))
    T(z) = z + relaxation (y - x)

    readout x

Converges for convex functions and 0 < t < 2/L. Without f it is Douglas-Rachford.
"""

from jaxtyping import PyTree, Scalar

from .. import _tree
from .._check import check_between
from .._composite import Composite
from .._map import AbstractMap, AbstractMethod
from . import _splitting


class DavisYin(AbstractMethod):
    """One gradient and two proximal steps.

    For a [`fixproj.Composite`][] whose linear part is one pair `(None, h)`.

    Args:
        step: t, a positive scalar below 2/L; None is the inverse of the curvature at
            the start (1 without a smooth part).
        relaxation: a scalar in (0, 2).

    Raises:
        ValueError: if an argument is out of range, or the linear part is not one pair
            with the identity.

    References:
        D. Davis and W. Yin (2017), A three-operator splitting scheme and its
        optimization applications.
    """

    step: float | Scalar | None = None
    relaxation: float | Scalar = 1.0

    def __check_init__(self):
        _splitting.check_step("DavisYin", "step", self.step)
        check_between("DavisYin", "relaxation", self.relaxation, 0, 2)

    def make_map(self, problem: Composite) -> AbstractMap:
        """The three-operator step."""
        _splitting.require_composite("DavisYin", problem)
        _splitting.require_identity("DavisYin", problem)
        step = self.step
        if step is None:
            step = _splitting.inverse(_splitting.lipschitz(problem))
        return ThreeOperatorMap(problem, step, self.relaxation)


class ThreeOperatorMap(AbstractMap):
    """The map of Davis-Yin, and without a smooth part of Douglas-Rachford."""

    problem: Composite
    step: float | Scalar
    relaxation: float | Scalar

    def init(self) -> PyTree:
        """The start."""
        return self.problem.y0

    def apply(self, z: PyTree) -> PyTree:
        """One step."""
        x = self.readout(z)
        other = _tree.subtract(_tree.add_scaled(x, 1, x), z)
        force = self.problem.gradient(x)
        other = _tree.add_scaled(other, -self.step, force)
        (y,) = _splitting.proxes(self.problem, (other,), self.step)
        return _tree.add_scaled(z, self.relaxation, _tree.subtract(y, x))

    def readout(self, z: PyTree) -> PyTree:
        """The shadow x."""
        return self.problem.prox_of_g(z, self.step)

    def violation(self, value: PyTree) -> Scalar | None:
        """That of the problem."""
        return self.problem.violation(value)
