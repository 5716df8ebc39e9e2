"""What XLA for CPU has to be told: to store a value, and to change one in place.

Both tell it with a loop that makes no turn, or one. Elsewhere a loop would wait for the
device, and nothing needs to be told.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Int, PyTree


def stored(tree: PyTree, counter: Int[Array, ""]) -> PyTree:
    """`tree`, kept from being computed more than once.

    XLA for CPU computes a cheap value anew in every place where it is used instead of
    storing it. It cannot do so across a loop; this one makes no turn and costs no copy.

    Args:
        tree: a pytree of inexact arrays.
        counter: a number that the compiler does not know to be >= 0.
    """

    def loop(counter: Any, tree: Any) -> Any:
        negate = lambda c: (c[0] + 1, jtu.tree_map(jnp.negative, c[1]))
        return jax.lax.while_loop(lambda c: c[0] < 0, negate, (counter, tree))[1]

    return jax.lax.platform_dependent(
        counter, tree, cpu=loop, default=lambda counter, tree: tree
    )


def update_if(
    pred: Bool[Array, ""], update: Callable[[PyTree], PyTree], carry: PyTree
) -> PyTree:
    """`update(carry)` where `pred` holds, else `carry`.

    `jax.lax.cond` copies a carry that it does not change.
    """

    def loop(pred: Any, carry: Any) -> Any:
        turn = lambda c: (c[0] & False, update(c[1]))
        return jax.lax.while_loop(lambda c: c[0], turn, (pred, carry))[1]

    def cond(pred: Any, carry: Any) -> Any:
        return jax.lax.cond(pred, update, lambda carry: carry, carry)

    return jax.lax.platform_dependent(pred, carry, cpu=loop, default=cond)
