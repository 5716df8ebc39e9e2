r"""The implicit function theorem as a Jacobian-vector product.

At z = T(z, theta):   dz = (I - dT/dz)^{-1} dT/dtheta dtheta

Written as a `custom_jvp` around a `custom_linear_solve`, so that JAX derives every
other mode from it: vjp by transposing the solve, second order by differentiating it.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.tree_util as jtu
import lineax as lx
from jaxtyping import PyTree

from .. import _tree
from .._loop import Tolerances
from . import _linear
from ._adjoint import AbstractAdjoint


class Implicit(AbstractAdjoint):
    """Derivatives by the implicit function theorem, in every mode and to any order.

    The default. Works under `grad`, `vjp`, `jvp`, `linearize`, `jacfwd`, `jacrev`,
    `hessian`, their compositions, and `vmap` of each; its cost does not depend on the
    number of steps of the solve.

    Args:
        linear_solver: a `lineax` solver for the systems with `I - dT/dz` and its
            transpose. None chooses by size: up to 256 unknowns (complex ones count
            twice) the matrix is formed and factorised by LU; where it is singular, as
            for a solution that is one of many, the solution of smallest norm is taken.
            Above, the system is solved by an accelerated fixed-point iteration that
            needs products only.

    References:
        A. Griewank and A. Walther (2008), Evaluating Derivatives, chapter 15.
    """

    linear_solver: lx.AbstractLinearSolver | None = None

    def attach(
        self,
        apply: Callable[[PyTree], PyTree],
        z: PyTree,
        tolerances: Tolerances,
        throw: bool,
    ) -> PyTree:
        """The fixed point with its derivative."""
        return _at_fixed_point(apply, z, tolerances, self.linear_solver, throw)


@eqx.filter_custom_jvp
def _at_fixed_point(apply, z, tolerances, linear_solver, throw):
    del apply, tolerances, linear_solver, throw
    return z


@_at_fixed_point.def_jvp
def _at_fixed_point_jvp(primals, tangents):
    apply, z, tolerances, linear_solver, throw = primals
    apply_tangent = tangents[0]
    # Not `z` itself: seen from a second derivative, the fixed point depends on `apply`.
    z = _at_fixed_point(apply, z, tolerances, linear_solver, throw)
    fixed = jtu.tree_map(
        lambda t: t is None, apply_tangent, is_leaf=lambda t: t is None
    )
    constant, varied = eqx.partition(apply, fixed)
    _, moved = jax.jvp(
        lambda varied: eqx.combine(varied, constant)(z), (varied,), (apply_tangent,)
    )
    b, unravel = _tree.ravel_real(moved)
    flat_z, unravel_z = _tree.ravel_real(z)
    _, jacobian = jax.linearize(
        lambda flat: _tree.ravel_real(apply(unravel_z(flat)))[0], flat_z
    )
    frozen, start, parameters = _tree.stop_gradient((constant, z, varied))

    def moves(u):
        # The norm of (dT/dtheta)^T u, over the parameters that are differentiated.
        _, pull = jax.vjp(
            lambda p: _tree.ravel_real(eqx.combine(p, frozen)(start))[0], parameters
        )
        return _tree.two_norm(pull(u)[0]).astype(u.dtype)

    dz = _linear.solve(
        lambda v: v - jacobian(v), b, tolerances, linear_solver, throw, moves
    )
    return z, unravel(dz)
