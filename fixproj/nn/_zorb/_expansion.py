"""The estimators' network: hidden layers whose outputs, and the inputs, are all read.

    f(x) = [gain h_1 / sqrt(W_1), ..., gain h_L / sqrt(W_L), u / sqrt(d)],
    h_l = activation(h_(l-1) A_l + b_l),  h_0 = u = (x - shift) / spread,

and the output is linear in f. Rows are computed in blocks of few different sizes, so
that few programs are compiled.
"""

import dataclasses
from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from fixproj.nn._zorb._activations import ACTIVATIONS


BLOCK = 4096


@dataclasses.dataclass(frozen=True)
class Expansion:
    """The map from x to the features f(x).

    Attributes:
        shift: of each input.
        spread: of each input, positive.
        layers: pairs of weights (inputs, units) and biases (units,).
        activation: a name in `ACTIVATIONS`.
        gain: the factor of the hidden outputs.
    """

    shift: np.ndarray
    spread: np.ndarray
    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    activation: str
    gain: float = 1.0

    @property
    def sizes(self) -> tuple[int, ...]:
        """Features of each block, the inputs last."""
        return (*(w.shape[1] for w, _ in self.layers), len(self.shift))

    def replace(self, **changes) -> "Expansion":
        """A copy with other fields."""
        return dataclasses.replace(self, **changes)

    def arrays(self, dtype):
        """What the compiled functions take."""
        cast = partial(np.asarray, dtype=dtype)
        layers = tuple((cast(w), cast(b)) for w, b in self.layers)
        return cast(self.shift), cast(self.spread), layers, cast(self.gain)

    def __call__(self, x, dtype) -> np.ndarray:
        """The features of rows."""
        arrays = self.arrays(dtype)
        found = np.empty((len(x), sum(self.sizes)), dtype)
        for rows, (block,) in blocks(dtype, x):
            out = _features(arrays, block, self.activation)
            found[rows] = np.asarray(out)[: rows.stop - rows.start]
        return found


def blocks(dtype, *arrays) -> Iterator[tuple[slice, list[np.ndarray]]]:
    """Slices of rows and the arrays' blocks, padded with zeros to a power of two."""
    count = len(arrays[0])
    for start in range(0, count, BLOCK):
        rows = slice(start, min(start + BLOCK, count))
        length = rows.stop - rows.start
        size = min(BLOCK, max(16, 1 << (length - 1).bit_length()))
        padded = []
        for array in arrays:
            block = np.zeros((size, *array.shape[1:]), dtype)
            block[:length] = array[rows]
            padded.append(block)
        yield rows, padded


def inputs_of(arrays, x):
    """The scaled inputs."""
    shift, spread, _, _ = arrays
    return (x - shift[None]) / spread[None]


def hidden(arrays, x, activation):
    """The outputs of the hidden layers."""
    function = ACTIVATIONS[activation].function
    found, h = [], inputs_of(arrays, x)
    for weights, bias in arrays[2]:
        h = function(h @ weights + bias[None])
        found.append(h)
    return found


def joined(arrays, x, activation):
    """The features f(x)."""
    gain = arrays[3]
    parts = [
        h * (gain / jnp.sqrt(jnp.asarray(h.shape[1], h.dtype)))
        for h in hidden(arrays, x, activation)
    ]
    u = inputs_of(arrays, x)
    parts.append(u / jnp.sqrt(jnp.asarray(u.shape[1], u.dtype)))
    return jnp.concatenate(parts, axis=1)


_features = jax.jit(joined, static_argnums=2)
