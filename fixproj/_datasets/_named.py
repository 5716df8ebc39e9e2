"""Data sets by name: where each is looked for, and how to get it."""

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from fixproj._datasets._cifar10 import read_cifar10
from fixproj._datasets._dataset import Dataset, DatasetError, make_dataset
from fixproj._datasets._idx import read_idx
from fixproj._datasets._table import read_csv, read_higgs, read_npz
from fixproj._datasets._text import read_text


NAMES = ("digits", "fashion-mnist", "mnist", "cifar10", "higgs", "text")

_CLOTHES = (
    "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker",
    "bag", "boot",
)  # fmt: skip
_THINGS = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
    "truck",
)  # fmt: skip
_FILES = {
    "fashion-mnist": ("train-images-idx3-ubyte",),
    "mnist": ("train-images-idx3-ubyte",),
    "cifar10": ("data_batch_1.bin", "cifar-10-batches-bin/data_batch_1.bin"),
    "higgs": ("HIGGS.csv",),
    "text": ("input.txt", "text.txt"),
}
_HOW = {
    "fashion-mnist": (
        "Install Debian's package dataset-fashion-mnist, or put the four idx files of "
        "https://github.com/zalandoresearch/fashion-mnist into a folder fashion-mnist"
    ),
    "mnist": "Put the four idx files of MNIST into a folder mnist",
    "cifar10": (
        "Unpack the binary version of https://www.cs.toronto.edu/~kriz/cifar.html into "
        "a folder cifar10"
    ),
    "higgs": "Put HIGGS.csv.gz of https://archive.ics.uci.edu/dataset/280 into higgs",
    "text": "Name a text file (a path ending in .txt), or put input.txt into text",
}


def where(data_dir: str | os.PathLike | None = None) -> list[pathlib.Path]:
    """The folders that are searched, in this order."""
    given = [data_dir, os.environ.get("FIXPROJ_DATA"), "data", "/usr/share/datasets"]
    return [pathlib.Path(part) for part in given if part]


def load_dataset(
    name: str,
    *,
    data_dir: str | os.PathLike | None = None,
    target: str | None = None,
    task: str = "auto",
    length: int = 16,
    examples: int | None = None,
) -> Dataset:
    """A data set by name, or from a `.csv`, `.npz` or `.txt` file.

    Args:
        name: one of `NAMES`, or a path.
        data_dir: where folders with the data sets' names are; see `where`.
        target: the column of a CSV file that is to be predicted; see `read_csv`.
        task: "auto", "classification" or "regression", for CSV and NPZ.
        length: characters before the one to guess, for text.
        examples: at most so many are read where a file is long (HIGGS, text).

    Raises:
        DatasetError: if it is not there (says how to get it), damaged or not known.
    """
    if name == "digits":
        return _digits()
    if name in ("mnist", "fashion-mnist"):
        classes = _CLOTHES if name == "fashion-mnist" else tuple("0123456789")
        return _images_idx(name, find_folder(name, data_dir), classes)
    if name == "cifar10":
        return _cifar10(find_folder(name, data_dir))
    if name == "higgs":
        return read_higgs(_file(find_folder(name, data_dir), "HIGGS.csv"), examples)
    if name == "text":
        folder = find_folder(name, data_dir)
        return read_text(_file(folder, *_FILES["text"]), length, examples)
    readers = {
        ".csv": lambda path: read_csv(path, target, task),
        ".npz": lambda path: read_npz(path, task),
        ".txt": lambda path: read_text(path, length, examples),
    }
    path = pathlib.Path(name)
    ending = next((s for s in reversed(path.suffixes) if s != ".gz"), "").lower()
    if ending not in readers:
        raise DatasetError(
            f"No data set {name!r}: it must be one of {', '.join(NAMES)}, or a file "
            "that ends in .csv, .npz or .txt."
        )
    if not path.is_file():
        raise DatasetError(f"There is no file {name!r}.")
    return readers[ending](path)


def _digits():
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DatasetError(
            "The digits come with scikit-learn: pip install 'fixproj[nn]'."
        ) from error
    images, labels = load_digits(return_X_y=True)  # pyright: ignore
    return make_dataset("digits", images / 16, labels, classes=tuple("0123456789"))


def find_folder(name: str, data_dir: str | os.PathLike | None = None) -> pathlib.Path:
    """Where the files of a named data set are.

    Raises:
        DatasetError: if they are nowhere; says how to get them.
    """
    tried = []
    for root in where(data_dir):
        # The folder itself may be given.
        for folder in (root / name, root):
            for first in _FILES[name]:
                for ending in ("", ".gz"):
                    if (folder / (first + ending)).is_file():
                        return (folder / first).parent
        tried.append(str(root / name))
    raise DatasetError(
        f"The data set {name} was not found in {', '.join(tried)}. {_HOW[name]}, and "
        "name the folder above it with --data-dir or FIXPROJ_DATA. (`digits` needs no "
        "files: it comes with scikit-learn.)"
    )


def _file(folder: pathlib.Path, *names: str) -> pathlib.Path:
    for name in names:
        for path in (folder / name, folder / (name + ".gz")):
            if path.is_file():
                return path
    raise DatasetError(f"There is no {names[0]} or {names[0]}.gz in {folder}.")


def _images_idx(name: str, folder: pathlib.Path, classes: Sequence[str]) -> Dataset:
    parts = []
    for part in ("train", "t10k"):
        path = _file(folder, f"{part}-images-idx3-ubyte")
        images = read_idx(path)
        if images.ndim != 3 or images.dtype != np.uint8:
            raise DatasetError(
                f"{path}: images must be bytes of shape (examples, rows, columns), got "
                f"{images.dtype} of shape {images.shape}."
            )
        labels = read_idx(_file(folder, f"{part}-labels-idx1-ubyte"))
        parts.append((images[..., None].astype(np.float32) / 255, labels))
    (x, y), test = parts
    return make_dataset(name, x, y, test, classes)


def _cifar10(folder: pathlib.Path) -> Dataset:
    parts = [read_cifar10(_file(folder, f"data_batch_{i}.bin")) for i in range(1, 6)]
    x = np.concatenate([images for images, _ in parts]).astype(np.float32) / 255
    y = np.concatenate([labels for _, labels in parts])
    images, labels = read_cifar10(_file(folder, "test_batch.bin"))
    test = images.astype(np.float32) / 255, labels
    return make_dataset("cifar10", x, y, test, _THINGS)
