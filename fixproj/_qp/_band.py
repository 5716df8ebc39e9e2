r"""A sparse positive definite matrix by blocks along its diagonal.

    H = P + D + G' diag(w) G

The unknowns are put in the order of reverse Cuthill-McKee, in which H is a band, and
the band is cut into blocks as large as it is wide: H is block tridiagonal then, and its
Cholesky factor is made block by block in one `scan`. Rows of G with many entries would
fill the band. They are kept out of it and added by the formula of Woodbury. Cuthill &
McKee (1969), Reducing the bandwidth of sparse symmetric matrices; Golub & Van Loan
(2013), Matrix computations, sections 2.1.4 and 4.5.

Which rows are kept out is decided by counting operations; none in a small program, as
the formula costs digits where the rest is nearly singular, in linear programs say. With
a single block, the factorisation is a dense one, of a matrix put together from entries.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from jaxtyping import Array, Float, Int

from ._linear import Sparse


# A narrower band is cut into blocks of this size: more arithmetic in less time.
_LEAST_BLOCK = 48
_APART_FROM = 2500
_LARGEST_STORE = 60_000_000
_LARGEST_COUNT = 20_000_000
_REFINEMENTS = 2


class Band(eqx.Module):
    """Where the entries of P and the products of entries of G go in the blocks."""

    place: Int[np.ndarray, " n"]
    from_p: Int[np.ndarray, " i"]
    p_target: Int[np.ndarray, " i"]
    left: Int[np.ndarray, " j"]
    right: Int[np.ndarray, " j"]
    row: Int[np.ndarray, " j"]
    g_target: Int[np.ndarray, " j"]
    # The rows with many entries.
    long_rows: Int[np.ndarray, " r"]
    from_long: Int[np.ndarray, " l"]
    long_slot: Int[np.ndarray, " l"]
    block: int = eqx.field(static=True)
    blocks: int = eqx.field(static=True)


def band_of(P: Any, G: Any) -> Band | None:
    """The cheapest band for the patterns of P and G, or None if none fits in memory.

    The entries of both are in the order in which the program keeps them.
    """
    n = P.shape[0]
    lengths = np.bincount(G.row, minlength=G.shape[0])
    best = None
    for limit in (np.inf, 200, 100, 50, 20, 10):
        long = lengths > limit
        if limit < np.inf and (n < _APART_FROM or not long.any()):
            continue
        if 4 * long.sum() > n:
            continue
        count = float(np.sum(np.where(long, 0, lengths).astype(float) ** 2))
        if count > _LARGEST_COUNT:
            continue
        order, width = _order(P, G, ~long)
        block, blocks = _blocks(n, width)
        size = blocks * block
        store = size * block * (2 if blocks > 1 else 1) + size * int(long.sum())
        if store > _LARGEST_STORE:
            continue
        factor = size * block**2 * (10 / 3 if blocks > 1 else 1 / 3)
        cost = factor + 10 * count + 4 * size * block * long.sum()
        if best is None or cost < best[0]:
            best = cost, long, order, block, blocks
    return None if best is None else _place(P, G, *best[1:])


def _order(P, G, kept):
    """The order of the unknowns, and how far apart two that meet may be."""
    n = P.shape[0]
    rows = sp.csr_array((np.ones(G.nnz, np.int32), (G.row, G.col)), shape=G.shape)[kept]
    pattern = sp.csr_array((np.ones(P.nnz, np.int32), (P.row, P.col)), shape=P.shape)
    pattern = sp.csr_matrix(pattern + rows.T @ rows + sp.eye_array(n))
    order = sp.csgraph.reverse_cuthill_mckee(pattern, symmetric_mode=True)
    place = np.empty(n, np.int64)
    place[order] = np.arange(n)
    met = pattern.tocoo()
    width = int(np.max(np.abs(place[met.row] - place[met.col]), initial=0))
    return place, width


def _blocks(n, width):
    block = max(width, _LEAST_BLOCK)
    # 10/3 operations for every entry of the band against 1/3 n for every column.
    if 10 * block**2 >= n**2:
        return n, 1
    return block, -(-n // block)


def _place(P, G, long, place, block, blocks):
    def target(i, j):
        high, low = np.maximum(place[i], place[j]), np.minimum(place[i], place[j])
        apart = high // block - low // block
        index = apart * blocks + high // block
        return (index * block + high % block) * block + low % block

    lower = place[P.row] >= place[P.col]
    from_p = np.flatnonzero(lower)
    left, right = _pairs(G, ~long)
    long_entries = np.flatnonzero(long[G.row])
    number = np.cumsum(long) - 1
    ints = lambda v: np.asarray(v, np.int32)
    return Band(
        ints(place),
        ints(from_p),
        ints(target(P.row[from_p], P.col[from_p])),
        ints(left),
        ints(right),
        ints(G.row[left]),
        ints(target(G.col[left], G.col[right])),
        ints(np.flatnonzero(long)),
        ints(long_entries),
        ints(
            number[G.row[long_entries]] * (blocks * block) + place[G.col[long_entries]]
        ),
        block,
        blocks,
    )


def _pairs(G, kept):
    """Every two entries of a row that is kept, once; G is in the order of its rows."""
    lengths = np.bincount(G.row, minlength=G.shape[0])
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    lefts, rights = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for length in np.unique(lengths[kept]):
        first = starts[kept & (lengths == length)]
        i, j = np.tril_indices(length)
        lefts.append((first[:, None] + i).ravel())
        rights.append((first[:, None] + j).ravel())
    return np.concatenate(lefts), np.concatenate(rights)


class BandFactor(eqx.Module):
    """The factor of H, ready to solve."""

    place: Int[Array, " n"]
    diagonal: Float[Array, "k b b"]
    below: Float[Array, "k b b"]
    long: Float[Array, "r kb"]
    solved: Float[Array, "kb r"]
    small: Float[Array, "r r"]
    matrices: tuple[Sparse, Sparse, Array, Array]

    def solve(self, b: Float[Array, " n"], guess: Array | None = None) -> Array:
        """`x` with `Hx = b`."""
        del guess
        x = self._solve(b)
        if self.long.shape[0]:
            # The formula of Woodbury loses digits where the rest is nearly singular.
            for _ in range(_REFINEMENTS):
                x = x + self._solve(b - self._multiply(x))
        return x

    def _multiply(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        P, G, weights, diagonal = self.matrices
        return P @ x + diagonal * x + G.transposed(weights * (G @ x))

    def _solve(self, b: Float[Array, " n"]) -> Float[Array, " n"]:
        size = self.diagonal.shape[0] * self.diagonal.shape[1]
        v = jnp.zeros((size,), b.dtype).at[self.place].set(b)
        x = _solve(self.diagonal, self.below, v[:, None])
        if self.long.shape[0]:
            x = x - self.solved @ _triangular(self.small, self.long @ x)
        return x[self.place, 0]


def factorise(
    band: Band,
    P: Sparse,
    G: Sparse,
    weights: Float[Array, " k"],
    diagonal: Float[Array, " n"],
) -> BandFactor:
    """The factor of `P + diag(diagonal) + G' diag(weights) G`."""
    b, k = band.block, band.blocks
    kinds = 2 if k > 1 else 1
    size = k * b
    entries = jnp.zeros((kinds * size * b,), diagonal.dtype)
    entries = entries.at[band.p_target].add(P.data[band.from_p])
    products = G.data[band.left] * G.data[band.right] * weights[band.row]
    entries = entries.at[band.g_target].add(products)
    # Places that no unknown has get a one.
    full = jnp.ones((size,), diagonal.dtype).at[band.place].set(diagonal)
    at = jnp.arange(size)
    entries = entries.at[at * b + at % b].add(full)
    entries = entries.reshape(kinds, k, b, b)
    first, below = _factorise(entries)
    r = band.long_rows.size
    long = jnp.zeros((r * size,), diagonal.dtype)
    long = long.at[band.long_slot].add(G.data[band.from_long]).reshape(r, size)
    long = long * jnp.sqrt(weights[band.long_rows])[:, None]
    solved, small = long.T, jnp.zeros((r, r), diagonal.dtype)
    if r:
        solved = _solve(first, below, long.T)
        small = _cholesky(jnp.eye(r, dtype=long.dtype) + long @ solved)
    place, matrices = jnp.asarray(band.place), (P, G, weights, diagonal)
    return BandFactor(place, first, below, long, solved, small, matrices)


def _factorise(entries):
    """The blocks of the factor: on the diagonal, and below it."""
    b = entries.shape[-1]
    if entries.shape[0] == 1:
        return _cholesky(entries[0]), jnp.zeros((1, 0, 0), entries.dtype)

    def step(last, blocks):
        here, below = blocks
        below = jax.lax.linalg.triangular_solve(
            last, below, left_side=False, lower=True, transpose_a=True
        )
        factor = _cholesky(here - below @ below.T)
        return factor, (factor, below)

    one = jnp.eye(b, dtype=entries.dtype)
    return jax.lax.scan(step, one, (entries[0], entries[1]))[1]


def _solve(diagonal, below, v):
    """`x` with `L L' x = v`, for several columns."""
    if below.shape[-1] == 0:
        return _triangular(diagonal[0], v)
    k, b = diagonal.shape[:2]
    solve = jax.lax.linalg.triangular_solve

    def down(last, part):
        factor, left, v = part
        x = solve(factor, v - left @ last, left_side=True, lower=True)
        return x, x

    def up(last, part):
        factor, left_of_next, v = part
        v = v - left_of_next.T @ last
        x = solve(factor, v, left_side=True, lower=True, transpose_a=True)
        return x, x

    parts = v.reshape(k, b, -1)
    zero = jnp.zeros_like(parts[0])
    half = jax.lax.scan(down, zero, (diagonal, below, parts))[1]
    nexts = jnp.concatenate([below[1:], jnp.zeros_like(below[:1])])
    x = jax.lax.scan(up, zero, (diagonal, nexts, half), reverse=True)[1]
    return x.reshape(k * b, -1)


def _cholesky(matrix):
    return jax.lax.linalg.cholesky(matrix, symmetrize_input=False)


def _triangular(factor, v):
    """`x` with `L L' x = v`."""
    solve = jax.lax.linalg.triangular_solve
    half = solve(factor, v, left_side=True, lower=True)
    return solve(factor, half, left_side=True, lower=True, transpose_a=True)
