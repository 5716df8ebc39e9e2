r"""Derivatives of matrix projections that act on eigenvalues or singular values.

For X = U diag(l) U^H and P(X) = U diag(p(l)) U^H the derivative is a Hadamard product,

    dP = U (W o (U^H dX U)) U^H,    W_ij = (p_i - p_j) / (l_i - l_j),

with dp on the diagonal: C. Loewner (1934); R. Bhatia, "Matrix analysis" (1997), theorem
V.3.3. For X = U diag(s) V^H the Hermitian part of U^H dX V takes these differences, the
skew part takes (p_i + p_j) / (s_i + s_j), and what lies outside the two bases takes
p_i / s_i. The maps p here shift and cut, so where two values coincide the difference is
the common slope, 0 or 1, and no division happens.
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Inexact

from fixproj.projections._check import as_inexact


def adjoint(x: Inexact[Array, "... m n"]) -> Inexact[Array, "... n m"]:
    """The conjugate transpose of every matrix."""
    return jnp.conj(jnp.swapaxes(x, -1, -2))


def hermitian(x: Inexact[Array, "... n n"]) -> Inexact[Array, "... n n"]:
    """The Hermitian part of every matrix."""
    return 0.5 * (x + adjoint(x))


def as_matrices(x: ArrayLike, *, square: bool = False) -> Inexact[Array, "... m n"]:
    """Returns matrices in the last two axes, or says what is wrong.

    Args:
        x: real or complex floating.
        square: whether they must be square.

    Returns:
        The array.

    Raises:
        TypeError: if the dtype is not floating.
        ValueError: if there are no matrices, or they are not square.
    """
    x = as_inexact(x, "x")
    if x.ndim < 2 or (square and x.shape[-1] != x.shape[-2]):
        kind = "square matrices" if square else "matrices"
        raise ValueError(
            f"`x` must have {kind} in its last two axes, but has shape {x.shape}."
        )
    return x


def widened(x: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
    """Half precision as float32, which LAPACK knows; everything else as it is."""
    if jnp.issubdtype(x.dtype, jnp.complexfloating) or x.dtype == jnp.float64:
        return x
    return x.astype(jnp.float32)


def compose(
    left: Inexact[Array, "... m k"],
    values: Float[Array, "... k"],
    right: Inexact[Array, "... n k"],
) -> Inexact[Array, "... m n"]:
    """Left diag(values) right^H."""
    return jnp.matmul(left * values[..., None, :].astype(left.dtype), adjoint(right))


def eigenvalue_derivative(
    u: Inexact[Array, "... n n"],
    values: Float[Array, "... n"],
    mapped: Float[Array, "... n"],
    active: Bool[Array, "... n"],
    dx: Inexact[Array, "... n n"],
    dmapped,
) -> Inexact[Array, "... n n"]:
    """The derivative of U diag(p(l)) U^H.

    Args:
        u: eigenvectors.
        values: eigenvalues l.
        mapped: p(l), which shifts and cuts, so that its differences are in [0, 1].
        active: where the slope of p is 1; elsewhere it is 0.
        dx: Hermitian tangents.
        dmapped: maps the diagonal of U^H dX U to dp.

    Returns:
        The tangents of the projection.
    """
    inner = adjoint(u) @ dx @ u
    weights = _differences(values, mapped, active)
    diagonal = jnp.real(jnp.diagonal(inner, axis1=-2, axis2=-1))
    change = _with_diagonal(weights.astype(inner.dtype) * inner, dmapped(diagonal))
    return u @ change @ adjoint(u)


def singular_value_derivative(
    u: Inexact[Array, "... m k"],
    values: Float[Array, "... k"],
    v: Inexact[Array, "... n k"],
    mapped: Float[Array, "... k"],
    differences: Float[Array, "... k k"],
    at_zero: Float[Array, "... k"],
    dx: Inexact[Array, "... m n"],
    dmapped,
) -> Inexact[Array, "... m n"]:
    """The derivative of U diag(p(s)) V^H with thin U and V.

    Args:
        u: left singular vectors.
        values: singular values s.
        v: right singular vectors.
        mapped: p(s).
        differences: (p_i - p_j) / (s_i - s_j).
        at_zero: what p_i / s_i is taken for where s_i = 0.
        dx: tangents.
        dmapped: maps the real diagonal of U^H dX V to dp.

    Returns:
        The tangents of the projection.
    """
    inner = adjoint(u) @ dx @ v
    positive = values > 0
    quotient = jnp.where(positive, mapped / jnp.where(positive, values, 1), at_zero)
    total = values[..., :, None] + values[..., None, :]
    sums = mapped[..., :, None] + mapped[..., None, :]
    sums = jnp.where(
        total > 0,
        sums / jnp.where(total > 0, total, 1),
        jnp.minimum(at_zero[..., :, None], at_zero[..., None, :]),
    )
    even, odd = hermitian(inner), 0.5 * (inner - adjoint(inner))
    diagonal = jnp.real(jnp.diagonal(inner, axis1=-2, axis2=-1))
    dtype = inner.dtype
    change = _with_diagonal(differences.astype(dtype) * even, dmapped(diagonal))
    change = change + sums.astype(dtype) * odd
    result = u @ change @ adjoint(v)
    # Outside the bases, nothing of which there is if they are square.
    if u.shape[-2] > u.shape[-1]:
        outside = dx @ v - u @ inner
        result = result + compose(outside, quotient, v)
    if v.shape[-2] > v.shape[-1]:
        outside = adjoint(dx) @ u - v @ adjoint(inner)
        result = result + compose(u, quotient, outside)
    return result


def slopes(
    values: Float[Array, "... k"],
    mapped: Float[Array, "... k"],
    active: Bool[Array, "... k"],
) -> Float[Array, "... k k"]:
    """`_differences`, for the callers that need them."""
    return _differences(values, mapped, active)


def _differences(values, mapped, active):
    gap = values[..., :, None] - values[..., None, :]
    rise = mapped[..., :, None] - mapped[..., None, :]
    slope = jnp.clip(rise / jnp.where(gap == 0, 1, gap), 0, 1)
    same = active[..., :, None] == active[..., None, :]
    both = (active[..., :, None] & active[..., None, :]).astype(values.dtype)
    return jnp.where(same, both, slope)


def _with_diagonal(x, diagonal):
    eye = jnp.eye(x.shape[-1], dtype=bool)
    spread = jnp.broadcast_to(diagonal[..., None].astype(x.dtype), x.shape)
    return jnp.where(jnp.broadcast_to(eye, x.shape), spread, x)
