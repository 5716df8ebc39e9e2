"""Tables: CSV files, NumPy archives and HIGGS."""

import csv
import io
import os
import warnings
import zipfile

import numpy as np

from fixproj._datasets._dataset import (
    Dataset,
    DatasetError,
    make_dataset,
    standardised,
)
from fixproj._datasets._files import check_size, opened


# Integers with more values than this are taken for a quantity.
_MANY = 100


def read_csv(
    path: str | os.PathLike, target: str | None = None, task: str = "auto"
) -> Dataset:
    """Rows of numbers and a target.

    The first line may name the columns. The target is a class if it has names, or at
    most 100 different integers; otherwise a quantity.

    Args:
        path: of the file, which may be compressed by gzip.
        target: the name or number (from 0, negative from the end) of the target's
            column; None takes the last.
        task: "auto", "classification" or "regression".

    Raises:
        DatasetError: with the line, if a row is too short or long, or a cell no number.
    """
    name = os.fspath(path)
    with opened(path) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        try:
            rows = list(_rows(csv.reader(text), name))
        except (UnicodeDecodeError, csv.Error) as error:
            raise DatasetError(f"{name}: not a CSV file: {error}.") from error
    if not rows:
        raise DatasetError(f"{name}: the file is empty.")
    header = None
    if not any(_is_number(cell) for cell in rows[0][1]):
        header = [cell.strip() for cell in rows.pop(0)[1]]
    if not rows:
        raise DatasetError(f"{name}: the file has a header and no rows.")
    width = len(rows[0][1]) if header is None else len(header)
    column = _column(name, target, header, width)
    x = np.empty((len(rows), width - 1), np.float32)
    y = []
    for i, (line, row) in enumerate(rows):
        if len(row) != width:
            raise DatasetError(
                f"{name}, line {line}: {len(row)} cells, where {width} were expected."
            )
        y.append(row[column].strip())
        cells = row[:column] + row[column + 1 :]
        try:
            x[i] = [float(cell) for cell in cells]
        except ValueError as error:
            bad = next(cell for cell in cells if not _is_number(cell))
            raise DatasetError(f"{name}, line {line}: {bad!r} is no number.") from error
    return standardised(make_dataset(name, x, _targets(name, y, task)))


def _rows(reader, name):
    size = 0
    for row in reader:
        size += sum(map(len, row))
        check_size(name, size)
        if row and any(cell.strip() for cell in row):
            yield reader.line_num, row


def _is_number(cell):
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _column(name, target, header, width):
    if width < 2:
        raise DatasetError(f"{name}: one column only; inputs and a target are needed.")
    if target is None:
        return width - 1
    if header is not None and target in header:
        return header.index(target)
    try:
        column = int(target)
        if not -width <= column < width:
            raise ValueError
    except ValueError:
        known = f"0 to {width - 1}" if header is None else ", ".join(header)
        raise DatasetError(
            f"{name}: no column {target!r} for the target; there are {known}."
        ) from None
    return column % width


def _targets(name, cells, task):
    numbers = all(map(_is_number, cells))
    if task == "regression" or (task == "auto" and numbers):
        if not numbers:
            bad = next(cell for cell in cells if not _is_number(cell))
            raise DatasetError(f"{name}: the target {bad!r} is no number.")
        y = np.array([float(cell) for cell in cells])
        whole = bool(np.all(y == np.round(y))) and len(np.unique(y)) <= _MANY
        return y.astype(np.int64) if task == "auto" and whole else y
    return np.array(cells)


_PAIRS = (("x", "y"), ("X", "y"), ("x_train", "y_train"), ("X_train", "y_train"))


def read_npz(path: str | os.PathLike, task: str = "auto") -> Dataset:
    """Arrays `x`, `y`, or `x_train`, `y_train`, `x_test`, `y_test`, of an archive.

    Integers are classes and floats are targets unless `task` says otherwise. Bytes as
    inputs are divided by 255; other inputs are taken as they are.

    Raises:
        DatasetError: if the archive is damaged, larger than the limit, holds Python
            objects, or lacks the arrays.
    """
    name = os.fspath(path)
    arrays = read_arrays(path)
    for first, second in _PAIRS:
        if first in arrays and second in arrays:
            break
    else:
        raise DatasetError(
            f"{name}: arrays 'x' and 'y' (or 'x_train', 'y_train') are needed, found "
            f"{', '.join(map(repr, arrays)) or 'none'}."
        )
    x, y = _scaled(arrays[first]), _as_task(arrays[second], task)
    test = None
    held = [key.replace("train", "test") for key in (first, second)]
    if held != [first, second] and all(key in arrays for key in held):
        test = _scaled(arrays[held[0]]), _as_task(arrays[held[1]], task)
    return make_dataset(name, x, y, test)


def read_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """All arrays of a `.npz` file, without ever unpickling."""
    name = os.fspath(path)
    try:
        with zipfile.ZipFile(path) as archive:
            check_size(path, sum(info.file_size for info in archive.infolist()))
        with np.load(path, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}
    except DatasetError:
        raise
    except OSError as error:
        raise DatasetError(f"{name}: {error.strerror or error}.") from error
    except Exception as error:
        # zipfile, zlib and numpy raise a dozen kinds for damaged files.
        reason = "it holds Python objects" if "pickle" in str(error) else str(error)
        raise DatasetError(f"{name}: not a readable .npz file: {reason}.") from error


def _scaled(x):
    return x.astype(np.float32) / 255 if x.dtype == np.uint8 else x


def _as_task(y, task):
    if task == "regression":
        return y.astype(np.float32) if y.dtype.kind in "fiub" else y
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if task == "classification" and y.dtype.kind == "f":
        return y.astype(np.int64) if np.all(y == np.round(y)) else y.astype(str)
    return y


def read_higgs(path: str | os.PathLike, examples: int | None) -> Dataset:
    """The label and 28 columns of HIGGS; the last part of the rows read is the test.

    P. Baldi, P. Sadowski and D. Whiteson, Nature Communications 5, 4308 (2014).
    """
    name = os.fspath(path)
    with opened(path) as file:
        try:
            with warnings.catch_warnings():
                # An empty file is worth a warning only.
                warnings.simplefilter("error")
                table = np.loadtxt(file, np.float32, delimiter=",", max_rows=examples)
        except (ValueError, UserWarning) as error:
            raise DatasetError(f"{name}: not the HIGGS table: {error}.") from error
    if table.ndim != 2 or table.shape[1] != 29:
        raise DatasetError(f"{name}: HIGGS has 29 columns, found shape {table.shape}.")
    y = table[:, 0].astype(np.int32)
    return standardised(make_dataset("higgs", table[:, 1:], y, None, ("no", "yes")))
