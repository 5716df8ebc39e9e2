"""How a model is taken apart and called: the one place that decides either.

A model is a callable pytree `model(x)` or a pair `(fn, params)` with `fn(params, x)`.
It may map a batch to a batch, or one example to one output; which of the two is found
by abstract evaluation on batches of two odd sizes, so no arithmetic is done and no
layer width is mistaken for a batch.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array


_PROBE_SIZES = (7, 11)


class Split(NamedTuple):
    """A model's trainable arrays, their names, and the way back to a model."""

    leaves: list[Array]
    names: list[str]
    rebuild: Callable[[Sequence[Any]], Any]


def split(model: Any) -> Split:
    """Separates the trainable leaves, that is the real floating-point arrays.

    Of a pair `(fn, params)` only leaves of `params` are trained.

    Args:
        model: a model, see the module's text.

    Returns:
        The trainable leaves, their paths, and `rebuild(leaves) -> model`.

    Raises:
        TypeError: if the model is neither callable nor such a pair.
    """
    if not (_is_pair(model) or callable(model)):
        raise TypeError(
            "model must be a callable pytree, or a pair (fn, params) with "
            f"fn(params, x); got {type(model).__name__}."
        )
    flat, structure = jtu.tree_flatten_with_path(model)
    skip = (jtu.SequenceKey(0),) if _is_pair(model) else None
    trained = [
        i
        for i, (path, leaf) in enumerate(flat)
        if _is_trainable(leaf) and (skip is None or path[:1] != skip)
    ]
    # NumPy leaves become JAX arrays, which every transformation treats as data.
    everything = [
        jnp.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf for _, leaf in flat
    ]

    def rebuild(leaves):
        new = list(everything)
        for i, leaf in zip(trained, leaves, strict=True):
            new[i] = leaf
        return jtu.tree_unflatten(structure, new)

    leaves = [everything[i] for i in trained]
    names = [jtu.keystr(flat[i][0]) for i in trained]
    return Split(leaves, names, rebuild)


def batched(model: Any, x: Any) -> Callable[[Any, Array], Array]:
    """The function `(model, x) -> outputs` that maps a batch to a batch.

    Args:
        model: a model, see the module's text.
        x: a batch; only its shape and dtype are read.

    Returns:
        The model's own call where that maps a batch of any size to outputs with that
        leading axis, otherwise the call under `jax.vmap`.

    Raises:
        ValueError: if neither works; the message has both reasons.
    """
    if len(x.shape) < 1:
        raise ValueError(
            f"x must be a batch, with a leading axis; got shape {x.shape}."
        )
    reasons = []
    for name, call in (("a batch", _call), ("one example", _call_each)):
        reason = _why_not(call, model, x)
        if reason is None:
            return call
        reasons.append(f"- called with {name}: {reason}")
    raise ValueError(
        f"The model maps neither a batch like x, {x.dtype.name}{list(x.shape)}, nor "
        "one example of it to an array:\n" + "\n".join(reasons)
    )


def _is_pair(model) -> bool:
    return type(model) is tuple and len(model) == 2 and callable(model[0])


def _is_trainable(leaf) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray) and jnp.issubdtype(
        leaf.dtype, jnp.floating
    )


def _call(model, x):
    return model[0](model[1], x) if _is_pair(model) else model(x)


def _call_each(model, x):
    return jax.vmap(lambda example: _call(model, example))(x)


def _why_not(call, model, x) -> str | None:
    """None if call(model, x) maps batches to batches, else the reason in one line."""
    leaves, _, rebuild = split(model)
    outputs = []
    for size in _PROBE_SIZES:
        probe = jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype)
        try:
            out = jax.eval_shape(lambda p, x: call(rebuild(p), x), leaves, probe)
        except Exception as error:  # noqa: BLE001 - whatever the user's code raises
            text = str(error).strip() or type(error).__name__
            return f"{type(error).__name__}: {text.splitlines()[0]}"
        if not isinstance(out, jax.ShapeDtypeStruct):
            return f"it returns {type(out).__name__}, not one array"
        if out.shape[:1] != (size,):
            return (
                f"{size} examples give shape {out.shape}, whose leading axis is not "
                "the batch"
            )
        outputs.append(out.shape[1:])
    if outputs[0] != outputs[1]:
        return f"the shape of the output depends on the batch size: {outputs}"
    return None
