"""`fixproj train`: one method on one task, with one or more seeds."""

from typing import Any

import click

from fixproj._cli._errors import reports_errors
from fixproj._cli._lists import ListCommand
from fixproj._cli._methods import METHODS, method_named
from fixproj._cli._options import (
    Pairs,
    methods_help,
    settings_of,
    task_of,
    task_options,
)
from fixproj._cli._output import print_json, table, write_csv, write_json
from fixproj._cli._run import open_folder, train_once


_EPILOG = """\b
Examples:
  fixproj train
  fixproj train --method adam --network mlp:64,64:tanh --seeds 0-2
  fixproj train --method zorb --dataset fashion-mnist --network \\
      "Conv2D[8,3]" Sigmoid Flatten "Dense[1024]" Sigmoid "Dense[10]" Softmax
  fixproj train --method projections -o sweeps=1 --out out/run --epochs 5
  fixproj train --method projections -o sweeps=1 --out out/run --epochs 20 --resume
  fixproj train --dataset table.csv --target price --task regression --json
"""


@click.command(cls=ListCommand, epilog=f"{methods_help()}\n{_EPILOG}")
@click.option(
    "-m",
    "--method",
    default="projections",
    show_default=True,
    metavar="NAME",
    help=f"One of {', '.join(METHODS)}.",
)
@task_options
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True))
@click.option(
    "-o",
    "--option",
    "options",
    type=Pairs(),
    multiple=True,
    metavar="NAME=VALUE",
    help="An argument of the trainer, such as sweeps=1; may be repeated.",
)
@click.option(
    "--load",
    type=click.Path(exists=True, dir_okay=False),
    help="Start from the weights of a file that --out wrote (METHOD-SEED.model).",
)
@click.option("--no-train", is_flag=True, help="Evaluate only; needs --load.")
@reports_errors
def train(method: str, **values: Any) -> None:
    """Train a network by any method and evaluate it on the test set."""
    values["options"] = dict(values["options"])
    task = task_of(values)
    if values["no_train"] and task.load is None:
        raise click.UsageError("--no-train needs --load FILE.")
    if values["resume"] and values["out"] is None:
        raise click.UsageError("--resume needs --out DIR.")
    method_named(method)
    data = task.read()
    out, seeds = values["out"], values["seeds"]
    if out is not None:
        settings = settings_of(task, command="train", method=method, seeds=seeds)
        out = open_folder(out, settings, resume=values["resume"])
    quiet = values["quiet"] or values["as_json"]
    runs = [
        train_once(
            task,
            data,
            method,
            seed,
            out=out,
            progress=not quiet,
            train=not values["no_train"],
        )
        for seed in seeds
    ]
    rows = [run.summary() for run in runs]
    if out is not None:
        write_csv(out / "metrics.csv", [row for run in runs for row in run.rows()])
        write_json(out / "summary.json", rows)
    if values["as_json"]:
        curves = [run.metrics for run in runs]
        print_json({"task": settings_of(task), "runs": rows, "curves": curves})
        return
    click.echo(
        f"{data.name}: {len(data.x)} training and {len(data.test_x)} test examples "
        f"of shape {data.x.shape[1:]}, "
        + (
            f"{data.outputs} targets"
            if data.classes is None
            else f"{data.outputs} classes"
        )
    )
    click.echo(table(rows))
    if out is not None:
        click.echo(f"Wrote {out}/metrics.csv, summary.json and the models.")
