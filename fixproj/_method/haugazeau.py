r"""Haugazeau's method: the nearest point of an intersection, without increments.

    z <- Q(y_0, z, P_i z)    i = 1, ..., m        readout z

where Q(x, y, z) is the projection of x onto {u : <u - y, x - y> <= 0} and
{u : <u - z, y - z> <= 0}: with p = <x - y, y - z>, m = |x - y|^2, n = |y - z|^2 and
r = m n - p^2,

    Q = z                                    if r = 0 and p >= 0
    Q = x + (1 + p / n) (z - y)              if r > 0 and p n >= r
    Q = y + (n / r) (p (x - y) + m (z - y))  if r > 0 and p n < r

Haugazeau (1968); Bauschke & Combettes (2017), corollary 30.11 and its theorem 30.8: z
converges, in norm also in infinite dimensions, to the common point nearest to y_0.
Two vectors are all it keeps, and the convergence is sublinear as a rule.
"""

import jax
import jax.numpy as jnp
from jaxtyping import PyTree, Scalar

from .. import _tree
from .._map import AbstractMap, AbstractMethod
from .._problem import Feasibility
from . import _product_space


class Haugazeau(AbstractMethod):
    """The common point nearest to `y0`, from two halfspaces that hold all of them.

    Slow next to [`fixproj.Dykstra`][], for when there is no memory for one increment
    per set. Every common point is a fixed point of the map, so run it as it is
    (`Picard()`): an acceleration would end at another one. For the same reason the
    derivative is right where the common point is isolated; in general the derivative of
    a nearest point is that of `Dykstra`.

    References:
        Y. Haugazeau (1968), Sur les inequations variationnelles et la minimisation de
        fonctionnelles convexes. H. H. Bauschke and P. L. Combettes (2017), Convex
        Analysis and Monotone Operator Theory in Hilbert Spaces, section 30.2.
    """

    def make_map(self, problem: Feasibility) -> AbstractMap:
        """One sweep over the sets, each giving one of the two halfspaces."""
        return _Map(problem, _product_space.groups(problem.sets))


class _Map(AbstractMap):
    problem: Feasibility
    parts: tuple[_product_space.Group, ...]

    def init(self) -> PyTree:
        return self.problem.y0

    def apply(self, z: PyTree) -> PyTree:
        y0 = jax.lax.stop_gradient(self.problem.y0)

        def visit(set_, x, _):
            projected = set_.project(x)
            # At a fixed point both are x. Q is not smooth there, so what is
            # differentiated is the projection.
            ends = jax.lax.stop_gradient((x, projected))
            jump = _tree.subtract(_onto_halfspaces(y0, *ends), ends[1])
            return _tree.add_scaled(projected, 1, jump), None

        for group in self.parts:
            z, _ = group.sweep(visit, z, None)
        return z

    def readout(self, z: PyTree) -> PyTree:
        return z

    def violation(self, value: PyTree) -> Scalar:
        return _product_space.largest_distance(self.problem, value)


def _onto_halfspaces(x: PyTree, y: PyTree, z: PyTree) -> PyTree:
    """Q(x, y, z); `z` where the two have no common point, or `y = z`."""
    back, step = _tree.subtract(x, y), _tree.subtract(z, y)
    p = -_tree.inner_product(back, step)
    m, n = _tree.inner_product(back, back), _tree.inner_product(step, step)
    r = m * n - p * p
    # Parallel directions, to rounding.
    parallel = r <= 8 * jnp.finfo(r.dtype).eps * m * n
    safe_n, safe_r = jnp.where(n > 0, n, 1), jnp.where(parallel, 1, r)
    onto_one = _tree.add_scaled(x, 1 + p / safe_n, step)
    shift = _tree.add_scaled(
        jax.tree.map(lambda a: a * _tree.scale_like(p * n / safe_r, a), back),
        m * n / safe_r,
        step,
    )
    onto_both = _tree.add_scaled(y, 1, shift)
    both = ~parallel & (p * n < r)
    return _tree.where(parallel, z, _tree.where(both, onto_both, onto_one))
