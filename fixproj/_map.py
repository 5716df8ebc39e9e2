"""The one idea of the library: a problem and a method make a map z -> T(z)."""

import abc
from typing import ClassVar

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

    @abc.abstractmethod
    def readout(self, z: PyTree) -> PyTree:
        """`R(z)`, the answer that a fixed point `z` stands for."""

    @abc.abstractmethod
    def violation(self, value: PyTree) -> Scalar | None:
        """How far an answer is from the constraints; None if there are none."""


class AbstractMethod(eqx.Module):
    """How a problem is turned into a map."""

    @abc.abstractmethod
    def make_map(self, problem: PyTree) -> AbstractMap:
        """The map whose fixed points solve `problem`."""
