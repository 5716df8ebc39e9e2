"""The layers of a sequential network, on batches, and how targets go back through them.

`pull(x, out, displacement)` is the displacement of the input that a displacement of
the output asks for: the projection onto the layer's graph with its weights held, or a
damped one where that set is not affine. Wires are projected by `vjp / counts`.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fixproj.nn._zorb._activations import ACTIVATIONS, Activation


_DAMPING = 0.1


class AbstractLayer(eqx.Module):
    """One step of a network, from a batch to a batch."""

    @abc.abstractmethod
    def __call__(self, x: Array) -> Array:
        """The output."""

    @abc.abstractmethod
    def pull(self, x: Array, out: Array, displacement: Array) -> Array:
        """The displacement of x that `displacement` of the output asks for."""


class AbstractAffine(AbstractLayer):
    """A layer rows(x) @ weight + bias; `weight` has shape (inputs, units)."""

    weight: eqx.AbstractVar[Float[Array, "inputs units"]]
    bias: eqx.AbstractVar[Float[Array, " units"] | None]

    @abc.abstractmethod
    def rows(self, x: Array) -> Float[Array, "rows inputs"]:
        """What the weights multiply."""

    @abc.abstractmethod
    def outputs(self, out: Array) -> Float[Array, "rows units"]:
        """The layer's output, or a displacement of it, as rows."""

    @abc.abstractmethod
    def from_rows(self, x: Array, rows: Float[Array, "rows inputs"]) -> Array:
        """What is nearest to x's shape: copies of one entry are averaged."""

    def pull(self, x, out, displacement):
        """The damped least-norm change of the rows, copies averaged."""
        w = self.weight
        gram = w.T @ w
        size = gram.shape[0]
        damping = _DAMPING * jnp.trace(gram) / size + jnp.finfo(w.dtype).tiny
        eye = jnp.eye(size, dtype=w.dtype)
        moved = jnp.linalg.solve(gram + damping * eye, self.outputs(displacement).T)
        return self.from_rows(x, (w @ moved).T)


class Dense(AbstractAffine):
    """x @ weight + bias."""

    weight: Float[Array, "inputs units"]
    bias: Float[Array, " units"] | None

    def __call__(self, x):
        """See `AbstractLayer`."""
        out = x @ self.weight
        return out if self.bias is None else out + self.bias[None]

    def rows(self, x):
        """See `AbstractAffine`."""
        return x

    def outputs(self, out):
        """See `AbstractAffine`."""
        return out

    def from_rows(self, x, rows):
        """See `AbstractAffine`."""
        return rows


class Conv(AbstractAffine):
    """A convolution in two dimensions without padding unless given.

    Args:
        weight: of shape (channels * height * width, units), channels slowest.
        bias: of shape (units,) or None.
        size: height and width of the kernel.
        stride: in both directions.
        padding: pairs (before, after) for both directions.
        channels_first: whether images are (batch, channels, height, width).
    """

    weight: Float[Array, "inputs units"]
    bias: Float[Array, " units"] | None
    size: tuple[int, int] = eqx.field(static=True)
    stride: tuple[int, int] = eqx.field(static=True, default=(1, 1))
    padding: tuple[tuple[int, int], ...] = eqx.field(
        static=True, default=((0, 0), (0, 0))
    )
    channels_first: bool = eqx.field(static=True, default=False)

    @property
    def _layout(self) -> str:
        return "NCHW" if self.channels_first else "NHWC"

    def __call__(self, x):
        """See `AbstractLayer`."""
        units = self.weight.shape[1]
        kernel = self.weight.T.reshape(units, -1, *self.size)
        out = jax.lax.conv_general_dilated(
            x,
            kernel,
            self.stride,
            self.padding,
            dimension_numbers=(self._layout, "OIHW", self._layout),
        )
        if self.bias is None:
            return out
        shape = (1, units, 1, 1) if self.channels_first else (1, 1, 1, units)
        return out + self.bias.reshape(shape)

    def rows(self, x):
        """See `AbstractAffine`; the patches of this batch only."""
        patches = jax.lax.conv_general_dilated_patches(
            x,
            self.size,
            self.stride,
            self.padding,
            dimension_numbers=(self._layout, "OIHW", self._layout),
        )
        return self.outputs(patches)

    def outputs(self, out):
        """See `AbstractAffine`."""
        if self.channels_first:
            out = jnp.moveaxis(out, 1, -1)
        return out.reshape(-1, out.shape[-1])

    def from_rows(self, x, rows):
        """See `AbstractAffine`."""
        _, back = jax.vjp(self.rows, x)
        (total,), (counts,) = back(rows), back(jnp.ones_like(rows))
        return jnp.where(counts > 0, total / jnp.maximum(counts, 1), 0)


class Pool(AbstractLayer):
    """The maximum or mean over windows of `size`, taken at every `stride`."""

    size: tuple[int, int] = eqx.field(static=True)
    stride: tuple[int, int] = eqx.field(static=True)
    mean: bool = eqx.field(static=True, default=False)
    channels_first: bool = eqx.field(static=True, default=False)

    def __call__(self, x):
        """See `AbstractLayer`."""

        def full(pair):
            return (1, 1, *pair) if self.channels_first else (1, *pair, 1)

        window, stride = full(self.size), full(self.stride)
        if self.mean:
            total = jax.lax.reduce_window(x, 0.0, jax.lax.add, window, stride, "VALID")
            return total / (self.size[0] * self.size[1])
        start = -jnp.inf
        return jax.lax.reduce_window(x, start, jax.lax.max, window, stride, "VALID")

    def pull(self, x, out, displacement):
        """To the largest entry, or equally to all."""
        _, back = jax.vjp(self, x)
        (moved,) = back(displacement)
        return moved * (self.size[0] * self.size[1]) if self.mean else moved


class Flatten(AbstractLayer):
    """All axes but the first in one."""

    def __call__(self, x):
        """See `AbstractLayer`."""
        return x.reshape(x.shape[0], -1)

    def pull(self, x, out, displacement):
        """See `AbstractLayer`."""
        return displacement.reshape(x.shape)


class Elementwise(AbstractLayer):
    """An activation function, its range moved to [low, high] if these are given.

    Only the reference algorithm gives them, to sigmoid and tanh.
    """

    activation: Activation = eqx.field(static=True)
    low: Float[Array, ""] | None = None
    high: Float[Array, ""] | None = None

    def __call__(self, x):
        """See `AbstractLayer`."""
        out = self.activation.function(x)
        if self.low is None or self.high is None:
            return out
        own = self.activation
        return (out - own.low) * ((self.high - self.low) / (own.high - own.low)) + (
            self.low
        )

    def pull(self, x, out, displacement):
        """See `Activation.pull`."""
        return self.activation.pull(x, self.activation.function(x), displacement)


class Softmax(AbstractLayer):
    """Probabilities along the last axis; targets are meant for its input."""

    def __call__(self, x):
        """See `AbstractLayer`."""
        return jax.nn.softmax(x, axis=-1)

    def pull(self, x, out, displacement):
        """See `AbstractLayer`."""
        return displacement


class Network(eqx.Module):
    """Layers one after the other, on a batch.

    Made by `parse_network`, or from layers directly.

    Args:
        layers: the layers.
    """

    layers: tuple[AbstractLayer, ...]

    def __call__(self, x: Array) -> Array:
        """The output for a batch x."""
        for layer in self.layers:
            x = layer(x)
        return x


def activation_named(name: str) -> Elementwise | Softmax:
    """The layer of an activation's name."""
    return Softmax() if name == "softmax" else Elementwise(ACTIVATIONS[name])
