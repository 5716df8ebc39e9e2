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
import jax.random as jr
import lineax as lx
import numpy as np
from jaxtyping import Array, PyTree

from fixproj._check import check_between, check_positive_int
from fixproj.nn._data import as_pair, batches_of, is_pair_of_arrays
from fixproj.nn._trainers import AbstractTrainer
from fixproj.nn._trainers._loss import AbstractLoss, CrossEntropyLoss, loss_named
from fixproj.nn._zorb._convert import as_layers
from fixproj.nn._zorb._features import pair_units, slope_of
from fixproj.nn._zorb._layers import AbstractAffine, Dense, Softmax
from fixproj.nn._zorb._ridge import Factor
from fixproj.nn._zorb._solvers import (
    SOLVERS,
    Sums,
    Triangle,
    gathered,
    on_host,
    solve_gram,
    solve_host,
)


_KEPT_BYTES = 1 << 28
_LEAST_PAIRED = 256
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
        margin: the target logit of the label; the others' is 0.
        solver: of the linear systems. "cholesky", "eigh" (slower, for the most
            ill-conditioned), "qr" or a lineax solver such as `lineax.CG`. In `solve`,
            "qr" keeps a triangular factor of the rows instead of their Gram matrix,
            which does not square the condition number.
        start: "given" leaves the model's weights; "pairs" lets `solve` draw those of
            hidden layers anew, each unit as a separator of two examples of different
            classes (of a convolution: of their patches).
        rounds: after its sweeps, `solve` fits the last layer so many times more, to
            targets that may be exceeded: a logit of at least `margin` for the label and
            at most 0 for the others. For classes only.
        hidden_examples: `solve` fits a hidden layer to the first so many examples only.

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
    solver: str | lx.AbstractLinearSolver
    hidden_start: str = eqx.field(static=True)
    rounds: int = eqx.field(static=True)
    hidden_examples: int | None = eqx.field(static=True)

    def __init__(
        self,
        sweeps: int = 1,
        *,
        loss: str = "cross_entropy",
        ridge: float | Array | None = None,
        hidden_ridge: float | Array = 1.0,
        memory: float | Array = 0.95,
        margin: float | Array = 8.0,
        solver: str | lx.AbstractLinearSolver = "cholesky",
        start: str = "given",
        rounds: int = 0,
        hidden_examples: int | None = None,
    ):
        check_positive_int("ZORB", "sweeps", sweeps)
        if ridge is not None:
            check_between("ZORB", "ridge", ridge, 0.0)
        check_between("ZORB", "hidden_ridge", hidden_ridge, 0.0)
        check_between("ZORB", "memory", memory, 0.0, 1.0 + 1e-9)
        check_between("ZORB", "margin", margin, 0.0)
        if rounds != 0:
            check_positive_int("ZORB", "rounds", rounds)
        if hidden_examples is not None:
            check_positive_int("ZORB", "hidden_examples", hidden_examples)
        if solver not in SOLVERS and not isinstance(solver, lx.AbstractLinearSolver):
            raise ValueError(
                f"ZORB: `solver` must be one of {', '.join(map(repr, SOLVERS))} or a "
                f"lineax solver, got {solver!r}."
            )
        if start not in ("given", "pairs"):
            raise ValueError(
                f"ZORB: `start` must be 'given' or 'pairs', got {start!r}."
            )
        self.sweeps = sweeps
        self.ridge = ridge
        self.hidden_ridge = hidden_ridge
        self.memory = memory
        self.margin = margin
        self.objective = loss_named(loss)
        self.solver = solver
        self.hidden_start = start
        self.rounds = rounds
        self.hidden_examples = hidden_examples

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
                inner, moved = _wanted(layers, place, x, targets)
                new, added = layers[place].products(inner, moved)
                grams[at] = old[0][at] + new
                if at == len(places) - 1:
                    cross = old[1] + added
                    both = solve_gram(grams[at], cross, ridge, self.solver)
                    layers = _set(layers, place, both)
                else:
                    gram = grams[at] * (jnp.trace(new) / jnp.trace(grams[at]))
                    move = solve_gram(gram, added, self.hidden_ridge, self.solver)
                    layers = _set(layers, place, _both(layers[place]) + move)
        return layered.rebuild(layers), (grams, cross), info

    def solve(
        self,
        model: PyTree,
        data: tuple[Any, Any] | Iterable[tuple[Any, Any]],
        *,
        key: Array | None = None,
    ) -> PyTree:
        """The sweeps over all data, with memory for one batch and the statistics.

        Sums are kept in float64 on the host. Each layer of each sweep is one pass over
        the data. Batches that are sharded over devices, of one process or several, are
        summed where they are; the sums are then the same everywhere.

        Args:
            model: as for `update`.
            data: `(x, y)` arrays, possibly mapped from files, or an iterable of such
                batches that can be run through again and again.
            key: for `start="pairs"`; None is `jax.random.key(0)`.

        Returns:
            The trained model.

        Raises:
            ValueError: if an iterable can be run through only once, is empty, or has
                NaN or infinite values.
        """
        layered = as_layers(model)
        layers: Any = layered.layers
        places = _affine(layers)
        if self.hidden_start == "pairs":
            key = jr.key(0) if key is None else key
            layers = _with_pairs(self, layers, places[:-1], data, key)
        last, hidden = places[-1], places[:-1]
        for sweep in range(self.sweeps):
            first = [last] if sweep == 0 or not hidden else []
            for i, place in enumerate([*first, *hidden, *([last] if hidden else [])]):
                # The first fit of the last layer only serves to carry targets back.
                few = bool(hidden) and (place != last or (i == 0 and bool(first)))
                limit = self.hidden_examples if few else None
                layers, ridge = self._solve_one(
                    layers, place, place == last, data, limit
                )
        if self.rounds and isinstance(self.objective, CrossEntropyLoss):
            layers = _set(layers, last, self._relaxed(layers, last, data, ridge))
        return layered.rebuild(layers)

    def _relaxed(self, layers, place, data, ridge):
        """The last layer for targets that may be exceeded; see `_relax.py`."""
        layer = layers[place]
        dtype = layer.weight.dtype
        margin = float(self.margin)
        kept, targets, size = [], [], 0
        gram: Any = 0.0
        cross: Any = 0.0
        for x, y in _passes(data):
            rows, wanted = _last_rows(self, layers, x, y, place)
            size += rows.nbytes
            products = _products(rows, wanted)
            gram, cross = gram + on_host(products[0]), cross + on_host(products[1])
            targets.append((wanted, wanted))
            kept = [*kept, rows] if size <= _KEPT_BYTES else []
        whole = len(kept) == len(targets)
        strength = ridge * float(np.trace(gram)) / len(gram)
        factor = Factor(gram, strength)
        momentum = 1.0
        for _ in range(self.rounds):
            both = jnp.asarray(factor.solve(cross), dtype)
            faster = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            push, momentum = (momentum - 1) / faster, faster
            cross = 0.0
            again = iter(_passes(data)) if not whole else None
            for i, (one_hot, old) in enumerate(targets):
                if again is None:
                    rows = kept[i]
                else:
                    rows, _ = _last_rows(self, layers, *next(again), place)
                new, added = _pushed(rows, both, one_hot, old, margin, push)
                targets[i] = one_hot, new
                cross = cross + on_host(added)
        return jnp.asarray(factor.solve(cross), dtype)

    def _solve_one(self, layers, place, is_last, data, limit=None):
        factored = is_last and self.solver == "qr"
        sums: Any = None
        seen = 0
        for x, y in _passes(data):
            make = _rows if factored else _statistics
            part = [on_host(s) for s in make(self, layers, x, y, place)]
            if sums is None:
                sums = part
            elif factored:
                sums = [np.concatenate([sums[0], part[0]])]
            else:
                sums = list(map(np.add, sums, part))
            if factored:
                sums = [np.linalg.qr(sums[0], mode="r")]
            seen += len(x)
            if limit is not None and seen >= limit:
                break
        if sums is None:
            raise ValueError("data is empty: its iterable gave no batch.")
        if not all(np.all(np.isfinite(s)) for s in sums):
            raise ValueError(
                "data has NaN or infinite values, or the model makes them from it."
            )
        layer = layers[place]
        dtype = layer.weight.dtype
        if is_last:
            outputs = layer.weight.shape[1]
            biased = layer.bias is not None
            if factored:
                fit = Triangle(sums[0], outputs, biased, seen)
            else:
                gram, cross, squares = sums
                fit = Sums(gram, cross, squares, biased)
            least = _LEAST_RIDGE.get(np.dtype(dtype), 1e-4)
            ridge = None if self.ridge is None else float(self.ridge)
            both, ridge = fit.solved(ridge, least, self.solver)
            return _set(layers, place, jnp.asarray(both, dtype)), ridge
        gram, cross, _ = sums
        scale = float(np.trace(gram)) / len(gram)
        solver = "cholesky" if self.solver == "qr" else self.solver
        move = solve_host(gram, cross, float(self.hidden_ridge) * scale, solver)
        move = jnp.asarray(move, dtype)
        return _set(layers, place, _both(layers[place]) + move), None

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
    """A layer's input, and the output it should have (the last) or move by (others)."""
    for layer in layers[:place]:
        x = layer(x)
    layer = layers[place]
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
    return x, moved + layer.outputs(layer(x)) if is_last else moved


def _prepared(trainer, layers, x, y, place):
    x = x.astype(layers[place].weight.dtype)
    return _wanted(layers, place, x, trainer._targets(layers, x, y))


@eqx.filter_jit
def _statistics(trainer, layers, x, y, place):
    inner, moved = _prepared(trainer, layers, x, y, place)
    gram, cross = layers[place].products(inner, moved)
    return gram, cross, jnp.sum(moved**2, axis=0)


@eqx.filter_jit
def _rows(trainer, layers, x, y, place):
    """Rows [1, X, T] of one batch, of which "qr" keeps the triangular factor."""
    inner, moved = _prepared(trainer, layers, x, y, place)
    rows = layers[place].rows(inner)
    parts = [rows, moved.astype(rows.dtype)]
    if layers[place].bias is not None:
        parts = [jnp.ones_like(rows[:, :1]), *parts]
    return (jnp.concatenate(parts, axis=1),)


@eqx.filter_jit
def _last_rows(trainer, layers, x, y, place):
    """Rows [X, 1] of the last layer, and the targets of its output."""
    inner, wanted = _prepared(trainer, layers, x, y, place)
    if layers[place].bias is not None:
        inner = jnp.concatenate([inner, jnp.ones_like(inner[:, :1])], axis=1)
    return inner, wanted


@jax.jit
def _products(rows, wanted):
    return rows.T @ rows, rows.T @ wanted


@jax.jit
def _pushed(rows, both, one_hot, old, margin, push):
    """Targets nearest to the outputs, and X'T of targets a little beyond these.

    Rows may be spread over devices and processes; targets stay where they are.
    """
    margin, push = (jnp.asarray(part, rows.dtype) for part in (margin, push))

    def exceeded(t):
        return jnp.where(
            one_hot > margin / 2, jnp.maximum(t, margin), jnp.minimum(t, 0)
        )

    new = exceeded(rows @ both)
    return new, rows.T @ exceeded(new + push * (new - old))


def _with_pairs(trainer, layers, places, data, key):
    """Hidden layers whose units separate pairs of unlike examples, or their patches."""
    x, y = map(gathered, next(iter(_passes(data))))
    seed = int(jr.randint(key, (), 0, 2**31 - 1))
    rng = np.random.default_rng(seed)
    x = jnp.asarray(x[:_ROWS], layers[places[0]].weight.dtype) if places else x
    groups = _groups(np.asarray(y)[:_ROWS])
    for i, layer in enumerate(layers[: places[-1] + 1] if places else []):
        if i in places and layer.bias is not None:
            few = max(1, _ROWS // max(1, layer.outputs(layer(x[:1])).shape[0]))
            some = rng.permutation(len(x))[: max(few, _LEAST_PAIRED)]
            rows = np.asarray(layer.rows(x[jnp.asarray(some)]), np.float64)
            each = np.repeat(groups[some], len(rows) // len(some))
            shift, spread = rows.mean(0), rows.std(0)
            spread = np.maximum(spread, 0.1 * spread.max())
            spread = np.where(spread > 0, spread, 1.0)
            units = layer.weight.shape[1]
            scaled = (rows - shift) / spread
            weight, bias = pair_units(scaled, each, np.ones(len(rows)), units, rng)
            after = getattr(layers[i + 1], "activation", None)
            slope = slope_of(getattr(after, "name", ""))
            weight = slope * weight / spread[:, None]
            both = np.concatenate([weight, (slope * bias - shift @ weight)[None]])
            layers = _set(layers, i, jnp.asarray(both, layer.weight.dtype))
        x = layers[i](x)
    return layers


def _groups(y):
    """Which class each is of, or quantile of its first target."""
    if np.issubdtype(y.dtype, np.integer):
        return y.reshape(len(y), -1)[:, 0]
    y = y.reshape(len(y), -1)
    if y.shape[1] > 1 and np.all((y == 0) | (y == 1)):
        return y.argmax(1)
    edges = np.quantile(y[:, 0], np.linspace(0, 1, 11)[1:-1])
    return np.searchsorted(edges, y[:, 0])


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
