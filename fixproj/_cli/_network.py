"""Networks in a line: `Conv2D[8,3] Relu MaxPool[2] Flatten Dense[64] Relu`.

    network   = shorthand | layer (separator layer)*
    layer     = name [ "[" number ("," number)* "]" ]       round brackets do as well
    separator = spaces, "," or ">"
    shorthand = "linear" | "mlp:" sizes [":" activation] [":skip"]
              | "cnn:" channels [":" activation]

Names are compared without case. Nothing is evaluated.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from fixproj import nn


ACTIVATIONS: dict[str, Callable] = {
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "identity": lambda x: x,
    "leakyrelu": jax.nn.leaky_relu,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "sign": jnp.sign,
    "silu": jax.nn.silu,
    "softmax": jax.nn.softmax,
    "softplus": jax.nn.softplus,
    "tanh": jnp.tanh,
}
# The least and the largest number of sizes of each layer.
LAYERS = {
    "dense": (1, 1),
    "conv2d": (2, 3),
    "maxpool": (1, 1),
    "avgpool": (1, 1),
    "flatten": (0, 0),
    "layernorm": (0, 0),
}
_ALIASES = {
    "linear": "dense",
    "conv": "conv2d",
    "convolution2d": "conv2d",
    "leaky_relu": "leakyrelu",
}
# A size beyond this is a slip of the pen.
_LARGEST = 1_000_000

_TOKEN = re.compile(r"\s*([A-Za-z_]\w*)\s*(?:([\[(])([^\])]*)([\])]?))?\s*[,>]?\s*")


class NetworkError(ValueError):
    """A network string that cannot be read; the message points at the place."""

    def __init__(self, text: str, start: int, length: int, problem: str):
        pointer = " " * start + "^" * max(length, 1)
        super().__init__(f"--network: {problem}\n  {text}\n  {pointer}")


@dataclasses.dataclass(frozen=True)
class Token:
    """A layer and where it stands in the string.

    Attributes:
        name: of the layer, in lower case, without aliases.
        sizes: the numbers in its brackets.
        start: of its place in the string.
        length: of its place.
    """

    name: str
    sizes: tuple[int, ...]
    start: int = 0
    length: int = 0


def parse_network(text: str) -> list[Token]:
    """The layers of a network string.

    Raises:
        NetworkError: at the first token that is not understood.
    """
    if ":" in text or text.strip().lower() == "linear":
        return _shorthand(text)
    tokens, at = [], 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            end = len(text) if text[at:].isspace() else at + 1
            raise NetworkError(text, at, end - at, "a layer's name was expected here.")
        tokens.append(_token(text, found))
        at = found.end()
    if not tokens:
        raise NetworkError(text, 0, 1, "there is no layer.")
    return tokens


def _token(text, found) -> Token:
    name, opening, inside, closing = found.groups()
    start = found.start(1)
    length = (found.end(4) if opening else found.end(1)) - start
    fail = lambda problem: NetworkError(text, start, length, problem)
    if opening and closing != {"[": "]", "(": ")"}[opening]:
        raise fail(f"the bracket of {name!r} is not closed.")
    known = _ALIASES.get(name.lower(), name.lower())
    if known not in LAYERS and known not in ACTIVATIONS:
        layers = "Dense[n], Conv2D[channels,kernel], MaxPool[n], AvgPool[n], Flatten, "
        raise fail(
            f"there is no layer {name!r}. There are {layers}LayerNorm and the "
            f"activations {', '.join(sorted(ACTIVATIONS))}."
        )
    parts = [part.strip() for part in inside.split(",")] if inside else []
    # Conv2D[8,3x3] is the same as Conv2D[8,3].
    parts = [re.sub(r"^(\d+)x\1$", r"\1", part) for part in parts]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise fail(f"{name!r} takes positive whole numbers.")
    sizes = tuple(map(int, parts))
    if any(not 0 < size <= _LARGEST for size in sizes):
        raise fail(f"{name!r} takes numbers from 1 to {_LARGEST}.")
    low, high = LAYERS.get(known, (0, 0))
    if not low <= len(sizes) <= high:
        wanted = str(low) if low == high else f"{low} to {high}"
        plural = "" if wanted == "1" else "s"
        raise fail(f"{name!r} takes {wanted} number{plural}, got {len(sizes)}.")
    return Token(known, sizes, start, length)


def _shorthand(text) -> list[Token]:
    kind, *parts = text.strip().lower().split(":")
    if kind == "linear" and not parts:
        return [Token("flatten", (), 0, len(text))]
    skip = kind == "mlp" and parts[-1:] == ["skip"]
    parts = parts[:-1] if skip else parts
    activation = parts[1] if len(parts) == 2 else "relu"
    sizes = parts[0].split(",") if parts else []
    if (
        kind not in ("mlp", "cnn")
        or not 1 <= len(parts) <= 2
        or not all(size.isdigit() and 0 < int(size) <= _LARGEST for size in sizes)
        or activation not in ACTIVATIONS
    ):
        raise NetworkError(
            text, 0, len(text), "not like mlp:128,128, mlp:64,64:tanh or cnn:8,16."
        )
    tokens = []
    for size in map(int, sizes):
        layer = ("dense", (size,)) if kind == "mlp" else ("conv2d", (size, 3))
        tokens += [Token(*layer, 0, len(text)), Token(activation, (), 0, len(text))]
        if kind == "cnn":
            tokens.append(Token("maxpool", (2,), 0, len(text)))
    return [Token("skip", (), 0, len(text)), *tokens] if skip else tokens


def build_network(
    text: str, shape: Sequence[int], outputs: int, key: jax.Array
) -> nn.Module:
    """An initialised model with as many outputs as the data asks for.

    A Dense layer after an image or a window gets a Flatten before it. An output layer
    is added unless the last Dense has that size. A Softmax at the end is left out: the
    loss contains it.

    Args:
        text: the network.
        shape: of one input.
        outputs: numbers for each example.
        key: of the initial weights.

    Raises:
        NetworkError: if a layer does not fit its input, or the last one the data.
    """
    tokens = parse_network(text)
    skip = tokens[0].name == "skip"
    tokens = tokens[1:] if skip else tokens
    if tokens and tokens[-1].name == "softmax":
        tokens = tokens[:-1]
    dense = [token for token in tokens if token.name == "dense"]
    if tokens and tokens[-1].name == "dense" and tokens[-1].sizes != (outputs,):
        last = tokens[-1]
        raise NetworkError(
            text,
            last.start,
            last.length,
            f"the last layer must have {outputs} units, as many as the data has "
            "classes or targets. (After an activation it is added by itself.)",
        )
    if not dense or dense[-1].sizes != (outputs,):
        tokens = [*tokens, Token("dense", (outputs,), 0, len(text))]
    layers: list[Any] = []
    axes = len(shape)
    for token in tokens:
        if token.name in ("conv2d", "maxpool", "avgpool") and axes != 3:
            raise NetworkError(
                text,
                token.start,
                token.length,
                f"this needs images (rows, columns, channels), its input has {axes} "
                f"ax{'is' if axes == 1 else 'es'}; the data's are {tuple(shape)}.",
            )
        if token.name in ("dense", "flatten") and axes > 1:
            layers.append(nn.Flatten())
            axes = 1
        if token.name != "flatten":
            layers.append(_layer(token))
    model = _with_skips(layers) if skip else nn.Sequential(*layers)
    return _initialised(model, text, shape, key)


def _initialised(model, text, shape, key):
    try:
        return model.init(key, jnp.zeros((1, *shape)))
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise NetworkError(
            text, 0, len(text), f"it does not fit inputs of shape {shape}: {reason}"
        ) from error


def _layer(token: Token) -> Any:
    sizes = token.sizes
    if token.name == "dense":
        return nn.Linear(sizes[0])
    if token.name == "conv2d":
        stride = sizes[2] if len(sizes) == 3 else 1
        return nn.Conv(sizes[0], (sizes[1], sizes[1]), strides=stride)
    if token.name in ("maxpool", "avgpool"):
        pool = nn.MaxPool if token.name == "maxpool" else nn.AvgPool
        return pool((sizes[0], sizes[0]), strides=(sizes[0], sizes[0]))
    return nn.LayerNorm() if token.name == "layernorm" else ACTIVATIONS[token.name]


def _with_skips(layers):
    """Every hidden layer feeds the output: [h1, [h2, [h3, ...]]]."""
    front = [layer for layer in layers if isinstance(layer, nn.Flatten)]
    *hidden, last = [layer for layer in layers if not isinstance(layer, nn.Flatten)]
    pairs = list(zip(hidden[::2], hidden[1::2], strict=True))
    chain = nn.Sequential(*pairs[-1])
    for pair in pairs[-2::-1]:
        chain = nn.Sequential(*pair, nn.SkipConcat(chain))
    return nn.Sequential(*front, *chain, last)
