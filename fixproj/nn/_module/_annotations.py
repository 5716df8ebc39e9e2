"""What an annotation says about a field: its kind, and whether it is static."""

import dataclasses
import inspect
import sys
import typing
from typing import Any

import equinox as eqx

from fixproj.nn._module._kinds import Kind, Static


@dataclasses.dataclass(frozen=True)
class Slot:
    """A field's kind (None where its modules' fields decide); static or not."""

    kind: type[Kind] | None
    static: bool


def namespace_annotations(namespace: dict[str, Any]) -> dict[str, Any]:
    """The annotations of a class that is being made."""
    if "__annotations__" in namespace or sys.version_info < (3, 14):
        return namespace.get("__annotations__", {})
    import annotationlib  # pyright: ignore[reportMissingImports]

    annotate = annotationlib.get_annotate_from_class_namespace(namespace)
    if annotate is None:
        return {}
    return annotationlib.call_annotate_function(
        annotate, annotationlib.Format.FORWARDREF
    )


def evaluate(owner: str, name: str, annotation: Any, scopes: list[dict]) -> Any:
    """An annotation that may be a string, as an object.

    Raises:
        TypeError: if a name in it is not known.
    """
    if not isinstance(annotation, str):
        return annotation
    # The class itself does not exist yet; it will be a module.
    known = {owner: eqx.Module}
    for scope in scopes:
        known.update(scope)
    try:
        return eval(annotation, known)
    except Exception as error:
        raise TypeError(
            f"{owner}.{name}: the annotation {annotation!r} cannot be evaluated "
            f"({error}); nn.Module reads the kind of a field from it. Import what it "
            "names at run time."
        ) from error


def is_no_field(annotation: Any) -> bool:
    """Whether it declares a class variable or an abstract attribute."""
    origin = typing.get_origin(annotation) or annotation
    return origin in (typing.ClassVar, eqx.AbstractVar, eqx.AbstractClassVar)


def slot_of(owner: str, name: str, annotation: Any) -> Slot:
    """Reads an annotation.

    Raises:
        TypeError: if it names two kinds, or a kind where no leaf can be.
    """
    kinds: set[type[Kind]] = set()
    modules = _walk(owner, name, annotation, kinds)
    if len(kinds) > 1:
        raise TypeError(
            f"{owner}.{name}: a field has one kind, its annotation names "
            f"{', '.join(sorted(kind.__name__ for kind in kinds))}."
        )
    if kinds:
        (kind,) = kinds
        return Slot(kind, issubclass(kind, Static))  # pyright: ignore
    return Slot(None, not modules)


def _walk(owner, name, annotation, kinds) -> bool:
    """Collects the kinds in an annotation; whether it has a module."""
    if inspect.isclass(annotation) and typing.get_origin(annotation) is None:
        if issubclass(annotation, Kind):
            kinds.add(annotation)
        return issubclass(annotation, eqx.Module)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if inspect.isclass(origin) and issubclass(origin, eqx.Module):
        return True
    if isinstance(annotation, typing.TypeVar):
        bound = annotation.__bound__
        return bound is not None and _walk(owner, name, bound, kinds)
    if inspect.isclass(origin) and issubclass(origin, dict) and args:
        inside: set = set()
        if _walk(owner, name, args[0], inside) or inside:
            raise TypeError(
                f"{owner}.{name}: the keys of a dictionary are no leaves; only its "
                f"values have a kind, got {annotation}."
            )
        args = args[1:]
    modules = [_walk(owner, name, arg, kinds) for arg in args]
    return any(modules)
