"""Where `fit` was, on disk, so that it goes on there bit by bit as it would have."""

import dataclasses
import os
from typing import Any

import equinox as eqx

from fixproj.nn._module import load, load_info, save
from fixproj.nn._module._save import check_backend, is_saved


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Where and how often `nn.fit` saves its progress.

    If it is there when `fit` starts, training goes on from it, and ends with the same
    numbers as a training that was not interrupted.

    Args:
        path: of the file or, with Orbax, the directory; its own directory must exist.
        minibatches: save every so many minibatches; None saves after epochs only.
        backend: "equinox" (one file) or "orbax" (a directory), see `nn.save`.

    Raises:
        ValueError: if `minibatches` is below 1, or there is no such backend.

    Examples:
        >>> from fixproj import nn
        >>> every_100 = nn.Checkpoint("run", minibatches=100, backend="orbax")
    """

    path: str | os.PathLike
    minibatches: int | None = None
    backend: str = "equinox"

    def __post_init__(self):
        check_backend(self.backend)
        n = self.minibatches
        if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 1):
            raise ValueError(f"minibatches must be an integer >= 1 or None, got {n!r}.")


@dataclasses.dataclass
class Progress:
    """All that a training is at one moment.

    Attributes:
        model: as it is now.
        state: the trainer's.
        best: the best model so far; the first one if there is none yet.
        epoch: epochs that are complete.
        minibatch: minibatches of the current epoch that are complete.
        infos: what the trainer said of each of them, by name.
        metrics: of the complete epochs.
        best_epoch: the number of the best epoch, from 1; 0 if there is none yet.
        stopped: whether a callback has ended the training.
    """

    model: Any
    state: Any
    best: Any
    epoch: int = 0
    minibatch: int = 0
    infos: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    metrics: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    best_epoch: int = 0
    stopped: bool = False


_NUMBERS = ("epoch", "minibatch", "infos", "metrics", "best_epoch", "stopped")


def write(checkpoint: Checkpoint | None, run: dict[str, Any], now: Progress) -> None:
    """Saves the progress of the training that `run` describes."""
    if checkpoint is not None:
        info = {"run": run, **{name: getattr(now, name) for name in _NUMBERS}}
        save(checkpoint.path, _arrays(now), info, backend=checkpoint.backend)


def read(
    checkpoint: Checkpoint | None, run: dict[str, Any], start: Progress
) -> Progress:
    """The progress on disk, or the start where there is none.

    Raises:
        ValueError: if it is of another training, or of a model or trainer of
            other shapes.
    """
    if checkpoint is None or not is_saved(checkpoint.path):
        return start
    info = load_info(checkpoint.path)
    for name, value in run.items():
        if info["run"].get(name) != value:
            raise ValueError(
                f"The checkpoint {os.fspath(checkpoint.path)!r} is of another "
                f"training: {name} was {info['run'].get(name)!r}, is {value!r}. Remove "
                "it to start anew."
            )
    arrays = load(checkpoint.path, _arrays(start))
    model, state, best = eqx.combine(arrays, (start.model, start.state, start.best))
    return Progress(model, state, best, **{name: info[name] for name in _NUMBERS})


def _arrays(progress):
    return eqx.filter((progress.model, progress.state, progress.best), eqx.is_array)
