"""What `fit` returns: the trained model and the course of the training."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class History:
    """The result of `nn.fit`.

    Attributes:
        model: the trained model; of a pair `(fn, params)`, a pair again.
        state: the trainer's state after the last minibatch.
        metrics: one list per quantity with one number per epoch: "epoch" (from 1),
            "loss" and "accuracy" (means over the epoch's minibatches, before each
            update), "validation_loss" and "validation_accuracy" (after the epoch), and
            "seconds" (wall time of the epoch, its compilation included). Accuracies are
            there where labels are classes, validation where it was given.
        best_model: the model after the best epoch, where `monitor` was given.
        best_epoch: the number of that epoch, from 1.
    """

    model: Any
    state: Any
    metrics: dict[str, list[float]]
    best_model: Any = None
    best_epoch: int | None = None

    def plot(self, ax: Any = None) -> Any:
        """Draws the metrics over the epochs.

        Args:
            ax: two matplotlib axes, for the loss and the accuracy; or one, for the
                accuracy (the loss, if there is none). None makes a new figure.

        Returns:
            The axes drawn on, an array or one.

        Raises:
            ImportError: if matplotlib is not installed.
        """
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise ImportError(
                "History.plot needs matplotlib: pip install 'fixproj[nn]'"
            ) from error
        names = [name for name in ("loss", "accuracy") if name in self.metrics]
        if ax is None:
            _, ax = plt.subplots(1, len(names), figsize=(4.5 * len(names), 3.2))
        axes = list(ax.flat) if hasattr(ax, "flat") else ax
        if not isinstance(axes, list | tuple):
            axes, names = [axes], names[-1:]
        for axis, name in zip(axes, names, strict=False):
            for key, label in (
                (name, "training"),
                (f"validation_{name}", "validation"),
            ):
                if key in self.metrics:
                    axis.plot(self.metrics["epoch"], self.metrics[key], label=label)
            if self.best_epoch is not None:
                axis.axvline(self.best_epoch, color="0.7", ls=":", label="best")
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.set_xlabel("epoch")
            axis.set_ylabel(name)
            axis.legend()
        return ax


class NonFiniteUpdateError(FloatingPointError):
    """Training met a loss or a parameter that is not finite, and stopped.

    Attributes:
        history: the `History` up to there; its model is the last good one.
    """

    def __init__(self, message: str, history: History):
        super().__init__(message)
        self.history = history
