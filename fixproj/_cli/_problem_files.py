"""Reading quadratic programs and sudokus from files."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np

from fixproj._datasets._files import LIMIT, check_size, opened
from fixproj._datasets._table import read_arrays


class FileError(ValueError):
    """A file does not hold the problem that it should."""


_NAMES = {"P": ("P", "H"), "q": ("q",), "A": ("A",)}
_NAMES |= {"lower": ("l", "lower", "lb"), "upper": ("u", "upper", "ub")}


def read_program(path: str | os.PathLike) -> dict[str, Any]:
    """P, q, A, lower and upper as float64 arrays or None, and r as a number.

    Raises:
        FileError: if `q` is missing or an array is not of real numbers.
    """
    name = os.fspath(path)
    arrays = _read_mat(path) if name.lower().endswith(".mat") else read_arrays(path)
    found: dict[str, Any] = {}
    for key, names in _NAMES.items():
        there = [n for n in names if n in arrays]
        found[key] = _dense(name, there[0], arrays[there[0]]) if there else None
    if found["q"] is None:
        raise FileError(
            f"{name}: there is no array 'q'; found "
            f"{', '.join(map(repr, arrays)) or 'nothing'}."
        )
    for key in ("q", "lower", "upper"):
        if found[key] is not None:
            found[key] = found[key].reshape(-1)
    # What MATLAB writes for "none".
    for key in ("P", "A", "lower", "upper"):
        if found[key] is not None and found[key].size == 0:
            found[key] = None
    if found["A"] is not None and found["lower"] is None and found["upper"] is None:
        raise FileError(
            f"{name}: 'A' has no bounds: there is neither 'l' (lower) nor 'u' (upper)."
        )
    found["r"] = float(np.sum(np.asarray(arrays.get("r", 0.0))))
    return found


def _dense(name, key, array):
    if array.dtype.kind not in "fiub":
        raise FileError(f"{name}: {key!r} must be real numbers, got {array.dtype}.")
    return array.astype(np.float64)


def _read_mat(path):
    name = os.fspath(path)
    check_size(path, os.path.getsize(path))
    with opened(path) as file:
        header = file.read(128)
    if header[124:128] in (b"\x00\x02IM", b"\x02\x00MI"):
        raise FileError(f"{name}: a MATLAB 7.3 file; save it with -v7 instead.")
    # Older formats, which begin with a number below 2^24, have no mark: any file would
    # be taken for one, of any size.
    if 0 in header[:4] or header[124:128] not in (b"\x00\x01IM", b"\x01\x00MI"):
        raise FileError(
            f"{name}: not a MATLAB file of version 5 to 7.2; save it with -v7."
        )
    with tempfile.TemporaryDirectory() as folder:
        target = os.path.join(folder, "arrays.npz")
        reader = pathlib.Path(__file__).with_name("_mat_reader.py")
        command = [sys.executable, str(reader), name, target, str(2 * LIMIT)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode or not os.path.exists(target):
            reason = (done.stderr.strip().splitlines() or ["the reader crashed"])[-1]
            raise FileError(f"{name}: a damaged MATLAB file: {reason[:200]}.")
        return read_arrays(target)


def read_puzzles(path: str | os.PathLike) -> np.ndarray:
    """Sudokus of one size, (N, n, n), with 0 for an empty cell.

    Raises:
        FileError: with the line that is not part of a puzzle.
    """
    name = os.fspath(path)
    with opened(path) as file:
        data = file.read((16 << 20) + 1)
    if len(data) > 16 << 20:
        raise FileError(f"{name}: more than 16 MiB of puzzles.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(f"{name}: not a text file.") from error
    puzzles, rows = [], []
    for number, line in enumerate(text.splitlines(), 1):
        # Frames between cells, as people draw them.
        line = re.sub(r"[\s|,;]", "", line.split("#")[0])
        if not line or re.fullmatch(r"[-+=]+", line):
            continue
        line = re.sub(r"[._*?xX]", "0", line)
        if not re.fullmatch(r"[0-9]+", line):
            bad = re.sub(r"[0-9]", "", line)[0]
            raise FileError(f"{name}, line {number}: {bad!r} is not part of a sudoku.")
        cells = list(map(int, line))
        if not rows and len(cells) in (81, 16):
            size = 9 if len(cells) == 81 else 4
            puzzles.append((number, np.reshape(cells, (size, size))))
            continue
        rows.append(cells)
        if len(cells) not in (4, 9) or len(cells) != len(rows[0]):
            raise FileError(
                f"{name}, line {number}: {len(cells)} cells; a line has a whole puzzle "
                "(81) or one row of it (9)."
            )
        if len(rows) == len(rows[0]):
            puzzles.append((number, np.array(rows)))
            rows = []
    if rows:
        raise FileError(f"{name}: the last puzzle ends after {len(rows)} rows.")
    if not puzzles:
        raise FileError(f"{name}: there is no puzzle.")
    for number, puzzle in puzzles:
        if puzzle.shape != puzzles[0][1].shape:
            raise FileError(f"{name}, line {number}: a puzzle of another size.")
        if puzzle.max() > len(puzzle):
            raise FileError(f"{name}, line {number}: a digit above {len(puzzle)}.")
    return np.stack([puzzle for _, puzzle in puzzles])
