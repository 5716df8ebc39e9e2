r"""Davis-Yin three-operator splitting, for min f(x) + g(x) + h(x).

    x = prox_{t g}(z)
    y = prox_{t h}(2 x - z - t grad f(x))
    T(z) = z + relaxation (y - x)

    readout x

Converges for convex functions and 0 < t < 2/L. Without f it is Douglas-Rachford.

Where t has to follow the curvature of f, z is kept as x and u = (z - x) / t, which do
not depend on t: for a convex g the same x is prox_{t g}(x + t u) for every t.
"""

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import PyTree, Scalar

from .. import _tree
from .._check import check_between
from .._composite import Composite
from .._map import AbstractMap, AbstractMethod
from . import _curvature, _splitting


class DavisYin(AbstractMethod):
    """One gradient and two proximal steps.

    For a [`fixproj.Composite`][] whose linear part is one pair `(None, h)`.

    Args:
        step: t, a positive scalar below 2/L; None takes it from the curvature,
            with a check of every step where that is not constant (1 without a smooth
            part).
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
        if self.step is not None:
            return ThreeOperatorMap(problem, self.step, self.relaxation)
        bend = _curvature.curvature(problem)
        if bend.probe is not None:
            return _Adaptive(problem, bend, self.relaxation)
        step = _curvature.inverse(bend.first)
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


class _Adaptive(AbstractMap):
    problem: Composite
    bend: _curvature.Curvature
    relaxation: float | Scalar

    def init(self) -> PyTree:
        y0 = self.problem.y0
        step = _curvature.inverse(self.bend.first)
        x = self.problem.prox_of_g(y0, step)
        logarithm = jnp.log(step) * _curvature.WEIGHT
        # The second part is step * u: in the units of x, for the residual.
        return x, _tree.subtract(y0, x), logarithm, self.bend.init()

    def _other(self, x, u, step):
        force = _tree.add_scaled(u, 1, self.problem.gradient(x))
        point = _tree.add_scaled(x, -step, force)
        return _splitting.proxes(self.problem, (point,), step)[0]

    def apply(self, z: PyTree) -> PyTree:
        x, u, logarithm, memory = z
        before = jnp.exp(jax.lax.stop_gradient(logarithm) / _curvature.WEIGHT)
        u = jtu.tree_map(lambda a: a / before.astype(a.dtype), u)
        value, memory = self.bend.near(self.problem, x, memory)
        frozen, at, force = _tree.stop_gradient((self, x, u))
        advance = lambda value: frozen._other(at, force, 1 / value)
        value = self.bend.enough(frozen.problem, at, advance, value)
        step = 1 / value
        y = self._other(x, u, step)
        total = _tree.add_scaled(x, step, u)
        total = _tree.add_scaled(total, self.relaxation, _tree.subtract(y, x))
        new = self.problem.prox_of_g(total, step)
        logarithm = jnp.log(step).astype(logarithm.dtype) * _curvature.WEIGHT
        return new, _tree.subtract(total, new), logarithm, memory

    def readout(self, z: PyTree) -> PyTree:
        return z[0]

    def violation(self, value: PyTree) -> Scalar | None:
        return self.problem.violation(value)
