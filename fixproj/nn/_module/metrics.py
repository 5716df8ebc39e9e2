"""Metrics that accumulate over batches: pytrees with `update`, `compute`, `reset`."""

import abc
from collections.abc import Mapping
from typing import Any, Self

import jax.numpy as jnp
from jaxtyping import Array

from fixproj.nn._module._kinds import MetricState
from fixproj.nn._module._module import Module


class AbstractMetric(Module):
    """What is measured over several batches.

    `value, metric = metric(preds, target)` gives the value of this batch alone, and the
    metric after it; `metric.compute()` the value of all batches.
    """

    @abc.abstractmethod
    def update(self, *args: Any, **kwargs: Any) -> Self:
        """The metric after one more batch."""

    @abc.abstractmethod
    def compute(self) -> Any:
        """The value of all batches so far; NaN if there was none."""

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[Any, Self]:
        """The value of this batch, and the metric after it."""
        value = self.reset().update(*args, **kwargs).compute()
        return value, self.update(*args, **kwargs)

    @abc.abstractmethod
    def reset(self) -> Self:
        """The metric before the first batch."""


class Mean(AbstractMetric):
    """The mean of numbers.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> metric = nn.metrics.Mean().update(jnp.array([1.0, 2.0]))
        >>> float(metric.update(jnp.array([6.0])).compute())
        3.0
    """

    total: MetricState
    count: MetricState

    def __init__(self):
        self.total, self.count = jnp.zeros(()), jnp.zeros(())

    def update(self, values: Array, *, weights: Array | None = None) -> Self:
        """The metric with more values.

        Args:
            values: any array.
            weights: of the values, of their shape or of that without last axes.

        Raises:
            ValueError: if the shape of the weights is neither.
        """
        values = jnp.asarray(values).astype(self.total.dtype)
        if weights is None:
            weights = jnp.ones_like(values)
        elif weights.shape != values.shape[: weights.ndim]:
            raise ValueError(
                f"weights must have the first axes of the values, {values.shape}; got "
                f"{weights.shape}."
            )
        weights = weights.astype(values.dtype)
        weights = weights.reshape(weights.shape + (1,) * (values.ndim - weights.ndim))
        weights = jnp.broadcast_to(weights, values.shape)
        return self.replace(
            total=self.total + jnp.sum(values * weights),
            count=self.count + jnp.sum(weights),
        )

    def compute(self) -> Array:
        """The mean."""
        return self.total / self.count

    def reset(self) -> Self:
        """See `AbstractMetric`."""
        return self.replace(
            total=jnp.zeros_like(self.total), count=jnp.zeros_like(self.count)
        )


class _MeanOf(AbstractMetric):
    mean: Mean

    def __init__(self):
        self.mean = Mean()

    def update(
        self, preds: Array, target: Array, *, weights: Array | None = None
    ) -> Self:
        """The metric after one more batch."""
        values = self.values(preds, target)
        return self.replace(mean=self.mean.update(values, weights=weights))

    @abc.abstractmethod
    def values(self, preds: Array, target: Array) -> Array:
        """One number per example, or per entry."""

    def compute(self) -> Array:
        """The mean over all batches."""
        return self.mean.compute()

    def reset(self) -> Self:
        """See `AbstractMetric`."""
        return self.replace(mean=self.mean.reset())


class Accuracy(_MeanOf):
    """The share of examples whose class is right.

    `preds` are scores of shape (..., classes) or integer classes; `target` integer
    classes, or one-hot.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> metric = nn.metrics.Accuracy().update(jnp.eye(4), jnp.array([0, 1, 2, 2]))
        >>> float(metric.compute())
        0.75
    """

    def values(self, preds, target):
        """1 where the class is right."""
        preds, target = _classes(preds, target)
        return (preds == target).astype(jnp.result_type(float))


class MeanSquaredError(_MeanOf):
    """The mean of (preds - target)^2."""

    def values(self, preds, target):
        """Squared errors."""
        _same(preds, target)
        return (preds - target.astype(preds.dtype)) ** 2


class MeanAbsoluteError(_MeanOf):
    """The mean of |preds - target|."""

    def values(self, preds, target):
        """Absolute errors."""
        _same(preds, target)
        return jnp.abs(preds - target.astype(preds.dtype))


class F1(AbstractMetric):
    """2 tp / (2 tp + fp + fn), of one class, or averaged over classes.

    Args:
        classes: how many there are.
        average: "macro", the mean of all classes that occur; "micro", of all counts
            together; "binary", of class 1; None, one number per class.

    Raises:
        ValueError: if the average is none of these.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> metric = nn.metrics.F1(2, average="binary")
        >>> metric = metric.update(jnp.array([1, 1, 0, 0]), jnp.array([1, 0, 1, 0]))
        >>> float(metric.compute())
        0.5
    """

    hits: MetricState
    predicted: MetricState
    actual: MetricState
    classes: int
    average: str | None

    def __init__(self, classes: int, average: str | None = "macro"):
        known = ("macro", "micro", "binary", None)
        if average not in known or (average == "binary" and classes != 2):
            raise ValueError(
                "F1: average must be 'macro', 'micro', None, or, for 2 classes, "
                f"'binary'; got {average!r} for {classes} classes."
            )
        self.classes, self.average = classes, average
        self.hits = self.predicted = self.actual = jnp.zeros((classes,))

    def update(self, preds: Array, target: Array) -> Self:
        """The metric after one more batch, given as to `Accuracy`."""
        preds, target = _classes(preds, target)

        def one_hot(labels):
            classes = jnp.arange(self.classes, dtype=labels.dtype)
            return labels.reshape(-1, 1) == classes.reshape(1, -1)

        p, t = one_hot(preds), one_hot(target)

        def count(flags, old):
            return old + jnp.sum(flags, axis=0).astype(old.dtype)

        return self.replace(
            hits=count(p & t, self.hits),
            predicted=count(p, self.predicted),
            actual=count(t, self.actual),
        )

    def compute(self) -> Array:
        """The score; 0 for a class that never occurs."""
        both = self.predicted + self.actual
        if self.average == "micro":
            return 2 * jnp.sum(self.hits) / jnp.sum(both)
        score = 2 * self.hits / jnp.where(both == 0, 1, both)
        if self.average == "binary":
            return score[1]
        if self.average == "macro":
            return jnp.sum(score) / jnp.sum(both > 0).astype(score.dtype)
        return score

    def reset(self) -> Self:
        """See `AbstractMetric`."""
        zeros = jnp.zeros_like(self.hits)
        return self.replace(hits=zeros, predicted=zeros, actual=zeros)


class Metrics(AbstractMetric):
    """Several metrics of the same predictions, by name.

    Args:
        metrics: a dictionary, or metrics that go by the names of their classes.

    Raises:
        ValueError: if two have one name.
        TypeError: if one is no metric.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> both = nn.metrics.Metrics(nn.metrics.Accuracy(), nn.metrics.F1(2))
        >>> sorted(both.update(jnp.eye(2), jnp.arange(2)).compute())
        ['Accuracy', 'F1']
    """

    metrics: dict[str, Module]

    def __init__(self, *metrics: Any):
        named: dict[str, Any] = {}
        for item in metrics:
            pairs = item if isinstance(item, Mapping) else {type(item).__name__: item}
            for name, metric in pairs.items():
                if not isinstance(metric, AbstractMetric):
                    raise TypeError(
                        f"Metrics: {name!r} is no metric but a {type(metric).__name__}."
                    )
                if name in named:
                    raise ValueError(
                        f"Metrics: two metrics have the name {name!r}; give a "
                        "dictionary with a name for each."
                    )
                named[name] = metric
        self.metrics = named

    def update(self, *args: Any, **kwargs: Any) -> Self:
        """All metrics after one more batch."""
        return self._each(lambda metric: metric.update(*args, **kwargs))

    def compute(self) -> dict[str, Any]:
        """All values by name."""
        metrics: dict[str, Any] = self.metrics
        return {name: metric.compute() for name, metric in metrics.items()}

    def reset(self) -> Self:
        """See `AbstractMetric`."""
        return self._each(lambda metric: metric.reset())

    def _each(self, fn):
        return self.replace(metrics={k: fn(m) for k, m in self.metrics.items()})


def _classes(preds, target):
    if jnp.issubdtype(preds.dtype, jnp.floating):
        preds = jnp.argmax(preds, axis=-1)
    if target.ndim == preds.ndim + 1:
        target = jnp.argmax(target, axis=-1)
    _same(preds, target)
    return preds, target.astype(preds.dtype)


def _same(preds, target):
    if preds.shape != target.shape:
        raise ValueError(
            f"preds and target do not fit: shapes {preds.shape} and {target.shape}."
        )
