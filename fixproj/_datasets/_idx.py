"""The IDX format of MNIST: two zero bytes, a type, the number of axes, sizes, data.

Y. LeCun, C. Cortes and C. Burges, The MNIST database, section "File formats".
"""

import math
import os
import struct

import numpy as np

from fixproj._datasets._dataset import DatasetError
from fixproj._datasets._files import check_at_end, opened, read_exactly


_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """The array in an IDX file, which may be compressed by gzip.

    Raises:
        DatasetError: if it is no IDX file, or not as long as its header says.
    """
    with opened(path) as file:
        magic = read_exactly(file, 4, path)
        if magic[:2] != b"\0\0" or magic[2] not in _TYPES or magic[3] == 0:
            raise DatasetError(
                f"{os.fspath(path)}: not an IDX file, it starts with {magic.hex(' ')}."
            )
        shape = struct.unpack(f">{magic[3]}I", read_exactly(file, 4 * magic[3], path))
        dtype = np.dtype(_TYPES[magic[2]])
        data = read_exactly(file, math.prod(shape) * dtype.itemsize, path)
        check_at_end(file, path)
    return np.frombuffer(data, dtype).astype(dtype.newbyteorder("=")).reshape(shape)
