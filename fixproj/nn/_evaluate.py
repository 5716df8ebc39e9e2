"""Loss and accuracy of a model on data it is not trained on."""

from typing import Any

import equinox as eqx
import jax
from jaxtyping import PyTree

from fixproj.nn._adapt import adapt
from fixproj.nn._data import as_pair, check_classes
from fixproj.nn._graph import batched
from fixproj.nn._trainers import AbstractLoss, loss_named


_CHUNK = 4096


def evaluate(
    model: PyTree, data: tuple[Any, Any], loss: str = "cross_entropy"
) -> dict[str, float]:
    """Mean loss and accuracy of a model.

    Args:
        model: as for `nn.fit`; models with state are in evaluation mode.
        data: inputs and labels `(x, y)`; examples along the first axis.
        loss: "cross_entropy" or "squared".

    Returns:
        A dictionary with "loss" and, where labels are classes, "accuracy".

    Raises:
        ValueError: if the data is empty, its lengths differ, the labels do not fit the
            model's output, or the loss is not known.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> model = (lambda params, x: x * params["scale"], {"scale": jnp.array([2.0])})
        >>> nn.evaluate(model, (jnp.eye(3), jnp.arange(3)))["accuracy"]
        1.0
    """
    objective = loss_named(loss)
    x, y = as_pair(data, "data")
    model, _ = adapt(model)
    check_classes(model, x, y, "data")
    return evaluate_arrays(model, (x, y), objective)


def evaluate_arrays(model, arrays, objective: AbstractLoss) -> dict[str, float]:
    """`evaluate` on checked arrays; in chunks, so that memory stays bounded."""
    x, y = arrays
    total: dict[str, float] = {}
    for start in range(0, x.shape[0], _CHUNK):
        part = slice(start, start + _CHUNK)
        metrics = _metrics(model, x[part], y[part], objective)
        weight = x[part].shape[0] / x.shape[0]
        for name, value in jax.device_get(metrics).items():
            total[name] = total.get(name, 0.0) + weight * float(value)
    return total


@eqx.filter_jit
def _metrics(model, x, y, objective):
    outputs = batched(model, x)(model, x)
    return objective.metrics(outputs, y)
