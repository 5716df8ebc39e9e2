"""Turns a MATLAB file into a NumPy archive; run as a program of its own.

SciPy's reader trusts the file: a damaged one can crash the process, or ask for any
amount of memory. So it gets a process that may crash, with a limit on its memory.

    python _mat_reader.py INPUT OUTPUT LIMIT_BYTES
"""

import contextlib
import sys

import numpy as np
import scipy.io


def main() -> None:
    """Writes every array of the file; an error ends it with one line on stderr."""
    source, target, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with contextlib.suppress(ImportError):  # not on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        found = scipy.io.loadmat(source, appendmat=False)
        arrays = {}
        for name, value in found.items():
            if name.startswith("__"):
                continue
            value = value.toarray() if hasattr(value, "toarray") else np.asarray(value)
            if value.dtype.kind in "fiubc":
                arrays[name] = value
        np.savez(target, **arrays)
    except BaseException as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
