r"""The method of multipliers, for equations and inequalities.

    x <- argmin f(x) + penalty/2 (|c_E - y_E/penalty|^2 + |max(0, y_I/penalty - c_I)|^2)
    y_E <- y_E - penalty c_E(x),    y_I <- max(0, y_I - penalty c_I(x))

and the penalty grows while the violation does not fall by half. Hestenes (1969); Powell
(1969); Rockafellar (1973) for inequalities; Nocedal & Wright (2006), section 17.4. The
minimisation is an optimistix solver's.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Float, PyTree, Scalar

from .. import _tree
from .._check import check_between, check_positive_int
from .._map import AbstractMap, AbstractMethod
from .._problem import Constrained
from ._kkt import Equation, Functions, Multipliers, Point, check, largest_violation


class AugmentedLagrangian(AbstractMethod):
    """The augmented Lagrangian method, with an optimistix minimiser inside.

    No linear system in the constraints is solved: for problems with more constraints
    than [`fixproj.SQP`][] can factorise. One map application is one minimisation.

    Args:
        penalty: the first penalty, a scalar > 0 that may be traced.
        growth: by which it is multiplied while the violation falls too slowly, a scalar
            > 1; it stays below 1e8 times the first.
        minimiser: an optimistix minimiser; None is `optimistix.BFGS` with tolerances
            that suit the dtype.
        inner_steps: the most steps of one minimisation.

    Raises:
        ValueError: if an argument is out of range.
        TypeError: if `minimiser` is no optimistix minimiser.

    References:
        M. R. Hestenes (1969), Multiplier and gradient methods. M. J. D. Powell (1969),
        A method for nonlinear constraints in minimization problems.
    """

    penalty: float | Scalar = 10.0
    growth: float | Scalar = 4.0
    minimiser: optx.AbstractMinimiser | None = None
    inner_steps: int = eqx.field(static=True, default=500)

    def __check_init__(self):
        check_between("AugmentedLagrangian", "penalty", self.penalty, 0)
        check_between("AugmentedLagrangian", "growth", self.growth, 1)
        check_positive_int("AugmentedLagrangian", "inner_steps", self.inner_steps)
        if self.minimiser is not None and not isinstance(
            self.minimiser, optx.AbstractMinimiser
        ):
            raise TypeError(
                "AugmentedLagrangian: `minimiser` must be an optimistix minimiser such "
                f"as optimistix.BFGS(1e-9, 1e-9), got {self.minimiser!r}."
            )

    def make_map(self, problem: Constrained) -> AbstractMap:
        """One minimisation and the update of the multipliers."""
        check(problem)
        return _Map(Functions(problem), self)

    def default_rtol(self, z: PyTree) -> float:
        """eps^(1/2): what a quasi-Newton method inside can reach."""
        return _tree.coarsest_epsilon(z) ** 0.5


class _State(eqx.Module):
    point: Point
    inverse_penalty: Float[Array, ""]
    # Of the conditions of optimality, with a sign that alternates: the state is at rest
    # only where they hold.
    error: Float[Array, ""]


class _Map(AbstractMap):
    functions: Functions
    method: AugmentedLagrangian

    def init(self) -> _State:
        x = self.functions.start()
        c = self.functions.constraints(x)
        violation = jnp.max(self.functions.violation(c), initial=0)
        penalty = jnp.asarray(self.method.penalty, x.dtype)
        return _State(Point(x, jnp.zeros_like(c)), 1 / penalty, violation)

    def apply(self, z: _State) -> _State:
        functions, y, penalty = self.functions, z.point.y, 1 / z.inverse_penalty
        equality = jnp.arange(y.size) < functions.equalities()

        def lagrangian(x, args):
            c = functions.constraints(x)
            gap = c - y / penalty
            gap = jnp.where(equality, gap, jnp.minimum(gap, 0))
            return functions.objective(x) + penalty / 2 * jnp.vdot(gap, gap)

        minimiser = self.method.minimiser
        if minimiser is None:
            tolerance = _tree.coarsest_epsilon(z.point.x) ** 0.7
            minimiser = optx.BFGS(tolerance, tolerance)
        inner: Any = optx.minimise(
            lagrangian,
            minimiser,
            z.point.x,
            max_steps=self.method.inner_steps,
            throw=False,
        )
        c = functions.constraints(inner.value)
        y = y - penalty * c
        y = jnp.where(equality, y, jnp.maximum(y, 0))
        # Complementarity counts: an inactive constraint with a multiplier is not met.
        left = jnp.max(jnp.abs(functions.natural(c, y / penalty)), initial=0)
        tolerance = self.method.default_rtol(z.point.x)
        slow = (left > 0.5 * jnp.abs(z.error)) & (left > tolerance)
        grown = penalty * _tree.scale_like(self.method.growth, penalty)
        limit = 1e8 * _tree.scale_like(self.method.penalty, penalty)
        penalty = jnp.where(slow & (grown <= limit), grown, penalty)
        gradient = functions.lagrangian_gradient(inner.value, y)
        scale = 1 + jnp.max(jnp.abs(jax.grad(functions.objective)(inner.value)))
        error = jnp.maximum(left, jnp.max(jnp.abs(gradient)) / scale)
        error = jnp.where(z.error > 0, -error, error)
        return _State(Point(inner.value, y), 1 / penalty, error)

    def core(self, z: _State) -> Point:
        return z.point

    def equation(self) -> Equation:
        return Equation(self.functions)

    def readout(self, z: Point) -> PyTree:
        return self.functions.unravel(z.x)

    def report(self, z: Point) -> dict[str, Multipliers]:
        return {"multipliers": self.functions.multipliers(z.y)}

    def violation(self, value: PyTree) -> Scalar:
        return largest_violation(self.functions, value)
