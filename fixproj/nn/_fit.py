"""`fit`: any trainer, on any model, over epochs of minibatches.

Data in arrays is trained on by one compiled scan per epoch, with the minibatches
gathered inside it. A step that would leave the model with a number that is not finite
is not taken, nor is any after it; the host sees the flag after the epoch and stops.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PyTree

from fixproj.nn._data import as_pair, batches_of, check_classes, is_pair_of_arrays
from fixproj.nn._evaluate import evaluate_arrays
from fixproj.nn._graph import split
from fixproj.nn._history import History, NonFiniteUpdateError
from fixproj.nn._progress import progress_bar
from fixproj.nn._trainers import AbstractTrainer


def fit(
    model: PyTree,
    trainer: AbstractTrainer,
    data: tuple[Any, Any] | Iterable[tuple[Any, Any]],
    *,
    epochs: int,
    batch_size: int = 64,
    validation: tuple[Any, Any] | None = None,
    callbacks: Sequence[Callable[[History], Any]] = (),
    progress: bool | None = None,
    seed: int = 0,
) -> History:
    """Trains a model.

    Args:
        model: any callable pytree `model(x)` (for a batch or one example, see
            `nn.trace`), or a pair `(fn, params)` with `fn(params, x)`.
        trainer: `nn.Projections(...)`, `nn.Gradient(...)`, or your `AbstractTrainer`.
        data: `(x, y)` arrays with examples along the first axis, `y` integer classes,
            one-hot, or targets as the trainer's loss takes them. Or an iterable of such
            pairs, one per minibatch, that can be run through once per epoch.
            NumPy's floats are cast to the default float dtype.
        epochs: number of passes over the data.
        batch_size: examples per minibatch, at most all there are. Each epoch is
            shuffled; examples that do not fill a last minibatch are left out of it.
            Not used for an iterable, whose batches are taken as they come.
        validation: `(x, y)` to evaluate the model on after every epoch.
        callbacks: called after each epoch with the `History` so far; training stops
            after the epoch in which one returns True.
        progress: show a bar. None shows one if tqdm is installed.
        seed: of the shuffling.

    Returns:
        A `History` with the trained `.model`, `.metrics` and `.plot()`.

    Raises:
        ValueError: if `epochs` or `batch_size` is below 1, the data is empty, lengths
            differ, or labels do not fit the model's output.
        UnsupportedPrimitiveError: if the trainer cannot train the model.
        NonFiniteUpdateError: if the loss or a parameter stops being finite; the last
            good model is in its `.history`.
        ImportError: if `progress` is True and tqdm is not installed.

    Examples:
        >>> import equinox as eqx, jax
        >>> from fixproj import nn
        >>> x = jax.random.normal(jax.random.key(0), (64, 2))
        >>> y = (x[:, 0] > x[:, 1]).astype(int)
        >>> mlp = eqx.nn.MLP(2, 2, 16, depth=1, key=jax.random.key(1))
        >>> history = nn.fit(mlp, nn.Projections(), (x, y), epochs=5, progress=False)
        >>> history.metrics["accuracy"][-1] > 0.9
        True
    """
    _at_least_one("epochs", epochs)
    _at_least_one("batch_size", batch_size)
    held_out = None if validation is None else as_pair(validation, "validation")
    if held_out is not None:
        check_classes(model, *held_out, "validation")
    if is_pair_of_arrays(data):
        x, y = as_pair(data, "data")
        check_classes(model, x, y, "data")
        run_epoch = _arrays_epoch(trainer, x, y, min(batch_size, len(x)), seed)
    else:
        _check_iterable(data, epochs)
        run_epoch = _batches_epoch(trainer, data)
    leaves, _, rebuild = split(model)
    model = rebuild(leaves)
    state = trainer.init(model)
    metrics: dict[str, list[float]] = {}
    history = History(model, state, metrics)
    bar = progress_bar(progress, epochs)
    try:
        for epoch in range(epochs):
            start = time.perf_counter()
            model, state, means, bad = run_epoch(model, state, epoch)
            if bad is not None:
                raise NonFiniteUpdateError(
                    "The loss or a parameter became NaN or infinite in epoch "
                    f"{epoch + 1}, minibatch {bad + 1}; training stopped before that "
                    "update. The last good model is in this error's .history.model. "
                    "Look for non-finite or unscaled inputs, a learning rate that is "
                    "too large, or, with Projections, too small a parameter_weight.",
                    History(model, state, metrics),
                )
            seconds = time.perf_counter() - start
            row = {"epoch": epoch + 1, **means}
            if held_out is not None:
                found = evaluate_arrays(model, held_out, trainer.objective)
                row.update({f"validation_{k}": v for k, v in found.items()})
            row["seconds"] = seconds
            metrics = {k: [*metrics.get(k, []), v] for k, v in row.items()}
            history = History(model, state, metrics)
            bar.update()
            bar.set_postfix(**{k: f"{v:.4g}" for k, v in row.items() if k in _SHOWN})
            # All callbacks see the epoch, also after one has asked to stop.
            if any([callback(history) is True for callback in callbacks]):
                break
    finally:
        bar.close()
    return history


_SHOWN = ("loss", "accuracy", "validation_accuracy")


def _at_least_one(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1, got {value!r}.")


def _check_iterable(data: Any, epochs: int) -> None:
    if not isinstance(data, Iterable):
        raise TypeError(
            "data must be a pair (x, y) of arrays or an iterable of such batches, got "
            f"{type(data).__name__}."
        )
    if epochs > 1 and iter(data) is data:
        raise ValueError(
            f"data is a {type(data).__name__}, which can be run through only once, but "
            f"epochs={epochs}: pass arrays, a list of batches, or an object whose "
            "__iter__ starts again."
        )


def _arrays_epoch(trainer, x, y, size, seed):
    count = len(x) // size

    def run(model, state, epoch):
        key = jr.fold_in(jr.key(seed), epoch)
        model, state, infos, bad = _scan(trainer, model, state, x, y, key, size, count)
        means = {k: float(np.mean(v)) for k, v in jax.device_get(infos).items()}
        return model, state, means, None if bad < 0 else int(bad)

    return run


def _batches_epoch(trainer, data):
    def run(model, state, epoch):
        infos, sizes = [], []
        bad = jnp.array(-1)
        for i, (x, y) in enumerate(batches_of(data)):
            model, state, info, bad = _guarded(trainer, model, state, x, y, bad, i)
            infos.append(info)
            sizes.append(len(x))
        if not infos:
            raise ValueError("data is empty: its iterable gave no batch.")
        infos = jax.device_get(infos)
        means = {
            k: float(np.average([info[k] for info in infos], weights=sizes))
            for k in infos[0]
        }
        return model, state, means, None if bad < 0 else int(bad)

    return run


@eqx.filter_jit
def _scan(trainer, model, state, x, y, key, size, count):
    order = jr.permutation(key, x.shape[0])[: size * count].reshape(count, size)
    moving, still = eqx.partition((model, state), eqx.is_array)

    def step(carry, item):
        moving, bad = carry
        index, rows = item
        model, state = eqx.combine(moving, still)
        model, state, info, bad = _guard(
            trainer, model, state, x[rows], y[rows], bad, index
        )
        return (eqx.filter((model, state), eqx.is_array), bad), info

    start = (moving, jnp.array(-1))
    (moving, bad), infos = jax.lax.scan(step, start, (jnp.arange(count), order))
    model, state = eqx.combine(moving, still)
    return model, state, infos, bad


def _guard(trainer, model, state, x, y, bad, index):
    """An update that is taken only while everything is finite; `bad` is sticky."""
    new_model, new_state, info = trainer.update(model, state, x, y)
    finite = jnp.isfinite(info["loss"])
    for leaf in split(new_model).leaves:
        finite = finite & jnp.all(jnp.isfinite(leaf))
    bad = jnp.where((bad < 0) & ~finite, jnp.asarray(index, bad.dtype), bad)
    good = bad < 0

    def choose(new, old):
        return jnp.where(good, new, old) if eqx.is_array(old) else old

    model, state = jax.tree.map(choose, (new_model, new_state), (model, state))
    return model, state, info, bad


_guarded = eqx.filter_jit(_guard)
