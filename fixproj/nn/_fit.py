"""`fit`: any trainer, on any model, over epochs of minibatches.

Data in arrays is trained on by one compiled scan per epoch, with the minibatches
gathered inside it. A step that would leave the model with a number that is not finite
is not taken, nor is any after it; the host sees the flag after the epoch and stops.
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import PyTree

from fixproj.nn._adapt import adapt
from fixproj.nn._callbacks import is_better, monitored
from fixproj.nn._checkpoint import Checkpoint, Progress, read, write
from fixproj.nn._data import (
    Peeked,
    as_pair,
    batches_of,
    check_classes,
    is_pair_of_arrays,
)
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
    monitor: str | None = None,
    checkpoint: str | os.PathLike | Checkpoint | None = None,
    progress: bool | None = None,
    seed: int = 0,
) -> History:
    """Trains a model.

    Args:
        model: any callable pytree `model(x)` (for a batch or one example, see
            `nn.trace`), a pair `(fn, params)` with `fn(params, x)`, a Flax NNX module,
            or a pair of a Flax linen module and its variables. Models with state, such
            as running statistics or keys for dropout, are trained in training mode and
            come back with their new state. (`nn.MGD` with nodes or examples perturbed
            normalises by the running statistics and drops nothing out; a device's
            state is its own.)
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
            after the epoch in which one returns True; see `nn.EarlyStopping`.
        monitor: a metric, such as "validation_accuracy". The model after the epoch in
            which it was best is kept as `History.best_model`. A loss is to fall, others
            to rise.
        checkpoint: a file to save the progress in after each epoch, or an
            `nn.Checkpoint`, which can also save within epochs, and by Orbax. If it is
            there, training goes on from there. An iterable must
            then give the same batches again.
        progress: show a bar. None shows one if tqdm is installed.
        seed: of the shuffling.

    Returns:
        A `History` with the trained `.model`, `.metrics` and `.plot()`.

    Raises:
        ValueError: if `epochs` or `batch_size` is below 1, the data is empty, lengths
            differ, labels do not fit the model's output, there is no metric to
            monitor, or the checkpoint is of another training.
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
    model, restore = adapt(model)
    held_out = None if validation is None else as_pair(validation, "validation")
    if held_out is not None:
        check_classes(model, *held_out, "validation")
    if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
        checkpoint = Checkpoint(checkpoint)
    every = None if checkpoint is None else checkpoint.minibatches
    run: dict[str, Any] = {"seed": seed, "trainer": type(trainer).__name__}
    if is_pair_of_arrays(data):
        x, y = as_pair(data, "data")
        check_classes(model, x, y, "data")
        size = min(batch_size, len(x))
        run |= {"batch_size": size, "examples": len(x)}
        begin = lambda model: trainer.start(model, x[:size], y[:size])
        run_epoch = _arrays_epoch(trainer, x, y, size, seed, every)
    else:
        _check_iterable(data, epochs)
        data = Peeked(data)
        begin = trainer.init
        if data.first is not None:
            ((first_x, first_y),) = batches_of([data.first])
            begin = lambda model: trainer.start(model, first_x, first_y)
        run_epoch = _batches_epoch(trainer, data, every)
    leaves, _, rebuild = split(model)
    model = rebuild(leaves)
    # The best model costs a copy only where one is asked for.
    best = model if monitor is not None else None
    now = read(checkpoint, run, Progress(model, begin(model), best))

    def history_of(now):
        best = restore(now.best) if now.best_epoch else None
        return History(
            restore(now.model), now.state, now.metrics, best, now.best_epoch or None
        )

    bar = progress_bar(progress, epochs)
    bar.update(now.epoch)
    history = history_of(now)
    try:
        while now.epoch < epochs and not now.stopped:
            start = time.perf_counter()
            bad = run_epoch(now, lambda: write(checkpoint, run, now))
            if bad is not None:
                raise NonFiniteUpdateError(
                    "The loss or a parameter became NaN or infinite in epoch "
                    f"{now.epoch + 1}, minibatch {bad + 1}; training stopped before "
                    "that update. The last good model is in this error's "
                    ".history.model. Look for non-finite or unscaled inputs, a "
                    "learning rate that is too large, or, with Projections, too small "
                    "a parameter_weight.",
                    history_of(now),
                )
            seconds = time.perf_counter() - start
            row = {"epoch": now.epoch + 1, **now.infos}
            if held_out is not None:
                found = evaluate_arrays(now.model, held_out, trainer.objective)
                row.update({f"validation_{k}": v for k, v in found.items()})
            row["seconds"] = seconds
            now.metrics = {k: [*now.metrics.get(k, []), v] for k, v in row.items()}
            now.epoch, now.minibatch, now.infos = now.epoch + 1, 0, {}
            if monitor is not None:
                values = monitored(now.metrics, monitor)
                if not now.best_epoch or is_better(
                    monitor, values[-1], values[now.best_epoch - 1]
                ):
                    now.best, now.best_epoch = now.model, now.epoch
            history = history_of(now)
            bar.update()
            bar.set_postfix(**{k: f"{v:.4g}" for k, v in row.items() if k in _SHOWN})
            # All callbacks see the epoch, also after one has asked to stop.
            now.stopped = any([callback(history) is True for callback in callbacks])
            write(checkpoint, run, now)
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


def _arrays_epoch(trainer, x, y, size, seed, every):
    """Runs what is left of an epoch, in scans of `every` minibatches.

    It changes the progress it is given, `infos` from lists to means at the end, and
    returns the number of the minibatch that was not taken, or None.
    """
    count = len(x) // size

    def run(now, save):
        key = jr.fold_in(jr.key(seed), now.epoch)
        _own_buffers(now)
        while now.minibatch < count:
            length = min(every or count, count - now.minibatch)
            start = jnp.asarray(now.minibatch)
            kept = trainer, x, y, key, size, count, start, length
            now.model, now.state, infos, bad = _scan(kept, now.model, now.state)
            if bad >= 0:
                return int(bad)
            for name, values in jax.device_get(infos).items():
                # Python's floats, which a checkpoint keeps exactly.
                now.infos.setdefault(name, []).extend(np.asarray(values).tolist())
            now.minibatch += length
            if now.minibatch < count:
                save()
        now.infos = {k: float(np.mean(v)) for k, v in now.infos.items()}
        return None

    return run


def _batches_epoch(trainer, data, every):
    """As `_arrays_epoch`, for an iterable; batches that are done are passed over."""

    def run(now, save):
        infos, bad = [], jnp.array(-1)
        _own_buffers(now)

        def collect():
            """Reads the numbers back only now, so that batches do not wait for it."""
            for info in jax.device_get(infos):
                for name, value in info.items():
                    now.infos.setdefault(name, []).append(float(value))
            infos.clear()

        for i, (x, y) in enumerate(batches_of(data)):
            if i < now.minibatch:
                continue
            if every and i > now.minibatch and i % every == 0 and bad < 0:
                collect()
                now.minibatch = i
                save()
            # An array: a number would be compiled in, once for each minibatch.
            kept = trainer, x, y, bad, jnp.asarray(i)
            now.model, now.state, info, bad = _guarded(kept, now.model, now.state)
            infos.append({**info, _SIZE: len(x)})
        collect()
        if bad >= 0:
            return int(bad)
        if not now.infos:
            raise ValueError("data is empty: its iterable gave no batch.")
        sizes = now.infos.pop(_SIZE)
        now.infos = {
            k: float(np.average(v, weights=sizes)) for k, v in now.infos.items()
        }
        return None

    return run


_SIZE = "examples in the batch"


def _own_buffers(now):
    """Copies what updates overwrite, which a callback or the user may hold."""
    copy = lambda leaf: jnp.copy(leaf) if eqx.is_array(leaf) else leaf
    now.model, now.state = jax.tree.map(copy, (now.model, now.state))


# Donated, a model and its optimiser are in memory once, and not once more per update.
@eqx.filter_jit(donate="all-except-first")
def _scan(kept, model, state):
    trainer, x, y, key, size, count, start, length = kept
    order = jr.permutation(key, x.shape[0])[: size * count].reshape(count, size)
    order = jax.lax.dynamic_slice_in_dim(order, start, length)
    moving, still = eqx.partition((model, state), eqx.is_array)

    def step(carry, item):
        moving, bad = carry
        index, rows = item
        model, state = eqx.combine(moving, still)
        model, state, info, bad = _guard(
            (trainer, x[rows], y[rows], bad, index), model, state
        )
        return (eqx.filter((model, state), eqx.is_array), bad), info

    numbers = start + jnp.arange(length, dtype=start.dtype)
    (moving, bad), infos = jax.lax.scan(step, (moving, jnp.array(-1)), (numbers, order))
    model, state = eqx.combine(moving, still)
    return model, state, infos, bad


def _guard(kept, model, state):
    """An update that is taken only while everything is finite; `bad` is sticky."""
    trainer, x, y, bad, index = kept
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


_guarded = eqx.filter_jit(_guard, donate="all-except-first")
