"""Models as layers: a `Network`, or Equinox's MLP and Sequential."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

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


_FUNCTIONS: list[tuple[Any, str]] = [
    (jax.nn.relu, "relu"),
    (jax.nn.leaky_relu, "leaky_relu"),
    (jax.nn.sigmoid, "sigmoid"),
    (jnp.tanh, "tanh"),
    (jax.nn.tanh, "tanh"),
    (jax.lax.tanh, "tanh"),
    (jnp.sign, "sign"),
    (jax.lax.sign, "sign"),
    (jax.nn.identity, "identity"),
    # An MLP's default for its output, which has no name of its own.
    (
        inspect.signature(eqx.nn.MLP.__init__).parameters["final_activation"].default,
        "identity",
    ),
]


@dataclasses.dataclass(frozen=True)
class Layered:
    """A model's layers, and the way back.

    Attributes:
        layers: in order.
        rebuild: from layers of the same kinds to a model of the given type.
    """

    layers: tuple[AbstractLayer, ...]
    rebuild: Callable[[tuple[AbstractLayer, ...]], PyTree]


def as_layers(model: PyTree) -> Layered:
    """The layers of a model.

    Raises:
        TypeError: if the model has parts that ZORB cannot train through.
    """
    if isinstance(model, Network):
        return Layered(model.layers, lambda layers: Network(tuple(layers)))
    parts = _parts(model)
    made = [_layer(part) for part in parts]
    layers = tuple(layer for layer, _ in made)

    def rebuild(new):
        backs = zip(new, made, strict=True)
        return _with_parts(model, [back(layer) for layer, (_, back) in backs])

    return Layered(layers, rebuild)


def _parts(model):
    if isinstance(model, eqx.nn.Sequential):
        return list(model.layers)
    if isinstance(model, eqx.nn.MLP):
        found = []
        for i, layer in enumerate(model.layers):
            last = i == len(model.layers) - 1
            found += [layer, model.final_activation if last else model.activation]
        return found
    raise TypeError(
        "ZORB trains an nn.Network (see nn.parse_network), eqx.nn.MLP or "
        f"eqx.nn.Sequential; got {type(model).__name__}."
    )


def _with_parts(model, parts):
    if isinstance(model, eqx.nn.Sequential):
        return eqx.tree_at(lambda m: m.layers, model, tuple(parts))
    return eqx.tree_at(lambda m: m.layers, model, tuple(parts[::2]))


def _layer(part) -> tuple[AbstractLayer, Callable]:
    if isinstance(part, eqx.nn.Linear):
        assert isinstance(part.weight, jax.Array)
        return Dense(part.weight.T, part.bias), lambda new: _replaced(
            part, new.weight.T, new.bias
        )
    if isinstance(part, eqx.nn.Conv2d):
        return _conv(part)
    if isinstance(part, eqx.nn.MaxPool2d | eqx.nn.AvgPool2d):
        return _pool(part), lambda new: part
    fn = part.fn if isinstance(part, eqx.nn.Lambda) else part
    for known, name in _FUNCTIONS:
        if fn is known:
            return Elementwise(ACTIVATIONS[name]), lambda new: part
    if isinstance(fn, Activation):
        return Elementwise(fn), lambda new: part
    if fn is jax.nn.softmax:
        return Softmax(), lambda new: part
    if fn is jnp.ravel:
        return Flatten(), lambda new: part
    raise TypeError(
        f"ZORB does not know how to carry targets back through {_describe(fn)}: give "
        "an nn.Activation with a slope (or None), or one of relu, leaky_relu, sigmoid, "
        "tanh, sign, softmax, jnp.ravel, eqx.nn.Linear, Conv2d, MaxPool2d, AvgPool2d."
    )


def _describe(fn):
    return getattr(fn, "__name__", None) or type(fn).__name__


def _conv(part):
    if any(d != 1 for d in part.dilation) or part.groups != 1:
        raise TypeError("ZORB does not train convolutions with dilation or groups.")
    if isinstance(part.padding, str):
        raise TypeError("ZORB needs the padding of a convolution in numbers.")
    if part.padding_mode.lower() != "zeros":
        raise TypeError("ZORB trains convolutions padded with zeros only.")
    shape = part.weight.shape
    bias = None if part.bias is None else part.bias.reshape(-1)
    layer = Conv(
        part.weight.reshape(shape[0], -1).T,
        bias,
        tuple(part.kernel_size),
        tuple(part.stride),
        tuple((int(a), int(b)) for a, b in part.padding),
        True,
    )

    def back(new):
        bias = None if part.bias is None else new.bias.reshape(part.bias.shape)
        return _replaced(part, new.weight.T.reshape(shape), bias)

    return layer, back


def _pool(part):
    padded = any(any(p) if isinstance(p, tuple) else p for p in part.padding)
    if padded or part.use_ceil:
        raise TypeError("ZORB goes through pooling without padding only.")
    mean = isinstance(part, eqx.nn.AvgPool2d)
    return Pool(tuple(part.kernel_size), tuple(part.stride), mean, True)


def _replaced(part, weight, bias):
    part = eqx.tree_at(lambda p: p.weight, part, weight)
    return part if bias is None else eqx.tree_at(lambda p: p.bias, part, bias)
