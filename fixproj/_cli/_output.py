"""Writing results: tables on the screen, CSV and JSON in files."""

import csv
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import click


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows of the same keys as text in columns."""
    if not rows:
        return ""
    heads = list(rows[0])
    cells = [[shown(row.get(head)) for head in heads] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    numeric = [isinstance(rows[0].get(head), int | float) for head in heads]

    def line(values):
        parts = [
            value.rjust(width) if right else value.ljust(width)
            for value, width, right in zip(values, widths, numeric, strict=True)
        ]
        return "  ".join(parts).rstrip()

    return "\n".join([line(heads), line(["-" * w for w in widths]), *map(line, cells)])


def shown(value: Any) -> str:
    """A value in a few characters."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else str(value)
    return str(value)


def write_csv(path: pathlib.Path, rows: Sequence[dict[str, Any]]) -> None:
    """Rows as a CSV file with the union of their keys as columns."""
    heads = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, heads)
        writer.writeheader()
        writer.writerows(rows)


def write_json(path: pathlib.Path, found: Any) -> None:
    """An object as JSON that any reader takes: no NaN."""
    path.write_text(as_json(found) + "\n")


def print_json(found: Any) -> None:
    """An object as JSON, and nothing else, on stdout."""
    click.echo(as_json(found))


def as_json(found: Any) -> str:
    """JSON, with null for numbers that are not finite."""
    return json.dumps(_finite(found), indent=2, default=str, allow_nan=False)


def _finite(found):
    if isinstance(found, dict):
        return {str(key): _finite(value) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return [_finite(value) for value in found]
    if isinstance(found, float) and not math.isfinite(found):
        return None
    return found
