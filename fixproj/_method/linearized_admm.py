r"""Linearized ADMM (split inexact Uzawa), for min f(x) + g(x) + sum h_i(K_i x).

    x+ = prox_{t g}(x - t (grad f(x) + r K'(K x - v + w)))
    v+ = prox_{h / r}(K x+ + w)
    w+ = w + K x+ - v+

Converges for convex functions where 1/t >= r |K|^2 + L. L is the curvature of f: a
constant for a quadratic f, else it follows the iterates, see `_curvature`.
"""

import jax.numpy as jnp
from jaxtyping import PyTree, Scalar

from .. import _tree
from .._composite import Composite
from .._map import AbstractMap, AbstractMethod
from . import _curvature, _splitting
from ._gauge import Gauge


class LinearizedADMM(AbstractMethod):
    """ADMM whose first subproblem is one proximal gradient step.

    Args:
        penalty: r, a positive scalar; None balances the smooth and the linear part, and
            adapts it as in [`fixproj.ADMM`][].

    Raises:
        ValueError: if `penalty` is not positive, or the problem has no linear part.

    References:
        X. Zhang, M. Burger and S. Osher (2011), A unified primal-dual algorithm
        framework based on Bregman iteration.
    """

    penalty: float | Scalar | None = None

    def __check_init__(self):
        _splitting.check_step("LinearizedADMM", "penalty", self.penalty)

    def make_map(self, problem: Composite) -> AbstractMap:
        """One round of the three steps."""
        _splitting.require_composite("LinearizedADMM", problem)
        if not problem.linear:
            raise ValueError(
                "LinearizedADMM needs `linear`; use fixproj.ForwardBackward."
            )
        bend = _curvature.curvature(problem)
        square = _curvature.coupling(problem) ** 2
        penalty = _splitting.penalty_gauge(self.penalty, bend.first, square)
        return _Map(problem, bend, penalty, square)


class _Map(AbstractMap):
    problem: Composite
    bend: _curvature.Curvature
    penalty: Gauge
    square: Scalar

    def init(self) -> PyTree:
        y0 = self.problem.y0
        zero = _splitting.zero_duals(self.problem)
        memory = self.penalty.init(), self.bend.init()
        return y0, self.problem.forward(y0), zero, *memory

    def _primal(self, x, pull, step):
        force = _tree.add_scaled(pull, 1, self.problem.gradient(x))
        return self.problem.prox_of_g(_tree.add_scaled(x, -step, force), step)

    def apply(self, z: PyTree) -> PyTree:
        x, v, w, count, memory = z
        problem, penalty = self.problem, self.penalty.read(count)
        gap = _tree.add_scaled(_tree.subtract(problem.forward(x), v), 1, w)
        pull = problem.adjoint(gap)
        pull = _tree.add_scaled(pull, penalty - 1, pull)
        value, memory = self.bend.near(problem, x, memory)
        stiff = penalty * self.square
        if problem.smooth is None:
            value = jnp.where(stiff > 0, 0, value)
        frozen, at, force = _tree.stop_gradient((self, x, pull))
        advance = lambda value: frozen._primal(at, force, 1 / (value + stiff))
        value = self.bend.enough(frozen.problem, at, advance, value)
        x = self._primal(x, pull, 1 / (value + stiff))
        image = problem.forward(x)
        total = _tree.add_scaled(w, 1, image)
        new = _splitting.proxes(problem, total, 1 / penalty)
        w = _tree.subtract(total, new)
        start = problem.forward(problem.y0)
        better = lambda: _splitting.better_weight(w, new, start)
        factor, count = self.penalty.revise(count, better)
        w = _tree.add_scaled(w, 1 / factor - 1, w)
        return x, new, w, count, memory

    def readout(self, z: PyTree) -> PyTree:
        return z[0]

    def violation(self, value: PyTree) -> Scalar | None:
        return self.problem.violation(value)
