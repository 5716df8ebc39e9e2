"""Loaders: files written here by hand in each format, whole and damaged."""

import gzip
import pickle
import struct

import numpy as np
import pytest

from fixproj._datasets import DatasetError, _cifar10, load_dataset
from fixproj._datasets._idx import read_idx


pytestmark = pytest.mark.one_precision


def _idx(array):
    head = struct.pack(">HBB", 0, 8, array.ndim)
    return head + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def mnist(tmp_path):
    folder = tmp_path / "mnist"
    folder.mkdir()
    draw = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 7), ("t10k", 3)):
        images = draw.integers(0, 256, (count, 28, 28), np.uint8)
        labels = draw.integers(0, 10, count).astype(np.uint8)
        arrays[part] = images, labels
        (folder / f"{part}-images-idx3-ubyte").write_bytes(_idx(images))
        labels = gzip.compress(_idx(labels))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(labels)
    return tmp_path, arrays


def test_mnist(mnist):
    root, arrays = mnist
    data = load_dataset("mnist", data_dir=root)
    assert data.x.shape == (7, 28, 28, 1) and data.outputs == 10
    np.testing.assert_array_equal(np.round(data.x[..., 0] * 255), arrays["train"][0])
    np.testing.assert_array_equal(data.y, arrays["train"][1])
    np.testing.assert_array_equal(data.test_y, arrays["t10k"][1])


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda raw: raw[:-1], "cut short"),
        (lambda raw: raw[:6], "cut short"),
        (lambda raw: raw + b"\0", "longer than"),
        (lambda raw: b"\1" + raw[1:], "not an IDX file"),
        (lambda raw: b"", "cut short"),
        (lambda raw: gzip.compress(raw)[:-9], "cut short or damaged"),
        (lambda raw: gzip.compress(raw)[:30] + b"garbage", "cut short or damaged"),
        # A header that promises more than any memory holds.
        (lambda raw: struct.pack(">HBB", 0, 8, 3) + b"\xff" * 12, "limit"),
    ],
)
def test_damaged_idx_files(tmp_path, damage, message):
    path = tmp_path / "images"
    path.write_bytes(damage(_idx(np.arange(50, dtype=np.uint8).reshape(2, 5, 5))))
    with pytest.raises(DatasetError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_cifar10(tmp_path, monkeypatch):
    monkeypatch.setattr(_cifar10, "RECORDS", 20)
    record = np.arange(_cifar10.RECORD, dtype=np.int64).astype(np.uint8)
    batch = np.tile(record, (20, 1))
    batch[:, 0] = np.arange(20) % 10
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        (tmp_path / f"{name}.bin").write_bytes(batch.tobytes())
    data = load_dataset("cifar10", data_dir=tmp_path)
    assert data.x.shape == (100, 32, 32, 3) and data.classes is not None
    # Red, green and blue planes follow one another in a record.
    planes = record[1:].reshape(3, 32, 32)
    np.testing.assert_allclose(data.x[3, 5, 7], planes[:, 5, 7] / 255, rtol=1e-6)
    (tmp_path / "data_batch_3.bin").write_bytes(batch.tobytes()[:-1])
    with pytest.raises(DatasetError, match="data_batch_3.bin: cut short"):
        load_dataset("cifar10", data_dir=tmp_path)


def test_csv_with_names_and_classes(tmp_path):
    path = tmp_path / "flowers.csv"
    rows = [f"{i},{2 * i},{'rose' if i % 2 else 'lily'}" for i in range(10)]
    path.write_text("length,width,kind\n" + "\n".join(rows) + "\n")
    data = load_dataset(str(path))
    assert data.classes == ("lily", "rose")
    assert len(data.x) == 8 and len(data.test_x) == 2
    np.testing.assert_allclose(data.x.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(data.x.std(0), 1, rtol=1e-5)
    path.write_text("\n".join(f"{i},{i / 7}" for i in range(10)))
    data = load_dataset(str(path), target="0", task="regression")
    assert data.classes is None and data.outputs == 1 and data.loss == "squared"
    every = np.concatenate([data.y, data.test_y]).ravel()
    np.testing.assert_array_equal(np.sort(every), np.arange(10))


@pytest.mark.parametrize(
    "text, options, message",
    [
        ("1,2\n3,4\n5\n6,7\n8,9\n", {}, "line 3: 1 cells"),
        ("1,2\n3,4\nx,6\n6,7\n8,9\n", {}, "line 3: 'x' is no number"),
        ("1,2\n3,4\nnan,6\n6,7\n8,9\n", {}, "not finite in row 2"),
        ("a,b\n1,2\n3,4\n", {"target": "c"}, "no column 'c'"),
        ("1,2\n3,4\n", {"target": "7"}, "no column '7'"),
        ("1,2\n3,4\n", {}, "too few"),
        ("1,a\n3,b\n", {"task": "regression"}, "'a' is no number"),
        ("1,2\n" * 9, {}, "one class only: 2"),
        ("", {}, "empty"),
        ("a,b\n", {}, "no rows"),
        ("1\n2\n", {}, "one column"),
    ],
)
def test_wrong_csv_files(tmp_path, text, options, message):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(DatasetError, match=message):
        load_dataset(str(path), **options)


def test_npz(tmp_path):
    path = tmp_path / "data.npz"
    draw = np.random.default_rng(0)
    x = draw.integers(0, 256, (6, 3), np.uint8)
    y = np.array([0, 1, 2, 0, 1, 2])
    np.savez(path, x_train=x, y_train=y, x_test=x[:2], y_test=y[:2])
    data = load_dataset(str(path))
    np.testing.assert_allclose(data.x, x / 255, rtol=1e-6)
    np.testing.assert_array_equal(data.test_y, [0, 1])
    assert data.classes == ("0", "1", "2")


class _Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def test_wrong_npz_files(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x=np.array([_Trap(), _Trap()], object), y=np.arange(2))
    with pytest.raises(DatasetError, match="Python objects"):
        load_dataset(str(path))
    path.write_bytes(pickle.dumps(np.arange(3)))
    with pytest.raises(DatasetError, match="not a readable"):
        load_dataset(str(path))
    np.savez(path, a=np.arange(2))
    with pytest.raises(DatasetError, match="found 'a'"):
        load_dataset(str(path))
    np.savez(path, x=np.ones((6, 2)), y=np.arange(5))
    with pytest.raises(DatasetError, match="as many examples"):
        load_dataset(str(path))


def test_text(tmp_path):
    path = tmp_path / "words.txt"
    text = "abcd" * 100
    path.write_text(text)
    data = load_dataset(str(path), length=5, examples=50)
    assert data.x.shape == (50, 5, 4) and data.outputs == 4
    # In this text the next letter follows from the last one.
    np.testing.assert_array_equal(data.y, (data.x[:, -1].argmax(1) + 1) % 4)
    path.write_bytes(b"\xff\xfe" * 300)
    with pytest.raises(DatasetError, match="not UTF-8"):
        load_dataset(str(path))
    path.write_text("short")
    with pytest.raises(DatasetError, match="too few"):
        load_dataset(str(path))


def test_higgs(tmp_path):
    draw = np.random.default_rng(0)
    table = np.column_stack([np.arange(40) % 2, draw.normal(size=(40, 28))])
    np.savetxt(tmp_path / "HIGGS.csv", table, delimiter=",")
    data = load_dataset("higgs", data_dir=tmp_path, examples=20)
    assert len(data.x) + len(data.test_x) == 20 and data.x.shape[1] == 28
    np.savetxt(tmp_path / "HIGGS.csv", table[:, :5], delimiter=",")
    with pytest.raises(DatasetError, match="29 columns"):
        load_dataset("higgs", data_dir=tmp_path)


def test_what_is_missing_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatasetError, match="cs.toronto.edu.*--data-dir"):
        load_dataset("cifar10", data_dir=tmp_path)
    with pytest.raises(DatasetError, match="one of digits, fashion-mnist"):
        load_dataset("nist")
    with pytest.raises(DatasetError, match="no file 'gone.csv'"):
        load_dataset("gone.csv")


@pytest.mark.data
def test_fashion_mnist_of_debian():
    data = load_dataset("fashion-mnist")
    assert data.x.shape == (60_000, 28, 28, 1) and data.test_x.shape[0] == 10_000
    np.testing.assert_array_equal(np.bincount(data.y), np.full(10, 6000))
