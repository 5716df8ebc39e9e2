"""CIFAR-10's binary version: records of one label and 3072 bytes, plane by plane.

A. Krizhevsky, Learning multiple layers of features from tiny images (2009).
"""

import os

import numpy as np

from fixproj._datasets._dataset import DatasetError
from fixproj._datasets._files import check_at_end, opened, read_exactly


RECORD = 1 + 3 * 32 * 32
RECORDS = 10_000


def read_cifar10(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """Images (10000, 32, 32, 3) and labels (10000,) of one file, both uint8.

    Raises:
        DatasetError: if the file is not exactly that long, or a label is above 9.
    """
    with opened(path) as file:
        data = np.frombuffer(read_exactly(file, RECORD * RECORDS, path), np.uint8)
        check_at_end(file, path)
    data = data.reshape(RECORDS, RECORD)
    labels = data[:, 0]
    if labels.max() > 9:
        raise DatasetError(f"{os.fspath(path)}: a label is {labels.max()}, above 9.")
    return data[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels
