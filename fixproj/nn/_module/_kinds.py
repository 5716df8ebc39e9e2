"""Kinds: what the leaves of a field are for. A kind is a class, used as an annotation.

    Kind
    ├── Parameter      what is trained
    ├── State          what a call renews
    │   ├── BatchStat  running statistics
    │   ├── Rng        random keys
    │   ├── Cache      intermediate results
    │   ├── MetricState
    │   └── OptState
    └── Static         no leaf: part of the structure

A subclass of any of these is a kind of the user's own.
"""

from typing import TYPE_CHECKING, Annotated, Any, TypeVar


class Kind:
    """The base of all kinds; see the page on modules.

    A field is annotated with a kind (`w: nn.Parameter`), with a container of one
    (`heads: dict[str, nn.Parameter]`), with `Parameter[Array]`, or, so that type
    checkers see the array, with `Annotated[Array, nn.Parameter]`.

    Examples:
        >>> from fixproj import nn
        >>> class Carry(nn.Cache):
        ...     pass
        >>> issubclass(Carry, nn.State)
        True
    """

    def __init__(self):
        raise TypeError(
            f"{type(self).__name__} is a kind, for annotations: it has no instances."
        )

    def __class_getitem__(cls, _: Any):
        return cls


class _Parameter(Kind):
    """What is trained."""


class _State(Kind):
    """What a call returns anew: `y, model = model(x)`."""


class _BatchStat(_State):
    """Running statistics of the data."""


class _Rng(_State):
    """Random keys."""


class _Cache(_State):
    """Intermediate results kept for a later call."""


class _MetricState(_State):
    """What a metric has accumulated."""


class _OptState(_State):
    """The state of an optimiser."""


class _Static(Kind):
    """No leaf: a hashable value that is part of the structure."""


if TYPE_CHECKING:
    # To a type checker a field of a kind is whatever it holds.
    _T = TypeVar("_T")
    Parameter = Annotated[_T, "Parameter"]
    State = Annotated[_T, "State"]
    BatchStat = Annotated[_T, "BatchStat"]
    Rng = Annotated[_T, "Rng"]
    Cache = Annotated[_T, "Cache"]
    MetricState = Annotated[_T, "MetricState"]
    OptState = Annotated[_T, "OptState"]
    Static = Annotated[_T, "Static"]
else:
    Parameter, State, BatchStat, Rng = _Parameter, _State, _BatchStat, _Rng
    Cache, MetricState, OptState, Static = _Cache, _MetricState, _OptState, _Static
    for _kind in (
        Parameter,
        State,
        BatchStat,
        Rng,
        Cache,
        MetricState,
        OptState,
        Static,
    ):
        _kind.__name__ = _kind.__qualname__ = _kind.__name__.lstrip("_")
