"""The leaves of a pytree in a directory that Orbax's `CheckpointManager` keeps.

Every saving is a new step; the manager renames its directory when it is complete and
then removes the step before.
"""

import os
import pathlib
from typing import Any

import equinox as eqx
import jax.tree_util as jtu
from jaxtyping import PyTree


def save(path: pathlib.Path, tree: PyTree, header: dict[str, Any]) -> None:
    """Writes arrays and numbers, and a header that `json` can write."""
    args, manager_of = _orbax()
    with manager_of(path) as manager:
        items = {"header": args.JsonSave(header)}
        if leaves := _named(tree):
            items["leaves"] = args.StandardSave(leaves)
        step = manager.latest_step()
        manager.save(0 if step is None else step + 1, args=args.Composite(**items))


def has_step(path: str | os.PathLike) -> bool:
    """Whether a saving was completed in the directory."""
    _, manager_of = _orbax()
    with manager_of(path, read_only=True) as manager:
        return manager.latest_step() is not None


def header(path: str | os.PathLike) -> Any:
    """The header, or None if there is none."""
    args, manager_of = _orbax()
    with manager_of(path, read_only=True) as manager:
        items = args.Composite(header=args.JsonRestore())
        try:
            return manager.restore(manager.latest_step(), args=items)["header"]
        except (KeyError, ValueError, FileNotFoundError):
            return None


def load(path: str | os.PathLike, like: PyTree) -> PyTree:
    """A tree like `like` with the saved leaves, which are known to fit."""
    args, manager_of = _orbax()
    found = {}
    if wanted := _named(like):
        with manager_of(path, read_only=True) as manager:
            items = args.Composite(leaves=args.StandardRestore(wanted))
            found = manager.restore(manager.latest_step(), args=items)["leaves"]
    return jtu.tree_map_with_path(
        lambda path, leaf: found.get(jtu.keystr(path), leaf), like
    )


def _named(tree):
    """The leaves by path. There is nothing to write of an array of size zero."""
    return {
        jtu.keystr(path): leaf
        for path, leaf in jtu.tree_leaves_with_path(tree)
        if eqx.is_array_like(leaf) and getattr(leaf, "size", 1)
    }


def _orbax():
    try:
        import orbax.checkpoint as ocp
    except ImportError as error:
        raise ImportError(
            "backend='orbax' needs Orbax: pip install 'fixproj[nn]'"
        ) from error

    def manager_of(path, read_only=False):
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None if read_only else 1,
            enable_async_checkpointing=False,
            read_only=read_only,
        )
        return ocp.CheckpointManager(os.path.abspath(path), options=options)

    return ocp.args, manager_of
