r"""Operator splitting (ADMM) for quadratic and conic programs.

With C = [l, u] or b - K, and R = diag(rho), the map on z = (x, v) is

    w = P_C(v),   y = R(v - w)
    (P + sigma I + A'RA) u = sigma x - q + A'(Rw - y)
    T(x, v) = (x + a(u - x),  v + a(Au - w))            a the relaxation

and at a fixed point x is the solution and y its multiplier. rho changes at the end of a
period, when the primal and dual residuals are far apart; every change costs one
factorisation. Equations have a larger rho. Stellato, Banjac, Goulart, Bemporad & Boyd
(2020), OSQP: an operator splitting solver for quadratic programs, algorithm 1 and
section 5.2.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Scalar

from .. import _tree
from .._check import check_between, check_positive_int
from .._iteration import Picard
from .._map import AbstractMap, AbstractMethod
from .._progress import report
from .._solution import RESULTS
from . import _canonical, _domain, _equilibrate, _kkt, _optimality
from ._canonical import Program


_SIGMA = 1e-6
_STIFF = 1e3


class OperatorSplitting(AbstractMethod):
    """ADMM with adaptive step size, the method of OSQP.

    The default for [`fixproj.ConicProgram`][], and a method for
    [`fixproj.QuadraticProgram`][]. Cheap steps and one factorisation for many of them;
    the number of steps depends on the conditioning. `iteration=fixproj.Anderson()`
    accelerates it: a period that it leaves with a larger residual is done over without.

    Args:
        relaxation: a scalar in (0, 2).
        rho: the step size to start with, a scalar > 0 in units of the equilibrated
            problem.
        period: steps between two looks at the residuals, at least 1.

    Raises:
        ValueError: if an argument is out of range.

    References:
        B. Stellato, G. Banjac, P. Goulart, A. Bemporad and S. Boyd (2020), OSQP: an
        operator splitting solver for quadratic programs.
    """

    relaxation: float | Scalar = 1.6
    rho: float | Scalar = 0.1
    period: int = eqx.field(static=True, default=50)

    def __check_init__(self):
        check_between("OperatorSplitting", "relaxation", self.relaxation, 0, 2)
        check_between("OperatorSplitting", "rho", self.rho, 0)
        check_positive_int("OperatorSplitting", "period", self.period)

    def make_map(self, problem: Any) -> AbstractMap:
        """The map for the equilibrated problem, at the first step size."""
        program, tie = _canonical.any_program(problem, _canonical.layout(problem))
        scaled, scaling = _equilibrate.equilibrate(program, tie)
        dtype = program.q.dtype
        return SplittingMap(
            scaled,
            scaling,
            step_sizes(scaled, jnp.asarray(self.rho, dtype)),
            jnp.asarray(self.relaxation, dtype),
        )


class SplittingMap(AbstractMap):
    """The map for one value of rho, with its factorisation."""

    program: Program
    scaling: _equilibrate.Scaling
    rho: Float[Array, " m"]
    relaxation: Scalar
    factor: Float[Array, "n n"]

    def __init__(self, program, scaling, rho, relaxation):
        self.program, self.scaling = program, scaling
        self.rho, self.relaxation = rho, relaxation
        sigma = jnp.asarray(_SIGMA, rho.dtype)
        self.factor = jax.lax.linalg.cholesky(program.condensed(rho, sigma))

    def init(self) -> tuple[Array, Array]:
        return jnp.zeros_like(self.program.q), jnp.zeros_like(self.rho)

    def apply(self, z: tuple[Array, Array]) -> tuple[Array, Array]:
        x, v = z
        w = self.program.domain.project(v)
        pull = self.program.transposed(self.rho * (2 * w - v))
        u = _kkt.backsolve(self.factor, _SIGMA * x - self.program.q + pull)
        step = self.relaxation
        return x + step * (u - x), v + step * (self.program.rows(u) - w)

    def readout(self, z: tuple[Array, Array]) -> Array:
        return self.scaling.x * z[0]

    def dual(self, z: tuple[Array, Array]) -> Array:
        """The multiplier y."""
        return self.rho * (z[1] - self.program.domain.project(z[1]))

    def violation(self, value: Array) -> Scalar:
        rows = self.program.rows(value / self.scaling.x)
        missing = (rows - self.program.domain.project(rows)) / self.scaling.rows
        return jnp.max(jnp.abs(missing), initial=0)


def step_sizes(program: Program, rho: Scalar) -> Float[Array, " m"]:
    """One step size for every row; equations get a larger one."""
    stiff = _domain.stiff_rows(program.domain)
    return jnp.where(stiff, jnp.minimum(_STIFF * rho, 1e6), rho)


class _Carry(eqx.Module):
    z: tuple[Array, Array]
    rho: Scalar
    plain: Bool[Array, ""]
    best: tuple[Array, Array]
    best_merit: Scalar
    num_steps: Int[Array, ""]
    result: RESULTS


def run(
    method: OperatorSplitting,
    iteration: Any,
    program: Program,
    scaling: _equilibrate.Scaling,
    start: tuple[Array, Array] | None,
    tolerances: tuple[Any, Any],
    max_steps: Any,
    done: Any,
    progress: Any,
) -> tuple[Array, Array, RESULTS, Int[Array, ""]]:
    """Iterates; returns x, y, the result and the number of steps."""
    iteration = Picard() if iteration is None else iteration
    dtype = program.q.dtype
    running = RESULTS.max_steps_reached
    tol = float(jnp.finfo(dtype).eps) ** 0.375
    relaxation = jnp.asarray(method.relaxation, dtype)

    def keep_on(carry):
        return (carry.result == running) & (carry.num_steps < max_steps)

    def body(carry):
        map_ = SplittingMap(
            program, scaling, step_sizes(program, carry.rho), relaxation
        )

        def inner(_, pair):
            z, state = pair
            fz = map_.apply(z)
            next_z, state = iteration.step(z, fz, state)
            return _tree.where(carry.plain, fz, next_z), state

        steps = jnp.minimum(method.period, max_steps - carry.num_steps)
        first = carry.z, iteration.init(carry.z)
        z, _ = jax.lax.fori_loop(0, steps, inner, first)
        # Where acceleration has led astray the period is repeated without it.
        residual = lambda z: _tree.max_norm(_tree.subtract(map_.apply(z), z))
        kept = carry.plain | (residual(z) <= residual(carry.z))
        z = _tree.where(kept, z, carry.z)
        x, y = z[0], map_.dual(z)
        figures = _optimality.measure(program, scaling, x, y, *tolerances)
        better = figures.merit < carry.best_merit
        dx, dy = x - carry.z[0], y - map_.dual(carry.z)
        open_ = kept & (figures.merit > 1)
        infeasible = _optimality.is_infeasible(program, dy, tol) & open_
        unbounded = _optimality.is_unbounded(program, dx, tol) & open_
        lost = ~jnp.all(jnp.isfinite(x))
        result = RESULTS.where(lost, RESULTS.nonfinite, running)
        result = RESULTS.where(unbounded, RESULTS.unbounded, result)
        result = RESULTS.where(infeasible, RESULTS.infeasible, result)
        result = RESULTS.where(figures.merit <= 1, RESULTS.successful, result)
        best = _tree.where(better, (x, y), carry.best)
        # A certificate is the direction of the last period.
        best = _tree.where(infeasible | unbounded, (dx, dy), best)
        num_steps = carry.num_steps + steps
        if progress is not None:
            report(progress, num_steps, figures.merit)
        # A step size that has just changed gets time to show what it does.
        change = jnp.sqrt(jnp.clip(figures.balance, 1e-6, 1e6))
        far = kept & ((change > 5) | (change < 0.2))
        rho = jnp.where(far, jnp.clip(carry.rho * change, 1e-6, 1e6), carry.rho)
        w = program.domain.project(z[1])
        moved = z[0], w + y / step_sizes(program, rho)
        return _Carry(
            moved,
            rho.astype(dtype),
            ~kept,
            best,
            jnp.minimum(figures.merit, carry.best_merit),
            num_steps.astype(jnp.int32),
            result,
        )

    rho = jnp.asarray(method.rho, dtype)
    x, y = jnp.zeros_like(program.q), jnp.zeros_like(scaling.rows)
    if start is not None:
        x, y = start
    w = program.domain.project(program.rows(x))
    inf = jnp.full((), jnp.inf, dtype)
    none = jnp.zeros((), jnp.int32)
    result = RESULTS.where(done, RESULTS.successful, running)
    z = x, w + y / step_sizes(program, rho)
    carry = _Carry(z, rho, jnp.array(False), (x, y), inf, none, result)
    carry = jax.lax.while_loop(keep_on, body, carry)
    return *carry.best, carry.result, carry.num_steps
