"""Matrices as users have them: arrays, sparse arrays, and linear operators."""

from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jax.experimental import sparse as jsparse
from jaxtyping import Array, Float

from .._check import is_traced


def as_matrix(owner: str, name: str, value: Any) -> Any:
    """An operator or sparse array as it is, anything else as a matrix of floats."""
    if isinstance(value, lx.MatrixLinearOperator):
        return as_floats(owner, name, value.matrix, 2)
    if isinstance(value, lx.AbstractLinearOperator):
        return value
    if isinstance(value, jsparse.BCOO):
        if value.ndim != 2 or value.n_batch or value.n_dense:
            raise ValueError(
                f"{owner}: `{name}` must be a BCOO matrix without batch or dense "
                f"dimensions, got {value!r}."
            )
        return jsparse.BCOO(
            (as_floats(owner, name, value.data, 1), value.indices), shape=value.shape
        )
    if isinstance(value, jsparse.JAXSparse):
        raise TypeError(
            f"{owner}: `{name}` must be a matrix, a lineax operator or a BCOO array, "
            f"got {type(value).__name__}; convert it with `BCOO.fromdense` or "
            "`.to_bcoo()`."
        )
    if hasattr(value, "tocoo") and hasattr(value, "toarray"):  # scipy.sparse
        entries = value.tocoo()
        places = np.stack([entries.row, entries.col], axis=1)
        # What is known stays known inside of `jit`, and can be planned by.
        with jax.ensure_compile_time_eval():
            data = as_floats(owner, name, entries.data, 1)
            places = jnp.asarray(places, jnp.int32)
        return jsparse.BCOO((data, places), shape=value.shape)
    return as_floats(owner, name, value, 2)


def as_floats(owner: str, name: str, value: Any, ndim: int) -> Array:
    """An array of floats with `ndim` dimensions, or an error that names it."""
    try:
        array = None if isinstance(value, str) else jnp.asarray(value)
        array = jnp.zeros((), bool) if array is None else array
        real = jnp.issubdtype(array.dtype, jnp.floating)
        real = real or jnp.issubdtype(array.dtype, jnp.integer)
    except (TypeError, ValueError):
        array, real = None, False
    if array is None or not real:
        raise TypeError(f"{owner}: `{name}` must be a real array, got {value!r}.")
    if array.ndim != ndim:
        kind = {1: "a vector", 2: "a matrix"}[ndim]
        raise ValueError(
            f"{owner}: `{name}` must be {kind}, got an array of shape {array.shape}."
        )
    if jnp.issubdtype(array.dtype, jnp.integer):
        return array.astype(float)
    return array.astype(array.dtype)


def shape_of(matrix: Any) -> tuple[int, int]:
    """Rows and columns."""
    if isinstance(matrix, lx.AbstractLinearOperator):
        return matrix.out_size(), matrix.in_size()
    return matrix.shape


def is_special(matrix: Any) -> bool:
    """Whether the matrix is not an array."""
    return isinstance(matrix, lx.AbstractLinearOperator | jsparse.BCOO)


def is_operator(matrix: Any) -> bool:
    """Whether only products with the matrix are known."""
    return isinstance(matrix, lx.AbstractLinearOperator) and not isinstance(
        matrix,
        lx.DiagonalLinearOperator
        | lx.TridiagonalLinearOperator
        | lx.IdentityLinearOperator,
    )


def entries_of(matrix: Any) -> tuple[Array, Any, Any]:
    """The entries of a sparse matrix, their rows and their columns."""
    if isinstance(matrix, jsparse.BCOO):
        places = matrix.indices
        # Inside of `jit` a slice of what is known would not be known any more.
        places = places if is_traced(places) else np.asarray(places)
        return matrix.data, places[:, 0], places[:, 1]
    if isinstance(matrix, lx.TridiagonalLinearOperator):
        n = matrix.diagonal.size
        i = np.arange(n)
        data = [matrix.diagonal, matrix.lower_diagonal, matrix.upper_diagonal]
        row = np.concatenate([i, i[1:], i[:-1]])
        return jnp.concatenate(data), row, np.concatenate([i, i[:-1], i[1:]])
    m, n = shape_of(matrix)
    i = np.arange(min(m, n))
    if isinstance(matrix, lx.DiagonalLinearOperator):
        return lx.diagonal(matrix), i, i
    return jnp.ones((i.size,)), i, i


def dense(matrix: Any, dtype: Any) -> Float[Array, "m n"]:
    """The matrix as an array."""
    if isinstance(matrix, lx.AbstractLinearOperator):
        matrix = matrix.as_matrix()
    elif isinstance(matrix, jsparse.BCOO):
        matrix = matrix.todense()
    return matrix.astype(dtype)


def arrays_of(matrix: Any) -> tuple[Any, ...]:
    """The arrays whose entries make up the matrix, as far as they are known."""
    if isinstance(matrix, lx.AbstractLinearOperator):
        return ()
    if isinstance(matrix, jsparse.BCOO):
        return () if is_traced(matrix.data) else (matrix.data,)
    return () if is_traced(matrix) else (matrix,)
