"""`Module`: an Equinox module whose fields have kinds.

The kind of a field is read from its annotation when the class is made; instances are
plain Equinox modules, flattened by Equinox's own generated code.
"""

import dataclasses
import sys
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple, Self, dataclass_transform

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from fixproj._check import is_traced
from fixproj.nn._module._annotations import (
    evaluate,
    is_no_field,
    namespace_annotations,
    slot_of,
)
from fixproj.nn._module._calls import own_leaves, watched
from fixproj.nn._module._initializer import Initializer
from fixproj.nn._module._nothing import is_nothing


class Mode(NamedTuple):
    """What `train`, `freeze` and `init` set; part of the structure."""

    training: bool = True
    frozen: bool = False
    ready: bool = False


# One object per value, so that comparing structures is comparing identities.
_MODES = {
    mode: mode
    for mode in (
        Mode(t, f, r)
        for t in (False, True)
        for f in (False, True)
        for r in (False, True)
    )
}
_START = _MODES[Mode()]


@dataclass_transform(field_specifiers=(dataclasses.field, eqx.field))
class _ModuleMeta(type(eqx.Module)):
    def __new__(mcs, name, bases, namespace, **kwargs):
        if any(isinstance(base, _ModuleMeta) for base in bases):
            local = sys._getframe(1)
            scopes = [local.f_globals, local.f_locals]
            _declare_fields(name, bases, namespace, scopes)
        if "__call__" in namespace:
            namespace["__call__"] = watched(namespace["__call__"])
        return super().__new__(mcs, name, bases, namespace, **kwargs)

    def __call__(cls, *args, **kwargs):
        with warnings.catch_warnings():
            # The check below says more than Equinox's warning does.
            warnings.filterwarnings("ignore", "A JAX array is being set as static")
            return super().__call__(*args, **kwargs)


def _declare_fields(name, bases, namespace, scopes) -> None:
    inherited: dict[str, Any] = {}
    for base in reversed(bases):
        if dataclasses.is_dataclass(base):
            inherited.update({f.name: f.metadata for f in dataclasses.fields(base)})
    root = next(
        k for base in bases for k in base.__mro__[::-1] if type(k) is _ModuleMeta
    )
    for field, annotation in namespace_annotations(namespace).items():
        annotation = evaluate(name, field, annotation, scopes)
        if is_no_field(annotation):
            continue
        if hasattr(root, field) and field not in inherited:
            raise TypeError(
                f"{name}.{field}: the name is taken by nn.Module.{field}; give the "
                "field another."
            )
        slot = slot_of(name, field, annotation)
        before = inherited.get(field, {}).get("slot")
        if before is not None and before != slot:
            raise TypeError(
                f"{name}.{field}: a base class declares this field as "
                f"{_name(before)}, {name} as {_name(slot)}; give it another name."
            )
        metadata = {"slot": slot, "annotation": annotation}
        value = namespace.get(field, dataclasses.MISSING)
        if isinstance(value, dataclasses.Field):
            static = slot.static or bool(value.metadata.get("static"))
            value.metadata = {**value.metadata, **metadata, "static": static}  # pyright: ignore
        elif isinstance(value, property) or callable(getattr(value, "__get__", None)):
            continue
        elif value is dataclasses.MISSING:
            namespace[field] = eqx.field(static=slot.static, metadata=metadata)
        else:
            # A factory, since dataclasses refuse arrays as defaults.
            namespace[field] = eqx.field(
                static=slot.static,
                metadata=metadata,
                default_factory=lambda value=value: value,
            )


def _name(slot) -> str:
    if slot.kind is not None:
        return slot.kind.__name__
    return "static" if slot.static else "a module"


class Module(eqx.Module, metaclass=_ModuleMeta):
    """The base of models whose leaves have kinds.

    Fields are declared by annotation:

    - a kind, `w: nn.Parameter`, or a container of it, `ws: dict[str, nn.Parameter]`:
      arrays, with that kind;
    - a module, `layer: nn.Linear`, or a container, `layers: list[nn.Module]`: modules,
      whose own fields have kinds. In modules of Equinox, floating-point arrays are
      parameters;
    - anything else, or `nn.Static`: a static, hashable value. Lists become tuples.

    A module is frozen. What changes in a call is returned: `y, model = model(x)`.
    It is a pytree of arrays: plain `jax.jit`, `jax.grad`, `jax.vmap` and
    `jax.tree.map` take it.

    Raises:
        TypeError: if an annotation names two kinds, a field's name is taken or its kind
            differs from a base class's, or a value does not fit its field.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from fixproj import nn
        >>> class Average(nn.Module):
        ...     count: nn.State
        ...     total: nn.State
        ...     def __init__(self):
        ...         self.count, self.total = jnp.array(0.0), jnp.array(0.0)
        ...     def __call__(self, x):
        ...         count, total = self.count + x.size, self.total + x.sum()
        ...         return total / count, self.replace(count=count, total=total)
        >>> average = Average()
        >>> for x in (jnp.ones(3), jnp.zeros(1)):
        ...     mean, average = jax.jit(lambda average, x: average(x))(average, x)
        >>> float(mean)
        0.75
    """

    if TYPE_CHECKING:

        def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

    _mode: Mode = eqx.field(static=True, init=False, default=_START)

    def __check_init__(self):
        for field in dataclasses.fields(self):
            # Equinox flattens faster what has all of its fields set.
            if field.name not in self.__dict__:
                object.__setattr__(self, field.name, getattr(self, field.name))
            if field.name != "_mode":
                _check_value(self, field)

    def init(self, key: int | PRNGKeyArray, *inputs: Any, **options: Any) -> Self:
        """The module with all `Initializer`s replaced by values.

        What is a function of the key alone is made first; then, bottom up, every
        `module_init` whose module is complete; then, given an example input, the model
        is run abstractly and each layer's shapes follow from what it is called with.

        Args:
            key: a PRNG key, or a seed. Each leaf gets its own key, folded from its
                path: a new layer does not change the others.
            inputs: what the model is called with, or `jax.ShapeDtypeStruct`s of it.
            options: keyword arguments of that call.

        Returns:
            An initialised module. What was initialised before is kept.

        Raises:
            ValueError: if shapes must be inferred and there is no input, or a layer
                with an unknown shape is not reached by the call.
            TypeError: if the key is none, or `module_init` returns something else.
        """
        from fixproj.nn._module._init import initialise

        return initialise(self, key, inputs, options)

    def module_init(self, key: PRNGKeyArray) -> Self:
        """Override this for values that depend on each other.

        Args:
            key: a PRNG key of this module's own.

        Returns:
            The module with new values, by `self.replace(...)`. Its `Initializer`s, and
            those of its submodules, have been replaced before.
        """
        return self

    @property
    def initialized(self) -> bool:
        """Whether no `Initializer` and no `module_init` is left to run."""
        from fixproj.nn._module._init import is_initialised

        return is_initialised(self)

    @property
    def training(self) -> bool:
        """Whether the module is in training mode, as it is at first; see `train`."""
        return self._mode.training

    @property
    def frozen(self) -> bool:
        """Whether the module is frozen; see `freeze`."""
        return self._mode.frozen

    def replace(self, **fields: Any) -> Self:
        """A copy with other values in some fields.

        Args:
            fields: new values by field name.

        Returns:
            The copy.

        Raises:
            TypeError: if there is no such field.
        """
        unknown = [name for name in fields if name not in self.__dict__]
        if unknown:
            raise TypeError(
                f"{type(self).__name__}.replace: no field {unknown[0]!r}; the fields "
                f"are {', '.join(n for n in self.__dict__ if n != '_mode')}."
            )
        return _copy(self, fields)

    def train(self, mode: bool = True) -> Self:
        """The module in training mode, with all modules inside.

        Args:
            mode: False for evaluation.

        Returns:
            A new module.
        """
        new = set_mode(self, training=bool(mode))
        return eqx.nn.inference_mode(new, value=not mode)

    def eval(self) -> Self:
        """The module in evaluation mode: dropout off, running statistics used."""
        return self.train(False)

    def freeze(self) -> Self:
        """The module with its parameters excluded from `trainable`.

        Frozen batch normalisation and dropout behave as in evaluation mode.
        """
        return set_mode(self, frozen=True)  # pyright: ignore

    def unfreeze(self) -> Self:
        """Undoes `freeze`, here and in all modules inside."""
        return set_mode(self, frozen=False)  # pyright: ignore

    def tabulate(self, *inputs: Any, **options: Any) -> str:
        """A table of the modules; see `nn.tabulate`."""
        from fixproj.nn._module._tabulate import tabulate

        return tabulate(self, *inputs, **options)


def _copy(module, fields):
    new = object.__new__(type(module))
    new.__dict__.update(module.__dict__)
    new.__dict__.update(fields)
    return new


def with_mode(module: Module, **changes: Any) -> Module:
    """A copy of this one module in another mode."""
    mode = _MODES[module._mode._replace(**changes)]
    return _copy(module, {"_mode": mode})


def mode_of(**changes: Any) -> Mode:
    """The mode a module starts in, with changes."""
    return _MODES[_START._replace(**changes)]


def set_mode(model, **changes):
    """The model with the mode of all its modules changed."""
    return map_modules(lambda _, module: with_mode(module, **changes), model)


def map_modules(fn, node, path=""):
    """Rebuilds a tree with `fn(path, module)` for each `Module`, inner ones first."""

    def visit(steps, child):
        if isinstance(child, Module):
            return map_modules(fn, child, path + jax.tree_util.keystr(steps))
        return child

    rebuilt = jax.tree_util.tree_map_with_path(
        visit, node, is_leaf=lambda n: n is not node and isinstance(n, Module)
    )
    return fn(path, rebuilt) if isinstance(node, Module) else rebuilt


def _check_value(module, field) -> None:
    value = module.__dict__[field.name]
    where = f"{type(module).__name__}.{field.name}"
    slot = field.metadata.get("slot")
    if field.metadata.get("static", False):
        value = _tuples(value)
        object.__setattr__(module, field.name, value)
        _check_static(where, value, slot)
    elif slot is not None and slot.kind is not None:
        for leaf in own_leaves({"": value}):
            if not _is_data(leaf):
                raise TypeError(
                    f"{where} is annotated nn.{slot.kind.__name__} but holds a "
                    f"{type(leaf).__name__}; expected arrays, numbers, an "
                    "nn.Initializer or modules."
                )
    else:
        for leaf in own_leaves({"": value}):
            if not _is_data(leaf):
                raise TypeError(
                    f"{where} is annotated as modules but holds a "
                    f"{type(leaf).__name__}; wrap a function in nn.Lambda, or annotate "
                    "the field nn.Static."
                )


def _check_static(where, value, slot) -> None:
    leaves = jax.tree.leaves(value, is_leaf=lambda n: isinstance(n, eqx.Module))
    for leaf in leaves:
        kind = slot.kind.__name__ if slot is not None and slot.kind else None
        if isinstance(leaf, jax.Array | np.ndarray | Initializer):
            raise TypeError(
                f"{where} holds a {type(leaf).__name__} but is static"
                + (
                    "; wrap it in nn.Hashable."
                    if kind
                    else ", since its annotation names no kind. Annotate it "
                    "nn.Parameter, nn.State, ..., or nn.Static with nn.Hashable."
                )
            )
        if kind is None and isinstance(leaf, Module):
            raise TypeError(
                f"{where} holds a {type(leaf).__name__} but is static, since its "
                "annotation names no module. Annotate it nn.Module, list[nn.Module], "
                "..., or nn.Static with nn.Hashable."
            )
    try:
        hash(value)
    except TypeError as error:
        raise TypeError(
            f"{where} is static and must be hashable, got {type(value).__name__}: "
            f"{error}. Wrap it in nn.Hashable."
        ) from error


def _tuples(value):
    if type(value) in (list, tuple):
        return tuple(_tuples(item) for item in value)
    return value


def _is_data(leaf) -> bool:
    return (
        isinstance(
            leaf,
            eqx.Module
            | Initializer
            | jax.Array
            | np.ndarray
            | np.generic
            | jax.ShapeDtypeStruct
            | bool
            | int
            | float
            | complex,
        )
        or is_nothing(leaf)
        or is_traced(leaf)
    )
