"""Conic programs say what is asked."""

import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._check import is_traced
from ..projections import PSDCone
from ..projections._check import require
from . import _matrix
from ._problem import check_matrices


class ConicProgram(eqx.Module):
    r"""Minimise `x'Px/2 + q'x` subject to `b - Ax` in a cone.

    The form of SCS and Clarabel: `Ax + s = b` with the slack s in K, a product of cones
    of which each takes the next rows.

    Args:
        P: `(n, n)`, symmetric positive semidefinite: an array, a `lineax` operator or a
            `jax.experimental.sparse.BCOO` array. None is zero.
        q: `(n,)`.
        A: `(m, n)`, like `P`.
        b: `(m,)`.
        cone: a closed convex cone, anything with a method `project(s)`, for all the
            rows; or a list of pairs `(cone, shape)`, in the order of the rows. The part
            of the rows that belongs to a cone is reshaped to `shape` (an integer or a
            tuple) before it is projected: `(PSDCone(), (3, 3))` takes 9 rows, all
            entries of a matrix, and `(ExponentialCone(), (4, 3))` is four cones. What
            `A` and `b` hold for a `PSDCone` must be symmetric.

    Raises:
        TypeError: if an argument is not real, or a cone has no `project`.
        ValueError: if shapes disagree, an entry is NaN, or `P`, or the matrices given
            for a `PSDCone`, are not symmetric (a runtime error when they are traced).

    References:
        B. O'Donoghue (2021), Operator splitting for a homogeneous embedding of the
        linear complementarity problem. P. J. Goulart and Y. Chen (2024), Clarabel: an
        interior-point solver for conic programs with quadratic objectives.
    """

    P: Any
    q: Float[Array, " n"]
    A: Any
    b: Float[Array, " m"]
    cones: tuple[Any, ...]
    shapes: tuple[tuple[int, ...], ...] = eqx.field(static=True)

    def __init__(self, P: Any, q: Any, A: Any, b: Any, cone: Any):
        owner = "ConicProgram"
        self.q = _matrix.as_floats(owner, "q", q, 1)
        self.b = _matrix.as_floats(owner, "b", b, 1)
        for name, vector in (("q", self.q), ("b", self.b)):
            if not is_traced(vector) and not np.all(np.isfinite(np.asarray(vector))):
                raise ValueError(
                    f"{owner}: `{name}` has an entry that is NaN or infinite."
                )
        self.P = None if P is None else _matrix.as_matrix(owner, "P", P)
        self.A = _matrix.as_matrix(owner, "A", A)
        check_matrices(owner, self.P, self.A, self.q.size)
        m = self.b.size
        if _matrix.shape_of(self.A)[0] != m:
            raise ValueError(
                f"{owner}: `b` must have an entry for each of the "
                f"{_matrix.shape_of(self.A)[0]} rows of `A`, got {m}."
            )
        pairs = [(cone, m)] if not isinstance(cone, Sequence) else list(cone)
        self.cones, self.shapes = _blocks(owner, pairs)
        rows = sum(math.prod(shape) for shape in self.shapes)
        if rows != m:
            raise ValueError(
                f"{owner}: the shapes in `cone` have {rows} entries together, but `b` "
                f"has {m}."
            )
        for i, (c, shape) in enumerate(zip(self.cones, self.shapes, strict=True)):
            _check_cone(owner, i, c, shape, self.b.dtype)
        if isinstance(self.A, jax.Array | np.ndarray):
            self.b = _with_symmetric_rows(owner, self)


def _with_symmetric_rows(owner, program):
    """`b`, or an error if `[A, b]` is not symmetric where a PSDCone takes its rows."""
    b, start = program.b, 0
    for i, (cone, shape) in enumerate(zip(program.cones, program.shapes, strict=True)):
        end = start + math.prod(shape)
        if isinstance(cone, PSDCone):
            b = require(
                b,
                lambda A, b, rows=slice(start, end), shape=shape: (
                    _is_symmetric(A[rows].T.reshape(-1, *shape))
                    & _is_symmetric(b[rows].reshape(shape))
                ),
                program.A,
                b,
                message=f"{owner}: the rows of `A` and `b` that belong to `cone[{i}]` "
                "(PSDCone) must be symmetric matrices.",
            )
        start = end
    return b


def _is_symmetric(x):
    size = jnp.max(jnp.abs(x), initial=0)
    skew = jnp.max(jnp.abs(x - jnp.swapaxes(x, -1, -2)), initial=0)
    return skew <= 64 * float(jnp.finfo(x.dtype).eps) * size


def _blocks(owner, pairs):
    cones, shapes = [], []
    for i, pair in enumerate(pairs):
        if not isinstance(pair, Sequence) or len(pair) != 2:
            raise TypeError(
                f"{owner}: `cone[{i}]` must be a pair (cone, shape), got {pair!r}."
            )
        cone, shape = pair
        if not callable(getattr(cone, "project", None)):
            raise TypeError(
                f"{owner}: `cone[{i}]` ({type(cone).__name__}) has no `project(s)`."
            )
        cones.append(cone)
        shapes.append((shape,) if isinstance(shape, int) else tuple(shape))
    return tuple(cones), tuple(shapes)


def _check_cone(owner, i, cone, shape, dtype) -> None:
    name = f"{owner}: `cone[{i}]` ({type(cone).__name__})"
    try:
        got = jax.eval_shape(cone.project, jax.ShapeDtypeStruct(shape, dtype))
    except Exception as error:
        raise ValueError(f"{name} cannot project shape {shape}: {error}") from error
    if getattr(got, "shape", None) != shape or not jnp.issubdtype(
        got.dtype, jnp.floating
    ):
        raise ValueError(f"{name} must keep the shape {shape}, got {got}.")
