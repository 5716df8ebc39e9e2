"""What `adjoint=` accepts: one of ours, one of optimistix, or None."""

from collections.abc import Callable

import optimistix as optx
from jaxtyping import PyTree

from .. import _tree
from .._loop import Tolerances
from ._adjoint import AbstractAdjoint
from ._implicit import Implicit
from ._unroll import Unroll


def as_adjoint(adjoint: optx.AbstractAdjoint | None) -> AbstractAdjoint:
    """The adjoint that stands for what a user gave; None is the default."""
    if adjoint is None:
        return Implicit()
    if isinstance(adjoint, AbstractAdjoint):
        return adjoint
    if isinstance(adjoint, optx.RecursiveCheckpointAdjoint):
        return Unroll(checkpoints=adjoint.checkpoints)
    return _FromOptimistix(adjoint)


class _FromOptimistix(AbstractAdjoint):
    """An adjoint of optimistix as one of ours."""

    adjoint: optx.AbstractAdjoint

    def attach(
        self,
        apply: Callable[[PyTree], PyTree],
        z: PyTree,
        tolerances: Tolerances,
        throw: bool,
    ) -> PyTree:
        """The fixed point with its derivative."""
        del tolerances, throw
        # The solve is over, so that all that optimistix has to do is to hand it on.
        return self.adjoint.apply(_is_solved, _residual, (apply, z), frozenset())[0]


# Functions of their own, because optimistix asks for functions without a closure.
def _is_solved(inputs):
    _, z, *_ = inputs
    return _tree.stop_gradient(z), None


def _residual(z, rest, inputs):
    del rest
    apply, *_ = inputs
    return _tree.subtract(apply(z), z)
