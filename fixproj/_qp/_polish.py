r"""Solution polish: guess the active rows, solve their equations, keep what is better.

    Px + A'y = -q,    Ax = l or u on the active rows,    y = 0 on the others

A point that violates a bound, or a multiplier of the wrong sign, corrects the guess:
the primal-dual active-set method, which is Newton's method on the conditions of
optimality. Hintermüller, Ito & Kunisch (2003), The primal-dual active set strategy as a
semismooth Newton method.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from . import _kkt, _optimality
from ._canonical import Program
from ._equilibrate import Scaling


_ROUNDS = 4


class Pair(eqx.Module):
    """A primal and dual point, with the rows that are active at either bound."""

    x: Float[Array, " n"]
    y: Float[Array, " m"]
    lower: Bool[Array, " m"]
    upper: Bool[Array, " m"]


def target(program: Program, lower: Bool[Array, " m"], upper: Bool[Array, " m"]):
    """The bounds at which active rows lie; 0 for the others."""
    zero = jnp.zeros_like(program.domain.lower)
    at_lower = jnp.where(lower, program.domain.lower, zero)
    return jnp.where(upper, program.domain.upper, at_lower)


def polish(
    program: Program, scaling: Scaling, pair: Pair, rtol: Any, atol: Any
) -> tuple[Pair, _optimality.Figures]:
    """The pair, or a better one, and its residuals."""
    equal = program.domain.lower >= program.domain.upper
    measure = lambda x, y: _optimality.measure(program, scaling, x, y, rtol, atol)

    def keep_on(carry):
        _, _, _, changed, count = carry
        return changed & (count < _ROUNDS)

    def body(carry):
        best, figures, guess, _, count = carry
        active = guess.lower | guess.upper
        system = _kkt.factorise(program, active)
        bound = target(program, guess.lower, guess.upper)
        start = guess.x, jnp.where(active, guess.y, 0)
        x, y = _kkt.solve(system, -program.q, bound, start)
        x_ok = jnp.all(jnp.isfinite(x)) & jnp.all(jnp.isfinite(y))
        x, y = jnp.where(x_ok, x, guess.x), jnp.where(x_ok, y, guess.y)
        ax = program.rows(x)
        lower = ~equal & (y + (ax - program.domain.lower) < 0)
        upper = ~equal & (y + (ax - program.domain.upper) > 0)
        low = jnp.where(guess.upper | ~active, 0, jnp.minimum(y, 0))
        high = jnp.where(guess.upper, jnp.maximum(y, 0), 0)
        y = jnp.where(equal, y, low + high)
        new = measure(x, y)
        better = new.merit < figures.merit
        choose = lambda a, b: jax.tree.map(lambda s, t: jnp.where(better, s, t), a, b)
        best = choose(Pair(x, y, guess.lower, guess.upper), best)
        figures = choose(new, figures)
        # Once good, a further round could only flip rows that are active by rounding.
        wrong = jnp.any(lower != (guess.lower & ~equal)) | jnp.any(upper != guess.upper)
        again = wrong & (figures.merit > 1e-3) & x_ok
        guess = Pair(x, y, lower | equal, upper)
        return best, figures, guess, again, count + 1

    pair = eqx.tree_at(lambda p: p.lower, pair, pair.lower | equal)
    carry = pair, measure(pair.x, pair.y), pair, jnp.array(True), jnp.array(0)
    best, figures, *_ = jax.lax.while_loop(keep_on, body, carry)
    return best, figures
