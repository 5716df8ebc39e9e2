"""Fixed-point and root problems are maps already.

y = fn(y):   T(z) = fn(z)              fn(y) = 0:   T(z) = z + fn(z)
"""

import jax
from jaxtyping import PyTree

from .. import _tree
from .._map import AbstractMap, AbstractMethod
from .._problem import FixedPoint, Root, check_same_struct


class Direct(AbstractMethod):
    """The map of a [`fixproj.FixedPoint`][] or a [`fixproj.Root`][]."""

    def make_map(self, problem: FixedPoint | Root) -> AbstractMap:
        """The map `y -> fn(y, args)`, or `y -> y + fn(y, args)`."""
        check_same_struct(
            jax.eval_shape(lambda: problem.y0),
            jax.eval_shape(lambda y: problem.fn(y, problem.args), problem.y0),
            f"{type(problem).__name__}: `fn`",
        )
        return _Map(problem)


class _Map(AbstractMap):
    problem: FixedPoint | Root

    def init(self) -> PyTree:
        return self.problem.y0

    def apply(self, z: PyTree) -> PyTree:
        value = self.problem.fn(z, self.problem.args)
        if isinstance(self.problem, Root):
            return _tree.add_scaled(z, 1, value)
        return value

    def readout(self, z: PyTree) -> PyTree:
        return z

    def violation(self, value: PyTree) -> None:
        return None
