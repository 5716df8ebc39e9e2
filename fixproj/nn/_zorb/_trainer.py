"""ZORB as a trainer: sweeps of least squares over the layers of a network.

A sweep first fits the last layer, W = (G + k I)^-1 C; then it goes through the layers
from first to last. What the output lacks, E = T - y, is carried back through the later
layers by projecting onto each one's graph, so that a layer with input X and output Z
gets the target Z + D; the layer moves by (G + k I)^-1 X'D, the ridge regression of its
target started where it is. G = X'X and C = X'T are sums over examples, so minibatches
only ever add to them.
"""

from collections.abc import Iterable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from fixproj._check import check_between, check_positive_int
from fixproj.nn._data import as_pair, batches_of, is_pair_of_arrays
from fixproj.nn._trainers import AbstractTrainer
from fixproj.nn._trainers._loss import AbstractLoss, CrossEntropyLoss, loss_named
from fixproj.nn._zorb._convert import as_layers
from fixproj.nn._zorb._layers import AbstractAffine, Dense, Softmax
from fixproj.nn._zorb._ridge import choose_ridge, solve_ridge


_LEAST_RIDGE = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-10}


class ZORB(AbstractTrainer):
    """Training by least squares, layer by layer, with targets carried back.

    Models: an `nn.Network`, `eqx.nn.MLP` or `eqx.nn.Sequential` of Linear, Conv2d,
    pooling and activations. In `nn.fit`, each minibatch is added to the statistics of
    every layer and makes `sweeps` sweeps; with `batch_size` the size of the data, one
    epoch is ZORB on all of it. `solve` is for data that do not fit into memory.

    Hidden layers keep the part of their outputs that the later weights do not see, so
    they do not collapse to the rank of the labels as in the published algorithm (which
    is `ReferenceZORB`).

    Args:
        sweeps: per minibatch, or in all for `solve`.
        loss: "cross_entropy": outputs are logits, or probabilities after a softmax, and
            the targets `margin` times one-hot labels. "squared": outputs are numbers.
        ridge: of the last layer, relative to the mean eigenvalue of its Gram matrix.
            `solve` chooses it by generalised cross-validation if it is None; `update`
            then takes 1e-4.
        hidden_ridge: of the other layers. A large one keeps them near where they were.
        memory: what the statistics are multiplied by before a minibatch is added: old
            ones were made with other hidden layers.
        margin: difference between the target logits of the label and of the others.

    Raises:
        ValueError: for values out of range or an unknown loss.

    References:
        Ranganathan and Lewandowski, "ZORB", 2020, arXiv:2011.08895.

    Examples:
        >>> import equinox as eqx, jax
        >>> from fixproj import nn
        >>> x = jax.random.normal(jax.random.key(0), (256, 2))
        >>> y = (x[:, 0] * x[:, 1] > 0).astype(int)
        >>> mlp = eqx.nn.MLP(2, 2, 64, 1, jax.numpy.tanh, key=jax.random.key(1))
        >>> history = nn.fit(
        ...     mlp, nn.ZORB(), (x, y), epochs=5, batch_size=256, progress=False
        ... )
        >>> nn.evaluate(history.model, (x, y))["accuracy"] > 0.9
        True
    """

    sweeps: int = eqx.field(static=True)
    ridge: float | Array | None
    hidden_ridge: float | Array
    memory: float | Array
    margin: float | Array
    objective: AbstractLoss

    def __init__(
        self,
        sweeps: int = 1,
        *,
        loss: str = "cross_entropy",
        ridge: float | Array | None = None,
        hidden_ridge: float | Array = 1.0,
        memory: float | Array = 0.95,
        margin: float | Array = 8.0,
    ):
        check_positive_int("ZORB", "sweeps", sweeps)
        if ridge is not None:
            check_between("ZORB", "ridge", ridge, 0.0)
        check_between("ZORB", "hidden_ridge", hidden_ridge, 0.0)
        check_between("ZORB", "memory", memory, 0.0, 1.0 + 1e-9)
        check_between("ZORB", "margin", margin, 0.0)
        self.sweeps = sweeps
        self.ridge = ridge
        self.hidden_ridge = hidden_ridge
        self.memory = memory
        self.margin = margin
        self.objective = loss_named(loss)

    def init(self, model: PyTree) -> PyTree:
        """Empty statistics; see `AbstractTrainer.init`."""
        layers: Any = as_layers(model).layers
        places = _affine(layers)
        grams = []
        for i in places:
            size = layers[i].weight.shape[0] + (layers[i].bias is not None)
            grams.append(jnp.zeros((size, size), layers[i].weight.dtype))
        last = layers[places[-1]]
        cross = jnp.zeros((grams[-1].shape[0], last.weight.shape[1]), last.weight.dtype)
        return grams, cross

    def update(
        self, model: PyTree, state: PyTree, x: Array, y: Array
    ) -> tuple[PyTree, PyTree, dict[str, Any]]:
        """The sweeps of one minibatch; see `AbstractTrainer.update`."""
        layered = as_layers(model)
        layers: Any = layered.layers
        places = _affine(layers)
        dtype = layers[places[-1]].weight.dtype
        x = x.astype(dtype)
        info = self.objective.metrics(self._outputs(layers, x), y)
        old = jax.tree.map(lambda s: s * jnp.asarray(self.memory, dtype), state)
        grams, cross = list(old[0]), old[1]
        targets = self._targets(layers, x, y)
        ridge = 1e-4 if self.ridge is None else self.ridge
        for _ in range(self.sweeps):
            # The readout comes first, so that what is carried back has a meaning.
            for at in (len(places) - 1, *range(len(places))):
                place = places[at]
                rows, moved = _wanted(layers, place, x, targets)
                grams[at] = old[0][at] + rows.T @ rows
                if at == len(places) - 1:
                    cross = old[1] + rows.T @ moved
                    both = _solve(grams[at], cross, ridge)
                    layers = _set(layers, place, both)
                else:
                    share = jnp.trace(rows.T @ rows) / jnp.trace(grams[at])
                    gram = grams[at] * share
                    move = _solve(gram, rows.T @ moved, self.hidden_ridge)
                    layers = _set(layers, place, _both(layers[place]) + move)
        return layered.rebuild(layers), (grams, cross), info

    def solve(
        self, model: PyTree, data: tuple[Any, Any] | Iterable[tuple[Any, Any]]
    ) -> PyTree:
        """The sweeps over all data, with memory for one batch and the statistics.

        Sums are kept in float64 on the host. Each layer of each sweep is one pass over
        the data.

        Args:
            model: as for `update`.
            data: `(x, y)` arrays, possibly mapped from files, or an iterable of such
                batches that can be run through again and again.

        Returns:
            The trained model.

        Raises:
            ValueError: if an iterable can be run through only once, or is empty.
        """
        layered = as_layers(model)
        layers: Any = layered.layers
        places = _affine(layers)
        last = len(places) - 1
        for sweep in range(self.sweeps):
            hidden = places[:-1] if last else []
            order = [places[-1], *hidden] if sweep == 0 else hidden
            for place in [*order, *([places[-1]] if last else [])]:
                layers = self._solve_one(layers, place, place == places[-1], data)
        return layered.rebuild(layers)

    def _solve_one(self, layers, place, is_last, data):
        sums = None
        for x, y in _passes(data):
            part = _statistics(self, layers, x, y, place)
            part = [np.asarray(s, np.float64) for s in part]
            sums = part if sums is None else list(map(np.add, sums, part))
        if sums is None:
            raise ValueError("data is empty: its iterable gave no batch.")
        gram, cross, squares = sums
        weight = layers[place].weight
        if not all(np.all(np.isfinite(s)) for s in sums):
            raise ValueError(
                "data has NaN or infinite values, or the model makes them from it."
            )
        if not is_last:
            scale = float(np.trace(gram)) / len(gram)
            move = solve_ridge(gram, cross, float(self.hidden_ridge) * scale)
            return _set(
                layers, place, _both(layers[place]) + jnp.asarray(move, weight.dtype)
            )
        if layers[place].bias is None:
            both = self._readout(gram, cross, squares.sum(), np.inf, weight.dtype)
        else:
            count = gram[-1, -1]
            mean, offset = gram[-1, :-1] / count, cross[-1] / count
            inner = gram[:-1, :-1] - count * np.outer(mean, mean)
            centred = cross[:-1] - count * np.outer(mean, offset)
            total = float(np.sum(squares - count * offset**2))
            weights = self._readout(inner, centred, total, count, weight.dtype)
            both = np.concatenate([weights, (offset - mean @ weights)[None]])
        return _set(layers, place, jnp.asarray(both, weight.dtype))

    def _readout(self, gram, cross, total, count, dtype):
        scale = float(np.trace(gram)) / len(gram)
        least = _LEAST_RIDGE.get(np.dtype(dtype), 1e-4) * scale
        if self.ridge is not None:
            strength = float(self.ridge) * scale
        elif np.isfinite(count):
            strength = choose_ridge(gram, cross, max(total, 0.0), count).strength
        else:
            strength = 1e-4 * scale
        return solve_ridge(gram, cross, max(strength, least))

    def _outputs(self, layers, x):
        """What the loss takes: logits also where the last layer is a softmax."""
        logits = isinstance(self.objective, CrossEntropyLoss)
        skip = logits and isinstance(layers[-1], Softmax)
        for layer in layers[:-1] if skip else layers:
            x = layer(x)
        return x

    def _targets(self, layers, x, y):
        shape = jax.eval_shape(lambda x: self._outputs(layers, x), x)
        classes = (
            jnp.issubdtype(y.dtype, jnp.integer) and y.ndim == len(shape.shape) - 1
        )
        if classes:
            y = jax.nn.one_hot(y, shape.shape[-1], dtype=shape.dtype)
        if y.shape != shape.shape:
            raise ValueError(
                f"ZORB: the targets must have the shape {shape.shape} of the model's "
                f"output, or be integer classes; got {y.dtype.name} of shape {y.shape}."
            )
        y = y.astype(shape.dtype)
        if isinstance(self.objective, CrossEntropyLoss):
            y = y * jnp.asarray(self.margin, y.dtype)
        return y


def _affine(layers) -> list[int]:
    places = [i for i, at in enumerate(layers) if isinstance(at, AbstractAffine)]
    if not places:
        raise ValueError("ZORB: the model has no layer with weights.")
    if not isinstance(layers[places[-1]], Dense):
        raise TypeError("ZORB: the last layer with weights must be linear (dense).")
    return places


def _both(layer):
    if layer.bias is None:
        return layer.weight
    return jnp.concatenate([layer.weight, layer.bias[None]])


def _set(layers, place, both):
    layer = layers[place]
    if layer.bias is None:
        new = eqx.tree_at(lambda at: at.weight, layer, both)
    else:
        new = eqx.tree_at(lambda at: (at.weight, at.bias), layer, (both[:-1], both[-1]))
    return (*layers[:place], new, *layers[place + 1 :])


def _wanted(layers, place, x, targets):
    """A layer's rows, and the output it should have (the last) or move by (others)."""
    for layer in layers[:place]:
        x = layer(x)
    layer = layers[place]
    rows = layer.rows(x)
    if layer.bias is not None:
        rows = jnp.concatenate([rows, jnp.ones_like(rows[:, :1])], axis=1)
    later = [at for at in layers[place + 1 :] if not isinstance(at, Softmax)]
    inputs, h = [], layer(x)
    for after in later:
        inputs.append(h)
        h = after(h)
    moved = targets - h
    for after, before in zip(reversed(later), reversed(inputs), strict=True):
        moved = after.pull(before, h, moved)
        h = before
    moved = layer.outputs(moved)
    is_last = not any(isinstance(at, AbstractAffine) for at in later)
    return rows, moved + layer.outputs(layer(x)) if is_last else moved


@eqx.filter_jit
def _statistics(trainer, layers, x, y, place):
    x = x.astype(layers[place].weight.dtype)
    rows, moved = _wanted(layers, place, x, trainer._targets(layers, x, y))
    return rows.T @ rows, rows.T @ moved, jnp.sum(moved**2, axis=0)


def _solve(gram, cross, ridge):
    """(G + ridge mean(G) I)^-1 C in the working precision."""
    size = gram.shape[0]
    least = jnp.asarray(jnp.finfo(gram.dtype).tiny, gram.dtype)
    shift = jnp.asarray(ridge, gram.dtype) * jnp.trace(gram) / size + least
    factor = jax.scipy.linalg.cho_factor(gram + shift * jnp.eye(size, dtype=gram.dtype))
    return jax.scipy.linalg.cho_solve(factor, cross)


_ROWS = 4096


def _passes(data):
    if is_pair_of_arrays(data):
        x, y = data
        if len(x) != len(y):
            raise ValueError(
                f"data: x and y must have the same length, got {len(x)} and {len(y)}."
            )
        for start in range(0, len(x), _ROWS):
            rows = slice(start, start + _ROWS)
            yield as_pair((x[rows], y[rows]), "data")
        return
    if iter(data) is data:
        raise ValueError(
            f"data is a {type(data).__name__}, which can be run through only once; "
            "each layer needs a pass: give arrays, a list of batches, or an object "
            "whose __iter__ starts again."
        )
    yield from batches_of(data)
