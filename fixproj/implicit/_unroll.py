"""Derivatives by automatic differentiation of the iterates."""

from collections.abc import Callable

import equinox as eqx
import equinox.internal as eqxi
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import PyTree

from .. import _tree
from .._check import check_positive_int
from .._loop import Tolerances
from .._solution import RESULTS
from . import _steps
from ._adjoint import AbstractAdjoint


_MAX_STEPS = 10_000


class Unroll(AbstractAdjoint):
    """Derivatives through steps of the map, unrolled with checkpoints.

    The steps are taken from the solution on, not from the problem's start: they do not
    move the value, and the map is differentiated where it matters, so that `k` steps
    leave the fraction `rate^k` of the derivative out, where `rate` is that at which the
    map contracts. (From the start it would be about `k rate^k`, and depend on `y0`.)
    The plain map is unrolled, whichever iteration found the solution.

    Mostly a yardstick for the implicit adjoints, or for a map whose Jacobian products
    cannot be transposed twice.

    Args:
        steps: how many. With a number, every mode of differentiation works, and the
            derivative is that of these steps, truncated as said. None takes as many as
            the map needs to shrink a vector to the solve's `rtol`, and reports
            `adjoint_failed` if 10000 do not; it knows `grad` and `vjp` only, once.
        checkpoints: how many states are kept while going backward. None is the square
            root of the number of steps, for about one more evaluation of each.

    Raises:
        ValueError: if `steps` or `checkpoints` is not an integer >= 1.

    Examples:
        >>> import fixproj as fp, jax
        >>> def root(a, adjoint=None):
        ...     step = lambda y, a: (y + a / y) / 2
        ...     return fp.solve(fp.FixedPoint(step, 1.0, a), adjoint=adjoint).value
        >>> print(f"{jax.grad(root)(4.0, fp.implicit.Unroll(steps=5)):.4f}")
        0.2500
    """

    steps: int | None = eqx.field(static=True, default=None)
    checkpoints: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        for name in ("steps", "checkpoints"):
            if getattr(self, name) is not None:
                check_positive_int("Unroll", name, getattr(self, name))

    def attach(
        self,
        apply: Callable[[PyTree], PyTree],
        z: PyTree,
        tolerances: Tolerances,
        throw: bool,
    ) -> PyTree:
        """The fixed point with its derivative."""
        if self.steps is not None:
            y = _steps.unrolled(apply, z, self.steps, checkpoints=self.checkpoints)
            return _steps.with_derivative_of(z, y)
        count, solved = _steps.steps_to_forget(
            _tree.stop_gradient(apply), z, tolerances.rtol, _MAX_STEPS
        )
        # One at least, for a map that forgets at once.
        count = jnp.maximum(count, 1)
        y, _ = eqxi.while_loop(
            lambda carry: carry[1] < count,
            lambda carry: (_steps.step(apply, carry[0], 1.0), carry[1] + 1),
            (z, jnp.zeros_like(count)),
            max_steps=_MAX_STEPS,
            kind="checkpointed",
            checkpoints=self.checkpoints,
        )
        return _steps.with_derivative_of(z, _reported(y, solved, throw))


def _reported(y: PyTree, solved, throw: bool) -> PyTree:
    """An error, or a derivative that is NaN, unless it is `solved`."""
    # As a factor, because a cotangent sees no more of an error than its derivative.
    factor = jnp.where(solved, 1.0, jnp.nan)
    if throw:
        factor = RESULTS.adjoint_failed.error_if(factor, ~solved)
    return jtu.tree_map(lambda y: factor.astype(y.dtype) * y, y)
