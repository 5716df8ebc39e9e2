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
from . import _canonical, _domain, _equilibrate, _factor, _lanes, _optimality
from ._canonical import Program
from ._factor import Factor
from ._plan import plan


_SIGMA = 1e-6
_STIFF = 1e3


class OperatorSplitting(AbstractMethod):
    """ADMM with adaptive step size, the method of OSQP.

    The default for [`fixproj.ConicProgram`][], and a method for
    [`fixproj.QuadraticProgram`][]. Cheap steps and one factorisation for many of them;
    the number of steps depends on the conditioning. [`fixproj.Anderson`][] accelerates
    conic programs, unless `iteration=` says otherwise, and quadratic ones if it is
    asked for: a period that it leaves with a larger residual is done over without.

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
        program, tie = _canonical.canonical(problem, plan(problem))
        scaled, scaling = _equilibrate.equilibrate(program, tie)
        dtype = program.q.dtype
        rho = step_sizes(scaled, jnp.asarray(self.rho, dtype))
        factor = _factorise(scaled, rho)
        relaxation = jnp.asarray(self.relaxation, dtype)
        return SplittingMap(scaled, scaling, rho, relaxation, factor)


class SplittingMap(AbstractMap):
    """The map for one value of rho, with what solves its system."""

    program: Program
    scaling: _equilibrate.Scaling
    rho: Float[Array, " m"]
    relaxation: Scalar
    factor: Factor

    def init(self) -> tuple[Array, Array]:
        return jnp.zeros_like(self.program.q), jnp.zeros_like(self.rho)

    def apply(self, z: tuple[Array, Array]) -> tuple[Array, Array]:
        x, v = z
        w = self.program.domain.project(v)
        pull = self.program.transposed(self.rho * (2 * w - v))
        u = self.factor.solve(_SIGMA * x - self.program.q + pull, x)
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


def _factorise(program: Program, rho: Float[Array, " m"]) -> Factor:
    return _factor.factorise(program, rho, jnp.asarray(_SIGMA, rho.dtype))


def step_sizes(program: Program, rho: Scalar) -> Float[Array, " m"]:
    """One step size for every row; equations get a larger one."""
    stiff = _domain.stiff_rows(program.domain)
    stiff = _lanes.every_lane(stiff, _lanes.marks(program.P, program.G))
    return jnp.where(stiff, jnp.minimum(_STIFF * rho, 1e6), rho)


class _Carry(eqx.Module):
    z: tuple[Array, Array]
    rho: Scalar
    factor: Factor | None
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
    """Iterates; returns x, y, the result and the number of steps.

    Lanes of `jax.vmap` with the same matrices go in step: they share the step size, so
    that the matrix is factorised once for all of them.
    """
    iteration = Picard() if iteration is None else iteration
    dtype = program.q.dtype
    running = RESULTS.max_steps_reached
    tol = float(jnp.finfo(dtype).eps) ** 0.375
    relaxation = jnp.asarray(method.relaxation, dtype)
    matrices = _lanes.marks(program.P, program.G)
    direct = _factor.is_direct(program)

    def keep_on(state):
        carry, clock = state
        active = carry.result == running
        return _lanes.any_lane(active) & (clock < max_steps)

    def body(state):
        carry, clock = state
        sizes = step_sizes(program, carry.rho)
        factor = carry.factor if direct else _factorise(program, sizes)
        assert factor is not None
        map_ = SplittingMap(program, scaling, sizes, relaxation, factor)

        def inner(_, pair):
            z, state = pair
            fz = map_.apply(z)
            next_z, state = iteration.step(z, fz, state)
            return _tree.where(carry.plain, fz, next_z), state

        steps = jnp.minimum(method.period, max_steps - clock)
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
        clock = (clock + steps).astype(jnp.int32)
        if progress is not None:
            report(progress, clock, figures.merit)
        # A step size that has just changed gets time to show what it does.
        change = jnp.sqrt(jnp.clip(figures.balance, 1e-6, 1e6))
        counts = kept & (carry.result == running) & jnp.isfinite(change)
        change = jnp.where(counts, change, 1)
        change = _lanes.mean_of_lanes(change, counts, matrices)
        far = (change > 5) | (change < 0.2)
        rho = jnp.where(far, jnp.clip(carry.rho * change, 1e-6, 1e6), carry.rho)
        rho = rho.astype(dtype)
        sizes = step_sizes(program, rho)
        if direct:
            again = lambda: _factorise(program, sizes)
            factor = jax.lax.cond(far, again, lambda: factor)
        w = program.domain.project(z[1])
        best_merit = jnp.minimum(figures.merit, carry.best_merit)
        moved = (z[0], w + y / sizes), ~kept, best, best_merit, clock, result
        stay = carry.z, carry.plain, carry.best, carry.best_merit
        stay = *stay, carry.num_steps, carry.result
        # A lane that is done waits for the others.
        active = carry.result == running
        z, plain, best, best_merit, num_steps, result = _where(active, moved, stay)
        factor = factor if direct else None
        carry = _Carry(z, rho, factor, plain, best, best_merit, num_steps, result)
        return carry, clock

    rho = jnp.asarray(method.rho, dtype)
    x, y = jnp.zeros_like(program.q), jnp.zeros_like(scaling.rows)
    if start is not None:
        x, y = start
    w = program.domain.project(program.rows(x))
    inf = jnp.full((), jnp.inf, dtype)
    none = jnp.zeros((), jnp.int32)
    result = RESULTS.where(done, RESULTS.successful, running)
    sizes = step_sizes(program, rho)
    factor = _factorise(program, sizes) if direct else None
    z = x, w + y / sizes
    carry = _Carry(z, rho, factor, jnp.array(False), (x, y), inf, none, result)
    carry, _ = jax.lax.while_loop(keep_on, body, (carry, none))
    return *carry.best, carry.result, carry.num_steps


def _where(pred, true, false):
    *numbers, true_result = true
    *others, false_result = false
    result = RESULTS.where(pred, true_result, false_result)
    return *_tree.where(pred, tuple(numbers), tuple(others)), result
