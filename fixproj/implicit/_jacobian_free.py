"""Derivatives that leave the inverse Jacobian out."""

from collections.abc import Callable

import equinox as eqx
from jaxtyping import PyTree, Scalar

from .._check import check_between, check_positive_int
from .._loop import Tolerances
from . import _steps
from ._adjoint import AbstractAdjoint


class JacobianFree(AbstractAdjoint):
    r"""A biased derivative for the price of a few steps: one-step, or phantom gradient.

    Differentiates `steps` steps of the damped map at the solution and takes what was
    before them for constant. **This is not the derivative of the solution**: with
    `M = (1 - damping) I + damping dT/dz` it is off by the factor `I - M^steps`. One
    step drops `(I - dT/dz)^{-1}` altogether. For a map that contracts well it is a
    direction of descent, which is what training an equilibrium network needs. Every
    mode works, and there is no linear system that could fail.

    Args:
        steps: how many steps are differentiated.
        damping: how far each goes towards T(z): a scalar > 0; less than 1 keeps the
            direction useful for maps with large Jacobians.

    Raises:
        ValueError: if `steps` is not an integer >= 1, or a concrete `damping` is not
            positive.

    Examples:
        >>> import fixproj as fp, jax
        >>> def solve(a, adjoint):
        ...     problem = fp.FixedPoint(lambda y, a: 0.5 * y + a, 0.0, a)
        ...     return fp.solve(problem, adjoint=adjoint).value
        >>> print(f"{jax.grad(solve)(1.0, fp.implicit.Implicit()):.3f}")
        2.000
        >>> print(f"{jax.grad(solve)(1.0, fp.implicit.JacobianFree()):.3f}")
        1.000

    References:
        S. Wu Fung et al. (2022), JFB: Jacobian-free backpropagation for implicit
        networks. Z. Geng et al. (2021), On training implicit models, equation (11).
    """

    steps: int = eqx.field(static=True, default=1)
    damping: float | Scalar = 1.0

    def __check_init__(self):
        check_positive_int("JacobianFree", "steps", self.steps)
        check_between("JacobianFree", "damping", self.damping, 0)

    def attach(
        self,
        apply: Callable[[PyTree], PyTree],
        z: PyTree,
        tolerances: Tolerances,
        throw: bool,
    ) -> PyTree:
        """The fixed point with this derivative."""
        del tolerances, throw
        y = z
        for _ in range(self.steps):
            y = _steps.step(apply, y, self.damping)
        return _steps.with_derivative_of(z, y)
