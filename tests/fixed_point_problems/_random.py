"""The generator behind the data of FixedPointTestProblems.jl.

r <- floor((3685477807 r + 12345) / 2^16) mod 2^15, starting at r = 1, u = r / 2^15.
Its sequence is soon periodic (period 173), so the data repeat; it is kept because only
the same data give counts that can be compared with published ones.
"""

from collections.abc import Callable

import numpy as np


def normal_quantile(u: np.ndarray) -> np.ndarray:
    """Inverse of the standard normal distribution function."""
    from scipy.special import ndtri

    return ndtri(u)


class StableRandom:
    """Draws arrays one after the other, filled column by column as Julia does."""

    def __init__(self):
        values, seen, state = [], {}, 1
        while state not in seen:
            seen[state] = len(values)
            state = (state * 3685477807 + 12345) // 65536 % 32768
            values.append(state / 32768)
        start = seen[state]
        self._head, self._cycle = np.array(values[:start]), np.array(values[start:])
        self._drawn = 0

    def __call__(
        self, *shape: int, quantile: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> np.ndarray:
        """The next `shape` draws, mapped by `quantile`."""
        index = self._drawn + np.arange(np.prod(shape, dtype=int))
        self._drawn += index.size
        split = len(self._head)
        u = np.where(
            index < split,
            self._head[np.minimum(index, split - 1)],
            self._cycle[(index - split) % len(self._cycle)],
        )
        return (u if quantile is None else quantile(u)).reshape(shape, order="F")
