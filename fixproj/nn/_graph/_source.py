"""The line of the user's source that an equation comes from."""

import os
import sys
from collections.abc import Sequence

import jax


_LIBRARIES = (
    "jax",
    "jaxlib",
    "equinox",
    "flax",
    "optax",
    "haiku",
    "jaxtyping",
    "fixproj",
)


def describe_source(chain: Sequence[tuple[object, str]]) -> str:
    """`file:line (in function)`, or a phrase saying that it is not known.

    Args:
        chain: from the outermost call to the equation itself, pairs of a traceback
            (or None) and the file of the function that the equation stands in. JAX
            caches the equations of its own jitted functions, whose tracebacks are then
            those of the first caller; so the chain is followed inwards only as far as
            it stays in the user's functions.
    """
    followed = chain[:1]
    for link in chain[1:]:
        if _is_library(link[1]):
            break
        followed = [*followed, link]
    fallback = None
    for traceback, _ in reversed(followed):
        for frame in _frames(traceback):
            line = f"{frame.file_name}:{frame.line_num} (in {frame.function_name})"
            if not _is_library(frame.file_name):
                return line
            if fallback is None and not _is_inside(frame.file_name, "jax"):
                fallback = line
    return fallback or "a line that JAX did not record"


def _frames(traceback):
    return [] if traceback is None else list(traceback.frames)


def _is_library(file_name: str) -> bool:
    return any(_is_inside(file_name, name) for name in _LIBRARIES)


def _is_inside(file_name: str, library: str) -> bool:
    module = jax if library == "jax" else sys.modules.get(library)
    where = getattr(module, "__file__", None)
    if where is None:
        return False
    return file_name.startswith(os.path.dirname(where) + os.sep)
