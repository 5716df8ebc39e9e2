r"""Averaged (simultaneous) projections, with extrapolation.

    T(z) = z + step (sum_i w_i P_i z - z)        readout z

    step = 1, or sum_i w_i |P_i z - z|^2 / |sum_i w_i P_i z - z|^2 >= 1

Cimmino (1938) for hyperplanes, Auslender (1969) for closed convex sets; the long step
is Pierra's (1984), section 3: it takes z to the nearest point of a halfspace that
holds all common points. Converges to a common point if there is one. If not, step = 1
converges, if a set is bounded, to a point with the least sum of w_i dist(z, C_i)^2.
"""

import functools as ft
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree, Scalar

from .. import _tree
from .._check import is_traced
from .._map import AbstractMap, AbstractMethod
from .._problem import Feasibility
from . import _product_space


# In units of the number of sets: one violated set of m alone makes a step of m. A step
# much longer than that says that the displacements cancel, as they do where the sets
# have no common point.
_LONGEST = 10


class AveragedProjections(AbstractMethod):
    """Project onto all sets at the same time, and average.

    Args:
        weights: positive numbers, one for each set, an array leaf that may be traced;
            they are divided by their sum. None is equal weights.
        extrapolate: whether to take Pierra's long step. It saves a factor that grows
            with the number of sets, and costs monotone behaviour; where the sets have
            no common point the step falls back to 1 near the least-squares point.

    Raises:
        ValueError: if `weights` is not one-dimensional, or a concrete entry is not
            positive; on solving, if their number is not that of the sets.

    References:
        G. Pierra (1984), Decomposition through formalization in a product space. P. L.
        Combettes (1997), Convex set theoretic image recovery by extrapolated iterations
        of parallel subgradient projections.
    """

    weights: Float[Array, " sets"] | None
    extrapolate: bool = eqx.field(static=True)

    def __init__(
        self,
        weights: Float[ArrayLike, " sets"] | Sequence[float] | None = None,
        extrapolate: bool = False,
    ):
        if weights is not None:
            weights = jnp.asarray(weights)
            if weights.ndim != 1 or weights.size == 0:
                raise ValueError(
                    "AveragedProjections: `weights` must be a vector, one number for "
                    f"each set, got the shape {weights.shape}."
                )
            if not jnp.issubdtype(weights.dtype, jnp.floating):
                weights = weights.astype(float)
            if not is_traced(weights):
                values = np.asarray(weights)
                if not np.all((values > 0) & np.isfinite(values)):
                    raise ValueError(
                        "AveragedProjections: `weights` must be positive, got "
                        f"{values}."
                    )
        if not isinstance(extrapolate, bool):
            raise ValueError(
                "AveragedProjections: `extrapolate` must be True or False, got "
                f"{extrapolate!r}."
            )
        self.weights = weights
        self.extrapolate = extrapolate

    def make_map(self, problem: Feasibility) -> AbstractMap:
        """The weighted mean of the projections, or the long step along it."""
        count = problem.count
        weights = self.weights
        if weights is None:
            weights = jnp.full((count,), 1 / count)
        elif weights.shape != (count,):
            raise ValueError(
                f"AveragedProjections: `weights` has {weights.shape[0]} entries for "
                f"{count} sets."
            )
        else:
            bad = ~jnp.all(weights > 0)
            weights = eqx.error_if(weights, bad, "AveragedProjections: `weights` <= 0.")
            weights = weights / jnp.sum(weights)
        parts = _product_space.groups(problem.sets)
        return _Map(problem, parts, weights, self.extrapolate)


class _Map(AbstractMap):
    problem: Feasibility
    parts: tuple[_product_space.Group, ...]
    weights: Float[Array, " sets"]
    extrapolate: bool = eqx.field(static=True)

    def init(self) -> PyTree:
        return self.problem.y0

    def apply(self, z: PyTree) -> PyTree:
        start, moves, squares = 0, [], []
        for group in self.parts:
            weights = self.weights[start : start + group.size]
            start += group.size
            move, square = group.summed(self._share, z, weights)
            moves.append(move)
            squares.append(square)
        move = jtu.tree_map(lambda *x: sum(x[1:], x[0]), *moves)
        if not self.extrapolate:
            return _tree.add_scaled(z, 1, move)
        square = _tree.inner_product(move, move)
        total = ft.reduce(jnp.add, squares)
        step = total / jnp.where(square > 0, square, 1)
        usable = (square > 0) & (step < _LONGEST * self.problem.count)
        step = jnp.where(usable, jnp.maximum(step, 1), 1)
        # At a fixed point all displacements are 0, and the derivative of the fixed
        # point does not depend on the length of the step.
        return _tree.add_scaled(z, jax.lax.stop_gradient(step), move)

    def _share(self, one: Any, z: PyTree, weight: Scalar) -> tuple[PyTree, Any]:
        """What one set adds to the move, and to the square of the long step."""
        move = _tree.subtract(one.project(z), z)
        part = jtu.tree_map(lambda x: weight.astype(x.dtype) * x, move)
        if not self.extrapolate:
            return part, None
        square = _tree.inner_product(move, move)
        return part, weight.astype(square.dtype) * square

    def readout(self, z: PyTree) -> PyTree:
        return z

    def violation(self, value: PyTree) -> Scalar:
        return _product_space.largest_distance(self.problem, value)
