"""Layers made of layers and functions."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from fixproj.nn._module._errors import LayerError
from fixproj.nn._module._layers.linear import Linear
from fixproj.nn._module._module import Module
from fixproj.nn._module._stateful import returns_itself


class Lambda(Module):
    """A function without parameters as a layer.

    Args:
        fn: the function; part of the structure.

    Raises:
        TypeError: if it cannot be called.

    Examples:
        >>> import jax
        >>> from fixproj import nn
        >>> float(nn.Lambda(jax.nn.relu)(-1.0))
        0.0
    """

    fn: Callable

    def __init__(self, fn: Callable):
        if not callable(fn):
            raise TypeError(f"Lambda: fn must be callable, got {type(fn).__name__}.")
        self.fn = fn

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function's value."""
        return self.fn(*args, **kwargs)


class Flatten(Module):
    """Makes one axis of all but the first.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> nn.Flatten()(jnp.ones((8, 4, 4, 2))).shape
        (8, 32)
    """

    def __call__(self, x: Array) -> Array:
        """The array with shape (batch, -1)."""
        if x.ndim < 1:
            raise LayerError("expected a batch, got a scalar.", self)
        size = 1
        for n in x.shape[1:]:
            size *= n
        return x.reshape((x.shape[0], size))


class Sequential(Module):
    """One layer after the other.

    It returns `y`, or `(y, model)` where a layer returns itself anew.

    Args:
        layers: modules and plain functions.

    Raises:
        TypeError: if one cannot be called.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from fixproj import nn
        >>> model = nn.Sequential(nn.Linear(4), nn.BatchNorm(), jax.nn.relu)
        >>> x = jnp.ones((8, 3))
        >>> model = model.init(0, x)
        >>> y, model = model(x)
    """

    layers: tuple[Module, ...]

    def __init__(self, *layers: Callable):
        self.layers = tuple(_as_layer("Sequential", layer) for layer in layers)  # pyright: ignore

    def __call__(self, x: Any) -> Any:
        """What the last layer gives."""
        after, stateful = [], False
        for layer in self.layers:
            y = layer(x)
            new = returns_itself(layer, y)
            x, layer = y if new else (y, layer)
            stateful = stateful or new
            after.append(layer)
        return (x, self.replace(layers=tuple(after))) if stateful else x

    def __len__(self):
        return len(self.layers)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return type(self)(*self.layers[index])
        return self.layers[index]

    def __iter__(self):
        return iter(self.layers)


class MLP(Module):
    """A multilayer perceptron.

    Args:
        features: sizes of the layers, the output last.
        features_in: size of the input; inferred by `init(key, x)` if None.
        activation: between the layers.
        activate_last: whether after the last one as well.

    Raises:
        TypeError: if a size is no positive integer.
        ValueError: if there is no layer.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> x = jnp.ones((8, 3))
        >>> nn.MLP([16, 2]).init(0, x)(x).shape
        (8, 2)
    """

    layers: tuple[Linear, ...]
    activation: Callable
    activate_last: bool

    def __init__(
        self,
        features: Sequence[int],
        *,
        features_in: int | None = None,
        activation: Callable = jax.nn.relu,
        activate_last: bool = False,
    ):
        if len(features) == 0:
            raise ValueError("MLP: features must have at least one size.")
        sizes = [features_in, *features]
        self.layers = tuple(
            Linear(out) if size is None else Linear(size, out)
            for size, out in zip(sizes, features, strict=False)
        )
        self.activation = activation
        self.activate_last = activate_last

    def __call__(self, x: Array) -> Array:
        """The output of the last layer."""
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        x = self.layers[-1](x)
        return self.activation(x) if self.activate_last else x


class Residual(Module):
    """x + module(x).

    Args:
        module: a layer or function that keeps the shape.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> float(nn.Residual(jnp.negative)(jnp.array(2.0)))
        0.0
    """

    module: Module

    def __init__(self, module: Callable):
        self.module = _as_layer("Residual", module)  # pyright: ignore

    def __call__(self, x: Array) -> Any:
        """The sum; with the new module where it has state."""
        y = self.module(x)
        new = returns_itself(self.module, y)
        y, module = y if new else (y, self.module)
        if y.shape != x.shape:
            raise LayerError(
                f"the module must keep the shape {x.shape}, it gives {y.shape}.", self
            )
        y = x + y
        return (y, self.replace(module=module)) if new else y


class SkipConcat(Module):
    """The input and module(input), one after the other along the last axis.

    Args:
        module: a layer or function that keeps all axes but the last.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> nn.SkipConcat(jnp.negative)(jnp.array([1.0, 2.0]))
        Array([ 1.,  2., -1., -2.], dtype=float32)
    """

    module: Module

    def __init__(self, module: Callable):
        self.module = _as_layer("SkipConcat", module)  # pyright: ignore

    def __call__(self, x: Array) -> Any:
        """Both; with the new module where it has state."""
        y = self.module(x)
        new = returns_itself(self.module, y)
        y, module = y if new else (y, self.module)
        if y.shape[:-1] != x.shape[:-1]:
            raise LayerError(
                f"the module must keep the axes {x.shape[:-1]}, it gives "
                f"{y.shape[:-1]}.",
                self,
            )
        y = jnp.concatenate([x, y], axis=-1)
        return (y, self.replace(module=module)) if new else y


def _as_layer(owner, layer):
    if isinstance(layer, eqx.Module):
        return layer
    if not callable(layer):
        raise TypeError(
            f"{owner}: layers are modules or functions, got {type(layer).__name__}."
        )
    return Lambda(layer)
