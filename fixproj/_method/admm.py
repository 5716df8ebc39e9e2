r"""ADMM, for min f(x) + g(x) + sum h_i(K_i x) with f quadratic (or absent).

All proximable terms, g as h_0 with K_0 = I, get a copy v of their argument:

    x  = argmin f(x) + r |K x - v + w|^2 / 2
    m  = relaxation K x + (1 - relaxation) v
    v+ = prox_{h / r}(m + w)
    w+ = w + m - v+

The linear system (H + r K'K) x = r K'(v - w) - grad f(0) is solved by conjugate
gradients. The penalty r is constant; by default it balances H and K'K.
"""

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import PyTree, Scalar

from .. import _tree
from .._check import check_between
from .._composite import Composite
from .._map import AbstractMap, AbstractMethod
from . import _splitting


class ADMM(AbstractMethod):
    """Alternating directions: one linear system, then all proximal steps.

    Args:
        penalty: r, a positive scalar; None balances the smooth and the linear part.
        relaxation: a scalar in (0, 2); 1.5 to 1.8 often saves steps.

    Raises:
        ValueError: if an argument is out of range, or the problem has neither `prox`
            nor `linear`.

    References:
        S. Boyd, N. Parikh, E. Chu, B. Peleato and J. Eckstein (2011), Distributed
        optimization and statistical learning via the alternating direction method of
        multipliers.
    """

    penalty: float | Scalar | None = None
    relaxation: float | Scalar = 1.6

    def __check_init__(self):
        _splitting.check_step("ADMM", "penalty", self.penalty)
        check_between("ADMM", "relaxation", self.relaxation, 0, 2)

    def make_map(self, problem: Composite) -> AbstractMap:
        """One round: the linear system, the proximal steps, the multipliers."""
        _splitting.require_composite("ADMM", problem)
        if problem.prox is None and not problem.linear:
            raise ValueError("ADMM needs `prox` or `linear`.")
        pairs = problem.linear
        if problem.prox is not None:
            pairs = ((None, problem.prox), *pairs)
        stacked = Composite(problem.smooth, None, list(pairs), problem.y0, problem.args)
        penalty = self.penalty
        if penalty is None:
            square = _splitting.coupling(stacked) ** 2
            bend = _splitting.lipschitz(problem)
            penalty = jnp.where(bend > 0, bend * _splitting.inverse(square), 1)
        return _Map(problem, stacked, jnp.asarray(penalty), self.relaxation)


class _Map(AbstractMap):
    problem: Composite
    stacked: Composite
    penalty: Scalar
    relaxation: float | Scalar

    def init(self) -> PyTree:
        y0 = self.problem.y0
        return self.stacked.forward(y0), _splitting.zero_duals(self.stacked)

    def _minimise(self, z):
        v, w = z
        stacked, r = self.stacked, self.penalty
        zero = jtu.tree_map(jnp.zeros_like, self.problem.y0)
        start, hessian = jax.linearize(stacked.gradient, zero)
        pull = stacked.adjoint(_tree.subtract(v, w))
        pull = jtu.tree_map(lambda a: _tree.scale_like(r, a) * a, pull)
        right = _tree.subtract(pull, start)

        def matvec(x):
            square = stacked.adjoint(stacked.forward(x))
            return _tree.add_scaled(hessian(x), r, square)

        eps = _tree.coarsest_epsilon(zero)
        limit = max(2 * _tree.real_size(zero), 20)
        x, _ = jax.scipy.sparse.linalg.cg(matvec, right, tol=4 * eps, maxiter=limit)
        return x

    def apply(self, z: PyTree) -> PyTree:
        v, w = z
        image = self.stacked.forward(self._minimise(z))
        mixed = _tree.add_scaled(v, self.relaxation, _tree.subtract(image, v))
        total = _tree.add_scaled(w, 1, mixed)
        v = _splitting.proxes(self.stacked, total, 1 / self.penalty)
        return v, _tree.subtract(total, v)

    def readout(self, z: PyTree) -> PyTree:
        # The copy that has been through its prox is exactly sparse, or in its set.
        return z[0][0] if self.problem.prox is not None else self._minimise(z)

    def violation(self, value: PyTree) -> Scalar | None:
        return self.problem.violation(value)
