"""`Hashable`: an array, or anything else, as a static value."""

from typing import Any


class Hashable:
    """A value that is compared by identity, for `nn.Static` fields.

    Args:
        value: anything. It must not change: what was compiled would not notice.

    Examples:
        >>> import numpy as np
        >>> from fixproj import nn
        >>> table = nn.Hashable(np.ones(3))
        >>> table == table, table == nn.Hashable(table.value)
        (True, False)
    """

    __slots__ = ("value",)
    value: Any

    def __init__(self, value: Any):
        object.__setattr__(self, "value", value)

    def __setattr__(self, name, value):
        raise AttributeError("Hashable is frozen: make a new one.")

    def __repr__(self):
        return f"Hashable({type(self.value).__name__})"
