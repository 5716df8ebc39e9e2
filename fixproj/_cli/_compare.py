"""`fixproj compare`: several methods on one task; table, CSV, pictures, one page."""

import dataclasses
import math
import pathlib
from typing import Any

import click
import numpy as np

from fixproj._cli._errors import reports_errors
from fixproj._cli._lists import ListCommand, Words
from fixproj._cli._methods import METHODS, method_named
from fixproj._cli._options import Pairs, settings_of, task_of, task_options
from fixproj._cli._output import print_json, table, write_csv, write_json
from fixproj._cli._report import draw_curves, write_report
from fixproj._cli._run import Run, RunError, open_folder, train_once
from fixproj.nn import NonFiniteUpdateError


DEFAULT_METHODS = ("projections", "projections-adam", "zorb", "adam", "sgd")
DEFAULT_OUT = pathlib.Path("out/compare")

_EPILOG = """\b
Examples:
  fixproj compare
  fixproj compare --methods projections adam sgd --seeds 0-2 --epochs 20
  fixproj compare --dataset fashion-mnist --train-samples 10000 --network mlp:128,128
  fixproj compare --methods projections adam -o projections:sweeps=1 \\
      -o adam:learning_rate=3e-3 --out out/sweeps
  fixproj compare --resume --epochs 40
"""


class MethodPairs(click.ParamType):
    """`METHOD:NAME=VALUE`."""

    name = "method pairs"

    def convert(self, value, param, ctx):
        """The method, the name and the value."""
        method, colon, rest = value.partition(":")
        if not colon or method not in METHODS:
            self.fail(f"{value!r} is not like projections:sweeps=3", param, ctx)
        return method, *Pairs().convert(rest, param, ctx)


@click.command(cls=ListCommand, epilog=_EPILOG)
@click.option(
    "-m",
    "--methods",
    type=Words(),
    metavar="NAME ...",
    help=f"Some of {', '.join(METHODS)}. [default: those of "
    f"{', '.join(DEFAULT_METHODS)} that this build has]",
)
@task_options
@click.option(
    "-o",
    "--option",
    "pairs",
    type=MethodPairs(),
    multiple=True,
    metavar="METHOD:NAME=VALUE",
    help="An argument of one method's trainer, or its learning_rate; may be repeated.",
)
@reports_errors
def compare(methods: tuple[str, ...] | None, **values: Any) -> None:
    """Train one network by several methods; write a table, curves and a page.

    --out (out/compare unless given) receives summary.csv, metrics.csv, results.json,
    curves.png and report.html, which needs no other file and no network.
    """
    pairs = values.pop("pairs")
    task = task_of(values)
    if methods is None:
        methods = tuple(m for m in DEFAULT_METHODS if METHODS[m].available)
    methods = tuple(dict.fromkeys(methods))
    for name in methods:
        method_named(name)
    for name, *_ in pairs:
        if name not in methods:
            raise click.UsageError(f"-o {name}: is not among --methods.")
    tasks = {name: _with_options(task, name, pairs) for name in methods}
    data = task.read()
    seeds = values["seeds"]
    settings = settings_of(task, command="compare", methods=methods, seeds=seeds)
    settings["options"] = [list(pair) for pair in pairs]
    out = open_folder(values["out"] or DEFAULT_OUT, settings, resume=values["resume"])
    quiet = values["quiet"] or values["as_json"]
    runs: list[Run] = []
    failed: dict[str, str] = {}
    for name in methods:
        for seed in seeds:
            if not quiet:
                click.echo(f"{name}, seed {seed}", err=True)
            try:
                run = train_once(
                    tasks[name], data, name, seed, out=out, progress=not quiet
                )
            except NonFiniteUpdateError as error:
                # The others are still worth comparing.
                failed[f"{name}, seed {seed}"] = str(error).split(";")[0]
                continue
            runs.append(run)
    if not runs:
        raise FloatingPointError("; ".join(f"{k}: {v}" for k, v in failed.items()))
    rows = summarise(runs)
    write_csv(out / "summary.csv", [run.summary() for run in runs])
    write_csv(out / "metrics.csv", [row for run in runs for row in run.rows()])
    found = {"settings": settings, "table": rows, "failed": failed}
    found["runs"] = [run.summary() for run in runs]
    write_json(out / "results.json", found)
    drawn = draw_curves(out / "curves.png", runs, data.name)
    write_report(out / "report.html", runs, rows, settings, data, failed)
    if values["as_json"]:
        print_json(found)
    else:
        click.echo(table(rows))
        for which, reason in failed.items():
            click.echo(f"{which} failed: {reason}", err=True)
        picture = "curves.png, " if drawn else ""
        click.echo(f"Wrote {picture}report.html, summary.csv and more to {out}")
    if failed:
        raise FloatingPointError(f"{len(failed)} of the trainings diverged")


def _with_options(task, name, pairs):
    options = {key: value for method, key, value in pairs if method == name}
    rate = options.pop("learning_rate", None)
    if rate is not None and not (isinstance(rate, int | float) and 0 < rate < math.inf):
        raise RunError(
            f"{name}: learning_rate must be a positive number, got {rate!r}."
        )
    return dataclasses.replace(task, learning_rate=rate, options=options)


def summarise(runs: list[Run]) -> list[dict[str, Any]]:
    """One row per method: means over seeds, and the spread of the test score."""
    rows = []
    for name in dict.fromkeys(run.method for run in runs):
        mine = [run for run in runs if run.method == name]
        score = "accuracy" if "accuracy" in mine[0].test else "loss"
        scores = [run.test[score] for run in mine]
        row: dict[str, Any] = {"method": name, f"test {score}": float(np.mean(scores))}
        row["+-"] = float(np.std(scores, ddof=1)) if len(scores) > 1 else None
        if score == "accuracy":
            row["test loss"] = float(np.mean([run.test["loss"] for run in mine]))
        row["epochs"] = float(np.mean([len(run.rows()) for run in mine]))
        row["seconds"] = float(np.mean([run.seconds for run in mine]))
        extra = [run.compilation for run in mine if run.compilation is not None]
        row["compilation"] = float(np.mean(extra)) if extra else None
        row["seeds"] = len(mine)
        rows.append(row)
    return rows
