"""What happens around every call of a module: checks, and who is watching.

`init` and `tabulate` run a model abstractly and look at its layers on the way. A
watcher is told of each call; without one, a call checks that the layer is initialised.
"""

import functools
import threading
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import equinox as eqx
import jax

from fixproj.nn._module._errors import LayerError
from fixproj.nn._module._initializer import Initializer


class _Watchers(threading.local):
    def __init__(self):
        self.stack: list[Any] = []


_watchers = _Watchers()


@contextmanager
def watching(watcher: Any):
    """While it lasts, `watcher.before(module, args)` and `.after(module, y)` are told.

    `before` returns the module to call, which may be another.
    """
    _watchers.stack.append(watcher)
    try:
        yield watcher
    finally:
        _watchers.stack.pop()


def is_watched() -> bool:
    """Whether the current call is an abstract one, of `init` or `tabulate`."""
    return bool(_watchers.stack)


def watched(call: Callable) -> Callable:
    """A module's `__call__` with what happens around it."""

    @functools.wraps(call)
    def __call__(self, *args, **kwargs):
        stack = _watchers.stack
        try:
            if not stack:
                _check_initialised(self)
                return call(self, *args, **kwargs)
            module = stack[-1].before(self, args)
            y = call(module, *args, **kwargs)
            stack[-1].after(self, y)
            return y
        except LayerError as error:
            error.enter(self)
            raise

    return __call__


def own_leaves(module: Any) -> list[Any]:
    """The leaves of a module's own fields, without those of modules inside."""
    return jax.tree.leaves(
        module, is_leaf=lambda n: n is not module and isinstance(n, eqx.Module)
    )


def _check_initialised(module) -> None:
    for value in module.__dict__.values():
        kind = type(value)
        if kind is Initializer or (
            kind in (list, tuple, dict)
            and any(
                type(leaf) is Initializer
                for leaf in jax.tree.leaves(
                    value, is_leaf=lambda n: isinstance(n, eqx.Module)
                )
            )
        ):
            raise LayerError(
                "it is not initialised. Call model.init(key, x) with an example "
                "input first, or model.init(key) where no shape is to be inferred.",
                module,
            )
