r"""Condat-Vu primal-dual splitting, for min f(x) + g(x) + sum h_i(K_i x).

    x+ = prox_{t g}(x - t (grad f(x) + K'u))
    u+ = prox_{s h*}(u + s K (2 x+ - x))

For convex functions, L the Lipschitz constant of grad f, it converges where
1/t - s |K|^2 >= L/2. Without f it is the primal-dual hybrid gradient method.
"""

import jax.numpy as jnp
from jaxtyping import PyTree, Scalar

from .. import _tree
from .._composite import Composite
from .._map import AbstractMap, AbstractMethod
from . import _splitting


class CondatVu(AbstractMethod):
    """Gradient, proximal and dual proximal steps; any linear maps.

    The default for a [`fixproj.Composite`][] with a smooth and a linear part.

    Args:
        primal_step: t, a positive scalar; None chooses it from the norm of K and the
            curvature at the start.
        dual_step: s, likewise.

    Raises:
        ValueError: if a step is not positive.

    References:
        L. Condat (2013), A primal-dual splitting method for convex optimization
        involving Lipschitzian, proximable and linear composite terms. B. C. Vu (2013),
        A splitting algorithm for dual monotone inclusions involving cocoercive
        operators.
    """

    primal_step: float | Scalar | None = None
    dual_step: float | Scalar | None = None

    def __check_init__(self):
        _splitting.check_step("CondatVu", "primal_step", self.primal_step)
        _splitting.check_step("CondatVu", "dual_step", self.dual_step)

    def make_map(self, problem: Composite) -> AbstractMap:
        """The primal-dual step."""
        _splitting.require_composite("CondatVu", problem)
        return primal_dual_map(problem, self.primal_step, self.dual_step)


def primal_dual_map(problem, primal_step, dual_step) -> AbstractMap:
    """The map with the steps that are given, and choices for the others."""
    norm = _splitting.coupling(problem)
    if dual_step is None:
        dual_step = _splitting.inverse(norm)
    bend = _splitting.lipschitz(problem) / 2
    if primal_step is None:
        dual = _tree.scale_like(dual_step, norm)
        primal_step = _splitting.inverse(bend + dual * norm**2)
    return _Map(problem, primal_step, jnp.asarray(dual_step))


class _Map(AbstractMap):
    problem: Composite
    primal_step: float | Scalar
    dual_step: Scalar

    def init(self) -> PyTree:
        return self.problem.y0, _splitting.zero_duals(self.problem)

    def apply(self, z: PyTree) -> PyTree:
        x, u = z
        problem = self.problem
        force = problem.gradient(x)
        if problem.linear:
            force = _tree.add_scaled(force, 1, problem.adjoint(u))
        new = _tree.add_scaled(x, -self.primal_step, force)
        new = problem.prox_of_g(new, self.primal_step)
        ahead = _tree.add_scaled(new, 1, _tree.subtract(new, x))
        raised = _tree.add_scaled(u, self.dual_step, problem.forward(ahead))
        return new, _splitting.dual_proxes(problem, raised, self.dual_step)

    def readout(self, z: PyTree) -> PyTree:
        return z[0]

    def violation(self, value: PyTree) -> Scalar | None:
        return self.problem.violation(value)
