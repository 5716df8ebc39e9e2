"""Callbacks of `fit`."""

from typing import Any

from fixproj.nn._history import History


def is_better(name: str, new: float, old: float, margin: float = 0.0) -> bool:
    """Whether a metric improved: losses fall, all others rise."""
    if "loss" in name or "error" in name:
        return new < old - margin
    return new > old + margin


class EarlyStopping:
    """Stops when a metric has not improved for some epochs.

    It holds no state: what it says follows from the history, so a resumed training
    stops where an uninterrupted one does.

    Args:
        monitor: a name in `History.metrics`. A loss is to fall, others to rise.
        patience: epochs to wait for an improvement.
        margin: the least change that counts as one.

    Raises:
        ValueError: if the patience is below 1; when called, if there is no such metric.

    Examples:
        >>> from fixproj import nn
        >>> stop = nn.EarlyStopping("loss", patience=2)
        >>> losses = [3.0, 2.0, 2.5, 2.1]
        >>> [stop(nn.History(None, None, {"loss": losses[: i + 1]})) for i in range(4)]
        [False, False, False, True]
    """

    def __init__(
        self,
        monitor: str = "validation_loss",
        patience: int = 5,
        margin: float = 0.0,
    ):
        if isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:
            raise ValueError(
                f"patience must be an integer of at least 1, got {patience!r}."
            )
        self.monitor, self.patience, self.margin = monitor, patience, margin

    def __call__(self, history: History) -> bool:
        """Whether to stop."""
        values = monitored(history.metrics, self.monitor)
        best = 0
        for i, value in enumerate(values):
            if is_better(self.monitor, value, values[best], self.margin):
                best = i
        return len(values) - 1 - best >= self.patience


def monitored(metrics: dict[str, list[float]], name: str) -> Any:
    """The values of a metric.

    Raises:
        ValueError: if there is none of that name; lists those there are.
    """
    if name not in metrics:
        raise ValueError(
            f"monitor={name!r} is no metric of this training; there are "
            f"{', '.join(metrics)}."
        )
    return metrics[name]
