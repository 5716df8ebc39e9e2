r"""Iterations for A x = b that need products with A = I - J only, one each step.

While J contracts fast, the plain iteration x <- x + r, for which r <- J r. From then on
the generalised conjugate residual method with a window of m directions: with q = A p,

    p, q  <-  (p - sum_i <q, q_i> p_i),  (q - sum_i <q, q_i> q_i),   then |q| = 1
    x, r  <-  x + <r, q> p,  r - <r, q> q

where p starts as r, or as the last q if that made no progress. With m unbounded the
residual is the smallest in the Krylov space, that of GMRES. Eisenstat, Elman & Schultz
(1983), Variational iterative methods for nonsymmetric systems of linear equations.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


Vector = Float[Array, " n"]
# A step that leaves more of the residual than this is worth accelerating.
_SLOW = 0.6
_WINDOW = 20
# No more numbers than this in a window, so that a million unknowns take four vectors.
_WINDOW_SIZE = 2**22
# Steps without a gain of 1% until it is given up.
_PATIENCE = 500


class _State(eqx.Module):
    x: Vector
    r: Vector
    size: Float[Array, ""]
    products: Int[Array, ""]


class _Directions(eqx.Module):
    p: Float[Array, "m n"]
    q: Float[Array, "m n"]
    stalled: Bool[Array, ""]
    broken: Bool[Array, ""]
    best: Float[Array, ""]
    idle: Int[Array, ""]


def _norm(x) -> Float[Array, ""]:
    return jnp.sqrt(jnp.vdot(x, x))


def solve(
    matvec: Callable[[Vector], Vector],
    b: Vector,
    rtol: Float[Array, ""],
    max_products: int,
) -> tuple[Vector, Bool[Array, ""]]:
    """Solve `A x = b` to `|A x - b| <= rtol (|b| + |x|)` in the 2-norm.

    Args:
        matvec: the product with A.
        b: the right-hand side.
        rtol: how accurately.
        max_products: the largest number of products.

    Returns:
        The solution, and whether it is one: its true residual is at most 10 times what
        was asked for.
    """
    size = _norm(b)
    allowed = lambda x: rtol * (size + _norm(x))
    unsolved = lambda s: (s.size > allowed(s.x)) & (s.products < max_products)

    def plain(carry):
        state, _ = carry
        r = state.r - matvec(state.r)
        return _State(state.x + state.r, r, _norm(r), state.products + 1), state.size

    def contracts(carry):
        state, last = carry
        return unsolved(state) & (state.size <= _SLOW * last)

    state = _State(jnp.zeros_like(b), b, size, jnp.zeros((), jnp.int32))
    infinite = jnp.full_like(size, jnp.inf)
    state, _ = jax.lax.while_loop(contracts, plain, (state, infinite))
    window = max(4, min(_WINDOW, _WINDOW_SIZE // max(b.size, 1)))
    directions = _Directions(
        p=jnp.zeros((window, b.size), b.dtype),
        q=jnp.zeros((window, b.size), b.dtype),
        stalled=jnp.array(False),
        broken=jnp.array(False),
        best=state.size,
        idle=jnp.zeros((), jnp.int32),
    )
    epsilon = float(jnp.finfo(b.dtype).eps)

    def accelerated(carry):
        state, d = carry
        length = jnp.full_like(state.products, window)
        slot = jax.lax.rem(state.products, length)
        last = jax.lax.rem(state.products + (window - 1), length)
        row = lambda rows: jax.lax.dynamic_index_in_dim(rows, last, 0, keepdims=False)
        p = jnp.where(d.stalled, row(d.q), state.r)
        p_size = _norm(p)
        q = matvec(p)
        weights = d.q @ q
        q, p = q - weights @ d.q, p - weights @ d.p
        q_size = _norm(q)
        # Nothing new, or a direction that A does not see.
        broken = ~(q_size > 8 * epsilon * p_size)
        scale = jnp.where(broken, 0, 1 / jnp.where(broken, 1, q_size))
        p, q = p * scale, q * scale
        step = jnp.vdot(q, state.r)
        r = state.r - step * q
        size = _norm(r)
        put = jax.lax.dynamic_update_index_in_dim
        gained = size < 0.99 * d.best
        return _State(state.x + step * p, r, size, state.products + 1), _Directions(
            p=put(d.p, p, slot, 0),
            q=put(d.q, q, slot, 0),
            stalled=jnp.abs(step) < 0.01 * state.size,
            broken=broken,
            best=jnp.where(gained, size, d.best),
            idle=jnp.where(gained, 0, d.idle + 1),
        )

    def keep_on(carry):
        state, d = carry
        return unsolved(state) & ~d.broken & (d.idle < _PATIENCE)

    state, _ = jax.lax.while_loop(keep_on, accelerated, (state, directions))
    return state.x, _norm(matvec(state.x) - b) <= 10 * allowed(state.x)


def least_squares(
    matvec: Callable[[Vector], Vector], b: Vector, rtol: float, max_steps: int
) -> Vector:
    """The smallest of the least-squares solutions, by products with A and A^T.

    Conjugate gradients on the normal equations, from zero. Hestenes & Stiefel (1952),
    section 10.

    Args:
        matvec: the product with A.
        b: the right-hand side.
        rtol: how far to reduce the residual of the normal equations.
        max_steps: the largest number of steps, of two products each.
    """
    transposed = lambda x: jax.linear_transpose(matvec, b)(x)[0]
    gradient = transposed(b)
    start = jnp.vdot(gradient, gradient)

    def keep_on(carry):
        _, _, _, square, step = carry
        return (square > rtol**2 * start) & (step < max_steps)

    def body(carry):
        x, r, p, square, step = carry
        q = matvec(p)
        rate = square / jnp.vdot(q, q)
        x, r = x + rate * p, r - rate * q
        gradient = transposed(r)
        new = jnp.vdot(gradient, gradient)
        return x, r, gradient + (new / square) * p, new, step + 1

    carry = (jnp.zeros_like(b), b, gradient, start, jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(keep_on, body, carry)[0]
