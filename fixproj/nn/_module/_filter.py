"""Selecting leaves by what their fields are for.

Which leaves a filter keeps depends on the structure of the tree only, so it is found
once per structure; after that, filtering is one flatten and one unflatten.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax.tree_util as jtu
from jaxtyping import PyTree

from fixproj.nn._module._kinds import Kind, Parameter
from fixproj.nn._module._module import Module
from fixproj.nn._module._nothing import Nothing, is_nothing


_Tree = TypeVar("_Tree")
_CACHED = 1024


@dataclasses.dataclass(frozen=True)
class FieldInfo:
    """What a filter's predicate is told of a leaf.

    Attributes:
        name: of the field that holds the leaf; "" outside of modules.
        path: from the root of the tree, such as ".layers[0].kernel".
        kind: the field's kind. In trees without kinds, such as Equinox's modules,
            floating-point arrays are `Parameter`s and other leaves have the kind None.
        module: that holds the field, None outside of modules. It has its static fields
            and mode; instead of arrays it has numbers.
        annotation: of the field, None where there is none.
    """

    name: str
    path: str
    kind: type[Kind] | None
    module: Any
    annotation: Any

    def is_kind(self, kind: Any) -> bool:
        """Whether the leaf's kind is `kind` or a subclass of it."""
        return self.kind is not None and issubclass(self.kind, kind)


Filter = type[Kind] | Callable[[FieldInfo], bool]


def filter(tree: _Tree, *filters: Any) -> _Tree:
    """The leaves that pass all filters, with `Nothing` in place of the others.

    Args:
        tree: a model, or any pytree.
        filters: kinds, which leaves of that kind or a subclass pass, and predicates
            `FieldInfo -> bool`. A predicate is asked once per tree structure, so it
            must not depend on anything else; give it a name rather than writing the
            lambda anew in every step.

    Returns:
        A tree of the same type.

    Raises:
        TypeError: if a filter is neither.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> class Model(nn.Module):
        ...     a: nn.Parameter
        ...     b: nn.BatchStat
        >>> model = Model(jnp.array(1), jnp.array(2))
        >>> print(nn.filter(model, nn.State).a, nn.filter(model, nn.State).b)
        Nothing 2
    """
    leaves, treedef = jtu.tree_flatten(tree)
    mask = _mask(treedef, _inexact_flags(treedef, leaves), filters)
    return treedef.unflatten(
        [leaf if keep else Nothing for leaf, keep in zip(leaves, mask, strict=True)]
    )


def partition(tree: _Tree, *filters: Any) -> tuple[_Tree, ...]:
    """Splits a tree into one part per filter and the rest.

    A leaf is in the part of the first filter it passes.

    Args:
        tree: a model, or any pytree.
        filters: as for `nn.filter`, but each for itself.

    Returns:
        As many trees as filters, and one more; `nn.merge` of all of them is the tree.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> params, rest = nn.partition(nn.BatchNorm(3), nn.Parameter)
        >>> print(params.mean, rest.scale)
        Nothing Nothing
    """
    leaves, treedef = jtu.tree_flatten(tree)
    flags = _inexact_flags(treedef, leaves)
    masks = [_mask(treedef, flags, (f,)) for f in filters]
    places = [
        next((i for i, m in enumerate(masks) if m[j]), len(masks))
        for j in range(len(leaves))
    ]
    return tuple(
        treedef.unflatten(
            [x if p == part else Nothing for x, p in zip(leaves, places, strict=True)]
        )
        for part in range(len(masks) + 1)
    )


def trainable(tree: _Tree) -> _Tree:
    """The parameters of all modules that are not frozen.

    Args:
        tree: a model.

    Returns:
        The tree with `Nothing` in place of everything else.

    Examples:
        >>> from fixproj import nn
        >>> model = nn.Sequential(nn.Linear(2, 3).freeze(), nn.Linear(3, 1)).init(0)
        >>> print(nn.trainable(model).layers[0].kernel)
        Nothing
    """
    return filter(tree, is_trainable)


def map(fn: Callable, tree: _Tree, *filters: Any) -> _Tree:
    """Applies a function to the leaves that pass all filters; keeps the others.

    Args:
        fn: a function of one leaf.
        tree: a model, or any pytree.
        filters: as for `nn.filter`.

    Returns:
        The tree with new leaves.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> nn.map(jnp.zeros_like, nn.BatchNorm(2), nn.BatchStat).var
        Array([0., 0.], dtype=float32)
    """
    leaves, treedef = jtu.tree_flatten(tree)
    mask = _mask(treedef, _inexact_flags(treedef, leaves), filters)
    return treedef.unflatten(
        [fn(x) if keep else x for x, keep in zip(leaves, mask, strict=True)]
    )


def merge(tree: _Tree, *parts: PyTree) -> _Tree:
    """Puts filtered trees back together.

    Args:
        tree: gives the static fields.
        parts: trees of the same fields. The last one that does not have `Nothing`
            in a place decides it.

    Returns:
        A tree like `tree`.

    Raises:
        ValueError: if a part has other leaves; names the first.

    Examples:
        >>> import jax
        >>> from fixproj import nn
        >>> model = nn.Linear(2, 3).init(0)
        >>> params = nn.filter(model, nn.Parameter)
        >>> model = nn.merge(model, jax.tree.map(lambda p: -p, params))
    """
    trees = (tree, *parts)
    flat = [jtu.tree_flatten(t) for t in trees]
    full, plan = _merge_plan(tuple(treedef for _, treedef in flat))
    return full.unflatten(
        [Nothing if which < 0 else flat[which][0][leaf] for which, leaf in plan]
    )


def field_infos(tree: PyTree) -> tuple[FieldInfo, ...]:
    """What there is to know about each leaf, in the order of `jax.tree.leaves`."""
    leaves, treedef = jtu.tree_flatten(tree)
    return _infos(treedef, _inexact_flags(treedef, leaves))


def is_trainable(info: FieldInfo) -> bool:
    """Whether a leaf is a parameter of a module that is not frozen."""
    return info.is_kind(Parameter) and not getattr(info.module, "frozen", False)


def _inexact_flags(treedef, leaves) -> tuple[bool, ...]:
    """Which of the leaves without a declared kind are floating-point arrays."""
    return tuple(eqx.is_inexact_array(leaves[i]) for i in _spec(treedef)[1])


@functools.lru_cache(maxsize=_CACHED)
def _mask(treedef, flags, filters) -> tuple[bool, ...]:
    tests = [_as_test(f) for f in filters]
    return tuple(
        all(bool(test(info)) for test in tests) for info in _infos(treedef, flags)
    )


def _as_test(f) -> Callable[[FieldInfo], bool]:
    if isinstance(f, type) and issubclass(f, Kind):
        return lambda info: info.is_kind(f)
    if isinstance(f, type) or not callable(f):
        raise TypeError(
            "A filter is a kind such as nn.Parameter or a predicate on nn.FieldInfo, "
            f"got {f!r}."
        )
    return f  # pyright: ignore


@functools.lru_cache(maxsize=_CACHED)
def _infos(treedef, flags) -> tuple[FieldInfo, ...]:
    infos, foreign = _spec(treedef)
    infos = list(infos)
    for i, inexact in zip(foreign, flags, strict=True):
        if inexact:
            infos[i] = dataclasses.replace(infos[i], kind=Parameter)
    return tuple(infos)


@functools.lru_cache(maxsize=_CACHED)
def _spec(treedef) -> tuple[tuple[FieldInfo, ...], tuple[int, ...]]:
    """Infos of all leaves, and the indices of those without a declared kind."""
    found: dict[int, FieldInfo] = {}
    _walk(treedef.unflatten(range(treedef.num_leaves)), "", None, None, found)
    infos = tuple(found[i] for i in range(treedef.num_leaves))
    return infos, tuple(i for i, info in enumerate(infos) if info.kind is None)


def _walk(node, path, owner, field, found) -> None:
    if isinstance(node, Module):
        for f in dataclasses.fields(node):
            if not f.metadata.get("static", False):
                _walk(node.__dict__[f.name], f"{path}.{f.name}", node, f, found)
        return
    flat, _ = jtu.tree_flatten_with_path(node, is_leaf=lambda n: isinstance(n, Module))
    slot = None if field is None else field.metadata.get("slot")
    for steps, leaf in flat:
        where = path + jtu.keystr(steps)
        if isinstance(leaf, Module):
            _walk(leaf, where, None, None, found)
            continue
        found[leaf] = FieldInfo(
            name=field.name if field is not None else _last_name(steps),
            path=where,
            kind=None if slot is None else slot.kind,
            module=owner,
            annotation=None if field is None else field.metadata.get("annotation"),
        )


def _last_name(steps) -> str:
    name = getattr(steps[-1], "name", getattr(steps[-1], "key", "")) if steps else ""
    return str(name)


@functools.lru_cache(maxsize=_CACHED)
def _merge_plan(treedefs):
    """The full structure, and for each of its leaves the tree and leaf to take."""
    slots = [_slots(treedef) for treedef in treedefs]
    full, paths, _ = slots[0]
    for i, (_, other, _) in enumerate(slots[1:], 1):
        if other != paths:
            differs = next(
                (a or b for a, b in zip(paths, other, strict=False) if a != b),
                "its number of leaves",
            )
            raise ValueError(
                f"merge: part {i} does not have the leaves of the tree it is merged "
                f"into; the first difference is at {differs}."
            )
    plan = []
    for j in range(len(paths)):
        which = [i for i, (_, _, at) in enumerate(slots) if at[j] >= 0]
        plan.append((which[-1], slots[which[-1]][2][j]) if which else (-1, 0))
    return full, tuple(plan)


@functools.lru_cache(maxsize=_CACHED)
def _slots(treedef):
    """Structure, paths and leaf numbers (-1 for Nothing) with Nothings as leaves."""
    tree = treedef.unflatten(range(treedef.num_leaves))
    flat, full = jtu.tree_flatten_with_path(tree, is_leaf=is_nothing)
    paths = tuple(jtu.keystr(path) for path, _ in flat)
    return full, paths, tuple(-1 if is_nothing(leaf) else leaf for _, leaf in flat)
