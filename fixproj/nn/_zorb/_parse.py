"""Networks from a list of layers or a string, such as "Conv2D[8,3] Sigmoid Flatten"."""

import re
from collections.abc import Sequence

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array

from fixproj.nn._zorb._activations import ACTIVATIONS, Activation
from fixproj.nn._zorb._layers import (
    AbstractLayer,
    Conv,
    Dense,
    Elementwise,
    Flatten,
    Network,
    Pool,
    Softmax,
)


_TOKEN = re.compile(r"([A-Za-z_][A-Za-z_0-9]*)(?:\[([^\[\]]*)\])?\Z")
# Least and most numbers in brackets.
_SIZED = {
    "dense": (1, 1),
    "linear": (1, 1),
    "conv2d": (2, 3),
    "convolution2d": (2, 3),
    "maxpool": (1, 2),
    "avgpool": (1, 2),
}
_PLAIN = {"flatten": Flatten, "softmax": Softmax}
_NAMES = {name.replace("_", ""): name for name in ACTIVATIONS}


def parse_network(
    network: str | Sequence[str | Activation | AbstractLayer],
    input_shape: Sequence[int],
    *,
    key: Array,
) -> Network:
    """A network with random weights, for batches of one shape of example.

    Layers: `Dense[units]`, `Conv2D[kernels,size]` or `Conv2D[kernels,size,stride]`
    (images are height, width, channels; no padding), `MaxPool[size]`, `AvgPool[size]`
    (or `[size,stride]`), `Flatten`, `Sigmoid`, `Tanh`, `ReLU`, `LeakyReLU`, `Softmax`,
    `Sign`, `Identity`. Names may be written in either case.

    Args:
        network: the layers in one string, separated by spaces, or in a list, which may
            also have `Activation` objects and layers.
        input_shape: shape of one example.
        key: a JAX PRNG key for the weights, Glorot uniform.

    Returns:
        A `Network`, which maps a batch to a batch.

    Raises:
        ValueError: with a mark under the token that is wrong.

    Examples:
        >>> import jax
        >>> from fixproj import nn
        >>> layers = "Conv2D[8,3] Sigmoid Flatten Dense[10]"
        >>> net = nn.parse_network(layers, (28, 28, 1), key=jax.random.key(0))
        >>> net(jax.numpy.ones((2, 28, 28, 1))).shape
        (2, 10)
    """
    tokens = network.split() if isinstance(network, str) else list(network)
    shape = tuple(int(size) for size in input_shape)

    def fail(index: int, reason: str):
        words = [t if isinstance(t, str) else f"<{type(t).__name__}>" for t in tokens]
        before = sum(len(word) + 1 for word in words[:index])
        mark = " " * before + "^" * len(words[index] if words else "^")
        return ValueError(f"network: {reason}\n    {' '.join(words)}\n    {mark}")

    if not tokens:
        raise ValueError("network has no layers.")
    layers: list[AbstractLayer] = []
    for index, token in enumerate(tokens):
        if isinstance(token, Activation):
            token = Elementwise(token)
        if isinstance(token, AbstractLayer):
            layer = token
        elif isinstance(token, str):
            key, own = jr.split(key)
            try:
                layer = _layer(token, shape, own)
            except _TokenError as error:
                raise fail(index, str(error)) from None
        else:
            raise fail(index, f"a layer cannot be a {type(token).__name__}")
        probe = jnp.zeros((1, *shape))
        try:
            shape = layer(probe).shape[1:]
        except (TypeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise fail(index, f"the layer does not take {shape}: {reason}") from error
        layers.append(layer)
    return Network(tuple(layers))


class _TokenError(Exception):
    pass


def _layer(token: str, shape: tuple[int, ...], key: Array) -> AbstractLayer:
    match = _TOKEN.match(token)
    if match is None:
        raise _TokenError("expected Name or Name[number,...]")
    name, inside = match.group(1), match.group(2)
    lower = name.lower().replace("_", "")
    known = lower in _SIZED or lower in _PLAIN or lower in _NAMES
    if not known:
        raise _TokenError(
            f"no layer is called {name!r}; there are Dense, Conv2D, MaxPool, AvgPool, "
            f"Flatten, Softmax, {', '.join(sorted(ACTIVATIONS))}"
        )
    numbers = _numbers(name, inside)
    least, most = _SIZED.get(lower, (0, 0))
    if not least <= len(numbers) <= most:
        wanted = f"{least}" if least == most else f"{least} to {most}"
        raise _TokenError(
            f"{name} takes {wanted} numbers in brackets, got {len(numbers)}"
        )
    if lower in _PLAIN:
        return _PLAIN[lower]()
    if lower in _NAMES:
        return Elementwise(ACTIVATIONS[_NAMES[lower]])
    if lower in ("dense", "linear"):
        if len(shape) != 1:
            raise _TokenError(f"{name} needs vectors, but gets {shape}: add Flatten")
        weight, bias = _glorot(key, shape[0], numbers[0])
        return Dense(weight, bias)
    if len(shape) != 3:
        raise _TokenError(f"{name} needs (height, width, channels), but gets {shape}")
    size = numbers[0] if "pool" in lower else numbers[1]
    if size > min(shape[:2]):
        raise _TokenError(f"{name} has windows of {size}, larger than {shape[:2]}")
    if "pool" in lower:
        stride = numbers[-1]
        return Pool((size, size), (stride, stride), lower == "avgpool")
    stride = numbers[2] if len(numbers) == 3 else 1
    weight, bias = _glorot(key, size * size * shape[2], numbers[0])
    return Conv(weight, bias, (size, size), (stride, stride))


def _numbers(name: str, inside: str | None) -> list[int]:
    if inside is None:
        return []
    parts = [part.strip() for part in inside.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise _TokenError(f"{name} takes positive integers, got [{inside}]")
    return [int(part) for part in parts]


def _glorot(key, inputs, units):
    # The bias counts as one more input, as in the reference implementation.
    limit = (6 / (inputs + 1 + units)) ** 0.5
    both = jr.uniform(key, (inputs + 1, units), minval=-limit, maxval=limit)
    return both[:-1], both[-1]
