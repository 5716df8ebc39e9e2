r"""RRR: relaxed reflect-reflect.

    x = P_A z,    y = P_B(2x - z),    T(z) = z + beta (y - x)

    readout x

Three or more sets in the product space, with the diagonal as A. Elser (2018), The
complexity of bit retrieval, equation (8). The residual is beta times the gap y - x, so
it vanishes if and only if x lies in both sets, convex or not: a search that stops has
found a solution. For closed convex sets this is Douglas-Rachford relaxed by beta and
converges for 0 < beta < 2 if there is a common point. On sets that are not convex there
is no guarantee; z moves on until it falls into the attraction of a solution.
"""

from jaxtyping import PyTree, Scalar

from .. import _tree
from .._check import check_between
from .._map import AbstractMap, AbstractMethod
from .._problem import Feasibility
from . import _product_space


class RRR(AbstractMethod):
    """Relaxed reflect-reflect, the search method for sets that are not convex.

    Of the two sets, let A (the first) be the simple one, an affine space say, and B the
    one that is not convex. The search leaves every point that is no solution, so
    puzzles, codes and phases are found that projections alone never find. What it
    needs is steps: set `max_steps`, and start again from another point
    ([`fixproj.Restarts`][]) when they run out.

    Args:
        beta: the step, a scalar in (0, 2), an array leaf that may be traced. Smaller
            is steadier and slower; the best value depends on the problem, and 0.5 is a
            good first try.

    Raises:
        ValueError: if `beta` is a concrete number outside (0, 2).

    References:
        V. Elser (2018), The complexity of bit retrieval. V. Elser, T.-Y. Lan and T.
        Bendory (2018), Benchmark problems for phase retrieval.

    Examples:
        >>> import fixproj as fp, jax.numpy as jnp
        >>> from fixproj import projections as proj
        >>> class Circle:
        ...     def project(self, x):
        ...         return x / jnp.linalg.norm(x)
        >>> line = proj.Affine(jnp.array([[0.0, 1.0]]), jnp.array([0.5]))
        >>> problem = fp.Feasibility([line, Circle()], jnp.array([0.3, 0.2]))
        >>> x, y = fp.solve(problem, fp.RRR()).value
        >>> print(f"{x:.3f} {y:.3f}")
        0.866 0.500
    """

    beta: float | Scalar = 0.5

    def __check_init__(self):
        check_between("RRR", "beta", self.beta, 0, 2)

    def make_map(self, problem: Feasibility) -> AbstractMap:
        """The relaxed reflect-reflect operator."""
        return _Map(problem, _product_space.TwoSets(problem), self.beta)


class _Map(AbstractMap):
    problem: Feasibility
    pair: _product_space.TwoSets
    beta: float | Scalar

    def init(self) -> PyTree:
        return self.pair.start()

    def apply(self, z: PyTree) -> PyTree:
        x = self.pair.onto_a(z)
        y = self.pair.onto_b(_product_space.reflect(x, z))
        return _tree.add_scaled(z, self.beta, _tree.subtract(y, x))

    def readout(self, z: PyTree) -> PyTree:
        return self.pair.answer(z)

    def violation(self, value: PyTree) -> Scalar:
        return _product_space.largest_distance(self.problem, value)
