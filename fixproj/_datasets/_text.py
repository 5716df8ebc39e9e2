"""Text: the next character from those before it, as one-hot vectors."""

import os

import numpy as np

from fixproj._datasets._dataset import Dataset, DatasetError, make_dataset
from fixproj._datasets._files import check_size, opened


EXAMPLES = 20_000


def read_text(
    path: str | os.PathLike, length: int = 16, examples: int | None = None
) -> Dataset:
    """Windows of characters of a UTF-8 file; the last tenth of it is the test.

    Args:
        path: of the file.
        length: characters before the one to guess.
        examples: windows, evenly spaced; 20000 unless given.

    Returns:
        Inputs of shape (windows, length, characters) and the next characters.

    Raises:
        DatasetError: if it is not UTF-8, too short, or has more than 256 characters.
    """
    name = os.fspath(path)
    with opened(path) as file:
        data = file.read((64 << 20) + 1)
    check_size(path, len(data))
    if len(data) > 64 << 20:
        raise DatasetError(f"{name}: more than 64 MiB of text.")
    try:
        text = np.array(list(data.decode()))
    except UnicodeDecodeError as error:
        raise DatasetError(f"{name}: not UTF-8 text: {error}.") from error
    if len(text) < 20 * (length + 1):
        raise DatasetError(
            f"{name}: {len(text)} characters are too few for windows of {length}."
        )
    letters, ids = np.unique(text, return_inverse=True)
    if len(letters) > 256:
        raise DatasetError(f"{name}: {len(letters)} different characters, at most 256.")
    cut = len(ids) - len(ids) // 10
    count = examples or EXAMPLES
    check_size(path, 5 * count * length * len(letters))
    train = _windows(ids[:cut], length, count, len(letters))
    test = _windows(ids[cut:], length, max(count // 10, 1), len(letters))
    return make_dataset(name, *train, test, tuple(map(repr, map(str, letters))))


def _windows(ids, length, count, letters):
    count = min(count, len(ids) - length)
    starts = np.linspace(0, len(ids) - length - 1, count).astype(int)
    windows = ids[starts[:, None] + np.arange(length)]
    x = np.zeros((count, length, letters), np.float32)
    np.put_along_axis(x, windows[..., None], 1.0, axis=2)
    return x, ids[starts + length].astype(np.int32)
