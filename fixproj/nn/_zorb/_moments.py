"""Sufficient statistics of rows that come in blocks; memory does not depend on rows.

Each block's products are made in the working precision about a fixed centre near the
mean, and added up in float64, so that float32 data loses no more than one block would.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from fixproj.nn._zorb._expansion import Expansion, blocks, joined


@dataclasses.dataclass
class Moments:
    """Weighted sums over rows of 1, f, y, f f', f y' and y y', about a centre.

    Attributes:
        centre: what features were shifted by.
        count: the sum of the weights.
        first: the sum of f - centre.
        gram: of (f - centre).
        cross: of (f - centre) with y.
        target: the sum of y.
        squares: of y, by output.
    """

    centre: np.ndarray
    count: float
    first: np.ndarray
    gram: np.ndarray
    cross: np.ndarray
    target: np.ndarray
    squares: np.ndarray

    @classmethod
    def empty(cls, centre, outputs: int) -> "Moments":
        """No rows yet."""
        size = len(centre)
        return cls(
            centre,
            0.0,
            np.zeros(size),
            np.zeros((size, size)),
            np.zeros((size, outputs)),
            np.zeros(outputs),
            np.zeros(outputs),
        )

    def add(self, expansion: Expansion, x, y, weights, dtype) -> None:
        """Adds rows."""
        arrays = expansion.arrays(dtype)
        centre = self.centre.astype(dtype)
        for _, (bx, by, bw) in blocks(dtype, x, y, weights):
            found = _products(arrays, centre, bx, by, bw, expansion.activation)
            first, gram, cross = (np.asarray(part) for part in found)
            wide = by.astype(np.float64)
            self.count += float(bw.sum(dtype=np.float64))
            self.first += first
            self.gram += gram
            self.cross += cross
            self.target += bw @ wide
            self.squares += bw @ wide**2

    def centred(self):
        """F'F, F'Y, |Y|^2 about the means, and the two means."""
        mean, offset = self.first / self.count, self.target / self.count
        gram = self.gram - np.outer(self.first, mean)
        cross = self.cross - np.outer(self.first, offset)
        total = float(np.sum(self.squares - self.target * offset))
        return gram, cross, max(total, 0.0), mean + self.centre, offset


def _sums(arrays, centre, x, y, weights, activation):
    f = joined(arrays, x, activation) - centre[None]
    weighted = f * weights[:, None]
    return jnp.sum(weighted, axis=0), weighted.T @ f, weighted.T @ y


_products = jax.jit(_sums, static_argnums=5)
