r"""The plain iteration for A x = b, A = I - J: x = b + J b + J^2 b + ...

    x <- x + r,   r <- J r = r - A r,      from x = 0 and r = b

contracts as the map does whose Jacobian J is, and is the cheapest iteration there is:
one product, one sum, two norms.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


Vector = Float[Array, " n"]
Number = Float[Array, ""]
# The first steps say little about the last.
_GRACE = 4
# Up to this length, starting a kernel costs more than what it does.
_SHORT = 1024


class State(eqx.Module):
    """Where an iteration stands; `r = b - A x` throughout."""

    x: Vector
    r: Vector
    size: Number  # the norm of r
    rate: Number  # what the last plain steps left of r, each
    products: Int[Array, ""]
    expected: Number  # how many products it takes in all, at that rate
    done: Bool[Array, ""]


def norm(x: Vector) -> Number:
    """The 2-norm."""
    return jnp.sqrt(jnp.vdot(x, x))


def norms(x: Vector, y: Vector) -> tuple[Number, Number]:
    """The 2-norms of two vectors."""
    if x.size > _SHORT:
        return norm(x), norm(y)
    # XLA makes three kernels of a sum on a CPU, but one of two sums at once.
    zero = jnp.zeros((), x.dtype)
    add = lambda a, b: (a[0] + b[0], a[1] + b[1])
    squares = jax.lax.reduce((x * x, y * y), (zero, zero), add, (0,))
    return jnp.sqrt(squares[0]), jnp.sqrt(squares[1])


def steps_to_go(size: Number, allowed: Number, rate: Number) -> Number:
    """How many steps are needed at this rate; infinite if it is not below 1."""
    factor = jnp.log(jnp.maximum(size / allowed, 1))
    gain = -jnp.log(jnp.maximum(rate, jnp.finfo(size.dtype).tiny))
    return jnp.where(gain > 0, factor / jnp.where(gain > 0, gain, 1), jnp.inf)


class Target(eqx.Module):
    """`|r| <= rtol (|b| + |x|)`, and less if what is still to come adds up to more."""

    rtol: Number
    b_size: Number

    def allowed(self, x_size: Number, rate: Number) -> Number:
        """The largest residual, whose series adds up to at most five tolerances."""
        return self.rtol * (self.b_size + x_size) * jnp.clip(5 * (1 - rate), 0.1, 1)


def start(b: Vector) -> State:
    """The state at `x = 0`."""
    size = norm(b)
    return State(
        x=jnp.zeros_like(b),
        r=b,
        size=size,
        rate=jnp.zeros_like(size),
        products=jnp.zeros((), jnp.int32),
        expected=jnp.zeros_like(size),
        done=size == 0,
    )


def step(
    matvec: Callable[[Vector], Vector], state: State, target: Target, unrolled: int
) -> State:
    """`unrolled` steps, a power of two, and one look at what they gained.

    It is done if the sum will be, to which the last r is added: see `finish`.
    """
    x, r = state.x, state.r
    for _ in range(unrolled):
        x, r = x + r, r - matvec(r)
    size, x_size = norms(r, x)
    latest = size / state.size
    for _ in range(unrolled.bit_length() - 1):
        latest = jnp.sqrt(latest)
    # The larger one of two, for a Jacobian that shrinks and stretches in turn.
    rate = jnp.maximum(latest, state.rate)
    products = state.products + unrolled
    allowed = target.allowed(x_size, rate)
    ahead = size * rate
    expected = products.astype(size.dtype) + steps_to_go(ahead, allowed, rate)
    return State(x, r, size, latest, products, expected, ahead <= allowed)


def finish(state: State) -> Vector:
    """The sum with the next term, which needs no product."""
    return state.x + state.r


def run(
    matvec: Callable[[Vector], Vector],
    state: State,
    target: Target,
    most: int,
    slowest: float = 1.0,
    unrolled: int = 1,
) -> State:
    """Iterate until done, or until it is clear that there are better ways.

    Args:
        matvec: the product with A.
        state: where to go on from.
        target: when it is done.
        most: how many products may be expected in all.
        slowest: the largest rate at which it goes on.
        unrolled: how many steps are made between two looks at the residual.
    """

    def keep_on(state):
        promising = (state.expected <= most) & (state.rate <= slowest)
        return ~state.done & (promising | (state.products < _GRACE))

    return jax.lax.while_loop(
        keep_on, lambda state: step(matvec, state, target, unrolled), state
    )
