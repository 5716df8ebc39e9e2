"""Damaged and hostile files: every loader gives data or an error that names the file.

Valid files are cut, lengthened, and have bytes changed, among them the sizes in their
headers. Memory is limited to what a loader may take, so that a header which promises
terabytes is found out.
"""

import gzip
import io
import pickle
import struct
import tracemalloc
import zipfile

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.io

from fixproj import nn
from fixproj._cli._problem_files import FileError, read_program, read_puzzles
from fixproj._datasets import DatasetError, _cifar10
from fixproj._datasets._idx import read_idx
from fixproj._datasets._table import read_csv, read_higgs, read_npz
from fixproj._datasets._text import read_text


pytestmark = pytest.mark.one_precision
RNG = np.random.default_rng(0)


def _npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _mat(**arrays):
    file = io.BytesIO()
    scipy.io.savemat(file, arrays)
    return file.getvalue()


def _csv(columns):
    rows = RNG.normal(size=(12, columns)).round(3)
    rows[:, 0] = np.arange(12) % 2
    return "\n".join(",".join(map(str, row)) for row in rows).encode()


IDX = b"\0\0\x08\x03" + struct.pack(">3I", 4, 3, 2) + bytes(range(24))
PROGRAM = {
    "P": np.eye(2),
    "q": np.ones(2),
    "A": np.eye(2),
    "l": -np.ones(2),
    "u": np.ones(2),
}
MODEL = nn.Linear(2, 3).init(0)


def _load_model(path):
    return nn.load(path, MODEL)


def _saved_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model"
    nn.save(path, MODEL)
    return path.read_bytes()


LOADERS = {
    "idx": (read_idx, IDX, "file"),
    "idx.gz": (read_idx, gzip.compress(IDX), "file.gz"),
    "cifar10": (_cifar10.read_cifar10, bytes(3 * _cifar10.RECORD), "data_batch_1.bin"),
    "csv": (read_csv, b"y,a,b\n" + _csv(3), "file.csv"),
    "higgs": (lambda path: read_higgs(path, 8), _csv(29), "HIGGS.csv"),
    "text": (lambda path: read_text(path, 4), b"to be or not to be. " * 20, "file.txt"),
    "npz": (read_npz, _npz(x=np.ones((6, 2)), y=np.arange(6) % 2), "file.npz"),
    "program.npz": (read_program, _npz(**PROGRAM), "program.npz"),
    "program.mat": (read_program, _mat(**PROGRAM), "program.mat"),
    "sudoku": (read_puzzles, b"53..7...." * 9, "sudoku.txt"),
    "model": (_load_model, None, "model"),
}
EXPECTED = (DatasetError, FileError, ValueError, RuntimeError, OSError)

edits = st.lists(
    st.one_of(
        st.tuples(st.just("cut"), st.floats(0, 1)),
        st.tuples(
            st.just("insert"), st.floats(0, 1), st.binary(min_size=1, max_size=8)
        ),
        st.tuples(st.just("change"), st.floats(0, 0.999), st.integers(1, 255)),
        st.tuples(
            st.just("header"), st.integers(0, 24), st.binary(min_size=4, max_size=4)
        ),
    ),
    min_size=1,
    max_size=3,
)


def _damaged(content, changes):
    content = bytearray(content)
    for kind, where, *what in changes:
        at = where if kind == "header" else int(where * len(content))
        if kind == "cut":
            del content[at:]
        elif kind == "insert":
            content[at:at] = what[0]
        elif kind == "header":
            content[at : at + 4] = what[0]
        elif content:
            content[at] ^= what[0]
    return bytes(content)


def _tried(read, path):
    """Whether the file was read; an error is one of those that are promised."""
    try:
        read(path)
    except EXPECTED as error:
        assert str(error)
        return False
    return True


def fuzz(name, examples, tmp_path_factory, seed=0):
    """How many damaged files were read as data, and how many refused."""
    read, content, file_name = LOADERS[name]
    if content is None:
        content = _saved_model(tmp_path_factory)
    path = tmp_path_factory.mktemp("fuzz") / file_name
    path.write_bytes(content)
    read(path)
    counts = {True: 0, False: 0}

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(edits)
    def search(changes):
        path.write_bytes(_damaged(content, changes))
        tracemalloc.start()
        counts[_tried(read, path)] += 1
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100e6, f"{peak:.0f} bytes for a file of {len(content)}"

    search()
    return counts


@pytest.fixture(autouse=True)
def _short_batches(monkeypatch):
    monkeypatch.setattr(_cifar10, "RECORDS", 3)


@pytest.mark.parametrize("name", LOADERS)
def test_damaged_files(name, tmp_path_factory):
    examples = 4 if name == "program.mat" else 40
    counts = fuzz(name, examples, tmp_path_factory)
    assert sum(counts.values()) >= examples


@pytest.mark.slow
@pytest.mark.parametrize("name", LOADERS)
def test_many_damaged_files(name, tmp_path_factory):
    # SciPy's reader of MATLAB files runs in a process of its own.
    examples = 100 if name == "program.mat" else 2000
    counts = fuzz(name, examples, tmp_path_factory, seed=1)
    print(f"{name}: {counts[False]} refused, {counts[True]} read")


class _Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


@pytest.mark.parametrize("read", [read_npz, read_program], ids=["data", "program"])
def test_nothing_is_unpickled(read, tmp_path):
    path = tmp_path / "trap.npz"
    array = np.empty(1, object)
    array[0] = _Trap()
    np.savez(path, x=array, y=array, P=array, q=array, A=array, l=array, u=array)
    with pytest.raises((DatasetError, FileError)):
        read(path)
    model = tmp_path / "model"
    model.write_bytes(pickle.dumps(_Trap()))
    with pytest.raises(ValueError, match="not a file that nn.save wrote"):
        nn.load(model, MODEL)


def test_names_in_archives_lead_nowhere(tmp_path):
    """An entry `../x` of an archive is not written anywhere."""
    path = tmp_path / "inside" / "archive.npz"
    path.parent.mkdir()
    path.write_bytes(_npz(x=np.ones((6, 2)), y=np.arange(6) % 2))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../escaped.npy", b"no array")
    _tried(read_npz, path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["archive.npz", "inside"]


def test_a_header_that_promises_terabytes(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"\0\0\x0e\x03" + struct.pack(">3I", 2**31, 2**31, 2) + b"data")
    with pytest.raises(DatasetError, match="file"):
        read_idx(path)
