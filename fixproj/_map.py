"""The one idea of the library: a problem and a method make a map z -> T(z)."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
from jaxtyping import PyTree, Scalar


class AbstractMap(eqx.Module):
    """A map whose fixed point solves a problem.

    What methods produce and iterations run. The *governing variable* `z` may be
    anything: the unknown itself, or more (Douglas-Rachford's lives outside the sets).
    The residual of every map is `T(z) - z`; `readout` turns a fixed point into the
    answer, and `violation` says how well that answers the problem.

    All parameters of the problem are leaves of the map, so the implicit function
    theorem at `z = T(z)` gives the derivative with respect to each of them.

    Attributes:
        settles: whether iterates that stand still, or go around in a cycle, say that
            the constraints which the answer violates cannot be met.
    """

    settles: ClassVar[bool] = True

    @abc.abstractmethod
    def init(self) -> PyTree:
        """The start `z0`, a pytree of inexact arrays."""

    @abc.abstractmethod
    def apply(self, z: PyTree) -> PyTree:
        """`T(z)`, with the structure, shapes and dtypes of `z`."""

    def core(self, z: PyTree) -> PyTree:
        """The part of `z` that says what the answer is; all of it by default.

        The rest (penalties, moments of an optimiser, warm starts) is not
        differentiated.
        """
        return z

    def equation(self) -> Callable[[PyTree], PyTree]:
        """A map of `core(z)` with the same fixed point, to be differentiated there.

        `apply` by default. The implicit function theorem gives the same derivative for
        every such map, so the plainest one is best.
        """
        return self.apply

    @abc.abstractmethod
    def readout(self, z: PyTree) -> PyTree:
        """`R(core(z))`, the answer that a fixed point `z` stands for."""

    def report(self, z: PyTree) -> dict[str, Any]:
        """What `Solution.stats` shall hold besides, from `core(z)`; differentiable."""
        return {}

    @abc.abstractmethod
    def violation(self, value: PyTree) -> Scalar | None:
        """How far an answer is from the constraints; None if there are none."""


class AbstractMethod(eqx.Module):
    """How a problem is turned into a map."""

    @abc.abstractmethod
    def make_map(self, problem: PyTree) -> AbstractMap:
        """The map whose fixed points solve `problem`."""

    def make_iteration(self, problem: PyTree) -> Any:
        """The iteration that belongs to the method; None if any may run its map."""
        return None

    def default_rtol(self, z: PyTree) -> float | None:
        """The tolerance where none is given; None for that of all methods."""
        return None
