r"""The equations of an active set, and their solution by a shifted factorisation.

With a = 1 for the active rows and 0 for the others,

    [P    A'a     ] [x]   [r]
    [aA   -(1 - a)] [y] = [s]

is symmetric. Inactive rows give y = -s; the others are solved through

    H = P + delta I + A'aA / delta,       delta = the root of what the dtype resolves,

which is the system with +delta and -delta on its diagonal, repeated on what is left
over. The repetition is the proximal method of multipliers: it needs no full rank, and
of many solutions finds the one nearest to where it started. Stellato et al. (2020),
section 4; Rockafellar (1976), Augmented Lagrangians and applications of the proximal
point algorithm in convex programming.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from . import _factor
from ._canonical import Program
from ._factor import Factor


_REPEATS = 30


class Factored(eqx.Module):
    """The factorised system of an active set."""

    program: Program
    active: Bool[Array, " m"]
    factor: Factor
    shift: Float[Array, ""]


def factorise(program: Program, active: Bool[Array, " m"]) -> Factored:
    """What solves with `H`."""
    epsilon = float(jnp.finfo(program.q.dtype).eps)
    # Conjugate gradients want a better condition, and repetition makes up for it.
    power = 0.5 if _factor.is_direct(program) else 0.1875
    shift = jnp.asarray(epsilon**power, program.q.dtype)
    weights = jnp.where(active, 1 / shift, 0)
    factor = _factor.factorise(program, weights, shift)
    return Factored(program, active, factor, shift)


def multiply(
    program: Program, active: Bool[Array, " m"], x: Array, y: Array
) -> tuple[Array, Array]:
    """The system times `(x, y)`."""
    zero = jnp.zeros_like(y)
    top = program.P @ x + program.transposed(jnp.where(active, y, zero))
    return top, jnp.where(active, program.rows(x), -y)


def solve(
    system: Factored, r: Array, s: Array, start: tuple[Array, Array] | None = None
) -> tuple[Array, Array]:
    """`(x, y)`, as accurate as repetition can make it."""
    program, active, shift = system.program, system.active, system.shift
    zero = jnp.zeros_like(s)
    size = lambda u, v: jnp.maximum(
        jnp.max(jnp.abs(u), initial=0), jnp.max(jnp.abs(v), initial=0)
    )

    def left_over(x, y):
        top, bottom = multiply(program, active, x, y)
        return r - top, s - bottom

    def keep_on(carry):
        _, _, error, last, count = carry
        # Repetition pays as long as it wins half of what is left.
        return (count < _REPEATS) & (error < 0.5 * last) & (error > 0)

    def body(carry):
        (x, y), rest, error, _, count = carry
        top, bottom = rest
        pushed = jnp.where(active, bottom / shift, zero)
        dx = system.factor.solve(top + program.transposed(pushed))
        dy = jnp.where(active, (program.rows(dx) - bottom) / shift, -bottom)
        moved = x + dx, y + dy
        left = left_over(*moved)
        new = size(*left)
        new = jnp.where(jnp.isfinite(new), new, jnp.inf)
        pick = lambda a, b: jnp.where(new < error, a, b)
        moved = jax.tree.map(pick, moved, (x, y))
        left = jax.tree.map(pick, left, rest)
        return moved, left, jnp.minimum(new, error), error, count + 1

    x, y = (jnp.zeros_like(r), zero) if start is None else start
    rest = left_over(x, y)
    inf = jnp.full((), jnp.inf, r.dtype)
    carry = (x, y), rest, size(*rest), inf, jnp.zeros((), jnp.int32)
    return jax.lax.while_loop(keep_on, body, carry)[0]
