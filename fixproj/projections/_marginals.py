"""Validation of the row and column sums of couplings."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fixproj.projections._check import as_parameter, computing_dtype, require


def as_marginals(
    row: ArrayLike, column: ArrayLike
) -> tuple[Float[Array, " m"], Float[Array, " n"]]:
    """Returns both as vectors, not negative and of one sum, or says what is wrong."""
    row, column = as_parameter(row, "row"), as_parameter(column, "col")
    for name, value in (("row", row), ("col", column)):
        if value.ndim != 1 or value.size == 0:
            raise ValueError(
                f"`{name}` must have shape (k,) with k >= 1, but has shape "
                f"{value.shape}."
            )
    row, column = _not_negative(row, "row"), _not_negative(column, "col")
    column = require(
        column,
        _same_sum,
        row,
        column,
        message="`row` and `col` must have the same sum: otherwise there is no matrix.",
    )
    return row, column


def balanced(
    row: Float[Array, " m"], column: Float[Array, " n"]
) -> tuple[Float[Array, " m"], Float[Array, " n"]]:
    """The same marginals, with rounding in their sums moved into the columns."""
    total, other = jnp.sum(row), jnp.sum(column)
    return row, column * (total / jnp.where(other == 0, 1, other))


def check_matrix(x: Float[Array, "..."], shape: tuple[int, int]) -> None:
    """Raises ValueError if the last two axes of `x` do not fit the marginals."""
    if x.shape[-2:] != shape:
        raise ValueError(
            f"`x` of shape {x.shape} does not fit `row` and `col`: its last two axes "
            f"must have shape {shape}."
        )


def require_found(
    result: Float[Array, "k m n"], x: Float[Array, "k m n"]
) -> Float[Array, "k m n"]:
    """Makes an error of a result with a NaN that the point does not explain."""
    is_bad = jnp.any(jnp.isnan(x) | (x == jnp.inf), (1, 2))
    failed = jnp.any(jnp.isnan(result), (1, 2)) & ~is_bad
    return eqx.error_if(
        result,
        failed,
        "no matrix with the sums `row` and `col` was found: either zeros of `x` (that "
        "is, `logits` of `-inf`) leave none, or entries of `x` are too far apart.",
    )


def _not_negative(value, name):
    return require(
        value,
        lambda v: (v >= 0) & jnp.isfinite(v),
        value,
        message=f"`{name}` must be finite and not negative.",
    )


def _same_sum(row, column):
    dtype = computing_dtype(row, column)
    total, other = jnp.sum(row.astype(dtype)), jnp.sum(column.astype(dtype))
    # Each entry is known to the precision of the coarser of the two.
    coarse = max(float(jnp.finfo(v.dtype).eps) for v in (row, column))
    return jnp.abs(total - other) <= 64 * coarse * jnp.maximum(total, other)
