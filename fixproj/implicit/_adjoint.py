"""What every adjoint is: how a fixed point depends on its map."""

import abc
from collections.abc import Callable

import equinox as eqx
from jaxtyping import PyTree

from .._loop import Tolerances


class AbstractAdjoint(eqx.Module):
    """How derivatives go through a fixed point."""

    @abc.abstractmethod
    def attach(
        self,
        apply: Callable[[PyTree], PyTree],
        z: PyTree,
        tolerances: Tolerances,
        throw: bool,
    ) -> PyTree:
        """Give a fixed point its derivative.

        Args:
            apply: the map T, a pytree whose array leaves hold everything that T
                depends on.
            z: a fixed point of T, cut from differentiation.
            tolerances: those of the solve, which the derivative's follow.
            throw: whether a derivative that could not be computed raises; if not, it
                is filled with NaN.

        Returns:
            The value of `z`, differentiable with respect to the leaves of `apply`.
        """
