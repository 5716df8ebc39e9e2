"""The arrays of a pytree on disk; written whole or not at all.

Equinox writes the leaves into one file, after a line of JSON that says what they are;
or Orbax does, into a directory (`_orbax.py`).
"""

import json
import os
import pathlib
import tempfile
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import PyTree

from fixproj.nn._module import _orbax


_Tree = TypeVar("_Tree")
_FORMAT = "fixproj-pytree-1"
BACKENDS = ("equinox", "orbax")


def save(
    path: str | os.PathLike, tree: PyTree, info: Any = None, *, backend: str = "equinox"
) -> None:
    """Writes the arrays and numbers of a tree to disk.

    What is there is replaced in one step: whoever reads it, or dies while writing,
    finds the old one or the new one.

    Args:
        path: of the file or, with Orbax, the directory; its own directory must exist.
        tree: any pytree of arrays, numbers and PRNG keys; other leaves are left out.
        info: anything that `json` can write, returned by `nn.load_info`.
        backend: "equinox" writes one file, "orbax" a directory as Orbax's
            `CheckpointManager` does, of the newest step only, which also holds arrays
            that are sharded over devices.

    Raises:
        ValueError: if there is no such backend, or `path` is a directory that is to be
            a file, or the reverse.
        ImportError: if Orbax is asked for and not installed.

    Examples:
        >>> import os, tempfile
        >>> from fixproj import nn
        >>> model = nn.Linear(2, 3).init(0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "model.eqx")
        ...     nn.save(path, model, info={"epoch": 3})
        ...     same = nn.load(path, nn.Linear(2, 3).init(1))
        ...     nn.load_info(path)
        {'epoch': 3}
        >>> bool((same.kernel == model.kernel).all())
        True
    """
    target = pathlib.Path(path)
    check_backend(backend)
    header = {"format": _FORMAT, "info": info, "leaves": _describe(tree)}
    if target.exists() and target.is_dir() != (backend == "orbax"):
        kind = "directory" if target.is_dir() else "file"
        raise ValueError(
            f"save: {os.fspath(path)!r} is a {kind}, which backend={backend!r} does "
            "not write. Remove it or choose another path."
        )
    if backend == "orbax":
        if is_saved(target):
            # Another's steps are not to be removed.
            _orbax_header(target)
        return _orbax.save(target, tree, header)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=target.name + ".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(json.dumps(header).encode() + b"\n")
            eqx.tree_serialise_leaves(file, _without_keys(tree))
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, target)
    except BaseException:
        pathlib.Path(name).unlink(missing_ok=True)
        raise


def load(path: str | os.PathLike, like: _Tree) -> _Tree:
    """Reads what `nn.save` wrote into a tree of the same structure.

    Args:
        path: of the file, or of Orbax's directory.
        like: a tree with the leaves that were saved; its values do not matter.

    Returns:
        A tree like `like` with the saved values.

    Raises:
        ValueError: if it is none of `nn.save`, or its leaves have other paths, shapes
            or dtypes; names the first.
        FileNotFoundError: if there is nothing.
    """
    if os.path.isdir(path):
        _check_leaves(path, _orbax_header(path), like)
        return _orbax.load(path, like)
    with open(path, "rb") as file:
        _check_leaves(path, _header(path, file), like)
        return _with_keys(eqx.tree_deserialise_leaves(file, _without_keys(like)), like)


def _check_leaves(path, header, like):
    saved, wanted = header["leaves"], _describe(like)
    if saved != wanted:
        a, b = next(
            ((a, b) for a, b in zip(saved, wanted, strict=False) if a != b),
            (f"{len(saved)} leaves", f"{len(wanted)} leaves"),
        )
        raise ValueError(
            f"load: {os.fspath(path)!r} does not fit: it has {a}, expected {b}."
        )


def load_info(path: str | os.PathLike) -> Any:
    """The `info` that `nn.save` was given.

    Args:
        path: of the file, or of Orbax's directory.

    Returns:
        What was saved, as `json` reads it.

    Raises:
        ValueError: if it is none of `nn.save`.
        FileNotFoundError: if there is nothing.
    """
    if os.path.isdir(path):
        return _orbax_header(path)["info"]
    with open(path, "rb") as file:
        return _header(path, file)["info"]


def is_saved(path: str | os.PathLike) -> bool:
    """Whether there is something, complete, to be loaded."""
    return _orbax.has_step(path) if os.path.isdir(path) else os.path.exists(path)


def check_backend(backend: str) -> None:
    """Raises ValueError if there is no such backend."""
    if backend not in BACKENDS:
        known = " or ".join(map(repr, BACKENDS))
        raise ValueError(f"backend must be {known}, got {backend!r}.")


def _header(path, file):
    try:
        header = json.loads(file.readline())
        if header["format"] == _FORMAT and {"info", "leaves"} <= header.keys():
            return header
    except (ValueError, KeyError, TypeError):
        pass
    raise ValueError(f"{os.fspath(path)!r} is not a file that nn.save wrote.")


def _orbax_header(path):
    header = _orbax.header(path)
    if isinstance(header, dict) and header.get("format") == _FORMAT:
        return header
    raise ValueError(f"{os.fspath(path)!r} is not a directory that nn.save wrote.")


def _describe(tree) -> list[str]:
    flat, _ = jtu.tree_flatten_with_path(tree)
    return [
        f"{jtu.keystr(path)} {leaf.dtype}{list(leaf.shape)}"
        for path, leaf in flat
        if eqx.is_array(leaf)
    ]


def _is_key(leaf) -> bool:
    return eqx.is_array(leaf) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _without_keys(tree):
    return jax.tree.map(lambda x: jr.key_data(x) if _is_key(x) else x, tree)


def _with_keys(tree, like):
    def put(x, old):
        return jr.wrap_key_data(x, impl=jr.key_impl(old)) if _is_key(old) else x

    return jax.tree.map(put, tree, like)
