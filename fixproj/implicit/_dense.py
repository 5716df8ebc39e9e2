r"""A x = b with the matrix A formed: by factorisation, or in the least-squares sense.

P A = L U   serves if A is regular,   A = U S V^T   gives x = V S^+ U^T b  in any case.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .. import _tree


Vector = Float[Array, " n"]
Matrix = Float[Array, "n n"]
# Columns of a matrix that are found at once; bounds the memory a map needs for it.
_COLUMNS = 256


def matrix_of(matvec: Callable[[Vector], Vector], like: Vector) -> Matrix:
    """A, from its products with the unit vectors."""
    identity = jnp.eye(like.size, dtype=like.dtype)
    if like.size <= _COLUMNS:
        return jax.vmap(matvec, out_axes=1)(identity)
    return jax.lax.map(matvec, identity, batch_size=_COLUMNS).T


def generic(like: Vector) -> Vector:
    """A vector that is in no special position."""
    position = jnp.arange(like.size, dtype=like.dtype)
    return jnp.sin(1 + position * position)


def factorised(matrix: Matrix, b: Vector) -> tuple[Vector, Bool[Array, ""]]:
    """`A^{-1} b` for `|b| = 1`, and whether A is regular and the system solved."""
    lu, _, permutation = jax.lax.linalg.lu(matrix)
    rhs = jnp.stack([b, generic(b)], axis=1)
    x = rhs[permutation]
    for lower in (True, False):
        x = jax.lax.linalg.triangular_solve(
            lu, x, left_side=True, lower=lower, unit_diagonal=lower
        )
    error, size = _tree.max_norm_pair(matrix @ x - rhs, x)
    # The solution of a singular system can look right; that of a second one is huge.
    regular = size <= float(jnp.finfo(b.dtype).eps) ** -0.75
    return x[:, 0], regular & (error <= limit(b) * (1 + size))


def smallest(matrix: Matrix, b: Vector) -> tuple[Vector, Vector, Bool[Array, ""]]:
    """`A^+ b`, a generic null vector of A, and whether A is finite."""
    u, s, vt = jax.lax.linalg.svd(matrix, full_matrices=False)
    # The cut is far above rounding, far below a true singular value.
    kept = s > float(jnp.finfo(s.dtype).eps) ** 0.75 * s[0]
    inverse = jnp.where(kept, 1 / jnp.where(kept, s, 1), 0)
    g = generic(b)
    rhs = jnp.stack([b, matrix @ g], axis=1)
    x = vt.T @ (inverse[:, None] * (u.T @ rhs))
    return x[:, 0], g - x[:, 1], jnp.isfinite(s[0])


def accuracy(ax: Vector, x: Vector, b: Vector) -> Float[Array, ""]:
    """The residual relative to what rounding alone would leave of terms this large."""
    error, size = _tree.max_norm_pair(ax - b, x)
    # 0 <= 0 holds for b = 0, and NaN fails every comparison.
    return jnp.where(error == 0, 0, error / (jnp.max(jnp.abs(b)) + size))


def limit(b: Vector) -> float:
    """The accuracy at which a system counts as solved."""
    return min(b.size, 2048) * 1e3 * float(jnp.finfo(b.dtype).eps)
