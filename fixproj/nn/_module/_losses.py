"""Losses of predictions against targets; the last axis is one example's.

Each is a function `(preds, target, *, weights=None, reduction="mean")`. The values of
single examples come from optax where it has them.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array


def cross_entropy(
    preds: Array,
    target: Array,
    *,
    from_logits: bool = True,
    label_smoothing: float = 0.0,
    weights: Array | None = None,
    reduction: str = "mean",
) -> Array:
    """-sum_i target_i log p_i.

    Args:
        preds: logits, shape (..., classes); or probabilities.
        target: classes, integers of shape (...), or probabilities like `preds`.
        from_logits: whether `preds` are logits.
        label_smoothing: share of the target that is spread over all classes.
        weights: of the examples, shape (...).
        reduction: "mean", "sum" or "none"; weights multiply, the mean divides by the
            number of examples.

    Returns:
        A scalar, or one number per example.

    Raises:
        ValueError: if shapes do not fit, or the reduction is not known.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> round(float(nn.losses.cross_entropy(jnp.zeros((3, 4)), jnp.arange(3))), 4)
        1.3863
    """
    if jnp.issubdtype(target.dtype, jnp.integer) and target.ndim == preds.ndim - 1:
        _same("cross_entropy", preds.shape[:-1], target.shape)
        classes = jnp.arange(preds.shape[-1], dtype=target.dtype)
        one_hot = target[..., None] == classes.reshape((1,) * target.ndim + (-1,))
        target = one_hot.astype(preds.dtype)
    _same("cross_entropy", preds.shape, target.shape)
    target = target.astype(preds.dtype)
    if label_smoothing:
        target = optax.smooth_labels(target, label_smoothing)
    if from_logits:
        values = optax.softmax_cross_entropy(preds, target)
    else:
        tiny = jnp.finfo(preds.dtype).tiny
        values = -jnp.sum(target * jnp.log(jnp.maximum(preds, tiny)), axis=-1)
    return reduce(values, weights, reduction)


def _elementwise(name: str, formula: str, fn: Callable) -> Any:
    def loss(
        preds: Array,
        target: Array,
        *,
        weights: Array | None = None,
        reduction: str = "mean",
        **options: Any,
    ) -> Array:
        _same(name, preds.shape, target.shape)
        values = fn(preds, target.astype(preds.dtype), **options)
        return reduce(jnp.mean(values, axis=-1), weights, reduction)

    loss.__name__ = loss.__qualname__ = name
    loss.__doc__ = f"""The mean over the last axis of {formula}.

    Args:
        preds: predictions.
        target: of the same shape.
        weights: of the examples, the shape without the last axis.
        reduction: "mean", "sum" or "none".
        options: parameters of the formula by name.

    Returns:
        A scalar, or one number per example.

    Raises:
        ValueError: if shapes do not fit, or the reduction is not known.
    """
    return loss


mean_squared_error = _elementwise(
    "mean_squared_error", "(preds - target)^2", optax.squared_error
)
mean_absolute_error = _elementwise(
    "mean_absolute_error", "|preds - target|", lambda p, t: jnp.abs(p - t)
)
mean_absolute_percentage_error = _elementwise(
    "mean_absolute_percentage_error",
    "100 |preds - target| / max(|target|, epsilon)",
    lambda p, t, epsilon=1e-7: 100 * jnp.abs(p - t) / jnp.maximum(jnp.abs(t), epsilon),
)
mean_squared_logarithmic_error = _elementwise(
    "mean_squared_logarithmic_error",
    "(log(1 + preds) - log(1 + target))^2, negative numbers counting as 0",
    lambda p, t: (jnp.log1p(jnp.maximum(p, 0)) - jnp.log1p(jnp.maximum(t, 0))) ** 2,
)
huber = _elementwise(
    "huber",
    "the squared error halved, linear beyond `delta` (1)",
    lambda p, t, delta=1.0: optax.huber_loss(p, t, delta=delta),
)


def cosine_similarity(
    preds: Array,
    target: Array,
    *,
    epsilon: float = 1e-12,
    weights: Array | None = None,
    reduction: str = "mean",
) -> Array:
    """-preds . target / (|preds| |target|), so that -1 is best.

    Args:
        preds: predictions, vectors along the last axis.
        target: of the same shape.
        epsilon: the least norm to divide by.
        weights: of the examples.
        reduction: "mean", "sum" or "none".

    Returns:
        A scalar, or one number per example.

    Raises:
        ValueError: if shapes do not fit, or the reduction is not known.
    """
    _same("cosine_similarity", preds.shape, target.shape)
    target = target.astype(preds.dtype)
    return reduce(-_cosine(preds, target, epsilon), weights, reduction)


def _cosine(a, b, epsilon):
    def unit(x):
        square = jnp.sum(x**2, axis=-1, keepdims=True)
        return x / jnp.sqrt(jnp.maximum(square, epsilon))

    return jnp.sum(unit(a) * unit(b), axis=-1)


def reduce(values: Array, weights: Array | None, reduction: str) -> Array:
    """Weighs and reduces the losses of single examples.

    Raises:
        ValueError: if the shapes do not fit, or the reduction is not known.
    """
    if weights is not None:
        if weights.shape != values.shape:
            raise ValueError(
                f"weights must have one number per example, shape {values.shape}; got "
                f"{weights.shape}."
            )
        values = values * weights.astype(values.dtype)
    if reduction == "mean":
        return jnp.mean(values)
    if reduction == "sum":
        return jnp.sum(values)
    if reduction == "none":
        return values
    raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}.")


def _same(name, expected, got):
    if expected != got:
        raise ValueError(
            f"{name}: preds and target do not fit; expected a target of shape "
            f"{expected}, got {got}."
        )
