"""One file with the arrays of a pytree; written whole or not at all.

Equinox writes the leaves; a line of JSON before them says what they are.
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


_Tree = TypeVar("_Tree")
_FORMAT = "fixproj-pytree-1"


def save(path: str | os.PathLike, tree: PyTree, info: Any = None) -> None:
    """Writes the arrays and numbers of a tree to a file.

    The file is replaced in one step: whoever reads it, or dies while writing, finds
    the old one or the new one.

    Args:
        path: of the file; its directory must exist.
        tree: any pytree of arrays, numbers and PRNG keys; other leaves are left out.
        info: anything that `json` can write, returned by `nn.load_info`.

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
    header = {"format": _FORMAT, "info": info, "leaves": _describe(tree)}
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
        path: of the file.
        like: a tree with the leaves that were saved; its values do not matter.

    Returns:
        A tree like `like` with the saved values.

    Raises:
        ValueError: if the file is none of `nn.save`, or its leaves have other paths,
            shapes or dtypes; names the first.
        FileNotFoundError: if there is no such file.
    """
    with open(path, "rb") as file:
        header = _header(path, file)
        saved, wanted = header["leaves"], _describe(like)
        if saved != wanted:
            a, b = next(
                ((a, b) for a, b in zip(saved, wanted, strict=False) if a != b),
                (f"{len(saved)} leaves", f"{len(wanted)} leaves"),
            )
            raise ValueError(
                f"load: {os.fspath(path)!r} does not fit: it has {a}, expected {b}."
            )
        return _with_keys(eqx.tree_deserialise_leaves(file, _without_keys(like)), like)


def load_info(path: str | os.PathLike) -> Any:
    """The `info` that `nn.save` was given.

    Args:
        path: of the file.

    Returns:
        What was saved, as `json` reads it.

    Raises:
        ValueError: if the file is none of `nn.save`.
    """
    with open(path, "rb") as file:
        return _header(path, file)["info"]


def _header(path, file):
    try:
        header = json.loads(file.readline())
        if header["format"] == _FORMAT:
            return header
    except (ValueError, KeyError, TypeError):
        pass
    raise ValueError(f"{os.fspath(path)!r} is not a file that nn.save wrote.")


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
