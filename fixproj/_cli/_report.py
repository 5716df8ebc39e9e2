"""Learning curves, and a page that holds all of a comparison and needs nothing else."""

import base64
import datetime
import html
import io
import pathlib
import platform
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from fixproj import __version__
from fixproj._cli._output import shown
from fixproj._cli._run import Run
from fixproj._datasets import Dataset


def draw_curves(path: Any, runs: Sequence[Run], title: str) -> bool:
    """The held-out loss and accuracy over epochs and over seconds, a line per run.

    Args:
        path: a file, or anything that matplotlib can write a PNG to.
        runs: of all methods and seeds; a method has one colour.
        title: of the figure.

    Returns:
        False, and no picture, where matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    names = _drawn(runs)
    figure = Figure(figsize=(4.8 * len(names), 6.4), layout="constrained", dpi=110)
    axes = figure.subplots(2, len(names), squeeze=False)
    for column, name in enumerate(names):
        for row, over in enumerate(("epoch", "seconds")):
            _draw(axes[row, column], runs, name, over)
    axes[0, 0].legend(fontsize=9)
    figure.suptitle(title)
    figure.savefig(path, format="png")
    return True


def _panels(runs) -> list[tuple[str, bytes]]:
    """Each panel of the curves as a title and a PNG of its own, narrow."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return []
    found = []
    for over in ("epoch", "seconds"):
        for name in _drawn(runs):
            figure = Figure(figsize=(4.8, 3.4), layout="constrained", dpi=150)
            axis = figure.subplots()
            _draw(axis, runs, name, over)
            axis.legend(fontsize=9)
            picture = io.BytesIO()
            figure.savefig(picture, format="png")
            found.append((f"{name} over {over}", picture.getvalue()))
    return found


def _drawn(runs):
    return [n for n in ("loss", "accuracy") if any(n in run.metrics for run in runs)]


def _draw(axis, runs, name, over):
    """One panel; a method has one colour."""
    methods = list(dict.fromkeys(run.method for run in runs))
    for run in runs:
        values = run.metrics.get(f"validation_{name}", run.metrics.get(name))
        if not values:
            continue
        first = next(r for r in runs if r.method == run.method) is run
        axis.plot(
            _places(run, over),
            values,
            color=f"C{methods.index(run.method) % 10}",
            marker="o" if len(values) == 1 else None,
            label=run.method if first else None,
            lw=1.5,
        )
    label = over if over == "epoch" else "seconds after compilation"
    axis.set(xlabel=label, ylabel=f"{_source(runs, name)} {name}")
    if name == "loss":
        axis.set_yscale("log")
    axis.grid(alpha=0.3)


def _places(run, over):
    """Epochs, or the seconds at their ends, without those of compilation."""
    if over == "epoch":
        return run.metrics["epoch"]
    return np.cumsum(run.metrics["seconds"]) - (run.compilation or 0.0)


def _source(runs, name):
    held_out = all(f"validation_{name}" in run.metrics for run in runs)
    return "held-out" if held_out else "training"


_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1c1c28; background: #fff;
  max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { padding: .35rem .8rem; border-bottom: 1px solid #ccd; text-align: right;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
td.best { font-weight: 700; }
.settings th, .settings td { text-align: left; vertical-align: top; }
.settings td:last-child { white-space: normal; overflow-wrap: anywhere; }
.curves { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); }
img { max-width: 100%; height: auto; }
.note { color: #555; } .failed { color: #a00; }
@media (prefers-color-scheme: dark) {
  body { color: #e4e4ee; background: #16161d; } th, td { border-color: #445; }
  .note { color: #aab; } .failed { color: #f88; } img { background: #fff; }
}
"""


def write_report(
    path: pathlib.Path,
    runs: Sequence[Run],
    rows: Sequence[dict[str, Any]],
    settings: dict[str, Any],
    data: Dataset,
    failed: dict[str, str],
) -> None:
    """One HTML file with the table, the curves inside it, and what was run.

    Args:
        path: of the file.
        runs: all runs.
        rows: the table of the methods.
        settings: what was asked for.
        data: what was trained on.
        failed: the runs that diverged, and why.
    """
    panels = [
        f"<img src='data:image/png;base64,{base64.b64encode(picture).decode()}' "
        f"alt='{_text(title)}'>"
        for title, picture in _panels(runs)
    ]
    curves = "<p class='note'>There is no picture: matplotlib is not installed.</p>"
    if panels:
        curves = f"<div class='curves'>{''.join(panels)}</div>"
    what = (
        f"{len(data.x)} training and {len(data.test_x)} test examples of shape "
        f"{data.x.shape[1:]}"
    )
    wrong = "".join(
        f"<li class='failed'>{_text(which)}: {_text(reason)}</li>"
        for which, reason in failed.items()
    )
    listed = [{"setting": k, "value": str(v)} for k, v in settings.items()]
    made = (
        f"fixproj {__version__}, jax {jax.__version__} on {jax.default_backend()}, "
        f"Python {platform.python_version()}, {platform.machine()}, "
        f"{datetime.date.today()}"
    )
    path.write_text(
        f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>fixproj compare: {_text(data.name)}</title><style>{_STYLE}</style></head><body>
<h1>Training methods on {_text(data.name)}</h1>
<p>{_text(what)}; the network {_text(settings["network"])}, {runs[0].parameters}
parameters, the same start for every method with the same seed.</p>
<h2>Results</h2>
<div class="wide">{_table(rows)}</div>
<ul>{wrong}</ul>
<p class="note">Test scores after the last epoch, means over seeds; +- is the standard
deviation over seeds. Seconds include those of compilation: how much longer the first
epoch took than the others do.</p>
<h2>Learning curves</h2>
{curves}
<h2>Single runs</h2>
<div class="wide">{_table([run.summary() for run in runs])}</div>
<h2>Settings</h2>
<div class="wide settings">{_table(listed)}</div>
<p class="note">{_text(made)}</p>
</body></html>
"""
    )


def _text(value):
    return html.escape(str(value))


def _table(rows):
    heads = list(rows[0])
    best = {}
    for head in heads:
        if head in ("test accuracy", "test loss") and len(rows) > 1:
            pick = max if head == "test accuracy" else min
            best[head] = pick(row[head] for row in rows)
    lines = ["<tr>" + "".join(f"<th>{_text(head)}</th>" for head in heads) + "</tr>"]
    for row in rows:
        cells = []
        for head in heads:
            mark = " class='best'" if best.get(head, row) == row.get(head) else ""
            cells.append(f"<td{mark}>{_text(shown(row.get(head)))}</td>")
        lines.append("<tr>" + "".join(cells) + "</tr>")
    return "<table>" + "".join(lines) + "</table>"
