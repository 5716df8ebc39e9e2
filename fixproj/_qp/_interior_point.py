"""The default method for quadratic programs."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import PyTree, Scalar

from .._map import AbstractMap, AbstractMethod
from . import _canonical, _equilibrate, _iterate
from ._plan import plan
from ._polish import Pair
from ._problem import QuadraticProgram


class InteriorPoint(AbstractMethod):
    """Mehrotra's predictor-corrector method with proximal regularisation.

    The default for [`fixproj.QuadraticProgram`][]. A step is one Cholesky
    factorisation, and 10 to 30 steps reach the accuracy of the dtype, whatever the
    conditioning. Equations may be linearly dependent, and `P` singular.

    References:
        S. Mehrotra (1992), On the implementation of a primal-dual interior point
        method. R. Schwan, Y. Jiang, D. Kuhn and C. N. Jones (2023), PIQP: a proximal
        interior-point quadratic programming solver.
    """

    def make_map(self, problem: QuadraticProgram) -> AbstractMap:
        """One predictor-corrector step of the equilibrated program."""
        program, _ = _canonical.canonical(problem, plan(problem))
        return _Map(program, *_equilibrate.equilibrate(program))

    def run(
        self,
        scaled: _canonical.Program,
        scaling: _equilibrate.Scaling,
        start: Any,
        tolerances: tuple[Any, Any],
        max_steps: Any,
        done: Any,
        progress: Any,
    ) -> tuple[Pair, Any, Any]:
        """Iterates; returns a pair with its active rows, the result, and the steps."""
        point, result, steps = _iterate.run(
            scaled, scaling, start, *tolerances, max_steps, done, progress
        )
        kind = _iterate.kinds(scaled)
        y = _iterate.multipliers(point, kind)
        lower = kind.lower & (point.z_lower > point.s_lower)
        upper = kind.upper & (point.z_upper > point.s_upper)
        # Both only where the bounds all but agree.
        upper = upper & ~(lower & (y < 0))
        return Pair(point.x, y, lower & ~upper, upper), result, steps


class _Map(AbstractMap):
    program: _canonical.Program
    scaled: _canonical.Program
    scaling: _equilibrate.Scaling

    def init(self) -> PyTree:
        return _iterate.begin(self.scaled, None)

    def apply(self, z: PyTree) -> PyTree:
        point, course, _ = _iterate.step(self.scaled, *z)
        return point, course

    def readout(self, z: PyTree) -> PyTree:
        return self.scaling.x * z[0].x

    def violation(self, value: PyTree) -> Scalar:
        rows = self.program.rows(value)
        outside = rows - jnp.clip(
            rows, self.program.domain.lower, self.program.domain.upper
        )
        return jnp.max(jnp.abs(outside), initial=0)
