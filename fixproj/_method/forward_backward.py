r"""Forward-backward splitting (the proximal gradient method), for min f(x) + g(x).

    T(x) = prox_{t g}(x - t grad f(x))

For convex f and g with a gradient of Lipschitz constant L it converges for 0 < t < 2/L.
With `accelerate`, T is applied to x + k/(k+3) (x - x_before), with k counted anew
whenever the momentum points uphill (O'Donoghue and Candes, 2015), for t <= 1/L.

If `step` is None, t starts from the curvature at y0 and is halved until
t <grad f(x+) - grad f(x), x+ - x> <= |x+ - x|^2, which keeps no memory.
"""

import jax
import jax.numpy as jnp
from jaxtyping import PyTree, Scalar

from .. import _tree
from .._composite import Composite
from .._map import AbstractMap, AbstractMethod
from . import _splitting


# The count of the momentum is kept in the iterate but is no part of the solution: this
# small it has no weight in the residual.
_CLOCK = 1e-20


class ForwardBackward(AbstractMethod):
    """A gradient step on the smooth part, a proximal step on the other.

    The default for a [`fixproj.Composite`][] without `linear`.

    Args:
        step: t, a positive scalar below 2/L (1/L if accelerated); None searches.
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
        search = self.step is None
        first = _splitting.lipschitz(problem)
        step = _splitting.inverse(first) if self.step is None else self.step
        if self.accelerate:
            return _Accelerated(problem, step, search)
        return _Plain(problem, step, search)


def _advance(problem, x, step, search):
    gradient = problem.gradient(x)

    def at(step):
        return problem.prox_of_g(_tree.add_scaled(x, -step, gradient), step)

    if search and problem.smooth is not None:
        # The fixed point does not depend on the step, nor do derivatives.
        frozen = _tree.stop_gradient((problem, x, gradient))
        step = _search(*frozen, jax.lax.stop_gradient(step))
    return at(step)


def _search(problem, x, gradient, step):
    def too_long(state):
        step, count = state
        new = problem.prox_of_g(_tree.add_scaled(x, -step, gradient), step)
        move = _tree.subtract(new, x)
        change = _tree.subtract(problem.gradient(new), gradient)
        bent = step * _tree.inner_product(change, move)
        return (bent > 1.1 * _tree.inner_product(move, move)) & (count < 60)

    halve = lambda state: (state[0] / 2, state[1] + 1)
    return jax.lax.while_loop(too_long, halve, (step, 0))[0]


class _Plain(AbstractMap):
    problem: Composite
    step: float | Scalar
    search: bool

    def init(self) -> PyTree:
        return self.problem.y0

    def apply(self, z: PyTree) -> PyTree:
        return _advance(self.problem, z, self.step, self.search)

    def readout(self, z: PyTree) -> PyTree:
        return z

    def violation(self, value: PyTree) -> Scalar | None:
        return self.problem.violation(value)


class _Accelerated(AbstractMap):
    problem: Composite
    step: float | Scalar
    search: bool

    def init(self) -> PyTree:
        y0 = self.problem.y0
        return y0, y0, jnp.zeros((), _tree.norm_dtype(y0))

    def apply(self, z: PyTree) -> PyTree:
        x, before, clock = z
        age = jnp.maximum(jax.lax.stop_gradient(clock) / _CLOCK, 0)
        ahead = _tree.add_scaled(x, age / (age + 3), _tree.subtract(x, before))
        new = _advance(self.problem, ahead, self.step, self.search)
        error, move = _tree.subtract(ahead, new), _tree.subtract(new, x)
        uphill = _tree.inner_product(error, move) > 0
        age = jax.lax.stop_gradient(jnp.where(uphill, 0, age + 1))
        return new, x, age * _CLOCK

    def readout(self, z: PyTree) -> PyTree:
        return z[0]

    def violation(self, value: PyTree) -> Scalar | None:
        return self.problem.violation(value)
