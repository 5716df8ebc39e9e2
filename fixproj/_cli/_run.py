"""One training: what is asked for, and what came out."""

import dataclasses
import json
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import jax.random as jr
import numpy as np

from fixproj import nn
from fixproj._cli._methods import Method, method_named
from fixproj._cli._network import build_network
from fixproj._datasets import Dataset, load_dataset


@dataclasses.dataclass(frozen=True)
class Task:
    """What all methods of a comparison share.

    Attributes:
        dataset: name or path.
        network: the network string.
        epochs: of a method that takes minibatches; None is 10.
        batch_size: of such a method.
        validation: the share of the training set that is held out for the curves.
        patience: epochs without a better validation loss before stopping, or None.
        train_examples: the training set is cut down to so many, or None.
        test_examples: likewise.
        learning_rate: None takes each method's.
        options: for the trainer.
        load: files to start from instead of random weights, or None.
        data: keyword arguments of `load_dataset`.
    """

    dataset: str
    network: str
    epochs: int | None = None
    batch_size: int = 64
    validation: float = 0.1
    patience: int | None = None
    train_examples: int | None = None
    test_examples: int | None = None
    learning_rate: float | None = None
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    load: str | None = None
    data: dict[str, Any] = dataclasses.field(default_factory=dict)

    def read(self) -> Dataset:
        """The data, cut down to the examples that were asked for."""
        data = load_dataset(self.dataset, examples=self.train_examples, **self.data)
        return data.limited(self.train_examples, self.test_examples)


class RunError(ValueError):
    """The folder of results does not fit what is asked for."""


@dataclasses.dataclass(frozen=True)
class Run:
    """The outcome of one method with one seed.

    Attributes:
        method: its name.
        seed: of the weights, the held-out examples and the order of minibatches.
        metrics: as in `nn.History`; empty if nothing was trained. A method that takes
            all data at once adds "compilation".
        test: the loss and, for classes, the accuracy on the test set.
        seconds: of training, compilation included.
        parameters: how many numbers were trained.
    """

    method: str
    seed: int
    metrics: dict[str, list[float]]
    test: dict[str, float]
    seconds: float
    parameters: int

    @property
    def compilation(self) -> float | None:
        """Seconds by which the first epoch was longer than the others, if known."""
        if "compilation" in self.metrics:
            return self.metrics["compilation"][0]
        first, *others = self.metrics.get("seconds", [0.0])
        return max(0.0, first - float(np.median(others))) if others else None

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary for each epoch."""
        count = len(self.metrics.get("epoch", []))
        return [
            {"method": self.method, "seed": self.seed}
            | {key: values[i] for key, values in self.metrics.items()}
            for i in range(count)
        ]

    def summary(self) -> dict[str, Any]:
        """All of it but the curves."""
        return {
            "method": self.method,
            "seed": self.seed,
            "epochs": len(self.metrics.get("epoch", [])),
            "seconds": self.seconds,
            "compilation": self.compilation,
            "parameters": self.parameters,
            **{f"test_{key}": value for key, value in self.test.items()},
        }


def train_once(
    task: Task,
    data: Dataset,
    name: str,
    seed: int,
    *,
    out: pathlib.Path | None = None,
    progress: bool = True,
    train: bool = True,
) -> Run:
    """Trains one network and evaluates it on the test set.

    Args:
        task: what to train.
        data: `task.read()`.
        name: of the method.
        seed: of everything random.
        out: a folder for the checkpoint and the model, or None.
        progress: whether to show a bar.
        train: False only evaluates.

    Raises:
        ValueError: if a part of the task does not fit the others.
        NonFiniteUpdateError: if the training diverges.
    """
    method = method_named(name)
    trainer = method.make(data.loss, task.learning_rate, task.options)
    model = build_network(task.network, data.x.shape[1:], data.outputs, jr.key(seed))
    if task.load is not None:
        model = nn.load(task.load, model)
    stem = f"{name}-{seed}"
    began, metrics = time.perf_counter(), {}
    if train:
        held, kept = _split(len(data.x), task.validation, seed)
        trained = data.x[kept], data.y[kept]
        validation = (data.x[held], data.y[held]) if len(held) else None
        if method.whole:
            epochs = _epochs(task, method)
            parts = trained, validation
            model, metrics = _solve(trainer, model, epochs, parts, data.loss)
        else:
            history = nn.fit(
                model,
                trainer,
                trained,
                epochs=_epochs(task, method),
                batch_size=task.batch_size,
                validation=validation,
                callbacks=_callbacks(task, held),
                checkpoint=None if out is None else out / f"{stem}.checkpoint",
                progress=None if progress else False,
                seed=seed,
            )
            model, metrics = history.model, history.metrics
    seconds = sum(metrics.get("seconds", [])) or time.perf_counter() - began
    test = nn.evaluate(model, (data.test_x, data.test_y), loss=data.loss)
    if out is not None and train:
        info = {"network": task.network, "method": name, "seed": seed, "test": test}
        nn.save(out / f"{stem}.model", model, info)
    parameters = sum(np.size(leaf) for leaf in _parameters(model))
    return Run(name, seed, metrics, test, seconds, parameters)


# Seconds; what takes longer is compilation to a small part, and not run again.
_AGAIN = 10.0


def _solve(trainer, model, epochs, parts, loss):
    """Fits all data at once, a batch in memory at a time; again for every epoch."""
    metrics: dict[str, list] = {}
    trained, validation = parts
    for epoch in range(1, epochs + 1):
        before, start = model, time.perf_counter()
        model = trainer.solve(before, trained)
        row = {"epoch": epoch, "seconds": time.perf_counter() - start}
        row["compilation"] = 0.0
        if epoch == 1 and row["seconds"] < _AGAIN:
            # The same once more, now that all is compiled.
            start = time.perf_counter()
            trainer.solve(before, trained)
            again = time.perf_counter() - start
            row["compilation"] = max(0.0, row["seconds"] - again)
        row |= nn.evaluate(model, trained, loss=loss)
        if validation is not None:
            found = nn.evaluate(model, validation, loss=loss)
            row |= {f"validation_{k}": v for k, v in found.items()}
        metrics = {k: [*metrics.get(k, []), v] for k, v in row.items()}
    return model, metrics


def _epochs(task: Task, method: Method) -> int:
    return task.epochs or (1 if method.whole else 10)


def _callbacks(task: Task, held) -> list[Any]:
    if task.patience is None:
        return []
    if not len(held):
        raise RunError("--patience needs examples to validate on: --validation 0.1")
    return [nn.EarlyStopping("validation_loss", task.patience)]


def _split(count: int, share: float, seed: int):
    order = np.random.default_rng(seed).permutation(count)
    size = int(share * count)
    return order[:size], order[size:]


def _parameters(model) -> Sequence[Any]:
    import equinox as eqx
    import jax

    return jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))


_SETTINGS = "settings.json"


def open_folder(
    out: pathlib.Path, settings: dict[str, Any], *, resume: bool
) -> pathlib.Path:
    """The folder of results, new or with the same settings.

    More epochs than before are no other settings.

    Raises:
        RunError: if the folder has results and `resume` is False, or its settings are
            others.
    """
    settings = json.loads(json.dumps(settings))
    path = out / _SETTINGS
    if path.exists():
        if not resume:
            raise RunError(
                f"{out} has results already: --resume goes on with them; or name "
                "another --out."
            )
        try:
            before = json.loads(path.read_text())
        except ValueError as error:
            raise RunError(f"{path} is damaged: {error}.") from error
        for key in settings:
            if key not in _MAY_CHANGE and before.get(key) != settings[key]:
                raise RunError(
                    f"{out} is of another training: {key} was {before.get(key)!r}, is "
                    f"{settings[key]!r}. Name another --out."
                )
    elif resume and not out.exists():
        raise RunError(f"There is nothing to resume in {out}.")
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings, indent=2) + "\n")
    return out


_MAY_CHANGE = ("epochs", "methods", "seeds", "patience", "test_examples")
