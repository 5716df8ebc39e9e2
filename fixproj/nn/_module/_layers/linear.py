"""y = x W + b over the last axis, as in Flax: W has shape (in, out)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fixproj.nn._module._initializer import Initializer
from fixproj.nn._module._kinds import Parameter
from fixproj.nn._module._layers._ids import checked_ids
from fixproj.nn._module._layers._shapes import (
    check_input,
    default_float,
    in_and_out,
    lecun_normal,
    trailing,
)
from fixproj.nn._module._module import Module


_embedding_init = jax.nn.initializers.variance_scaling(
    1.0, "fan_in", "normal", out_axis=0
)


class Linear(Module):
    """An affine map of the last axis.

    Args:
        features: `features_out`, with the input's size inferred by `init(key, x)`; or
            `features_in, features_out`.
        use_bias: whether to add a bias.
        kernel_init: `fn(key, shape, dtype)`; LeCun normal as in Flax.
        bias_init: likewise; zeros.

    Raises:
        TypeError: if there are not one or two positive sizes.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> x = jnp.ones((8, 3))
        >>> nn.Linear(5).init(0, x)(x).shape == nn.Linear(3, 5).init(0)(x).shape
        True
    """

    kernel: Parameter
    bias: Parameter
    features: int

    def __init__(
        self,
        *features: int,
        use_bias: bool = True,
        kernel_init: Callable = lecun_normal,
        bias_init: Callable = jax.nn.initializers.zeros,
    ):
        size, out = in_and_out("Linear", features)
        self.features = out
        self.kernel = _kernel(size, out, kernel_init)
        self.bias = None
        if use_bias:
            self.bias = Initializer(lambda key: bias_init(key, (out,), default_float()))

    def __call__(self, x: Float[Array, "... in"]) -> Float[Array, "... out"]:
        """The map of each vector along the last axis."""
        check_input(self, x, self.kernel.shape[0])
        y = x @ self.kernel
        return y if self.bias is None else y + trailing(self.bias, y.ndim)


def _kernel(size, out, init):
    if size is None:
        return Initializer(lambda key, x: _draw(key, x, out, init))
    return Initializer(lambda key: init(key, (size, out), default_float()))


def _draw(key, x, out, init):
    return init(key, (x.shape[-1], out), default_float())


class Embedding(Module):
    """A table of vectors, one per integer.

    Args:
        count: number of vectors.
        features: their length.
        embedding_init: `fn(key, shape, dtype)`; as in Flax, normal with variance
            1 / features.

    Raises:
        TypeError: if a size is no positive integer.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> nn.Embedding(10, 4).init(0)(jnp.array([[1, 2, 3]])).shape
        (1, 3, 4)
    """

    embedding: Parameter

    def __init__(
        self,
        count: int,
        features: int,
        embedding_init: Callable = _embedding_init,
    ):
        in_and_out("Embedding", (count, features))
        self.embedding = Initializer(
            lambda key: embedding_init(key, (count, features), default_float())
        )

    def __call__(self, ids: Array) -> Float[Array, "... features"]:
        """The vectors of these integers, which must be below `count`."""
        ids = checked_ids(self, ids, self.embedding.shape[0])
        return jnp.take(self.embedding, ids, axis=0, mode="clip")

    def attend(self, x: Float[Array, "... features"]) -> Float[Array, "... count"]:
        """Products of `x` with all vectors, as logits over the integers."""
        check_input(self, x, self.embedding.shape[1])
        return x @ self.embedding.T
