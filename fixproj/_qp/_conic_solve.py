r"""`solve` for conic programs: splitting, a Newton polish, and the derivative.

Polish and derivative are of the residual map, with s = b - Ax and the cone K,

    F(x, y) = (Px + q + A'y,  s - P_K(s - y))

which is zero at solutions. For rows of matrices in the semidefinite cone, all of them
symmetric, the skew part of y is added to the second entry: nothing else would tell it.
Busseti, Moursi & Boyd (2019), Solution refinement at
regular points of conic problems; Agrawal, Barratt, Boyd, Busseti & Moursi (2019),
Differentiating through a cone program.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array

from .. import _tree
from .._iteration import Anderson
from .._loop import Tolerances
from .._solution import RESULTS, Solution
from ..implicit import Implicit
from . import _canonical, _equilibrate, _optimality, _splitting
from ._canonical import Program
from ._convex import is_convex
from ._domain import Cones
from ._problem import dtype_of
from ._state import ProgramState, default_rtol, direction


_NEWTON_LIMIT = 1500
_DENSE_LIMIT = 3000
_NEWTON_STEPS = 8


def residual_map(program: Program, z: tuple[Array, Array]) -> tuple[Array, Array]:
    """`F(x, y)`."""
    x, y = z
    domain = program.domain
    assert isinstance(domain, Cones)
    s = domain.b - program.rows(x)
    top = program.P @ x + program.q + program.transposed(y)
    return top, s - domain.cone(s - y) + domain.unseen(y)


@eqx.filter_jit
def solve_conic(
    problem,
    method,
    iteration,
    tolerances,
    max_steps,
    adjoint,
    state,
    throw,
    progress,
    plan,
) -> tuple[Solution, Any]:
    """The solution of a conic program, and whether it failed."""
    dtype = dtype_of(problem)
    rtol, atol = tolerances
    rtol = default_rtol(dtype) if rtol is None else rtol
    program, tie = _canonical.canonical(problem, plan)
    frozen = _tree.stop_gradient(program)
    scaled, scaling = _equilibrate.equilibrate(frozen, tie, share=True)
    start = None
    if state is not None:
        x, y = (v.astype(dtype) for v in _tree.stop_gradient((state.x, state.y)))
        start = x / scaling.x, y * scaling.cost / scaling.rows
    x, y, result, steps = _splitting.run(
        method,
        Anderson(period=10) if iteration is None else iteration,
        scaled,
        scaling,
        start,
        (rtol, atol),
        max_steps,
        jnp.array(False),
        progress,
    )
    ray = scaling.x * x, scaling.rows * y
    x, y, figures = _newton(scaled, scaling, x, y, rtol, atol)
    result = RESULTS.where(figures.merit <= 1, RESULTS.successful, result)
    result = RESULTS.where(~is_convex(frozen), RESULTS.nonconvex, result)
    finite = [jnp.all(jnp.isfinite(a)) for a in (frozen.q, frozen.domain.b)]
    finite += [frozen.P.is_finite(), frozen.G.is_finite()]
    finite = jnp.all(jnp.stack(finite))
    result = RESULTS.where(~finite, RESULTS.nonfinite, result)
    z = scaling.x * x, scaling.rows * y / scaling.cost
    unknowns = x.size + y.size
    if adjoint is None:
        adjoint = Implicit() if unknowns <= 256 else Implicit(_linear_solver(unknowns))
    apply = eqx.filter_closure_convert(
        lambda z: _tree.subtract(z, residual_map(program, z)), z
    )
    held = Tolerances(jnp.asarray(rtol, dtype), None, _tree.max_norm)
    x, y = adjoint.attach(apply, _tree.stop_gradient(z), held, throw)
    stats = {
        "num_steps": steps,
        "residual": figures.dual,
        "violation": figures.violation,
        "gap": figures.gap,
        "dual": y,
        "certificate": {
            "x": direction(result == RESULTS.unbounded, ray[0]),
            "dual": direction(result == RESULTS.infeasible, ray[1]),
        },
    }
    state = ProgramState(*_tree.stop_gradient((x, y)))
    solution = Solution(value=x, result=result, stats=stats, state=state)
    return solution, result != RESULTS.successful


def _linear_solver(unknowns: int) -> lx.AbstractLinearSolver:
    if unknowns <= _DENSE_LIMIT:
        return lx.LU()
    return lx.GMRES(rtol=1e-8, atol=1e-8)


def _newton(program, scaling, x, y, rtol, atol):
    """Semismooth Newton steps on `F`, as long as they help."""
    figures = _optimality.measure(program, scaling, x, y, rtol, atol)
    if x.size + y.size > _NEWTON_LIMIT:
        return x, y, figures
    z, unravel = _tree.ravel_real((x, y))
    flat = lambda z: _tree.ravel_real(residual_map(program, unravel(z)))[0]
    shift = float(jnp.finfo(z.dtype).eps) ** 0.75 * jnp.eye(z.size, dtype=z.dtype)

    def keep_on(carry):
        _, _, helped, count = carry
        return helped & (count < _NEWTON_STEPS)

    def body(carry):
        z, figures, _, count = carry
        jacobian = jax.jacfwd(flat)(z)
        moved = z - jnp.linalg.solve(jacobian + shift, flat(z))
        new_x, new_y = unravel(moved)
        new_y = program.domain.barrier(new_y)
        new = _optimality.measure(program, scaling, new_x, new_y, rtol, atol)
        better = new.merit < figures.merit
        moved = _tree.ravel_real((new_x, new_y))[0]
        z = jnp.where(better, moved, z)
        figures = _tree.where(better, new, figures)
        return z, figures, better & (figures.merit > 1e-6), count + 1

    start = z, figures, jnp.isfinite(figures.merit), jnp.array(0)
    z, figures, *_ = jax.lax.while_loop(keep_on, body, start)
    return *unravel(z), figures
