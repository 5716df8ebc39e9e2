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


BLOCK = 2048


@dataclasses.dataclass(frozen=True)
class Expansion:
    """The map from x to the features f(x).

    Attributes:
        shift: of each input.
        spread: of each input, positive.
        layers: pairs of weights (inputs, units) and biases (units,).
        activation: a name in `ACTIVATIONS`.
        gain: the factor of the hidden outputs.
        skip: whether the inputs are features, too.
    """

    shift: np.ndarray
    spread: np.ndarray
    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    activation: str
    gain: float = 1.0
    skip: bool = True

    @property
    def sizes(self) -> tuple[int, ...]:
        """Features of each block, the inputs last."""
        inputs = len(self.shift) if self.skip else 0
        return (*(w.shape[1] for w, _ in self.layers), inputs)

    def replace(self, **changes) -> "Expansion":
        """A copy with other fields."""
        return dataclasses.replace(self, **changes)

    def arrays(self, dtype):
        """What the compiled functions take."""
        cast = partial(np.asarray, dtype=dtype)
        layers = tuple((cast(w), cast(b)) for w, b in self.layers)
        return layers, cast(self.gain), cast(1.0) if self.skip else None

    def scaled(self, x) -> np.ndarray:
        """The inputs u of rows, in the precision of x."""
        x = np.asarray(x)
        if not np.issubdtype(x.dtype, np.floating):
            x = x.astype(np.float32)
        return (x - self.shift.astype(x.dtype)) / self.spread.astype(x.dtype)

    def __call__(self, x, dtype) -> np.ndarray:
        """The features of rows."""
        arrays = self.arrays(dtype)
        found = np.empty((len(x), sum(self.sizes)), dtype)
        for rows, (block,) in blocks(self, dtype, x):
            out = _features(arrays, block, self.activation)
            found[rows] = np.asarray(out)[: rows.stop - rows.start]
        return found


def blocks(
    expansion: Expansion, dtype, x, *others
) -> Iterator[tuple[slice, list[np.ndarray]]]:
    """Slices of rows and blocks of u and others, padded with zeros to a power of two.

    Beyond one block all are of the same size, so that one program does for them. Inputs
    are shifted before they are rounded to the dtype.
    """
    count = len(x)
    for start in range(0, count, BLOCK):
        rows = slice(start, min(start + BLOCK, count))
        length = rows.stop - rows.start
        size = BLOCK if start else min(BLOCK, max(16, 1 << (length - 1).bit_length()))
        padded = []
        for part in (expansion.scaled(x[rows]), *(array[rows] for array in others)):
            block = np.zeros((size, *part.shape[1:]), dtype)
            block[:length] = part
            padded.append(block)
        yield rows, padded


def hidden(arrays, u, activation):
    """The outputs of the hidden layers."""
    function = ACTIVATIONS[activation].function
    found, h = [], u
    for weights, bias in arrays[0]:
        h = function(h @ weights + bias[None])
        found.append(h)
    return found


def joined(arrays, u, activation):
    """The features f(x)."""
    _, gain, skip = arrays
    parts = [
        h * (gain / jnp.sqrt(jnp.asarray(h.shape[1], h.dtype)))
        for h in hidden(arrays, u, activation)
    ]
    if skip is not None:
        parts.append(u * (skip / jnp.sqrt(jnp.asarray(u.shape[1], u.dtype))))
    return jnp.concatenate(parts, axis=1)


_features = jax.jit(joined, static_argnums=2)
