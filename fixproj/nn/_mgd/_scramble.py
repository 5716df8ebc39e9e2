"""Keyed permutations of 0 .. 2^bits - 1, computed entry by entry.

A family of orthogonal codes needs each parameter to have a code of its own, in an order
without structure. Multiplying by an odd number modulo 2^bits and xoring with a right
shift are both one to one, so no table of codes has to be kept.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, UInt32


def bits_for(size: int) -> int:
    """The least number of bits, one at least, that count `size` things."""
    return max(1, (max(size, 1) - 1).bit_length())


def scramble(
    key: Array, numbers: UInt32[Array, "..."], bits: int
) -> UInt32[Array, "..."]:
    """The images of numbers below 2^bits under the permutation that `key` picks."""
    first, second, flip = jr.bits(key, (3,), jnp.uint32)
    mask = jnp.uint32((1 << bits) - 1)
    shift = jnp.uint32(max(1, bits // 2))
    for factor in (first, second):
        numbers = (numbers * (factor | jnp.uint32(1))) & mask
        numbers = numbers ^ (numbers >> shift)
    return numbers ^ (flip & mask)


def scramble_below(key: Array, number: UInt32[Array, ""], size: int) -> Array:
    """A permutation of 0 .. size - 1: the larger one, repeated until it lands there."""
    bits = bits_for(size)
    step = lambda n: scramble(key, n, bits)
    outside = lambda n: n >= jnp.uint32(size)
    return jax.lax.while_loop(outside, step, step(number))
