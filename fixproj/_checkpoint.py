"""Where a solve was, on disk, so that it goes on there bit by bit as it would have.

Orbax writes every saving into a directory of its own and renames it when it is
complete, so that a process may die at any moment. Beside the arrays lies a header that
says what they are, with a checksum of their bits:

    sum_i (2 i + 1) bits_i    modulo 2^32, over the 32-bit words of each array

which is a sum, so that every process of a sharded solve finds the same.
"""

import dataclasses
import errno
import os
import pathlib
import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, PyTree

from ._check import check_positive_int


_FORMAT = "fixproj-solve-1"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Where and how often [`fixproj.solve_in_chunks`][] saves its progress.

    If the directory holds a saving when the solve starts, it goes on from the newest
    one, and takes exactly the steps that a solve which was not interrupted takes. A
    saving of other numbers (in the problem, the method, the iteration or the
    tolerances) is refused; what a function closes over cannot be compared. Needs Orbax:
    `pip install 'fixproj[nn]'`.

    Args:
        path: of a directory, made if it does not exist; on several processes one that
            all of them see.
        steps: save after every so many steps, and at the end.
        keep: how many savings are kept; the oldest are removed after a new one is
            complete.

    Raises:
        ValueError: if `steps` or `keep` is not an integer >= 1.

    Examples:
        >>> import fixproj as fp
        >>> every_thousand = fp.Checkpoint("out/long-solve", steps=1000)
    """

    path: str | os.PathLike
    steps: int = 1000
    keep: int = 2

    def __post_init__(self):
        check_positive_int("Checkpoint", "steps", self.steps)
        check_positive_int("Checkpoint", "keep", self.keep)


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written, cannot be read, or is of another solve."""


# After Ctrl-C has cut a saving short, threads of Orbax may still be writing it.
_IN_THE_WAY = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT)
_TRIES, _PAUSE = 10, 0.2  # seconds


class Store:
    """The savings of one solve; to be used in a `with` statement.

    Args:
        checkpoint: where, and how many are kept.
        question: all that the steps depend on; a saving of another one is refused.

    Raises:
        CheckpointError: if the directory cannot be made or read.
        ImportError: if Orbax is not installed.
    """

    def __init__(self, checkpoint: Checkpoint, question: PyTree):
        self._ocp = _orbax()
        self._path = pathlib.Path(checkpoint.path).absolute()
        self._question = _fingerprint(question)
        options = self._ocp.CheckpointManagerOptions(
            max_to_keep=checkpoint.keep, enable_async_checkpointing=False
        )
        with self._named("read"):
            self._path.mkdir(parents=True, exist_ok=True)
            self._manager = self._ocp.CheckpointManager(self._path, options=options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._manager.close()

    @property
    def newest(self) -> int | None:
        """The steps that the newest saving has behind it; None if there is none."""
        return self._manager.latest_step()

    def save(self, steps: int, state: PyTree) -> None:
        """Saves a state, and then removes the oldest savings.

        Raises:
            CheckpointError: if it cannot be written; those before are still there.
        """
        leaves = _named_leaves(state)
        header = {
            "format": _FORMAT,
            "question": self._question,
            "leaves": _describe(leaves),
            "checksum": int(_checksum(leaves)),
        }
        args = self._ocp.args
        items = args.Composite(
            header=args.JsonSave(header), leaves=args.StandardSave(leaves)
        )
        with self._named("written"):
            for left in reversed(range(_TRIES)):
                try:
                    self._manager.save(steps, args=items, force=True)
                    break
                except OSError as error:
                    if error.errno not in _IN_THE_WAY or not left:
                        raise
                    time.sleep(_PAUSE)

    def load(self, like: PyTree) -> PyTree:
        """The newest saving, as a tree like `like`, with its shardings.

        Raises:
            CheckpointError: if it is damaged, or of another problem, method or
                iteration, or of another version of the library. Nothing is removed.
        """
        step = self.newest
        args = self._ocp.args
        with self._named("read", step):
            header = self._manager.restore(
                step, args=args.Composite(header=args.JsonRestore())
            )["header"]
        if not isinstance(header, dict) or header.get("format") != _FORMAT:
            found = header.get("format") if isinstance(header, dict) else None
            raise self._error(step, f"has the format {found!r}, expected {_FORMAT!r}")
        wanted = _named_leaves(like)
        for name, ours in (
            ("question", self._question),
            ("leaves", _describe(wanted)),
        ):
            if header.get(name) != ours:
                raise self._error(
                    step,
                    "is of another solve: the problem, the method or the iteration "
                    "differ in structure or in value",
                )
        with self._named("read", step):
            leaves = self._manager.restore(
                step, args=args.Composite(leaves=args.StandardRestore(wanted))
            )["leaves"]
        if int(_checksum(leaves)) != header.get("checksum"):
            raise self._error(
                step, "is damaged: its checksum is not that of its numbers"
            )
        return jtu.tree_map_with_path(lambda p, x: _restored(leaves, p, x), like)

    def _error(self, step, what):
        others = [s for s in self._manager.all_steps() if s != step]
        remedy = (
            f"Remove {self._path / str(step)} to go on from step {max(others)}."
            if others
            else f"Remove {self._path} to start anew."
        )
        return CheckpointError(
            f"The checkpoint {self._path / str(step)} {what}. {remedy}"
        )

    def _named(self, verb, step=None):
        return _NamedFailure(self, verb, step)


class _NamedFailure:
    """Turns whatever the file system or Orbax raises into an error that says more."""

    def __init__(self, store, verb, step):
        self._store, self._verb, self._step = store, verb, step

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if error is None or not isinstance(error, Exception):
            return False
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        if self._step is not None:
            raise self._store._error(
                self._step, f"cannot be {self._verb}: {reason[0]}"
            ) from error
        raise CheckpointError(
            f"The checkpoint {self._store._path} cannot be {self._verb}: {reason[0]} "
            "Savings that were complete are still there."
        ) from error


def _named_leaves(tree: PyTree) -> dict[str, Any]:
    """The arrays by path, keys as their data. Orbax writes no array of size zero."""
    return {
        jtu.keystr(path): jr.key_data(x) if _is_key(x) else x
        for path, x in jtu.tree_leaves_with_path(tree)
        if isinstance(x, jax.Array | np.ndarray) and x.size
    }


def _restored(leaves, path, like):
    name = jtu.keystr(path)
    if name not in leaves:
        return like
    if _is_key(like):
        return jr.wrap_key_data(leaves[name], impl=jr.key_impl(like))
    return leaves[name]


def _describe(leaves: dict[str, Array]) -> list[str]:
    return [f"{name} {x.dtype}{list(x.shape)}" for name, x in sorted(leaves.items())]


def _fingerprint(tree: PyTree) -> list[Any]:
    """What two problems must share for a state of the one to be of use to the other.

    Functions are not compared: nothing of them stays the same in another process.
    """
    leaves = _named_leaves(tree)
    numbers = [repr(x) for x in jtu.tree_leaves(tree) if isinstance(x, int | float)]
    return [_describe(leaves), numbers, int(_checksum(leaves))]


def _checksum(leaves: dict[str, Array]) -> Any:
    return np.asarray(_checksum_of([x for _, x in sorted(leaves.items())]))


@jax.jit
def _checksum_of(leaves: list[Array]) -> Array:
    total = jnp.zeros((), jnp.uint32)
    for place, x in enumerate(leaves):
        words = _words(x).ravel()
        index = jnp.arange(words.size, dtype=jnp.uint32)
        total = total + (2 * place + 1) * jnp.sum(words * (2 * index + 1))
    return total


def _words(x: Array) -> Array:
    if jnp.iscomplexobj(x):
        return jnp.stack([_words(x.real), _words(x.imag)])
    if x.dtype == bool:
        return x.astype(jnp.uint32)
    bits = jnp.dtype(x.dtype).itemsize * 8
    if bits == 64:
        return jax.lax.bitcast_convert_type(x, jnp.uint32)
    narrow = {8: jnp.uint8, 16: jnp.uint16, 32: jnp.uint32}[bits]
    return jax.lax.bitcast_convert_type(x, narrow).astype(jnp.uint32)


def _is_key(x: Any) -> bool:
    return eqx.is_array(x) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def _orbax():
    try:
        import orbax.checkpoint as ocp
    except ImportError as error:
        raise ImportError(
            "Checkpoint: needs Orbax: pip install 'fixproj[nn]'."
        ) from error
    return ocp
