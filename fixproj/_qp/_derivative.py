r"""The derivative of a quadratic program's solution, by its active set.

At a solution (x, y) whose active rows a lie at the bounds b,

    K(x, y) = (Px + q + A'ay,  a(Ax - b) - (1 - a)y) = 0

and the implicit function theorem is one system with the matrix of `_kkt`. It is solved
as a `custom_linear_solve` inside of a `custom_jvp`, so that JAX derives every mode and
order from it. Amos & Kolter (2017), OptNet, section 3.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import PyTree

from .. import _tree
from .._loop import Tolerances
from ..implicit import AbstractAdjoint
from . import _kkt, _polish
from ._canonical import Program
from ._equilibrate import Scaling
from ._polish import Pair


def conditions(program: Program, pair: Pair, x, y) -> tuple:
    """`K(x, y)` for the active rows of `pair`."""
    bound = _polish.target(program, pair.lower, pair.upper)
    active = pair.lower | pair.upper
    top, bottom = _kkt.multiply(program, active, x, y)
    return top + program.q, bottom - bound


def solve_system(
    program: Program, scaled: Program, scaling: Scaling, pair: Pair, r, s
) -> tuple:
    """The system of the active rows; linear in `(r, s)`, to any order."""
    active = pair.lower | pair.upper
    system = _kkt.factorise(scaled, active)
    d, e, c = scaling.x, scaling.rows, scaling.cost

    n = r.size

    def run(_, b):
        r, s = b[:n], b[n:]
        s = jnp.where(active, e * s, s * c / e)
        x, y = _kkt.solve(system, c * d * r, s)
        return jnp.concatenate([d * x, y * e / c])

    def matvec(v):
        return jnp.concatenate(_kkt.multiply(program, active, v[:n], v[n:]))

    # One vector, because the transposition wants all of the right side to be linear.
    b = jnp.concatenate([r, s])
    solution = jax.lax.custom_linear_solve(matvec, b, run, symmetric=True)
    return solution[:n], solution[n:]


@eqx.filter_custom_jvp
def _at_solution(program, scaled, scaling, pair):
    del program, scaled, scaling
    return pair.x, pair.y


@_at_solution.def_jvp
def _at_solution_jvp(primals, tangents):
    program, scaled, scaling, pair = primals
    # Not `pair` itself: seen from a second derivative it depends on `program`.
    x, y = _at_solution(program, scaled, scaling, pair)
    tangent = tangents[0]
    fixed = jtu.tree_map(lambda t: t is None, tangent, is_leaf=lambda t: t is None)
    constant, varied = eqx.partition(program, fixed)
    _, moved = jax.jvp(
        lambda varied: conditions(eqx.combine(varied, constant), pair, x, y),
        (varied,),
        (tangent,),
    )
    r, s = moved
    dx, dy = solve_system(program, scaled, scaling, pair, -r, -s)
    return (x, y), (dx, dy)


def attach(
    program: Program,
    scaled: Program,
    scaling: Scaling,
    pair: Pair,
    adjoint: AbstractAdjoint | None,
    tolerances: Tolerances,
    throw: bool,
) -> tuple[PyTree, PyTree]:
    """Gives `(x, y)` in the units of the user their derivative.

    An adjoint of the user gets the Newton map of `K` at the solution, whose derivative
    with respect to the point is zero: each of them then is exact.
    """
    if adjoint is None:
        return _at_solution(program, scaled, scaling, pair)
    frozen = _tree.stop_gradient(program)

    def newton(z):
        r, s = conditions(program, pair, *z)
        dx, dy = solve_system(frozen, scaled, scaling, pair, -r, -s)
        return z[0] + dx, z[1] + dy

    z = pair.x, pair.y
    apply = eqx.filter_closure_convert(newton, z)
    return adjoint.attach(apply, z, tolerances, throw)
