"""The one check of a metric weight."""

import jax.core
import numpy as np


def check_weight(name: str, weight, *, allow_infinite: bool = False) -> None:
    """Raise ValueError unless the weight is positive (and finite); tracers pass."""
    if isinstance(weight, jax.core.Tracer):
        return
    value = np.asarray(weight)
    if value.dtype.kind not in "fiu" and value.dtype.name != "bfloat16":
        raise ValueError(f"{name} must be a positive real number, got {weight!r}.")
    value = value.astype(float)
    if not np.all(value > 0) or (np.isinf(value).any() and not allow_infinite):
        finite = "" if allow_infinite else " and finite"
        raise ValueError(f"{name} must be positive{finite}, got {weight!r}.")
