r"""Christianson's two-phase reverse accumulation.

Phase one finds z = T(z, theta). Phase two finds the fixed point w of

    w = (dT/dz)^T w + v,      and returns      (dT/dtheta)^T w

for the cotangent v of z: an iteration with the same rate of convergence as the first
phase. Christianson (1994), Reverse accumulation and attractive fixed points, section 5.
"""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import PyTree, Scalar

from .. import _loop, _tree
from .._iteration import AbstractIteration, Picard
from .._loop import Tolerances
from .._solution import RESULTS
from ._adjoint import AbstractAdjoint


_MAX_STEPS = 10_000


class TwoPhase(AbstractAdjoint):
    """Reverse-mode derivatives by a second fixed-point iteration.

    Only products with the transposed Jacobian are needed, and none is stored. Supports
    `grad` and `vjp`, recursively to any order: the second phase is itself a fixed point
    that is differentiated the same way. No forward mode (`jvp`, `jacfwd`, `hessian` as
    JAX defines it): that is what [`fixproj.implicit.Implicit`][] is for.

    Args:
        iteration: how the second phase is run; None is `fixproj.Picard()`, which
            converges whenever the plain first phase does. A list or tuple has one for
            each order of differentiation; its last also serves for all higher ones.
        rtol: relative tolerance of the second phase; None takes the solve's.
        atol: absolute tolerance of the second phase; None makes it scale-free.

    Raises:
        TypeError: if `iteration` is anything else.
        ValueError: if it is an empty sequence.

    Examples:
        >>> import fixproj as fp, jax, jax.numpy as jnp
        >>> adjoint = fp.implicit.TwoPhase(iteration=[fp.Anderson(), fp.Picard()])
        >>> def solve(a):
        ...     problem = fp.FixedPoint(lambda y, a: a * jnp.cos(y), 0.0, a)
        ...     return fp.solve(problem, adjoint=adjoint).value
        >>> print(f"{jax.grad(solve)(0.5):.4f} {jax.grad(jax.grad(solve))(0.5):.4f}")
        0.7395 -0.7307

    References:
        B. Christianson (1994), Reverse accumulation and attractive fixed points.
    """

    iteration: AbstractIteration | Sequence[AbstractIteration] | None = None
    rtol: float | Scalar | None = None
    atol: float | Scalar | None = None

    def __check_init__(self):
        if len(self._iterations()) == 0:
            raise ValueError("TwoPhase: `iteration` is empty; one is needed at least.")
        for iteration in self._iterations():
            if not isinstance(iteration, AbstractIteration):
                raise TypeError(
                    "TwoPhase: `iteration` must be an iteration such as "
                    "fixproj.Anderson(), or a list or tuple of such, got "
                    f"{iteration!r}."
                )

    def _iterations(self) -> tuple:
        if isinstance(self.iteration, list | tuple):
            return tuple(self.iteration)
        return (Picard() if self.iteration is None else self.iteration,)

    def attach(
        self,
        apply: Callable[[PyTree], PyTree],
        z: PyTree,
        tolerances: Tolerances,
        throw: bool,
    ) -> PyTree:
        """The fixed point with its derivative."""
        rtol = tolerances.rtol if self.rtol is None else self.rtol
        tolerances = Tolerances(rtol, self.atol, tolerances.norm)
        return _at_fixed_point(apply, z, tolerances, self._iterations(), throw)


@eqx.filter_custom_vjp
def _at_fixed_point(apply, z, tolerances, iterations, throw):
    del apply, tolerances, iterations, throw
    return z


@_at_fixed_point.def_fwd
def _forward(perturbed, apply, z, tolerances, iterations, throw):
    del perturbed
    # Not `z` itself: seen from a second derivative, the fixed point depends on `apply`.
    z = _at_fixed_point(apply, z, tolerances, iterations, throw)
    return z, z


@_at_fixed_point.def_bwd
def _backward(residuals, cotangent, perturbed, apply, z, tolerances, iterations, throw):
    del perturbed, z
    z = residuals
    # A leaf that does not reach the output has no cotangent at all.
    v = jtu.tree_map(
        lambda c, x: jnp.zeros_like(x) if c is None else c,
        cotangent,
        z,
        is_leaf=lambda c: c is None,
    )
    _, pull_z = jax.vjp(apply, z)
    second = eqx.filter_closure_convert(
        lambda w: _tree.add_scaled(v, 1, pull_z(w)[0]), v
    )
    frozen, start = _tree.stop_gradient((second, v))
    state, result, _ = _loop.run(
        frozen, iterations[0], _loop.init(iterations[0], start), tolerances, _MAX_STEPS
    )
    failed = result != RESULTS.successful
    w = _tree.stop_gradient(state.z)
    if throw:
        w = RESULTS.adjoint_failed.error_if(w, failed)
    else:
        w = jtu.tree_map(lambda x: jnp.where(failed, jnp.nan, x), w)
    of_higher_orders = iterations[1:] or iterations
    w = _at_fixed_point(second, w, tolerances, of_higher_orders, throw)
    varied, constant = eqx.partition(apply, eqx.is_inexact_array)
    _, pull = jax.vjp(lambda varied: eqx.combine(varied, constant)(z), varied)
    return pull(w)[0]
