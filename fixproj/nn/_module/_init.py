"""Initialisation: keys by path, hooks bottom up, shapes by abstract evaluation."""

import zlib
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array

from fixproj.nn._module._calls import own_leaves, watching
from fixproj.nn._module._initializer import Initializer
from fixproj.nn._module._module import Module, map_modules, with_mode


def is_initialised(model: Any) -> bool:
    """See `Module.initialized`."""
    if any(type(leaf) is Initializer for leaf in jax.tree.leaves(model)):
        return False
    pending = []
    map_modules(lambda _, m: pending.append(_has_pending_hook(m)) or m, model)
    return not any(pending)


def initialise(model: Any, key: Any, inputs: tuple, options: dict) -> Any:
    """See `Module.init`."""
    key = as_key(key)
    model = jtu.tree_map_with_path(lambda p, leaf: _tagged(p, leaf, key), model)
    model = jax.tree.map(_value_without_input, model)
    model = _run_hooks(model, key)
    waiting = {
        leaf.path: leaf for leaf in jax.tree.leaves(model) if isinstance(leaf, _Tagged)
    }
    if not waiting:
        return model
    if not inputs and not options:
        raise ValueError(
            f"model{next(iter(waiting))} has a shape that follows from the input: call "
            "model.init(key, x) with an example x."
        )
    shapes = _Shapes()
    with watching(shapes):
        # What it returns may hold leaves that are still waiting.
        jax.eval_shape(lambda inputs: (model(*inputs, **options), None)[1], inputs)
    missed = [path for path in waiting if path not in shapes.found]
    if missed:
        raise ValueError(
            f"model{missed[0]} has a shape that follows from the input, but the call "
            "does not reach it; give the shape, or use the layer."
        )

    def fill(leaf):
        if not isinstance(leaf, _Tagged):
            return leaf
        return leaf.make(shapes.found[leaf.path])

    return _run_hooks(jax.tree.map(fill, model), key)


def as_key(key: Any) -> Array:
    """A PRNG key from a key or a seed.

    Raises:
        TypeError: if it is neither.
    """
    if isinstance(key, int) and not isinstance(key, bool):
        return jr.key(key)
    dtype = getattr(key, "dtype", None)
    if dtype is not None and (
        jnp.issubdtype(dtype, jax.dtypes.prng_key)
        or (dtype == jnp.uint32 and key.shape[-1:] == (2,))  # pyright: ignore
    ):
        return key  # pyright: ignore
    raise TypeError(f"key must be a PRNG key or an integer seed, got {key!r}.")


def fold_path(key: Array, path: str) -> Array:
    """The key of what is at a path."""
    return jr.fold_in(key, zlib.crc32(path.encode()))


class _Tagged(Initializer):
    """An initializer that knows where it is."""

    __slots__ = ("path", "key")

    def __init__(self, inner: Initializer, path: str, key: Array):
        self.fn, self.needs_input = inner.fn, inner.needs_input
        self.path, self.key = path, fold_path(key, path)

    def make(self, inputs):
        return self.fn(self.key, *inputs) if self.needs_input else self.fn(self.key)


def _tagged(path, leaf, key):
    if not isinstance(leaf, Initializer):
        return leaf
    return _Tagged(leaf, jtu.keystr(path), key)


def _value_without_input(leaf):
    if isinstance(leaf, _Tagged) and not leaf.needs_input:
        return leaf.make(())
    return leaf


def _has_pending_hook(module: Module) -> bool:
    overridden = type(module).module_init is not Module.module_init
    return overridden and not module._mode.ready


def _run_hooks(model, key):
    def run(path, module):
        if not _has_pending_hook(module) or any(
            isinstance(leaf, Initializer) for leaf in jax.tree.leaves(module)
        ):
            return module
        new = module.module_init(fold_path(key, path + "()"))
        if type(new) is not type(module):
            raise TypeError(
                f"{type(module).__name__}.module_init must return the new module, as "
                f"self.replace(...) does; got {type(new).__name__}."
            )
        return with_mode(new, ready=True)

    return map_modules(run, model)


class _Shapes:
    """Watches an abstract call and notes what each waiting leaf was called with."""

    def __init__(self):
        self.found: dict[str, tuple] = {}

    def before(self, module, inputs):
        leaves = own_leaves(module)
        if not any(isinstance(leaf, _Tagged) for leaf in leaves):
            return module
        structs = jax.tree.map(_struct, inputs)

        def fill(leaf):
            if not isinstance(leaf, _Tagged):
                return leaf
            self.found[leaf.path] = structs
            return leaf.make(structs)

        return jax.tree.map(
            fill, module, is_leaf=lambda n: n is not module and isinstance(n, Module)
        )

    def after(self, module, y):
        pass


def _struct(x):
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        return jax.ShapeDtypeStruct(x.shape, x.dtype)
    return x
