"""A fixed-point problem is already a map."""

import jax
from jaxtyping import PyTree

from .._map import AbstractMap, AbstractMethod
from .._problem import FixedPoint, check_same_struct


class Direct(AbstractMethod):
    """The map of a [`fixproj.FixedPoint`][] is its own function."""

    def make_map(self, problem: FixedPoint) -> AbstractMap:
        """The map `y -> fn(y, args)`."""
        check_same_struct(
            jax.eval_shape(lambda: problem.y0),
            jax.eval_shape(lambda y: problem.fn(y, problem.args), problem.y0),
            "FixedPoint: `fn`",
        )
        return _Map(problem)


class _Map(AbstractMap):
    problem: FixedPoint

    def init(self) -> PyTree:
        return self.problem.y0

    def apply(self, z: PyTree) -> PyTree:
        return self.problem.fn(z, self.problem.args)

    def readout(self, z: PyTree) -> PyTree:
        return z

    def violation(self, value: PyTree) -> None:
        return None
