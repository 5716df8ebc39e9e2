r"""The generalised conjugate residual method for A x = b, remembering m directions.

With q = A p, where p starts as r, or as the last q if that made no progress:

    p, q  <-  (p - sum_i <q, q_i> p_i),  (q - sum_i <q, q_i> q_i),   then |q| = 1
    x, r  <-  x + <r, q> p,  r - <r, q> q

With m unbounded the residual is the smallest in the Krylov space, that of GMRES.
Eisenstat, Elman & Schultz (1983), Variational iterative methods for nonsymmetric
systems of linear equations.

It takes turns with the plain iteration of `_neumann`, whose steps cost less: which of
the two is run is decided by what they gained so far. Eigenvalues of J on a line are
where conjugate residuals shine; if they fill a disc nothing gains on plain steps.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from . import _neumann
from ._neumann import State, Target, Vector, norm, norms, steps_to_go


# A plain step that leaves more of the residual than this may be worth accelerating.
SLOW = 0.6
_WINDOW = 20
# Accelerated steps before their gain is judged.
_ROUND = 10
# No more numbers than this in a window, so that a million unknowns take four vectors.
_WINDOW_SIZE = 2**22
# How much dearer an accelerated step is.
_EXTRA = 1.3
# Rounds without a gain of 1% until it is given up.
_PATIENCE = 50


class _Directions(eqx.Module):
    p: Float[Array, "m n"]
    q: Float[Array, "m n"]
    count: Int[Array, ""]
    stalled: Bool[Array, ""]
    broken: Bool[Array, ""]


def solve(
    matvec: Callable[[Vector], Vector],
    b: Vector,
    state: State,
    target: Target,
    most: int,
    max_products: int,
) -> tuple[Vector, Bool[Array, ""]]:
    """Solve `A x = b` by products with A only.

    Args:
        matvec: the product with A.
        b: the right-hand side.
        state: where the plain iteration got to.
        target: how accurately.
        most: gives up as soon as more products are to be expected.
        max_products: the largest number of products.

    Returns:
        The solution, and whether it is one: its true residual is at most 10 times what
        was asked for.
    """
    window = max(1, min(_WINDOW, b.size, max(4, _WINDOW_SIZE // max(b.size, 1))))
    epsilon = float(jnp.finfo(b.dtype).eps)

    def unsolved(state):
        return ~state.done & (state.products < max_products)

    def plain_round(state, prefer_plain):
        limit = 4 * state.size

        def keep_on(state):
            willing = prefer_plain & (state.size < limit)
            return unsolved(state) & (willing | (state.rate <= SLOW))

        state = jax.lax.while_loop(
            keep_on, lambda s: _neumann.step(matvec, s, target, 1), state
        )
        x = jnp.where(state.done, _neumann.finish(state), state.x)
        return eqx.tree_at(lambda s: s.x, state, x)

    def accelerated(carry):
        state, d = carry
        length = jnp.full_like(d.count, window)
        slot = jax.lax.rem(d.count, length)
        last = jax.lax.rem(d.count + (window - 1), length)
        newest = jax.lax.dynamic_index_in_dim(d.q, last, 0, keepdims=False)
        p = jnp.where(d.stalled, newest, state.r)
        q = matvec(p)
        nothing_new = 8 * epsilon * norm(q)
        weights = d.q @ q
        q, p = q - weights @ d.q, p - weights @ d.p
        q_size = norm(q)
        # A direction that A does not see would send x far away.
        broken = ~(q_size > jnp.maximum(nothing_new, epsilon**0.75 * norm(p)))
        scale = jnp.where(broken, 0, 1 / jnp.where(broken, 1, q_size))
        p, q = p * scale, q * scale
        step = jnp.vdot(q, state.r)
        x, r = state.x + step * p, state.r - step * q
        put = jax.lax.dynamic_update_index_in_dim
        directions = _Directions(
            p=put(d.p, p, slot, 0),
            q=put(d.q, q, slot, 0),
            count=d.count + 1,
            stalled=jnp.abs(step) < 0.01 * state.size,
            broken=broken,
        )
        size, x_size = norms(r, x)
        done = size <= target.allowed(x_size, state.rate)
        products = state.products + 1
        state = State(x, r, size, state.rate, products, state.expected, done)
        return state, directions

    def round_(carry):
        state, d, prefer_plain, idle, best, _ = carry
        before = state
        state = plain_round(state, prefer_plain)
        plain_failed = prefer_plain & unsolved(state)
        middle, end = state, d.count + min(window, _ROUND)
        state, d = jax.lax.while_loop(
            lambda c: unsolved(c[0]) & ~c[1].broken & (c[1].count < end),
            accelerated,
            (state, d),
        )
        allowed = target.allowed(norm(state.x), state.rate)
        taken = (state.products - middle.products).astype(state.size.dtype)
        rate = (state.size / middle.size) ** (1 / jnp.maximum(taken, 1))
        to_go = steps_to_go(state.size, allowed, rate)
        plain_to_go = steps_to_go(state.size, allowed, middle.rate)
        prefer_plain = (plain_to_go < _EXTRA * to_go) & ~plain_failed
        gained = state.size < 0.99 * best
        idle = jnp.where(gained, 0, idle + 1)
        best = jnp.where(gained, state.size, best)
        to_go = jnp.minimum(to_go, jnp.where(plain_failed, jnp.inf, plain_to_go))
        hopeless = ~(to_go <= most) | (idle >= _PATIENCE) | d.broken
        hopeless = hopeless | (state.products == before.products)
        return state, d, prefer_plain, idle, best, hopeless

    def keep_on(carry):
        state, *_, hopeless = carry
        return unsolved(state) & ~hopeless

    no = jnp.array(False)
    zero = jnp.zeros((), jnp.int32)
    nothing = jnp.zeros((window, b.size), b.dtype)
    carry = (state, _Directions(nothing, nothing, zero, no, no), no, zero)
    carry = (*carry, state.size, no)
    state, *_ = jax.lax.while_loop(keep_on, round_, carry)
    allowed = target.allowed(norm(state.x), state.rate)
    return state.x, norm(matvec(state.x) - b) <= 10 * allowed


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
