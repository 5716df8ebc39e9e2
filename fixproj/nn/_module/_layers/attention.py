"""softmax(Q K' / sqrt(d)) V for several heads, with Flax's parameters."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from fixproj.nn._module._errors import LayerError
from fixproj.nn._module._initializer import Initializer
from fixproj.nn._module._kinds import Parameter
from fixproj.nn._module._layers._shapes import (
    check_input,
    check_size,
    default_float,
    lecun_normal,
    trailing,
)
from fixproj.nn._module._module import Module


class MultiHeadAttention(Module):
    """Attention of queries to keys and values, over the second to last axis.

    Args:
        heads: number of heads.
        features: of queries, keys and values, all heads together; the input's if None.
        features_out: of the output; the input's if None.
        features_in: of the input; inferred by `init(key, x)` if None.
        use_bias: whether the four affine maps have a bias.
        kernel_init: `fn(key, shape, dtype)`; LeCun normal as in Flax.

    Raises:
        TypeError: if a size is no positive integer.
        ValueError: if the heads do not divide the features.

    References:
        Vaswani et al., "Attention is all you need", 2017.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> x = jnp.ones((8, 5, 16))
        >>> nn.MultiHeadAttention(4).init(0, x)(x).shape
        (8, 5, 16)
    """

    query: Parameter
    key: Parameter
    value: Parameter
    out: Parameter
    query_bias: Parameter
    key_bias: Parameter
    value_bias: Parameter
    out_bias: Parameter
    heads: int

    def __init__(
        self,
        heads: int,
        features: int | None = None,
        features_out: int | None = None,
        *,
        features_in: int | None = None,
        use_bias: bool = True,
        kernel_init: Callable = lecun_normal,
    ):
        sizes = {
            "features": features,
            "features_out": features_out,
            "features_in": features_in,
        }
        check_size("MultiHeadAttention", "heads", heads)
        for name, size in sizes.items():
            if size is not None:
                check_size("MultiHeadAttention", name, size)
        self.heads = heads

        def shapes(size):
            inner = size if features is None else features
            if inner % heads:
                raise ValueError(
                    f"MultiHeadAttention: {heads} heads do not divide {inner} features."
                )
            per_head = inner // heads
            out = size if features_out is None else features_out
            return (heads, per_head), out

        def kernel(key, last, x):
            """Drawn as a matrix, so that fan-in is what it is in Flax."""
            size = x.shape[-1]
            inner, out = shapes(size)
            if last:
                flat = kernel_init(key, (inner[0] * inner[1], out), default_float())
                return flat.reshape((*inner, out))
            flat = kernel_init(key, (size, inner[0] * inner[1]), default_float())
            return flat.reshape((size, *inner))

        def bias(last, x):
            inner, out = shapes(x.shape[-1])
            return jnp.zeros((out,) if last else inner, default_float())

        def made(fn):
            if features_in is None:
                return Initializer(lambda key, x, *_: fn(key, x))
            shapes(features_in)
            given = jax.ShapeDtypeStruct((features_in,), default_float())
            return Initializer(lambda key: fn(key, given))

        def made_bias(last):
            return made(lambda _, x: bias(last, x)) if use_bias else None

        self.query = made(lambda key, x: kernel(key, False, x))
        self.key = made(lambda key, x: kernel(key, False, x))
        self.value = made(lambda key, x: kernel(key, False, x))
        self.out = made(lambda key, x: kernel(key, True, x))
        self.query_bias, self.key_bias = made_bias(False), made_bias(False)
        self.value_bias, self.out_bias = made_bias(False), made_bias(True)

    def __call__(
        self,
        x: Float[Array, "... queries in"],
        context: Float[Array, "... keys in"] | None = None,
        *,
        mask: Bool[Array, "..."] | None = None,
        causal: bool = False,
    ) -> Float[Array, "... queries out"]:
        """The attention of `x` to `context`, or to itself.

        Args:
            x: what the queries come from.
            context: what keys and values come from; `x` if None.
            mask: True where a query may see a key; its shape broadcasts to
                (..., heads, queries, keys).
            causal: whether a query sees keys up to its own place only.

        Returns:
            One vector per query.
        """
        size = self.query.shape[0]
        check_input(self, x, size, 2)
        context = x if context is None else context
        check_input(self, context, size, 2)
        q = _project(x, self.query, self.query_bias)
        k = _project(context, self.key, self.key_bias)
        v = _project(context, self.value, self.value_bias)
        q = q / jnp.sqrt(jnp.asarray(q.shape[-1], q.dtype))
        logits = jnp.einsum("...qhd,...khd->...hqk", q, k)
        seen = _seen(self, logits.shape, mask, causal)
        if seen is not None:
            # A query that sees no key gets the mean of all values, as in Flax.
            lowest = jnp.asarray(jnp.finfo(logits.dtype).min, logits.dtype)
            logits = jnp.where(seen, logits, lowest)
        weights = jax.nn.softmax(logits, axis=-1)
        y = jnp.einsum("...hqk,...khd->...qhd", weights, v)
        y = jnp.einsum("...hd,hdo->...o", y, self.out)
        return y if self.out_bias is None else y + trailing(self.out_bias, y.ndim)


def _project(x, kernel, bias):
    y = jnp.einsum("...i,ihd->...hd", x, kernel)
    return y if bias is None else y + trailing(bias, y.ndim)


def _seen(layer, shape, mask, causal):
    seen = None
    if mask is not None:
        if mask.dtype != jnp.bool_:
            raise LayerError(f"expected a boolean mask, got {mask.dtype}.", layer)
        try:
            seen = jnp.broadcast_to(mask, shape)
        except ValueError as error:
            raise LayerError(
                f"expected a mask that broadcasts to (..., heads, queries, keys) = "
                f"{shape}, got {mask.shape}.",
                layer,
            ) from error
    if causal:
        lower = jnp.tril(jnp.ones(shape[-2:], bool))
        lower = jnp.broadcast_to(lower, shape)
        seen = lower if seen is None else seen & lower
    return seen
