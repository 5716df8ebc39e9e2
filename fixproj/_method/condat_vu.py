r"""Condat-Vu primal-dual splitting, for min f(x) + g(x) + sum h_i(K_i x).

    x+ = prox_{t g}(x - t (grad f(x) + K'u))
    u+ = prox_{s h*}(u + s K (2 x+ - x))

For convex functions, L the Lipschitz constant of grad f, it converges where
1/t - s |K|^2 >= L/2. Without f it is the primal-dual hybrid gradient method.

By default s = w / |K| and t = 1 / (c + w |K|), where c is the curvature of f (constant
for a quadratic f, else it follows the iterates, see `_curvature`), and the weight w is
moved towards |u - u0| / |x - x0|, the best one for the bound of the method (Applegate
et al., 2021), at steps 10, 20, 40, ... The governing variable is (x, u / w): both in
the units of x.
"""

import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import PyTree, Scalar

from .. import _tree
from .._composite import Composite
from .._map import AbstractMap, AbstractMethod
from . import _curvature, _splitting
from ._gauge import Gauge


class CondatVu(AbstractMethod):
    """Gradient, proximal and dual proximal steps; any linear maps.

    The default for a [`fixproj.Composite`][] with a smooth and a linear part.

    Args:
        primal_step: t, a positive scalar; None chooses it from the norm of K and the
            curvature, with a check of every step where that is not constant.
        dual_step: s, likewise; None adapts it.

    Raises:
        ValueError: if a step is not positive.

    References:
        L. Condat (2013), A primal-dual splitting method for convex optimization
        involving Lipschitzian, proximable and linear composite terms. B. C. Vu (2013),
        A splitting algorithm for dual monotone inclusions involving cocoercive
        operators. D. Applegate et al. (2021), Practical large-scale linear programming
        using primal-dual hybrid gradient.
    """

    primal_step: float | Scalar | None = None
    dual_step: float | Scalar | None = None

    def __check_init__(self):
        _splitting.check_step("CondatVu", "primal_step", self.primal_step)
        _splitting.check_step("CondatVu", "dual_step", self.dual_step)

    def make_map(self, problem: Composite) -> AbstractMap:
        """The primal-dual step."""
        _splitting.require_composite("CondatVu", problem)
        norm = _curvature.coupling(problem)
        bend = _curvature.curvature(problem, constant=self.primal_step is not None)
        if self.dual_step is None:
            weight = jnp.where(bend.first > 0, bend.first, norm)
            weight = jnp.where(weight > 0, weight, 1) * _curvature.inverse(norm)
        else:
            weight = jnp.asarray(self.dual_step).astype(norm.dtype) * norm
            weight = jnp.where(weight > 0, weight, 1)
        gauge = Gauge(weight, self.dual_step is not None)
        return PrimalDualMap(problem, bend, gauge, norm, self.primal_step)


class PrimalDualMap(AbstractMap):
    """The map of Condat-Vu, and without a smooth part of PDHG."""

    problem: Composite
    bend: _curvature.Curvature
    weight: Gauge
    norm: Scalar
    primal_step: float | Scalar | None

    def init(self) -> PyTree:
        """The start, with multipliers of zero."""
        zero = _splitting.zero_duals(self.problem)
        return self.problem.y0, zero, self.weight.init(), self.bend.init()

    def _primal(self, x, u, step):
        force = self.problem.gradient(x)
        if self.problem.linear:
            force = _tree.add_scaled(force, 1, self.problem.adjoint(u))
        return self.problem.prox_of_g(_tree.add_scaled(x, -step, force), step)

    def apply(self, z: PyTree) -> PyTree:
        """One step."""
        x, scaled, count, memory = z
        problem, weight = self.problem, self.weight.read(count)
        u = _scale(scaled, weight)
        if self.primal_step is None:
            value, memory = self.bend.near(problem, x, memory)
            if problem.smooth is None:
                value = jnp.where(self.norm > 0, 0, value)
            stiff = weight * self.norm
            frozen, at, dual = _tree.stop_gradient((self, x, u))
            advance = lambda value: frozen._primal(at, dual, 1 / (value + stiff))
            value = self.bend.enough(frozen.problem, at, advance, value)
            step = 1 / (value + stiff)
        else:
            step = self.primal_step
        new = self._primal(x, u, step)
        ahead = _tree.add_scaled(new, 1, _tree.subtract(new, x))
        dual_step = weight * _curvature.inverse(self.norm)
        raised = _tree.add_scaled(u, dual_step, problem.forward(ahead))
        u = _splitting.dual_proxes(problem, raised, dual_step)

        better = lambda: _splitting.better_weight(
            _scale(u, 1 / weight), new, problem.y0
        )
        factor, count = self.weight.revise(count, better)
        return new, _scale(u, 1 / (weight * factor)), count, memory

    def readout(self, z: PyTree) -> PyTree:
        """The primal part."""
        return z[0]

    def violation(self, value: PyTree) -> Scalar | None:
        """That of the problem."""
        return self.problem.violation(value)


def _scale(u, factor):
    return jtu.tree_map(lambda a: a * _tree.scale_like(factor, a), u)
