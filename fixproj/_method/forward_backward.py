r"""Forward-backward splitting (the proximal gradient method), for min f(x) + g(x).

    T(x) = prox_{t g}(x - t grad f(x))

For convex f and g with a gradient of Lipschitz constant L it converges for 0 < t < 2/L.
With `accelerate`, T is applied to x + k/(k+3) (x - x_before), with k counted anew
whenever the momentum points uphill (O'Donoghue and Candes, 2015), for t <= 1/L.

If `step` is None, t is the inverse of the curvature of f: a constant for a quadratic f,
for any other one it follows the iterates, and every step is checked (see `_curvature`).
"""

import jax
import jax.numpy as jnp
from jaxtyping import PyTree, Scalar

from .. import _tree
from .._composite import Composite
from .._map import AbstractMap, AbstractMethod
from . import _curvature, _splitting


class ForwardBackward(AbstractMethod):
    """A gradient step on the smooth part, a proximal step on the other.

    The default for a [`fixproj.Composite`][] without `linear`.

    Args:
        step: t, a positive scalar below 2/L (1/L if accelerated); None takes it
            from the curvature, with a check of every step where that is not constant.
        accelerate: whether to use momentum (FISTA with restarts).

    Raises:
        ValueError: if `step` is not positive, or the problem has a linear part.

    References:
        A. Beck and M. Teboulle (2009), A fast iterative shrinkage-thresholding
        algorithm for linear inverse problems. B. O'Donoghue and E. Candes (2015),
        Adaptive restart for accelerated gradient schemes.
    """

    step: float | Scalar | None = None
    accelerate: bool = False

    def __check_init__(self):
        _splitting.check_step("ForwardBackward", "step", self.step)

    def make_map(self, problem: Composite) -> AbstractMap:
        """The proximal gradient step, plain or with momentum."""
        _splitting.require_composite("ForwardBackward", problem)
        if problem.linear:
            raise ValueError(
                "ForwardBackward cannot treat `linear`; use fixproj.CondatVu, "
                "fixproj.PDHG or fixproj.DavisYin."
            )
        bend = _curvature.curvature(problem, constant=self.step is not None)
        map_ = _Accelerated if self.accelerate else _Plain
        return map_(problem, self.step, bend)


def _advance(problem, x, given, bend, memory):
    """One proximal gradient step from x."""

    def at(problem, x, step):
        gradient = problem.gradient(x)
        return problem.prox_of_g(_tree.add_scaled(x, -step, gradient), step)

    if given is not None:
        return at(problem, x, given), memory
    value, memory = bend.near(problem, x, memory)
    frozen, start = _tree.stop_gradient(problem), _tree.stop_gradient(x)
    value = bend.enough(
        frozen, start, lambda value: at(frozen, start, 1 / value), value
    )
    return at(problem, x, 1 / value), memory


class _Plain(AbstractMap):
    problem: Composite
    step: float | Scalar | None
    bend: _curvature.Curvature

    def init(self) -> PyTree:
        return self.problem.y0, self.bend.init()

    def apply(self, z: PyTree) -> PyTree:
        x, memory = z
        return _advance(self.problem, x, self.step, self.bend, memory)

    def readout(self, z: PyTree) -> PyTree:
        return z[0]

    def violation(self, value: PyTree) -> Scalar | None:
        return self.problem.violation(value)


class _Accelerated(AbstractMap):
    problem: Composite
    step: float | Scalar | None
    bend: _curvature.Curvature

    def init(self) -> PyTree:
        y0 = self.problem.y0
        return y0, y0, jnp.zeros((), _tree.norm_dtype(y0)), self.bend.init()

    def apply(self, z: PyTree) -> PyTree:
        x, before, clock, memory = z
        age = jnp.maximum(jax.lax.stop_gradient(clock) / _curvature.WEIGHT, 0)
        ahead = _tree.add_scaled(x, age / (age + 3), _tree.subtract(x, before))
        new, memory = _advance(self.problem, ahead, self.step, self.bend, memory)
        error, move = _tree.subtract(ahead, new), _tree.subtract(new, x)
        uphill = _tree.inner_product(error, move) > 0
        age = jax.lax.stop_gradient(jnp.where(uphill, 0, age + 1))
        return new, x, age * _curvature.WEIGHT, memory

    def readout(self, z: PyTree) -> PyTree:
        return z[0]

    def violation(self, value: PyTree) -> Scalar | None:
        return self.problem.violation(value)
