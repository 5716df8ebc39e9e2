"""The few operations on pytrees of arrays that the rest of the package needs."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Float, PyTree, Scalar

from ._xla import stored


def where(pred: Bool[Array, ""], true: PyTree, false: PyTree) -> PyTree:
    """Leaf by leaf `true` where the scalar `pred` holds, else `false`."""
    return jtu.tree_map(lambda t, f: jnp.where(pred, t, f), true, false)


def subtract(x: PyTree, y: PyTree) -> PyTree:
    """`x - y`, leaf by leaf."""
    return jtu.tree_map(lambda a, b: a - b, x, y)


def flat(tree: PyTree) -> PyTree:
    """Every leaf as a vector: XLA for CPU is slow where shapes change."""
    return jtu.tree_map(lambda x: x.reshape(-1), tree)


def shaped_like(tree: PyTree, like: PyTree) -> PyTree:
    """The way back from `flat`."""
    return jtu.tree_map(lambda x, y: x.reshape(y.shape), tree, like)


def add_scaled(x: PyTree, scale: Any, y: PyTree) -> PyTree:
    """`x + scale * y`, leaf by leaf, in the dtype of `x`; `scale` is a real scalar."""
    return jtu.tree_map(lambda a, b: a + scale_like(scale, b) * b, x, y)


def scale_like(scale: Any, like: Array) -> Any:
    """A real scalar in the dtype of `like`; Python numbers are left alone."""
    if isinstance(scale, int | float):
        return scale
    return jnp.asarray(scale).astype(like.dtype)


def stop_gradient(tree: PyTree) -> PyTree:
    """The tree with every inexact array cut from differentiation."""
    dynamic, static = eqx.partition(tree, eqx.is_inexact_array)
    return eqx.combine(jax.lax.stop_gradient(dynamic), static)


def norm_dtype(tree: PyTree) -> Any:
    """The dtype in which norms of `tree` are taken.

    The widest real dtype of its leaves, and float32 at least: a norm in bfloat16 has
    two digits.
    """
    dtypes = [jnp.finfo(x.dtype).dtype for x in jtu.tree_leaves(tree)]
    return max([jnp.dtype(jnp.float32), *dtypes], key=lambda d: jnp.finfo(d).bits)


def real_size(tree: PyTree) -> int:
    """The number of real unknowns: a complex entry counts twice."""
    return sum(x.size * (1 + jnp.iscomplexobj(x)) for x in jtu.tree_leaves(tree))


def coarsest_epsilon(tree: PyTree) -> float:
    """The largest machine epsilon among the leaves; a tree without leaves is exact."""
    return max([float(jnp.finfo(x.dtype).eps) for x in jtu.tree_leaves(tree)] + [0.0])


def max_norm(tree: PyTree) -> Scalar:
    """The largest modulus of an entry; 0 for a tree without entries, NaN is kept."""
    dtype = norm_dtype(tree)
    norms = [
        jnp.max(jnp.abs(x)).astype(dtype) for x in jtu.tree_leaves(tree) if x.size > 0
    ]
    return jnp.max(jnp.stack(norms)) if norms else jnp.zeros((), dtype)


def max_norm_pair(x: PyTree, y: PyTree) -> tuple[Scalar, Scalar]:
    """`max_norm` of two trees with the same shapes and dtypes.

    One pass over both: on a CPU that is half the time of two reductions.
    """
    pairs = list(zip(jtu.tree_leaves(x), jtu.tree_leaves(y), strict=True))
    if len(pairs) != 1 or pairs[0][0].size == 0:
        return max_norm(x), max_norm(y)
    moduli = [jnp.abs(leaf).reshape(-1) for leaf in pairs[0]]
    first, second = moduli
    if first.size >= 8 * _FOLDS:
        first, second = _folded(first), _folded(second)
    first, second = _reduce_pair(jax.lax.max, first, second)
    dtype = norm_dtype(x)
    return first.astype(dtype), second.astype(dtype)


def two_norm_pair(x: PyTree, y: PyTree) -> tuple[Scalar, Scalar]:
    """`two_norm` of two trees with the same shapes and dtypes.

    One pass over both if they are small: on a CPU each product would cost more than it
    multiplies.
    """
    pairs = list(zip(jtu.tree_leaves(x), jtu.tree_leaves(y), strict=True))
    if len(pairs) != 1 or not 0 < pairs[0][0].size <= 512:
        return two_norm(x), two_norm(y)
    moduli = [jnp.abs(leaf).reshape(-1).astype(norm_dtype(x)) for leaf in pairs[0]]
    first, second = _reduce_pair(jax.lax.add, *(m * m for m in moduli))
    return jnp.sqrt(first), jnp.sqrt(second)


def _reduce_pair(operator: Callable, x: Array, y: Array) -> tuple[Scalar, Scalar]:
    zeros = (jnp.zeros((), x.dtype), jnp.zeros((), y.dtype))
    both = lambda a, b: (operator(a[0], b[0]), operator(a[1], b[1]))
    first, second = jax.lax.reduce((x, y), zeros, both, (0,))
    return first, second


_FOLDS = 8


def _folded(x: Float[Array, " n"]) -> Float[Array, " m"]:
    """The largest entries of `x` cut into pieces: an eighth of it, the same maximum.

    XLA for CPU turns this into vector instructions, but not a reduction.
    """
    length = -(-x.size // _FOLDS)
    # The last piece overlaps with the one before it, which a maximum does not mind.
    starts = [min(k * length, x.size - length) for k in range(_FOLDS)]
    pieces = [x[start : start + length] for start in starts]
    return functools.reduce(jnp.maximum, pieces)


def real_product(a: Array, b: Array, dtype: Any) -> Array:
    """The real inner product of every entry of `a` with that of `b`, in `dtype`."""
    if not jnp.iscomplexobj(a):
        return a.astype(dtype) * b.astype(dtype)
    real = a.real.astype(dtype) * b.real.astype(dtype)
    return real + a.imag.astype(dtype) * b.imag.astype(dtype)


def folded_sums(
    products: Callable[..., tuple[Array, ...]], *trees: PyTree
) -> tuple[Scalar, ...]:
    """The sums of several functions of corresponding entries, in one pass.

    Args:
        products: from one entry of every tree, as arrays of any shape, to real numbers
            of the dtype that norms of the trees have.
        *trees: with the same structure and shapes.
    """
    dtype = norm_dtype(trees)
    total: Any = None
    nothing = [jnp.zeros((0,), dtype)]
    columns = [jtu.tree_leaves(tree) or nothing for tree in trees]
    for leaves in zip(*columns, strict=True):
        flat = [leaf.reshape(-1) for leaf in leaves]
        terms = _in_pieces(products, flat)
        zeros = tuple(jnp.zeros((), dtype) for _ in terms)
        add = lambda a, b: tuple(x + y for x, y in zip(a, b, strict=True))
        sums = jax.lax.reduce(terms, zeros, add, (0,))
        total = sums if total is None else add(total, sums)
    return total


def _in_pieces(
    products: Callable[..., tuple[Array, ...]], arrays: list[Array]
) -> tuple[Array, ...]:
    """Functions of the entries along the last axis, partly summed over it.

    What is left is stored, or XLA for CPU would compute it within the loop of the final
    sum, one entry at a time, where this takes vector instructions.
    """
    n = arrays[-1].shape[-1]
    length = n // _PIECES
    if length < _PIECES:
        return products(*arrays)
    pieces = [
        products(*(x[..., k * length : (k + 1) * length] for x in arrays))
        for k in range(_PIECES)
    ]
    terms = [functools.reduce(jnp.add, column) for column in zip(*pieces, strict=True)]
    if length * _PIECES < n:
        rest = products(*(x[..., length * _PIECES :] for x in arrays))
        short = [(0, 0)] * (terms[0].ndim - 1) + [(0, length - n % _PIECES)]
        terms = [t + jnp.pad(r, short) for t, r in zip(terms, rest, strict=True)]
    # Zero or one, which the compiler does not know.
    counter = (terms[0].reshape(-1)[0] != 0).astype(jnp.int32)
    return stored(tuple(terms), counter)


_PIECES = 16


def two_norm(tree: PyTree) -> Scalar:
    """The Euclidean norm of all entries together."""
    return jnp.sqrt(inner_product(tree, tree))


def rms_norm(tree: PyTree) -> Scalar:
    """The root of the mean square of all entries; 0 for a tree without entries."""
    size = sum(x.size for x in jtu.tree_leaves(tree))
    return two_norm(tree) / max(size, 1) ** 0.5


def inner_product(x: PyTree, y: PyTree) -> Scalar:
    """The real inner product: complex entries count as pairs of reals."""
    stack = jtu.tree_map(lambda a: a[None], x)
    return stacked_inner_products(stack, (y,))[0, 0]


def stacked_inner_products(stack: PyTree, trees: tuple) -> Float[Array, "m k"]:
    """The real inner products of m trees, stacked along leading axes, with k others."""
    dtype = norm_dtype(stack)
    wide_complex = jnp.dtype(jnp.complex64 if dtype == jnp.float32 else jnp.complex128)
    columns = zip(*(jtu.tree_leaves(tree) for tree in trees), strict=True)
    total = None
    for rows, column in zip(jtu.tree_leaves(stack), columns, strict=True):
        wide = wide_complex if jnp.iscomplexobj(rows) else dtype
        rows = rows.reshape(rows.shape[0], -1).astype(wide)
        products = [_products(rows, x.reshape(-1).astype(wide)) for x in column]
        products = jnp.stack(products, axis=1)
        total = products if total is None else total + products
    return jnp.zeros((1, len(trees)), dtype) if total is None else total


def _products(rows: Array, x: Array) -> Float[Array, " m"]:
    """The real inner products of the rows of a matrix with a vector."""
    if x.size < _PIECES**2 or rows.shape[0] > _MOST_TERMS:
        return (rows @ x.conj()).real
    (terms,) = _in_pieces(lambda r, x: ((r * x.conj()[None]).real,), [rows, x])
    return jnp.sum(terms, axis=1)


def combination(weights: Float[Array, " m"], rows: Array) -> Array:
    """`sum_j weights[j] rows[j]` of a matrix.

    Written out, because XLA's product with a row takes three times as long on a CPU.
    """
    if rows.shape[0] > _MOST_TERMS:
        return weights.astype(rows.dtype) @ rows
    terms = [weights[j].astype(rows.dtype) * rows[j] for j in range(rows.shape[0])]
    return functools.reduce(jnp.add, terms)


_MOST_TERMS = 32


def ravel_real(tree: PyTree) -> tuple[Array, Callable[[Array], PyTree]]:
    """All entries as one real vector, and the way back.

    Complex entries become pairs of reals, so that a map which is linear over the reals
    but not over the complex numbers (such as conjugation) is still a matrix.
    """
    dtype = norm_dtype(tree)
    leaves, structure = jtu.tree_flatten(tree)

    def flat(x):
        if jnp.iscomplexobj(x):
            x = jnp.stack([x.real, x.imag])
        return x.reshape(-1).astype(dtype)

    def unravel(vector):
        out, start = [], 0
        for leaf in leaves:
            if jnp.iscomplexobj(leaf):
                pair = vector[start : start + 2 * leaf.size].reshape(2, *leaf.shape)
                out.append(jax.lax.complex(pair[0], pair[1]).astype(leaf.dtype))
                start += 2 * leaf.size
            else:
                part = vector[start : start + leaf.size]
                out.append(part.reshape(leaf.shape).astype(leaf.dtype))
                start += leaf.size
        return jtu.tree_unflatten(structure, out)

    if not leaves:
        return jnp.zeros((0,), dtype), unravel
    return jnp.concatenate([flat(x) for x in leaves]), unravel


def first_nonfinite(tree: PyTree) -> str | None:
    """The path of the first leaf with a NaN or an infinity; None if all is finite.

    Looks at values, so it is for concrete arrays, outside of a trace.
    """
    for path, leaf in jtu.tree_leaves_with_path(tree):
        if not bool(jnp.all(jnp.isfinite(leaf))):
            return jtu.keystr(path)
    return None
