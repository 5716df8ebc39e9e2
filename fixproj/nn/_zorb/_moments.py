"""Sufficient statistics of rows that come in blocks; memory does not depend on rows.

Each block's products are made in the working precision about a fixed centre near the
mean, and added up in float64, so that float32 data loses no more than one block would.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from fixproj.nn._zorb._expansion import BLOCK, Expansion, blocks, joined


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

    @classmethod
    def about(cls, expansion: Expansion, x, outputs: int, dtype) -> "Moments":
        """No rows yet; the centre is the mean feature of the first ones."""
        rows = len(x[:BLOCK])
        y, centre = np.zeros((rows, outputs)), np.zeros(sum(expansion.sizes), dtype)
        _, (bx, by, bw) = next(
            blocks(expansion, dtype, x[:BLOCK], y, np.full(rows, 1 / rows))
        )
        arrays = expansion.arrays(dtype)
        mean, *_ = _products(arrays, centre, bx, by, bw, expansion.activation)
        return cls.empty(np.asarray(mean, np.float64), outputs)

    def add(self, expansion: Expansion, x, y, weights, dtype, kept=None) -> None:
        """Adds rows; appends the blocks' features to the list `kept`."""
        arrays = expansion.arrays(dtype)
        centre = self.centre.astype(dtype)
        for _, (bx, by, bw) in blocks(expansion, dtype, x, y, weights):
            found = _products(arrays, centre, bx, by, bw, expansion.activation)
            first, gram, cross, features = (np.asarray(part) for part in found)
            if kept is not None:
                kept.append(features)
            wide = by.astype(np.float64)
            self.count += float(bw.sum(dtype=np.float64))
            self.first += first
            self.gram += gram
            self.cross += cross
            self.target += bw @ wide
            self.squares += bw @ wide**2

    @classmethod
    def of_features(cls, centre, features, y, weights) -> "Moments":
        """Of rows that are given by their features."""
        sums = cls.empty(centre, y.shape[1])
        f = features - centre.astype(features.dtype)
        weighted = f * weights[:, None].astype(f.dtype)
        sums = sums.with_targets(features, y, weights)
        sums.count = float(weights.sum())
        sums.first = weighted.sum(0, dtype=np.float64)
        sums.gram = (weighted.T @ f).astype(np.float64)
        return sums

    def without(self, part: "Moments") -> "Moments":
        """The sums over the rows that are not in `part`, which has the same centre."""
        names = [field.name for field in dataclasses.fields(self)][1:]
        left = {name: getattr(self, name) - getattr(part, name) for name in names}
        return Moments(self.centre, **left)

    def plus(self, part: "Moments") -> "Moments":
        """The sums over both, which have the same centre."""
        names = [field.name for field in dataclasses.fields(self)][1:]
        both = {name: getattr(self, name) + getattr(part, name) for name in names}
        return Moments(self.centre, **both)

    def with_targets(self, features, targets, weights) -> "Moments":
        """The same rows, given again by features, with other targets."""
        wide = targets.astype(np.float64)
        weighted = weights[:, None] * wide
        return dataclasses.replace(
            self,
            cross=(features - self.centre).T @ weighted,
            target=weighted.sum(0),
            squares=(weighted * wide).sum(0),
        )

    def centred(self):
        """F'F, F'Y, |Y|^2 about the means, and the two means."""
        mean = self.first / self.count
        gram = self.gram - np.outer(self.first, mean)
        cross, offset = self.centred_cross()
        total = float(np.sum(self.squares - self.target * offset))
        return gram, cross, max(total, 0.0), mean + self.centre, offset

    def centred_cross(self):
        """F'Y about the means, and the mean of Y."""
        offset = self.target / self.count
        return self.cross - np.outer(self.first, offset), offset


def _sums(arrays, centre, x, y, weights, activation):
    features = joined(arrays, x, activation)
    f = features - centre[None]
    weighted = f * weights[:, None]
    first, gram, cross = jnp.sum(weighted, axis=0), weighted.T @ f, weighted.T @ y
    return first, gram, cross, features


_products = jax.jit(_sums, static_argnums=5)
