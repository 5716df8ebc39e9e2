"""Projections against backpropagation on four networks and six data sets.

A perceptron, a convolutional, a recurrent and an attention network, each with and
without skip connections, on the digits, Fashion-MNIST, MNIST, CIFAR-10, HIGGS or the
characters of a text; every trainer from several seeds, with early stopping on a part of
the training set. The data must be on this machine; what is missing is said with how to
get it.

    python examples/compare_training.py [--data digits] [--data-dir DIR]
        [--networks mlp cnn rnn attention] [--skips no yes] [--trainers ...] [--seeds 3]
        [--epochs 20] [--patience 3] [--examples N] [--batch 64] [--out out]

Writes `out/compare_training_DATA.csv`, a line per epoch, and a picture of that name.
"""

import argparse
import csv
import math
import pathlib
import statistics

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib
import numpy as np
import optax

import fixproj as fp
from fixproj import nn
from fixproj._datasets import NAMES, DatasetError, load_dataset


matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


class Perceptron(eqx.Module):
    """Dense layers; with skips the last one sees all of them."""

    layers: list
    last: eqx.nn.Linear
    skip: bool = eqx.field(static=True)

    def __init__(self, size, classes, skip, key, width=128, depth=2):
        keys = jr.split(key, depth + 1)
        sizes = [size] + depth * [width]
        self.layers = [
            eqx.nn.Linear(i, o, key=k)
            for i, o, k in zip(sizes[:-1], sizes[1:], keys[1:], strict=True)
        ]
        seen = depth * width if skip else width
        self.last, self.skip = eqx.nn.Linear(seen, classes, key=keys[0]), skip

    def __call__(self, x):
        """One example of any shape."""
        x, seen = x.reshape(-1), []
        for layer in self.layers:
            x = jax.nn.relu(layer(x))
            seen.append(x)
        return self.last(jnp.concatenate(seen) if self.skip else x)


class Convolutional(eqx.Module):
    """Two convolutions with pooling; with skips the last layer sees both."""

    first: eqx.nn.Conv2d
    second: eqx.nn.Conv2d
    last: eqx.nn.Linear
    skip: bool = eqx.field(static=True)

    def __init__(self, image, classes, skip, key, features=16):
        keys = jr.split(key, 3)
        rows, columns, channels = image
        self.first = eqx.nn.Conv2d(channels, features, 3, padding=1, key=keys[0])
        self.second = eqx.nn.Conv2d(features, 2 * features, 3, padding=1, key=keys[1])
        quarter = (rows // 4) * (columns // 4) * 2 * features
        seen = quarter + (rows // 2) * (columns // 2) * features if skip else quarter
        self.last, self.skip = eqx.nn.Linear(seen, classes, key=keys[2]), skip

    def __call__(self, x):
        """One image (rows, columns, channels)."""
        pool = eqx.nn.MaxPool2d(2, 2)
        a = pool(jax.nn.relu(self.first(x.transpose(2, 0, 1))))
        b = pool(jax.nn.relu(self.second(a)))
        seen = [a.reshape(-1), b.reshape(-1)] if self.skip else [b.reshape(-1)]
        return self.last(jnp.concatenate(seen))


class Recurrent(eqx.Module):
    """A relu recurrence over rows; with skips the last layer sees all states."""

    inwards: eqx.nn.Linear
    onwards: eqx.nn.Linear
    last: eqx.nn.Linear
    skip: bool = eqx.field(static=True)

    def __init__(self, shape, classes, skip, key, width=64):
        keys = jr.split(key, 3)
        steps, size = shape
        self.inwards = eqx.nn.Linear(size, width, key=keys[0])
        onwards = eqx.nn.Linear(width, width, use_bias=False, key=keys[1])
        # Starting as the identity lets a relu recurrence remember (Le et al., 2015).
        self.onwards = eqx.tree_at(lambda m: m.weight, onwards, 0.9 * jnp.eye(width))
        seen = steps * width if skip else width
        self.last, self.skip = eqx.nn.Linear(seen, classes, key=keys[2]), skip

    def __call__(self, x):
        """One sequence (steps, features)."""

        def step(state, row):
            state = jax.nn.relu(self.inwards(row) + self.onwards(state))
            return state, state

        state, states = jax.lax.scan(step, jnp.zeros(self.onwards.out_features), x)
        return self.last(states.reshape(-1) if self.skip else state)


class Attentive(eqx.Module):
    """Rows attend to each other; with skips the result is added to the rows."""

    inwards: eqx.nn.Linear
    attention: eqx.nn.MultiheadAttention
    last: eqx.nn.Linear
    skip: bool = eqx.field(static=True)

    def __init__(self, shape, classes, skip, key, width=32):
        keys = jr.split(key, 3)
        steps, size = shape
        self.inwards = eqx.nn.Linear(size, width, key=keys[0])
        self.attention = eqx.nn.MultiheadAttention(2, width, key=keys[1])
        self.last = eqx.nn.Linear(steps * width, classes, key=keys[2])
        self.skip = skip

    def __call__(self, x):
        """One sequence (steps, features)."""
        rows = jax.nn.relu(jax.vmap(self.inwards)(x))
        heard = self.attention(rows, rows, rows)
        rows = rows + heard if self.skip else heard
        return self.last(jax.nn.relu(rows).reshape(-1))


def trainers(epochs, steps):
    """What is compared; the steps are those of an epoch."""
    schedule = optax.cosine_decay_schedule(3e-3, epochs * steps, 0.02)
    return {
        "sgd": lambda: nn.Gradient(optax.sgd(0.1, momentum=0.9)),
        "adam": lambda: nn.Gradient(optax.adam(schedule)),
        "projections": lambda: nn.Projections(outer=optax.adam(schedule)),
        "pure": lambda: nn.Projections(),
        "neuron-ap": lambda: nn.Projections("neuron"),
        "neuron-dr": lambda: nn.Projections("neuron", fp.DouglasRachford()),
    }


SEQUENCES = {"rnn": Recurrent, "attention": Attentive}


def network(kind, shape, classes, skip, key):
    """A network for examples of that shape, or None where the shape does not fit."""
    if kind == "mlp":
        return Perceptron(math.prod(shape), classes, skip, key)
    if kind == "cnn" and len(shape) == 3:
        return Convolutional(shape, classes, skip, key)
    if kind in SEQUENCES and len(shape) in (2, 3):
        sequence = (shape[0], math.prod(shape[1:]))
        return SEQUENCES[kind](sequence, classes, skip, key)
    return None


def prepare(data, kind):
    """Inputs in the shape that the network reads, centred by the training set."""
    x, test_x = data.x, data.test_x
    if data.name == "digits":
        x, test_x = (a.reshape(-1, 8, 8, 1) for a in (x, test_x))
    if kind in SEQUENCES and x.ndim == 4:
        x, test_x = (a.reshape(*a.shape[:2], -1) for a in (x, test_x))
    if x.ndim > 2 and not np.all((x == 0) | (x == 1)):
        mean, spread = x.mean(0), x.std()
        x, test_x = (x - mean) / spread, (test_x - mean) / spread
    return x, test_x


def train_all(data, options, log):
    """Every network and trainer from every seed; rows of results."""
    rows = []
    classes = len(data.classes)
    for kind in options.networks:
        x, test_x = prepare(data, kind)
        held = max(1, len(x) // 10)
        train, held_out = (x[:-held], data.y[:-held]), (x[-held:], data.y[-held:])
        steps = max(1, len(train[0]) // options.batch)
        for skip in options.skips:
            made = trainers(options.epochs, steps)
            for name in options.trainers:
                found = []
                for seed in range(options.seeds):
                    key = jr.key(seed)
                    model = network(kind, x.shape[1:], classes, skip == "yes", key)
                    if model is None:
                        break
                    history = nn.fit(
                        model,
                        made[name](),
                        train,
                        epochs=options.epochs,
                        batch_size=options.batch,
                        validation=held_out,
                        monitor="validation_accuracy",
                        callbacks=[
                            nn.EarlyStopping("validation_accuracy", options.patience)
                        ],
                        progress=False,
                        seed=seed,
                    )
                    best = history.best_model or history.model
                    test = nn.evaluate(best, (test_x, data.test_y))["accuracy"]
                    found.append(test)
                    log(kind, skip, name, seed, history, test)
                if found:
                    rows.append((kind, skip, name, found))
                    print(
                        f"{kind} skips={skip:3} {name:12} test accuracy "
                        f"{statistics.mean(found):.4f} +- {np.std(found):.4f} "
                        f"({len(found)} seeds)",
                        flush=True,
                    )
    return rows


def draw(rows, title, path):
    """Bars of mean test accuracy, with the seeds as dots."""
    kinds = list(dict.fromkeys((kind, skip) for kind, skip, _, _ in rows))
    names = list(dict.fromkeys(name for _, _, name, _ in rows))
    figure, ax = plt.subplots(
        figsize=(2.0 + 1.4 * len(kinds), 3.4), layout="constrained"
    )
    width = 0.8 / len(names)
    for kind, skip, name, found in rows:
        k = names.index(name)
        at = kinds.index((kind, skip)) + (k - (len(names) - 1) / 2) * width
        label = name if (kind, skip) == kinds[0] else None
        ax.bar(at, statistics.mean(found), width, color=f"C{k}", label=label, alpha=0.7)
        ax.plot([at] * len(found), found, "k.", markersize=3)
    ax.set_xticks(
        range(len(kinds)),
        [f"{kind}\n{'skips' if skip == 'yes' else 'plain'}" for kind, skip in kinds],
    )
    least = min(min(found) for *_, found in rows)
    ax.set_ylim(max(0.0, least - 0.05), 1.0)
    ax.set_ylabel("test accuracy")
    ax.set_title(title, loc="left")
    # Outside, where it hides no dot.
    figure.legend(fontsize=7, loc="outside upper right", ncols=len(names))
    plt.savefig(path, dpi=120)


def main():
    """Train, write the table and the picture."""
    parser = argparse.ArgumentParser(description="Compare trainers.")
    parser.add_argument("--data", default="digits", help=f"one of {', '.join(NAMES)}")
    parser.add_argument("--data-dir", default=None)
    parser.add_argument("--examples", type=int, default=None)
    kinds = ["mlp", "cnn", *SEQUENCES]
    parser.add_argument("--networks", nargs="+", choices=kinds, default=kinds)
    parser.add_argument(
        "--skips", nargs="+", choices=["no", "yes"], default=["no", "yes"]
    )
    known = list(trainers(1, 1))
    parser.add_argument("--trainers", nargs="+", choices=known, default=known[:4])
    for name, value in (("seeds", 3), ("epochs", 20), ("patience", 3), ("batch", 64)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--out", default="out")
    options = parser.parse_args()
    try:
        data = load_dataset(
            options.data, data_dir=options.data_dir, examples=options.examples
        )
    except DatasetError as error:
        parser.exit(2, f"{error}\n")
    if data.classes is None:
        parser.exit(2, "The networks here are classifiers; the data has quantities.\n")
    data = data.limited(options.examples, None)
    folder = pathlib.Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"compare_training_{pathlib.Path(options.data).stem}"
    with open(f"{stem}.csv", "w", newline="") as file:
        table = csv.writer(file)
        quantities = ("epoch", "loss", "accuracy", "validation_loss")
        quantities = (*quantities, "validation_accuracy", "seconds")
        heads = ("network", "skips", "trainer", "seed", *quantities)
        table.writerow((*heads, "test_accuracy_of_best"))

        def log(kind, skip, name, seed, history, test):
            for values in zip(*(history.metrics[q] for q in quantities), strict=True):
                table.writerow((kind, skip, name, seed, *values, test))
            file.flush()

        rows = train_all(data, options, log)
    if rows:
        draw(rows, options.data, f"{stem}.png")
        print(f"wrote {stem}.csv and {stem}.png")
    else:
        print(f"None of these networks reads examples of shape {data.x.shape[1:]}.")


if __name__ == "__main__":
    main()
