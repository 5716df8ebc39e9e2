r"""Linearized ADMM (split inexact Uzawa), for min f(x) + g(x) + sum h_i(K_i x).

    x+ = prox_{t g}(x - t (grad f(x) + r K'(K x - v + w)))
    v+ = prox_{h / r}(K x+ + w)
    w+ = w + K x+ - v+

Converges for convex functions where 1/t >= r |K|^2 + L.
"""

import jax.numpy as jnp
from jaxtyping import PyTree, Scalar

from .. import _tree
from .._check import check_between
from .._composite import Composite
from .._map import AbstractMap, AbstractMethod
from . import _splitting


class LinearizedADMM(AbstractMethod):
    """ADMM whose first subproblem is one proximal gradient step.

    Args:
        penalty: r, a positive scalar.

    Raises:
        ValueError: if `penalty` is not positive, or the problem has no linear part.

    References:
        X. Zhang, M. Burger and S. Osher (2011), A unified primal-dual algorithm
        framework based on Bregman iteration.
    """

    penalty: float | Scalar = 1.0

    def __check_init__(self):
        check_between("LinearizedADMM", "penalty", self.penalty, 0)

    def make_map(self, problem: Composite) -> AbstractMap:
        """One round of the three steps."""
        _splitting.require_composite("LinearizedADMM", problem)
        if not problem.linear:
            raise ValueError(
                "LinearizedADMM needs `linear`; use fixproj.ForwardBackward."
            )
        bend = _splitting.coupling(problem) ** 2 * self.penalty
        step = _splitting.inverse(bend + _splitting.lipschitz(problem))
        return _Map(problem, jnp.asarray(self.penalty), step)


class _Map(AbstractMap):
    problem: Composite
    penalty: Scalar
    step: Scalar

    def init(self) -> PyTree:
        y0 = self.problem.y0
        zero = _splitting.zero_duals(self.problem)
        return y0, self.problem.forward(y0), zero

    def apply(self, z: PyTree) -> PyTree:
        x, v, w = z
        problem = self.problem
        gap = _tree.add_scaled(_tree.subtract(problem.forward(x), v), 1, w)
        force = problem.gradient(x)
        force = _tree.add_scaled(force, self.penalty, problem.adjoint(gap))
        x = problem.prox_of_g(_tree.add_scaled(x, -self.step, force), self.step)
        total = _tree.add_scaled(w, 1, problem.forward(x))
        v = _splitting.proxes(problem, total, 1 / self.penalty)
        return x, v, _tree.subtract(total, v)

    def readout(self, z: PyTree) -> PyTree:
        return z[0]

    def violation(self, value: PyTree) -> Scalar | None:
        return self.problem.violation(value)
