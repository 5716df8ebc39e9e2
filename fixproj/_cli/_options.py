"""The options that `train` and `compare` share."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

import click

from fixproj._cli._lists import Seeds, Words
from fixproj._cli._methods import METHODS
from fixproj._cli._run import Task


DEFAULT_NETWORK = "mlp:128"

_OPTIONS = [
    click.option(
        "-d",
        "--dataset",
        default="digits",
        show_default=True,
        metavar="NAME|FILE",
        help="digits, fashion-mnist, mnist, cifar10, higgs, text, or a path that ends "
        "in .npz, .csv or .txt.",
    ),
    click.option(
        "-n",
        "--network",
        type=Words(),
        default=DEFAULT_NETWORK,
        show_default=True,
        metavar="LAYER ...",
        help='Layers such as "Conv2D[8,3]" Sigmoid Flatten "Dense[64]" Relu, or '
        "mlp:128,128[:tanh][:skip], cnn:8,16, linear. The output layer is added.",
    ),
    click.option(
        "--seeds",
        type=Seeds(),
        default="0",
        show_default=True,
        metavar="N ...",
        help="Seeds: 0 1 2, or 0-4.",
    ),
    click.option(
        "--epochs",
        type=click.IntRange(1),
        help="Passes over the data. [default: 10; 1 for zorb]",
    ),
    click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True),
    click.option(
        "--validation",
        type=click.FloatRange(0, 0.9),
        default=0.1,
        show_default=True,
        help="Share of the training set that is held out for the curves.",
    ),
    click.option(
        "--patience",
        type=click.IntRange(1),
        help="Stop after so many epochs without a smaller validation loss.",
    ),
    click.option(
        "--train-samples", type=click.IntRange(5), help="Use so many examples only."
    ),
    click.option("--test-samples", type=click.IntRange(1), help="Likewise."),
    click.option(
        "--target", help="Column of a CSV file to predict. [default: the last]"
    ),
    click.option(
        "--task",
        "kind",
        type=click.Choice(["auto", "classification", "regression"]),
        default="auto",
        show_default=True,
        help="What the targets of a CSV or NPZ file are.",
    ),
    click.option(
        "--length",
        type=click.IntRange(1, 1024),
        default=16,
        show_default=True,
        help="Characters before the one to guess, for text.",
    ),
    click.option(
        "--data-dir",
        type=click.Path(path_type=pathlib.Path),
        help="Folder above the data sets' own; also FIXPROJ_DATA.",
    ),
    click.option(
        "--out",
        type=click.Path(file_okay=False, path_type=pathlib.Path),
        help="Folder for results, checkpoints and models.",
    ),
    click.option("--resume", is_flag=True, help="Go on with what --out holds."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
    click.option("--quiet", is_flag=True, help="No progress bars."),
]


def task_options(command: Callable) -> Callable:
    """Adds them to a command, in this order."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def task_of(values: dict[str, Any]) -> Task:
    """The task that the options describe; takes them out of `values`."""
    take = values.pop
    data = {
        "data_dir": take("data_dir"),
        "target": take("target"),
        "task": take("kind"),
        "length": take("length"),
    }
    return Task(
        dataset=take("dataset"),
        network=" ".join(take("network")),
        epochs=take("epochs"),
        batch_size=take("batch_size"),
        validation=take("validation"),
        patience=take("patience"),
        train_examples=take("train_samples"),
        test_examples=take("test_samples"),
        learning_rate=take("learning_rate", None),
        options=take("options", {}),
        load=take("load", None),
        data=data,
    )


def settings_of(task: Task, **more: Any) -> dict[str, Any]:
    """What tells one training from another, for `settings.json`."""
    settings = dict(vars(task))
    settings["data"] = {k: v and str(v) for k, v in task.data.items()}
    return settings | more


class Pairs(click.ParamType):
    """`NAME=VALUE` for a trainer; the value is JSON, or else a word."""

    name = "pairs"

    def convert(self, value, param, ctx):
        """A pair of the name and what it is set to."""
        name, equals, text = value.partition("=")
        if not equals or not name.strip().isidentifier():
            self.fail(f"{value!r} is not like sweeps=3", param, ctx)
        try:
            return name.strip(), json.loads(text)
        except ValueError:
            return name.strip(), text


def methods_help() -> str:
    """The methods, one per line; those that this build lacks are marked."""
    lines = []
    for name, method in METHODS.items():
        note = "" if method.available else " (not in this build)"
        lines.append(f"{name:17} {method.summary}{note}")
    return "\b\nMethods:\n  " + "\n  ".join(lines) + "\n"
