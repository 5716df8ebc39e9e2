r"""Iterations for A x = b that need products with A = I - J only, one each step.

The plain iteration x <- x + r, for which r <- J r, costs least a step. The generalised
conjugate residual method with a window of m directions gains more: with q = A p,

    p, q  <-  (p - sum_i <q, q_i> p_i),  (q - sum_i <q, q_i> q_i),   then |q| = 1
    x, r  <-  x + <r, q> p,  r - <r, q> q

where p starts as r, or as the last q if that made no progress. With m unbounded the
residual is the smallest in the Krylov space, that of GMRES. Eisenstat, Elman & Schultz
(1983), Variational iterative methods for nonsymmetric systems of linear equations.

Which of the two is run is decided by what they gained so far: eigenvalues of J on a
line are where the second shines; if they fill a disc it gains nothing.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


Vector = Float[Array, " n"]
# A plain step that leaves more of the residual than this may be worth accelerating.
_SLOW = 0.6
_WINDOW = 20
# No more numbers than this in a window, so that a million unknowns take four vectors.
_WINDOW_SIZE = 2**22
# How much dearer an accelerated step is.
_EXTRA = 1.3
# Rounds of a window's length without a gain of 1% until it is given up.
_PATIENCE = 25


class _State(eqx.Module):
    x: Vector
    r: Vector
    size: Float[Array, ""]
    # What the last plain step left of the residual.
    rate: Float[Array, ""]
    products: Int[Array, ""]


class _Directions(eqx.Module):
    p: Float[Array, "m n"]
    q: Float[Array, "m n"]
    count: Int[Array, ""]
    stalled: Bool[Array, ""]
    broken: Bool[Array, ""]


def _norm(x) -> Float[Array, ""]:
    return jnp.sqrt(jnp.vdot(x, x))


def _start(b) -> _State:
    size = _norm(b)
    zero = jnp.zeros((), jnp.int32)
    return _State(jnp.zeros_like(b), b, size, jnp.zeros_like(size), zero)


def _steps_to_go(size, allowed, rate) -> Float[Array, ""]:
    """How many steps are needed at this rate; infinite if it is not below 1."""
    factor = jnp.log(jnp.maximum(size / allowed, 1))
    gain = -jnp.log(jnp.maximum(rate, jnp.finfo(size.dtype).tiny))
    return jnp.where(gain > 0, factor / jnp.where(gain > 0, gain, 1), jnp.inf)


def _plain_step(matvec, state) -> _State:
    r = state.r - matvec(state.r)
    size = _norm(r)
    rate = size / state.size
    return _State(state.x + state.r, r, size, rate, state.products + 1)


class _Target(eqx.Module):
    """`|r| <= rtol (|b| + |x|)`, less what the plain iteration has still to come."""

    rtol: Float[Array, ""]
    b_size: Float[Array, ""]

    def allowed(self, state: _State) -> Float[Array, ""]:
        return self.rtol * (self.b_size + _norm(state.x))

    def is_met(self, state: _State) -> Bool[Array, ""]:
        # What is still to come is a geometric series.
        return state.size <= self.allowed(state) * jnp.clip(1 - state.rate, 0.1, 1)


def solve_plainly(
    matvec: Callable[[Vector], Vector],
    b: Vector,
    rtol: Float[Array, ""],
    most: int,
) -> tuple[Vector, Bool[Array, ""]]:
    """Solve `A x = b` by the plain iteration if it needs at most about `most` steps.

    Args:
        matvec: the product with A.
        b: the right-hand side.
        rtol: how accurately, see `solve`.
        most: gives up as soon as more steps are to be expected.

    Returns:
        The solution, and whether it is one.
    """
    target = _Target(rtol, _norm(b))

    def keep_on(state):
        to_go = _steps_to_go(state.size, target.allowed(state), state.rate)
        expected = state.products.astype(to_go.dtype) + to_go
        # The first steps say little about the last.
        promising = (expected <= most) | (state.products < 3)
        return ~target.is_met(state) & promising & (state.products < 2 * most)

    state = jax.lax.while_loop(keep_on, lambda s: _plain_step(matvec, s), _start(b))
    return state.x, target.is_met(state)


def solve(
    matvec: Callable[[Vector], Vector],
    b: Vector,
    rtol: Float[Array, ""],
    most: int,
    max_products: int,
) -> tuple[Vector, Bool[Array, ""]]:
    """Solve `A x = b` to `|A x - b| <= rtol (|b| + |x|)` in the 2-norm.

    Args:
        matvec: the product with A.
        b: the right-hand side.
        rtol: how accurately.
        most: gives up as soon as more products are to be expected.
        max_products: the largest number of products.

    Returns:
        The solution, and whether it is one: its true residual is at most 10 times what
        was asked for.
    """
    target = _Target(rtol, _norm(b))
    window = max(1, min(_WINDOW, b.size, max(4, _WINDOW_SIZE // max(b.size, 1))))
    epsilon = float(jnp.finfo(b.dtype).eps)

    def unsolved(state):
        return ~target.is_met(state) & (state.products < max_products)

    def plain_rounds(state, prefer_plain):
        limit = 4 * state.size

        def keep_on(state):
            willing = prefer_plain & (state.size < limit)
            return unsolved(state) & (willing | (state.rate <= _SLOW))

        return jax.lax.while_loop(keep_on, lambda s: _plain_step(matvec, s), state)

    def accelerated(carry):
        state, d = carry
        length = jnp.full_like(d.count, window)
        slot = jax.lax.rem(d.count, length)
        last = jax.lax.rem(d.count + (window - 1), length)
        newest = jax.lax.dynamic_index_in_dim(d.q, last, 0, keepdims=False)
        p = jnp.where(d.stalled, newest, state.r)
        q = matvec(p)
        nothing_new = 8 * epsilon * _norm(q)
        weights = d.q @ q
        q, p = q - weights @ d.q, p - weights @ d.p
        q_size = _norm(q)
        # A direction that A does not see would send x far away.
        broken = ~(q_size > jnp.maximum(nothing_new, epsilon**0.75 * _norm(p)))
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
        products = state.products + 1
        return _State(x, r, _norm(r), state.rate, products), directions

    def round_(carry):
        state, d, prefer_plain, idle, best, _ = carry
        before = state
        state = plain_rounds(state, prefer_plain)
        plain_failed = prefer_plain & unsolved(state)
        middle, end = state, d.count + window
        state, d = jax.lax.while_loop(
            lambda c: unsolved(c[0]) & ~c[1].broken & (c[1].count < end),
            accelerated,
            (state, d),
        )
        allowed = target.allowed(state)
        taken = (state.products - middle.products).astype(state.size.dtype)
        rate = (state.size / middle.size) ** (1 / jnp.maximum(taken, 1))
        to_go = _steps_to_go(state.size, allowed, rate)
        plain_to_go = _steps_to_go(state.size, allowed, middle.rate)
        prefer_plain = (plain_to_go < _EXTRA * to_go) & ~plain_failed
        gained = state.size < 0.99 * best
        idle = jnp.where(gained, 0, idle + 1)
        best = jnp.where(gained, state.size, best)
        hopeless = jnp.minimum(to_go, jnp.where(plain_failed, jnp.inf, plain_to_go))
        hopeless = (hopeless > most) | (idle >= _PATIENCE) | d.broken
        hopeless = hopeless | (state.products == before.products)
        return state, d, prefer_plain, idle, best, hopeless

    def keep_on(carry):
        state, *_, hopeless = carry
        return unsolved(state) & ~hopeless

    no = jnp.array(False)
    zero = jnp.zeros((), jnp.int32)
    nothing = jnp.zeros((window, b.size), b.dtype)
    state = _start(b)
    carry = (state, _Directions(nothing, nothing, zero, no, no), no, zero)
    carry = (*carry, state.size, no)
    state, *_ = jax.lax.while_loop(keep_on, round_, carry)
    return state.x, _norm(matvec(state.x) - b) <= 10 * target.allowed(state)


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
