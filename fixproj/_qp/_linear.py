"""The matrices of a program: dense, sparse, or only their products.

All have `@`, `transposed(y)`, `scaled(left, right)`, `row_max()` and `column_max()` of
the moduli, and the sum of squares `weighted_diagonal(w)` = diag(M' diag(w) M).
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Float, Int


class Dense(eqx.Module):
    """An array."""

    array: Float[Array, "m n"]

    @property
    def shape(self) -> tuple[int, int]:
        m, n = self.array.shape
        return m, n

    @property
    def dtype(self) -> Any:
        return self.array.dtype

    def __matmul__(self, x: Float[Array, " n"]) -> Float[Array, " m"]:
        return self.array @ x

    def transposed(self, y: Float[Array, " m"]) -> Float[Array, " n"]:
        return y @ self.array

    def scaled(self, left: Float[Array, " m"], right: Float[Array, " n"]) -> "Dense":
        return Dense(self.array * left[:, None] * right[None, :])

    def row_max(self) -> Float[Array, " m"]:
        return jnp.max(jnp.abs(self.array), axis=1, initial=0)

    def column_max(self) -> Float[Array, " n"]:
        return jnp.max(jnp.abs(self.array), axis=0, initial=0)

    def diagonal(self) -> Float[Array, " n"]:
        return jnp.diagonal(self.array)

    def weighted_diagonal(self, weights: Float[Array, " m"]) -> Float[Array, " n"]:
        return weights @ self.array**2

    def is_finite(self) -> Array:
        return jnp.all(jnp.isfinite(self.array))


class Sparse(eqx.Module):
    """Entries, each place once, in the order of the rows."""

    data: Float[Array, " k"]
    row: Int[Array, " k"]
    column: Int[Array, " k"]
    shape: tuple[int, int] = eqx.field(static=True)

    @property
    def dtype(self) -> Any:
        return self.data.dtype

    def __matmul__(self, x: Float[Array, " n"]) -> Float[Array, " m"]:
        return self._by_row(self.data * x[self.column])

    def transposed(self, y: Float[Array, " m"]) -> Float[Array, " n"]:
        return self._by_column(self.data * y[self.row])

    def scaled(self, left: Float[Array, " m"], right: Float[Array, " n"]) -> "Sparse":
        data = self.data * left[self.row] * right[self.column]
        return Sparse(data, self.row, self.column, self.shape)

    def row_max(self) -> Float[Array, " m"]:
        zero = jnp.zeros((self.shape[0],), self.data.dtype)
        return zero.at[self.row].max(jnp.abs(self.data))

    def column_max(self) -> Float[Array, " n"]:
        zero = jnp.zeros((self.shape[1],), self.data.dtype)
        return zero.at[self.column].max(jnp.abs(self.data))

    def diagonal(self) -> Float[Array, " n"]:
        return self._by_row(jnp.where(self.row == self.column, self.data, 0))

    def weighted_diagonal(self, weights: Float[Array, " m"]) -> Float[Array, " n"]:
        return self._by_column(weights[self.row] * self.data**2)

    def is_finite(self) -> Array:
        return jnp.all(jnp.isfinite(self.data))

    def _by_row(self, entries):
        zero = jnp.zeros((self.shape[0],), entries.dtype)
        return zero.at[self.row].add(entries, indices_are_sorted=True)

    def _by_column(self, entries):
        return jnp.zeros((self.shape[1],), entries.dtype).at[self.column].add(entries)


class Product(eqx.Module):
    """`diag(left) M diag(right)`, of which only products are known."""

    operator: lx.AbstractLinearOperator
    left: Float[Array, " m"]
    right: Float[Array, " n"]

    @property
    def shape(self) -> tuple[int, int]:
        return self.left.size, self.right.size

    @property
    def dtype(self) -> Any:
        return self.left.dtype

    def __matmul__(self, x: Float[Array, " n"]) -> Float[Array, " m"]:
        return self.left * _apply(self.operator, self.right * x)

    def transposed(self, y: Float[Array, " m"]) -> Float[Array, " n"]:
        return self.right * _apply(self.operator.T, self.left * y)

    def scaled(self, left: Float[Array, " m"], right: Float[Array, " n"]) -> "Product":
        return Product(self.operator, self.left * left, self.right * right)

    # Single entries are not known; the methods do without.
    def row_max(self) -> Float[Array, " m"]:
        return jnp.zeros_like(self.left)

    def column_max(self) -> Float[Array, " n"]:
        return jnp.zeros_like(self.right)

    def diagonal(self) -> Float[Array, " n"]:
        return jnp.zeros_like(self.right)

    def weighted_diagonal(self, weights: Float[Array, " m"]) -> Float[Array, " n"]:
        return jnp.zeros_like(self.right)

    def is_finite(self) -> Array:
        ones = jnp.ones_like(self.right)
        return jnp.all(jnp.isfinite(self @ ones))


def _apply(operator, x):
    """The product of flat vectors, in the dtype of the program."""
    structure = operator.in_structure()
    leaves, treedef = jax.tree.flatten(structure)
    parts, start = [], 0
    for leaf in leaves:
        part = x[start : start + leaf.size].reshape(leaf.shape)
        parts.append(part.astype(leaf.dtype))
        start += leaf.size
    out = operator.mv(jax.tree.unflatten(treedef, parts))
    flat: list[Any] = [v.reshape(-1).astype(x.dtype) for v in jax.tree.leaves(out)]
    return jnp.concatenate(flat) if len(flat) != 1 else flat[0]


Matrix = Dense | Sparse | Product
