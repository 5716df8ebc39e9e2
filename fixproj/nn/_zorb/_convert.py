"""Models as layers: a `Network`, or MLP and Sequential of Equinox or `fixproj.nn`."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from fixproj.nn import _module as modules
from fixproj.nn._zorb._activations import ACTIVATIONS, SMOOTH, Activation
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
    if isinstance(model, modules.Sequential):
        return list(model.layers)
    if isinstance(model, modules.MLP):
        found = []
        for layer in model.layers:
            found += [layer, model.activation]
        return found if model.activate_last else found[:-1]
    if isinstance(model, eqx.nn.MLP):
        found = []
        for i, layer in enumerate(model.layers):
            last = i == len(model.layers) - 1
            found += [layer, model.final_activation if last else model.activation]
        return found
    raise TypeError(
        "ZORB trains an nn.Network (see nn.parse_network), nn.Sequential, nn.MLP, "
        f"eqx.nn.MLP or eqx.nn.Sequential; got {type(model).__name__}."
    )


def _with_parts(model, parts):
    if isinstance(model, modules.Sequential | modules.MLP):
        step = 2 if isinstance(model, modules.MLP) else 1
        return model.replace(layers=tuple(parts[::step]))
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
    if isinstance(part, modules.Linear):
        return Dense(part.kernel, part.bias), lambda new: part.replace(
            kernel=new.weight, bias=new.bias
        )
    if isinstance(part, modules.Conv):
        return _own_conv(part)
    if isinstance(part, modules.MaxPool | modules.AvgPool):
        if len(part.size) != 2 or part.padding == "SAME" or _padded(part.padding):
            raise TypeError("ZORB goes through pooling of images without padding only.")
        mean = isinstance(part, modules.AvgPool)
        size: Any = part.size
        stride: Any = part.strides
        return Pool(size, stride, mean), lambda new: part
    if isinstance(part, modules.Flatten):
        return Flatten(), lambda new: part
    fn = part.fn if isinstance(part, eqx.nn.Lambda | modules.Lambda) else part
    for known, name in _FUNCTIONS:
        if fn is known:
            return Elementwise(ACTIVATIONS[name]), lambda new: part
    for known, activation in SMOOTH.items():
        if fn is known:
            return Elementwise(activation), lambda new: part
    if isinstance(fn, Activation):
        return Elementwise(fn), lambda new: part
    if fn is jax.nn.softmax:
        return Softmax(), lambda new: part
    if fn is jnp.ravel:
        return Flatten(), lambda new: part
    raise TypeError(
        f"ZORB does not know how to carry targets back through {_describe(fn)}: give "
        "an nn.Activation with a slope (or None), or one of relu, leaky_relu, elu, "
        "gelu, silu, softplus, sigmoid, tanh, sign, softmax, jnp.ravel, and linear, "
        "convolution, pooling and flatten layers of fixproj.nn or Equinox."
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


def _own_conv(part):
    if len(part.kernel_size) != 2 or part.groups != 1 or set(part.dilation) != {1}:
        raise TypeError(
            "ZORB trains convolutions of images without dilation or groups."
        )
    if part.padding in ("CIRCULAR", "CAUSAL"):
        raise TypeError("ZORB trains convolutions padded with zeros only.")
    *window, inputs, units = part.kernel.shape
    weight = part.kernel.transpose(2, 0, 1, 3).reshape(-1, units)
    layer = Conv(weight, part.bias, part.kernel_size, part.strides, part.padding)

    def back(new):
        kernel = new.weight.reshape(inputs, *window, units).transpose(1, 2, 0, 3)
        return part.replace(kernel=kernel, bias=new.bias)

    return layer, back


def _padded(padding):
    pairs = () if isinstance(padding, str) else padding
    return any(any(p) if isinstance(p, tuple) else p for p in pairs)


def _pool(part):
    if _padded(part.padding) or part.use_ceil:
        raise TypeError("ZORB goes through pooling without padding only.")
    mean = isinstance(part, eqx.nn.AvgPool2d)
    return Pool(tuple(part.kernel_size), tuple(part.stride), mean, True)


def _replaced(part, weight, bias):
    part = eqx.tree_at(lambda p: p.weight, part, weight)
    return part if bias is None else eqx.tree_at(lambda p: p.bias, part, bias)
