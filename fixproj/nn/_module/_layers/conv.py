"""Convolutions over channels-last inputs, as in Flax; one to three axes, or more.

The kernel has shape (*window, in / groups, out); the input (..., *space, in).
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fixproj.nn._module._errors import LayerError
from fixproj.nn._module._initializer import Initializer
from fixproj.nn._module._kinds import Parameter
from fixproj.nn._module._layers._shapes import (
    check_input,
    default_float,
    in_and_out,
    lecun_normal,
    trailing,
    window,
)
from fixproj.nn._module._module import Module


Padding = str | int | Sequence[int | tuple[int, int]]


class Conv(Module):
    """A convolution (strictly, a correlation).

    Args:
        features: `features_out, kernel_size`, or `features_in, features_out,
            kernel_size`; the kernel's size is an integer (one axis) or a sequence with
            one per axis of space.
        strides: of the window; an integer or one per axis.
        padding: "SAME", "VALID", "CIRCULAR", "CAUSAL" (one axis), an integer, or one
            integer or pair (before, after) per axis.
        dilation: of the kernel.
        groups: into which the features are divided.
        use_bias: whether to add a bias.
        kernel_init: `fn(key, shape, dtype)`; LeCun normal as in Flax.
        bias_init: likewise; zeros.

    Raises:
        TypeError: if a size is no positive integer, or the padding is not known.
        ValueError: if the groups do not divide the features.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> x = jnp.ones((8, 28, 28, 1))
        >>> nn.Conv(16, (3, 3), strides=2).init(0, x)(x).shape
        (8, 14, 14, 16)
    """

    kernel: Parameter
    bias: Parameter
    kernel_size: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: Any
    groups: int

    def __init__(
        self,
        *features: Any,
        strides: int | Sequence[int] = 1,
        padding: Padding = "SAME",
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        use_bias: bool = True,
        kernel_init: Callable = lecun_normal,
        bias_init: Callable = jax.nn.initializers.zeros,
    ):
        size, out, kernel_size = _sizes("Conv", features)
        ndim = len(kernel_size)
        self.kernel_size = kernel_size
        self.strides = window("Conv", "strides", strides, ndim)
        self.dilation = window("Conv", "dilation", dilation, ndim)
        self.padding = _padding("Conv", padding, ndim, ("CIRCULAR", "CAUSAL"))
        self.groups = window("Conv", "groups", groups, 1)[0]
        for name, n in (("features_in", size), ("features_out", out)):
            if n is not None and n % groups:
                raise ValueError(f"Conv: groups={groups} does not divide {name}={n}.")

        self.kernel = _conv_kernel(size, out, kernel_size, groups, kernel_init)
        self.bias = _bias(use_bias, out, bias_init)

    def __call__(self, x: Float[Array, "... in"]) -> Float[Array, "... out"]:
        """The convolution; any number of leading axes are a batch."""
        ndim = len(self.kernel_size)
        size = self.kernel.shape[-2] * self.groups
        check_input(self, x, size, ndim + 1)
        flat = x.reshape((-1, *x.shape[-ndim - 1 :]))
        reach = [
            d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)
        ]
        padding = self.padding
        if padding == "CIRCULAR":
            around = [(r // 2, r - r // 2) for r in reach]
            flat = jnp.pad(flat, [(0, 0), *around, (0, 0)], mode="wrap")
            padding = "VALID"
        elif padding == "CAUSAL":
            padding = [(reach[0], 0)]
        y = jax.lax.conv_general_dilated(
            flat,
            self.kernel,
            self.strides,
            padding,
            rhs_dilation=self.dilation,
            dimension_numbers=_dimensions(ndim),
            feature_group_count=self.groups,
        )
        y = y.reshape(x.shape[: -ndim - 1] + y.shape[1:])
        return y if self.bias is None else y + trailing(self.bias, y.ndim)


class ConvTranspose(Module):
    """A transposed convolution, as `flax.linen.ConvTranspose`.

    Args:
        features: as for `nn.Conv`.
        strides: factor by which each axis of space grows.
        padding: "SAME", "VALID", an integer, or one integer or pair per axis.
        dilation: of the kernel.
        use_bias: whether to add a bias.
        transpose_kernel: flip the kernel and swap its features, which makes it the
            transpose of the convolution with that kernel.
        kernel_init: `fn(key, shape, dtype)`; LeCun normal as in Flax.
        bias_init: likewise; zeros.

    Raises:
        TypeError: if a size is no positive integer, or the padding is not known.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> x = jnp.ones((8, 7, 7, 4))
        >>> nn.ConvTranspose(2, (3, 3), strides=2).init(0, x)(x).shape
        (8, 14, 14, 2)
    """

    kernel: Parameter
    bias: Parameter
    kernel_size: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: Any
    transpose_kernel: bool

    def __init__(
        self,
        *features: Any,
        strides: int | Sequence[int] = 1,
        padding: Padding = "SAME",
        dilation: int | Sequence[int] = 1,
        use_bias: bool = True,
        transpose_kernel: bool = False,
        kernel_init: Callable = lecun_normal,
        bias_init: Callable = jax.nn.initializers.zeros,
    ):
        size, out, kernel_size = _sizes("ConvTranspose", features)
        ndim = len(kernel_size)
        self.kernel_size = kernel_size
        self.strides = window("ConvTranspose", "strides", strides, ndim)
        self.dilation = window("ConvTranspose", "dilation", dilation, ndim)
        self.padding = _padding("ConvTranspose", padding, ndim, ())
        self.transpose_kernel = transpose_kernel

        self.kernel = _conv_kernel(
            size, out, kernel_size, 1, kernel_init, transpose_kernel
        )
        self.bias = _bias(use_bias, out, bias_init)

    def __call__(self, x: Float[Array, "... in"]) -> Float[Array, "... out"]:
        """The transposed convolution; any number of leading axes are a batch."""
        ndim = len(self.kernel_size)
        size = self.kernel.shape[-1 if self.transpose_kernel else -2]
        check_input(self, x, size, ndim + 1)
        flat = x.reshape((-1, *x.shape[-ndim - 1 :]))
        y = jax.lax.conv_transpose(
            flat,
            self.kernel,
            self.strides,
            self.padding,
            rhs_dilation=self.dilation,
            dimension_numbers=_dimensions(ndim),
            transpose_kernel=self.transpose_kernel,
        )
        y = y.reshape(x.shape[: -ndim - 1] + y.shape[1:])
        return y if self.bias is None else y + trailing(self.bias, y.ndim)


def _sizes(owner, features):
    if len(features) not in (2, 3):
        raise TypeError(
            f"{owner}: expected features_out and kernel_size, or features_in, "
            f"features_out and kernel_size; got {features!r}."
        )
    size, out = in_and_out(owner, features[:-1])
    return size, out, window(owner, "kernel_size", features[-1])


def _conv_kernel(size, out, kernel_size, groups, init, transposed=False):
    def shape(size):
        pair = (out, size) if transposed else (size // groups, out)
        return (*kernel_size, *pair)

    if size is not None:
        return Initializer(lambda key: init(key, shape(size), default_float()))

    def infer(key, x):
        if x.shape[-1] % groups:
            raise ValueError(
                f"Conv: groups={groups} does not divide features_in={x.shape[-1]}."
            )
        return init(key, shape(x.shape[-1]), default_float())

    return Initializer(infer)


def _bias(use_bias, out, init):
    if not use_bias:
        return None
    return Initializer(lambda key: init(key, (out,), default_float()))


def _padding(owner, padding, ndim, more):
    known = ("SAME", "VALID", *more)
    if isinstance(padding, str):
        if padding in known and not (padding == "CAUSAL" and ndim != 1):
            return padding
    elif isinstance(padding, int) and not isinstance(padding, bool):
        return ((padding, padding),) * ndim
    elif isinstance(padding, Sequence) and len(padding) == ndim:
        pairs = [(p, p) if isinstance(p, int) else tuple(p) for p in padding]
        if all(len(p) == 2 for p in pairs):
            return tuple(pairs)
    raise TypeError(
        f"{owner}: padding must be one of {', '.join(known)}, an integer, or "
        f"{ndim} integers or pairs, got {padding!r}."
    )


def _dimensions(ndim):
    space = "".join(chr(ord("a") + i) for i in range(ndim))
    return jax.lax.ConvDimensionNumbers(
        *jax.lax.conv_dimension_numbers(
            (1,) * (ndim + 2),
            (1,) * (ndim + 2),
            (f"N{space}C", f"{space}IO", f"N{space}C"),
        )
    )


def pool(layer, x, size, strides, padding, initial, combine):
    """`lax.reduce_window` over the axes before the last."""
    ndim = len(size)
    if not hasattr(x, "shape") or x.ndim < ndim + 1:
        raise LayerError(
            f"expected an input of shape (..., {'_, ' * ndim}features), got "
            f"{getattr(x, 'shape', type(x).__name__)}.",
            layer,
        )
    leading = (1,) * (x.ndim - ndim - 1)
    if not isinstance(padding, str):
        padding = ((0, 0),) * len(leading) + padding + ((0, 0),)
    return jax.lax.reduce_window(
        x,
        # Not a JAX array: by its value JAX knows the rule for the derivative.
        np.asarray(initial, x.dtype),
        combine,
        (*leading, *size, 1),
        (*leading, *strides, 1),
        padding,
    )


class MaxPool(Module):
    """The maximum over windows of the axes before the last.

    Args:
        size: of the window, an integer (one axis) or one per axis of space.
        strides: of the window; as in Flax, 1.
        padding: "SAME", "VALID", an integer, or one integer or pair per axis.

    Raises:
        TypeError: if a size is no positive integer, or the padding is not known.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> nn.MaxPool((2, 2), strides=2)(jnp.ones((8, 6, 6, 3))).shape
        (8, 3, 3, 3)
    """

    size: tuple[int, ...]
    strides: tuple[int, ...]
    padding: Any

    def __init__(
        self,
        size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: Padding = "VALID",
    ):
        self.size = window("MaxPool", "size", size)
        self.strides = window("MaxPool", "strides", strides, len(self.size))
        self.padding = _padding("MaxPool", padding, len(self.size), ())

    def __call__(self, x: Float[Array, "... c"]) -> Float[Array, "... c"]:
        """The pooled array."""
        return pool(
            self, x, self.size, self.strides, self.padding, -jnp.inf, jax.lax.max
        )


class AvgPool(Module):
    """The mean over windows of the axes before the last; padding counts as zeros.

    Args:
        size: as for `nn.MaxPool`.
        strides: as for `nn.MaxPool`.
        padding: as for `nn.MaxPool`.

    Raises:
        TypeError: if a size is no positive integer, or the padding is not known.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> nn.AvgPool(2)(jnp.array([[1.0], [3.0], [5.0]]))[:, 0]
        Array([2., 4.], dtype=float32)
    """

    size: tuple[int, ...]
    strides: tuple[int, ...]
    padding: Any

    def __init__(
        self,
        size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: Padding = "VALID",
    ):
        self.size = window("AvgPool", "size", size)
        self.strides = window("AvgPool", "strides", strides, len(self.size))
        self.padding = _padding("AvgPool", padding, len(self.size), ())

    def __call__(self, x: Float[Array, "... c"]) -> Float[Array, "... c"]:
        """The pooled array."""
        total = pool(self, x, self.size, self.strides, self.padding, 0, jax.lax.add)
        count = 1
        for n in self.size:
            count *= n
        return total / jnp.asarray(count, total.dtype)
