r"""ADMM, for min f(x) + g(x) + sum h_i(K_i x).

All proximable terms, g as h_0 with K_0 = I, get a copy v of their argument:

    x  = argmin f(x) + r |K x - v + w|^2 / 2
    m  = relaxation K x + (1 - relaxation) v
    v+ = prox_{h / r}(m + w)
    w+ = w + m - v+

For a quadratic f the first line is the linear system (H + r K'K) x = r K'(v - w) -
f'(0), solved by conjugate gradients. For any other f it is solved by Newton's method
from the x before, each step by conjugate gradients, and halved while the slope along it
has not shrunk. By default r starts where it balances the curvatures of f and K, and is
moved towards |r w| / |v - v0|, the best one for the bound of the method, at steps 10,
20, 40, ...
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
from ._gauge import Gauge


_NEWTON_STEPS = 50
_HALVINGS = 30


class ADMM(AbstractMethod):
    """Alternating directions: one smooth minimisation, then all proximal steps.

    The smooth minimisation is a linear system if `smooth` is quadratic.

    Args:
        penalty: r, a positive scalar; None balances the smooth and the linear part
            at the start, and the two parts of the iterate later on.
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
        bend = _curvature.curvature(problem).first
        square = _curvature.coupling(stacked) ** 2
        penalty = _splitting.penalty_gauge(self.penalty, bend, square)
        quadratic = _curvature.is_quadratic(problem)
        map_ = _Quadratic if quadratic else _Smooth
        return map_(problem, stacked, penalty, self.relaxation)


class _Quadratic(AbstractMap):
    problem: Composite
    stacked: Composite
    penalty: Gauge
    relaxation: float | Scalar

    def init(self) -> PyTree:
        v = self.stacked.forward(self.problem.y0)
        return v, _splitting.zero_duals(self.stacked), self.penalty.init()

    def _minimise(self, v, w, penalty):
        zero = jtu.tree_map(jnp.zeros_like, self.problem.y0)
        start, hessian = jax.linearize(self.stacked.gradient, zero)
        pull = self.stacked.adjoint(_tree.subtract(v, w))
        pull = jtu.tree_map(lambda a: _tree.scale_like(penalty, a) * a, pull)
        right = _tree.subtract(pull, start)
        return _conjugate_gradients(self.stacked, hessian, penalty, right)

    def apply(self, z: PyTree) -> PyTree:
        v, w, count = z
        x = self._minimise(v, w, self.penalty.read(count))
        return _copies(self, x, *z)

    def readout(self, z: PyTree) -> PyTree:
        v, w, count = z
        # The copy that has been through its prox is exactly sparse, or in its set.
        if self.problem.prox is not None:
            return v[0]
        return self._minimise(v, w, self.penalty.read(count))

    def violation(self, value: PyTree) -> Scalar | None:
        return self.problem.violation(value)


class _Smooth(AbstractMap):
    problem: Composite
    stacked: Composite
    penalty: Gauge
    relaxation: float | Scalar

    def init(self) -> PyTree:
        y0 = self.problem.y0
        v = self.stacked.forward(y0)
        return y0, v, _splitting.zero_duals(self.stacked), self.penalty.init()

    def apply(self, z: PyTree) -> PyTree:
        x, *rest = z
        x = _newton(self.stacked, self.penalty.read(rest[2]), x, *rest[:2])
        return x, *_copies(self, x, *rest)

    def readout(self, z: PyTree) -> PyTree:
        return z[1][0] if self.problem.prox is not None else z[0]

    def violation(self, value: PyTree) -> Scalar | None:
        return self.problem.violation(value)


def _copies(map_, x, v, w, count):
    stacked, penalty = map_.stacked, map_.penalty.read(count)
    image = stacked.forward(x)
    mixed = _tree.add_scaled(v, map_.relaxation, _tree.subtract(image, v))
    total = _tree.add_scaled(w, 1, mixed)
    new = _splitting.proxes(stacked, total, 1 / penalty)
    w = _tree.subtract(total, new)
    start = stacked.forward(stacked.y0)
    better = lambda: _splitting.better_weight(w, new, start)
    factor, count = map_.penalty.revise(count, better)
    return new, _tree.add_scaled(w, 1 / factor - 1, w), count


def _conjugate_gradients(stacked, hessian, penalty, right):
    def matvec(x):
        square = stacked.adjoint(stacked.forward(x))
        return _tree.add_scaled(hessian(x), penalty, square)

    return _symmetric_solve(matvec, right)


def _newton(stacked, penalty, x, v, w):
    """The minimiser of f(x) + r |K x - v + w|^2 / 2; NaN where the method fails."""
    given = stacked, penalty, x, v, w
    x = _tree.stop_gradient(_search(*_tree.stop_gradient(given)))
    # From the minimiser, two more steps have its first and second derivatives.
    for _ in range(2):
        move = _direction(stacked, penalty, x, _slope(stacked, penalty, x, v, w))
        x = _tree.subtract(x, move)
    return x


def _slope(stacked, penalty, x, v, w):
    gap = _tree.add_scaled(_tree.subtract(stacked.forward(x), v), 1, w)
    return _tree.add_scaled(stacked.gradient(x), penalty, stacked.adjoint(gap))


def _direction(stacked, penalty, x, right):
    _, hessian = jax.linearize(stacked.gradient, x)
    return _conjugate_gradients(stacked, hessian, penalty, right)


def _search(stacked, penalty, x, v, w):
    slope = lambda x: _slope(stacked, penalty, x, v, w)

    def floor(x):
        # What the terms that cancel in the slope leave of rounding.
        image = stacked.forward(x)
        gap = _tree.add_scaled(_tree.subtract(image, v), 1, w)
        terms = _tree.two_norm(stacked.adjoint(image))
        terms += _tree.two_norm(stacked.adjoint(gap))
        terms = penalty * terms + _tree.two_norm(stacked.gradient(x))
        return 16 * _tree.coarsest_epsilon(x) * terms

    def running(state):
        x, size, before, count = state
        level = floor(x)
        rounding = (size >= before) & (size <= 1e3 * level)
        return (size > level) & ~rounding & (count < _NEWTON_STEPS)

    def step(state):
        x, size, _, count = state
        force = slope(x)
        move = _direction(stacked, penalty, x, force)

        def too_long(trial):
            share, count = trial
            new = slope(_tree.add_scaled(x, -share, move))
            # Convex along the line: a slope of the same sign, or a shorter one.
            steep = jnp.abs(_tree.inner_product(new, move))
            allowed = 0.9 * jnp.abs(_tree.inner_product(force, move))
            return ~(steep <= allowed) & (count < _HALVINGS)

        halve = lambda trial: (trial[0] / 2, trial[1] + 1)
        one = jnp.ones((), size.dtype)
        share, _ = jax.lax.while_loop(too_long, halve, (one, 0))
        new = _tree.add_scaled(x, -share, move)
        return new, _tree.two_norm(slope(new)), size, count + 1

    size = _tree.two_norm(slope(x))
    state = (x, size, jnp.full_like(size, jnp.inf), 0)
    x, size, *_ = jax.lax.while_loop(running, step, state)
    failed = ~(size <= 1e3 * floor(x))
    return jtu.tree_map(lambda a: jnp.where(failed, jnp.nan, a), x)


def _symmetric_solve(linear, right):
    eps = _tree.coarsest_epsilon(right)
    limit = max(2 * _tree.real_size(right), 20)
    x, _ = jax.scipy.sparse.linalg.cg(linear, right, tol=4 * eps, maxiter=limit)
    return x
