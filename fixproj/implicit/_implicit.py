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

    Where the solution is one of many (I - dT/dz is singular), the derivative of
    smallest norm is taken, and `adjoint_failed` is reported if there is none: in
    forward mode, if no solution follows the change of the parameters; in reverse mode,
    if a push of the parameters could ask for that.

    Args:
        linear_solver: a `lineax` solver for the systems with `I - dT/dz` and its
            transpose, such as `lineax.GMRES(rtol=1e-8, atol=1e-8)`. None chooses by
            the number n of real unknowns (a complex one counts twice): up to 16 the
            matrix is formed and factorised by LU; up to 256 only if the plain
            iteration `w <- J^T w + v` would need more than min(n, 160) products; up to
            2048 only if a Krylov iteration would need more than max(160, n / 4);
            above, a Krylov iteration is all.

    Examples:
        >>> import fixproj as fp, jax, jax.numpy as jnp
        >>> def solve(a):
        ...     problem = fp.FixedPoint(lambda y, a: a * jnp.cos(y), 1.0, a)
        ...     return fp.solve(problem).value
        >>> print(f"{jax.grad(solve)(0.5):.4f} {jax.hessian(solve)(0.5):.4f}")
        0.7395 -0.7307

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

    # In this form the transpose negates the product, not what goes into it, and XLA
    # makes one kernel less of it.
    dz = _linear.solve(
        lambda v: v + jacobian(-v), b, tolerances, linear_solver, throw, moves
    )
    return z, unravel(dz)
