"""Many sets as two: each gets its own copy of the point, and the copies must agree.

    x in C_1, ..., x in C_m
    <=>  (x_1, ..., x_m) in C_1 x ... x C_m  and  x_1 = ... = x_m

Pierra (1984), Decomposition through formalization in a product space.
"""

import functools as ft
from typing import Any

import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import PyTree, Scalar

from .. import _tree
from .._problem import Feasibility


def copies(problem: Feasibility) -> tuple[PyTree, ...]:
    """One copy of the start for every set."""
    return (problem.y0,) * len(problem.sets)


def project_each(sets: tuple[Any, ...], points: tuple[PyTree, ...]) -> tuple:
    """Every copy onto its own set."""
    return tuple(s.project(x) for s, x in zip(sets, points, strict=True))


def mean(points: tuple[PyTree, ...]) -> PyTree:
    """The projection onto the diagonal: the mean of the copies."""
    return jtu.tree_map(lambda *x: sum(x[1:], x[0]) / len(x), *points)


def largest_distance(problem: Feasibility, value: PyTree) -> Scalar:
    """The largest entry by which a projection would move `value`, over all the sets."""
    distances = [
        _tree.max_norm(_tree.subtract(value, s.project(value))) for s in problem.sets
    ]
    return ft.reduce(jnp.maximum, distances)
