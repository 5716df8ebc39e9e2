"""Reading files that may be damaged, hostile or larger than the memory."""

import contextlib
import gzip
import os
import pathlib
import zlib
from collections.abc import Iterator
from typing import IO

from fixproj._datasets._dataset import DatasetError


# Bytes of one array after decompression.
LIMIT = 4 << 30
_PIECE = 1 << 24


def check_size(path: str | os.PathLike, size: int) -> None:
    """Raises DatasetError where a file says that it holds more than the limit."""
    if size > LIMIT:
        raise DatasetError(
            f"{os.fspath(path)}: {size / 2**30:.1f} GiB are more than the limit of "
            f"{LIMIT / 2**30:.0f} GiB."
        )


@contextlib.contextmanager
def opened(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """The bytes of a file, decompressed if it is a gzip; damage is a DatasetError."""
    path = pathlib.Path(path)
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            yield gzip.GzipFile(fileobj=raw) if zipped else raw  # pyright: ignore
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DatasetError(f"{path}: the gzip file is cut short or damaged.") from error
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror or error}.") from error


def read_exactly(file: IO[bytes], count: int, path: str | os.PathLike) -> bytes:
    """That many bytes.

    Raises:
        DatasetError: if the file ends before, or `count` is above the limit.
    """
    check_size(path, count)
    # Piece by piece: a file may promise more than there is memory, and hold nothing.
    found = bytearray()
    while len(found) < count:
        piece = file.read(min(count - len(found), _PIECE))
        if not piece:
            break
        found += piece
    if len(found) != count:
        raise DatasetError(
            f"{os.fspath(path)}: cut short, {count} bytes were due and {len(found)} "
            "are left."
        )
    return bytes(found)


def check_at_end(file: IO[bytes], path: str | os.PathLike) -> None:
    """Raises DatasetError if something follows."""
    if file.read(1):
        raise DatasetError(f"{os.fspath(path)}: longer than its header says.")
