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

    def products(
        self, x: Array, moved: Float[Array, "rows units"]
    ) -> tuple[Float[Array, "inputs inputs"], Float[Array, "inputs units"]]:
        """X'X and X'D of X = rows(x), with a last column of ones if there is a bias."""
        rows = self.rows(x)
        if self.bias is not None:
            rows = jnp.concatenate([rows, jnp.ones_like(rows[:, :1])], axis=1)
        return rows.T @ rows, rows.T @ moved

    @abc.abstractmethod
    def outputs(self, out: Array) -> Float[Array, "rows units"]:
        """The layer's output, or a displacement of it, as rows."""

    @abc.abstractmethod
    def from_rows(self, x: Array, rows: Float[Array, "rows inputs"]) -> Array:
        """What is nearest to x's shape: copies of one entry are averaged."""

    def pull(self, x, out, displacement):
        """The damped least-norm change of the rows, copies averaged."""
        return self.from_rows(x, self.damped(displacement) @ self.weight.T)

    def damped(self, displacement: Array) -> Float[Array, "rows units"]:
        """D (W'W + damping I)^-1, which times W' is the change of the rows."""
        gram = self.weight.T @ self.weight
        size = gram.shape[0]
        damping = _DAMPING * jnp.trace(gram) / size + jnp.finfo(gram.dtype).tiny
        eye = jnp.eye(size, dtype=gram.dtype)
        return jnp.linalg.solve(gram + damping * eye, self.outputs(displacement).T).T


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
        padding: pairs (before, after) for both directions, "SAME" or "VALID".
        channels_first: whether images are (batch, channels, height, width).
    """

    weight: Float[Array, "inputs units"]
    bias: Float[Array, " units"] | None
    size: tuple[int, int] = eqx.field(static=True)
    stride: tuple[int, int] = eqx.field(static=True, default=(1, 1))
    padding: tuple[tuple[int, int], ...] | str = eqx.field(
        static=True, default=((0, 0), (0, 0))
    )
    channels_first: bool = eqx.field(static=True, default=False)

    @property
    def _layout(self) -> str:
        return "NCHW" if self.channels_first else "NHWC"

    def _convolved(self, x, weight):
        return jax.lax.conv_general_dilated(
            x,
            weight.T.reshape(weight.shape[1], -1, *self.size),
            self.stride,
            self.padding,
            dimension_numbers=(self._layout, "OIHW", self._layout),
        )

    def __call__(self, x):
        """See `AbstractLayer`."""
        units = self.weight.shape[1]
        out = self._convolved(x, self.weight)
        if self.bias is None:
            return out
        shape = (1, units, 1, 1) if self.channels_first else (1, 1, 1, units)
        return out + self.bias.reshape(shape)

    def rows(self, x):
        """See `AbstractAffine`; all patches. `products` and `pull` do without."""
        patches = jax.lax.conv_general_dilated_patches(
            x,
            self.size,
            self.stride,
            self.padding,
            dimension_numbers=(self._layout, "OIHW", self._layout),
        )
        return self.outputs(patches)

    def products(self, x, moved):
        """See `AbstractAffine`: one pair of places in the window at a time.

        X'X has a block for each pair of places, the product of two shifted images, so
        patches are not made.
        """
        if self.channels_first:
            x = jnp.moveaxis(x, 1, -1)
        channels = x.shape[-1]
        padding = self.padding
        if isinstance(padding, str):
            padding = jax.lax.padtype_to_pads(
                x.shape[1:3], self.size, self.stride, padding
            )
        x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
        counts = [
            (n - k) // s + 1
            for n, k, s in zip(x.shape[1:3], self.size, self.stride, strict=True)
        ]
        reach = [s * (n - 1) + 1 for n, s in zip(counts, self.stride, strict=True)]

        def shifted(place):
            i, j = place // self.size[1], place % self.size[1]
            start = (0, i, j, 0)
            part = jax.lax.dynamic_slice(x, start, (x.shape[0], *reach, channels))
            return part[:, :: self.stride[0], :: self.stride[1]].reshape(-1, channels)

        def row(place):
            own = shifted(place)
            block = jax.lax.map(lambda other: own.T @ shifted(other), places)
            return block, own.T @ moved, jnp.sum(own, axis=0)

        places = jnp.arange(self.size[0] * self.size[1], dtype=jnp.int32)
        blocks, cross, sums = jax.lax.map(row, places)
        # From (place, place, channel, channel) to channels slowest.
        size = len(places) * channels
        gram = blocks.transpose(2, 0, 3, 1).reshape(size, size)
        cross = cross.transpose(1, 0, 2).reshape(size, -1)
        if self.bias is None:
            return gram, cross
        sums = sums.T.reshape(size, 1)
        count = jnp.full((1, 1), moved.shape[0], gram.dtype)
        gram = jnp.block([[gram, sums], [sums.T, count]])
        return gram, jnp.concatenate([cross, jnp.sum(moved, axis=0)[None]])

    def pull(self, x, out, displacement):
        """See `AbstractAffine`: the sum over copies is a transposed convolution."""
        moved = self.damped(displacement).reshape(self._rows_shape(out))
        if self.channels_first:
            moved = jnp.moveaxis(moved, -1, 1)
        _, back = jax.vjp(lambda x: self._convolved(x, self.weight), x)
        ones = jnp.ones((self.weight.shape[0], 1), self.weight.dtype)
        covered, count = jax.vjp(lambda x: self._convolved(x, ones), x)
        (total,), (counts,) = back(moved), count(jnp.ones_like(covered))
        return jnp.where(counts > 0, total / jnp.maximum(counts, 1), 0)

    def _rows_shape(self, out):
        shape = out.shape
        return (shape[0], *shape[2:], shape[1]) if self.channels_first else shape

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
