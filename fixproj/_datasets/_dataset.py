"""What a loader gives: inputs, targets and what they mean, split once and for all."""

import dataclasses
from typing import Any

import numpy as np


class DatasetError(ValueError):
    """A data set is missing, damaged, too large, or not what it should be."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Examples for training and for the test.

    Attributes:
        name: what the user called it.
        x: inputs of the training set, float32, of shape (examples, ...).
        y: classes as int32, of shape (examples,), or float32 targets, of shape
            (examples, outputs).
        test_x: inputs of the test set.
        test_y: their targets.
        classes: the name of each class; None for a regression.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    classes: tuple[str, ...] | None

    @property
    def outputs(self) -> int:
        """How many numbers a network gives for one example."""
        return self.y.shape[1] if self.classes is None else len(self.classes)

    @property
    def loss(self) -> str:
        """The name of the loss that fits the targets."""
        return "squared" if self.classes is None else "cross_entropy"

    def limited(self, examples: int | None, test_examples: int | None) -> "Dataset":
        """A random part of it, the same for the same numbers."""
        x, y = _some(self.x, self.y, examples)
        test_x, test_y = _some(self.test_x, self.test_y, test_examples)
        return dataclasses.replace(self, x=x, y=y, test_x=test_x, test_y=test_y)


def _some(x, y, count):
    if count is None or count >= len(x):
        return x, y
    rows = np.sort(np.random.default_rng(0).permutation(len(x))[:count])
    return x[rows], y[rows]


def make_dataset(
    name: str, x: Any, y: Any, test: tuple[Any, Any] | None = None, classes: Any = None
) -> Dataset:
    """Checks arrays and holds out a fifth where there is no test set.

    Args:
        name: of the data set.
        x: numbers of shape (examples, ...).
        y: classes as integers, booleans or strings; floats are targets.
        test: a pair like (x, y).
        classes: names for the integers 0, 1, ...; None takes the values found.

    Raises:
        DatasetError: if shapes do not fit, there are fewer than 5 examples without a
            test set, or a number is not finite.
    """
    x, y = _checked(name, x, y)
    if test is None:
        if len(x) < 5:
            raise DatasetError(
                f"{name}: {len(x)} examples are too few to hold out any."
            )
        order = np.random.default_rng(0).permutation(len(x))
        held, kept = order[: len(x) // 5], order[len(x) // 5 :]
        test_x, test_y = x[held], y[held]
        x, y = x[kept], y[kept]
    else:
        test_x, test_y = _checked(f"{name} (test)", *test)
        if test_x.shape[1:] != x.shape[1:]:
            raise DatasetError(
                f"{name}: training inputs have shape {x.shape[1:]} each, test inputs "
                f"{test_x.shape[1:]}."
            )
    if y.dtype.kind == "f":
        y, test_y = (part.reshape(len(part), -1) for part in (y, test_y))
        y, test_y = y.astype(np.float32), test_y.astype(np.float32)
        return Dataset(name, x, y, test_x, test_y, None)
    if y.ndim != 1:
        raise DatasetError(
            f"{name}: classes must have shape (examples,), not {y.shape}."
        )
    values, index = np.unique(np.concatenate([y, test_y]), return_inverse=True)
    index = index.astype(np.int32)
    if classes is not None:
        if values[0] < 0 or values[-1] >= len(classes):
            raise DatasetError(
                f"{name}: labels must be from 0 to {len(classes) - 1}, got "
                f"{values[0]} to {values[-1]}."
            )
        index = np.concatenate([y, test_y]).astype(np.int32)
    names = tuple(str(value) for value in (values if classes is None else classes))
    if len(names) < 2:
        raise DatasetError(f"{name}: there is one class only: {', '.join(names)}.")
    return Dataset(name, x, index[: len(y)], test_x, index[len(y) :], names)


def _checked(name, x, y):
    x, y = np.asarray(x), np.asarray(y)
    if x.dtype.kind not in "fiub":
        raise DatasetError(f"{name}: inputs must be real numbers, got {x.dtype}.")
    if y.dtype.kind not in "fiubUS":
        raise DatasetError(f"{name}: targets must be numbers or names, got {y.dtype}.")
    if x.ndim < 2 or y.ndim < 1 or len(x) != len(y) or x.size == 0:
        raise DatasetError(
            f"{name}: inputs must have shape (examples, ...) and targets as many "
            f"examples, got {x.shape} and {y.shape}."
        )
    x = x.astype(np.float32)
    for what, part in (("inputs", x), ("targets", y)):
        if part.dtype.kind == "f" and not np.isfinite(part).all():
            row = next(i for i, one in enumerate(part) if not np.all(np.isfinite(one)))
            raise DatasetError(f"{name}: {what} are not finite in row {row}.")
    return x, y


def standardised(data: Dataset) -> Dataset:
    """Inputs with mean 0 and variance 1 over the training set, column by column."""
    mean, spread = data.x.mean(0, dtype=np.float64), data.x.std(0, dtype=np.float64)
    spread = np.where(spread > 0, spread, 1.0)
    scale = lambda x: ((x - mean) / spread).astype(np.float32)
    return dataclasses.replace(data, x=scale(data.x), test_x=scale(data.test_x))
