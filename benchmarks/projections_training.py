"""Training by projections against backpropagation, on Fashion-MNIST.

    python -m benchmarks.projections_training
        [--full | --networks | --pure | --averages | --convolutions]

A perceptron 784-128-128-10, minibatches of 256, a cosine schedule, all trained by the
same `nn.fit`: Adam and Muon on backpropagated gradients; Adam on the same damped by the
Gram matrix of each layer's inputs, (I + s X'X)^-1, the control that tells what damping
alone does; and Adam on the displacements of `nn.Projections` at its defaults. Test
accuracy after the last epoch, then CPU time of a step, in turns. `--full`: 1, 2, 5 and
10 epochs, three seeds; for each trainer and number of epochs the learning rate, and
whether a tenth of each label is spread over all classes, are first chosen on 5000
images that are neither trained nor tested on (two seeds); then the shortest schedule
that ends at .885 and what it takes; else 1 and 2 epochs, one seed, and what was so
found. `--networks`: sign activations, 512 units, 8 and 20 hidden layers, chosen in the
same way (one seed), tested with three. `--pure`: parameters that become the projected
ones, without an optimiser, by weak sweeps and by methods. `--averages`: averaged
weights (`nn.Averaged`) beside schedules, on held-out images of the training set.
`--convolutions`: a network conv-pool-conv-pool-dense (16 filters of 5 x 5, 32 of 3 x
3), 6 epochs, one seed, a few minutes for each trainer.

The images are read from the directory FASHION_MNIST, by default that of Debian's
package dataset-fashion-mnist.
"""

import functools
import gzip
import os
import pathlib
import statistics
import sys
import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

import fixproj as fp
from benchmarks._timing import markdown_table
from fixproj import nn
from fixproj.nn._graph import batched, split
from fixproj.nn._graph._rules._ridge import damped
from fixproj.nn._trainers import AbstractLoss, loss_named


BATCH = 256
TRAINED = 55000


def fashion_mnist():
    """(x, y) to train, validate and test on, centred and scaled by the first two."""
    folder = pathlib.Path(
        os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist")
    )

    def read(name):
        path = folder / f"{name}.gz"
        if not path.exists():
            raise FileNotFoundError(
                f"{path} is missing: install Debian's package dataset-fashion-mnist, "
                "or set FASHION_MNIST to a directory with the four idx.gz files."
            )
        data = gzip.decompress(path.read_bytes())
        sizes = np.frombuffer(data, ">i4", data[3], 4)
        return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(sizes)

    def pair(name):
        images = read(f"{name}-images-idx3-ubyte").reshape(-1, 784).astype(np.float32)
        return images, read(f"{name}-labels-idx1-ubyte").astype(np.int32)

    (x, y), (test_x, test_y) = pair("train"), pair("t10k")
    mean = x.mean(0)
    scale = (x - mean).std()
    x, test_x = (x - mean) / scale, (test_x - mean) / scale
    held_out = x[TRAINED:], y[TRAINED:]
    return (x[:TRAINED], y[:TRAINED]), held_out, (test_x, test_y)


def perceptron(key, sizes=(784, 128, 128, 10), activation=jax.nn.relu):
    """The pair (fn, params), He initialisation."""
    params = []
    for i, o in zip(sizes, sizes[1:], strict=False):
        key, sub = jr.split(key)
        params.append((jr.normal(sub, (i, o)) * (2 / i) ** 0.5, jnp.zeros(o)))
    return _forward_by(activation), params


@functools.cache
def _forward_by(activation):
    def forward(params, x):
        for w, b in params[:-1]:
            x = activation(x @ w + b)
        w, b = params[-1]
        return x @ w + b

    return forward


class DampedGradient(nn.AbstractTrainer):
    """The control: gradients of a perceptron, each damped by its layer's inputs."""

    optimiser: optax.GradientTransformation
    objective: AbstractLoss
    strength: float = 4e-4

    def init(self, model):
        """The optimiser's state."""
        return self.optimiser.init(split(model).leaves)

    def update(self, model, state, x, y):
        """One step."""
        leaves, _, rebuild = split(model)
        call = batched(model, x)

        def mean(leaves):
            outputs = call(rebuild(leaves), x)
            return self.objective.mean(outputs, y), outputs

        slopes, outputs = jax.grad(mean, has_aux=True)(leaves)
        fed, h = [], x
        for k in range(0, len(leaves), 2):
            ones = jnp.concatenate([h, jnp.ones_like(h[:, :1])], axis=1)
            both = jnp.concatenate([slopes[k], slopes[k + 1][None]])
            both = damped(ones, both, self.strength)
            fed += [both[:-1], both[-1]]
            h = jax.nn.relu(h @ leaves[k] + leaves[k + 1])
        updates, state = self.optimiser.update(fed, state, leaves)
        moved: Any = optax.apply_updates(leaves, updates)
        return rebuild(moved), state, self.objective.metrics(outputs, y)


def _schedule(rate, epochs):
    return optax.cosine_decay_schedule(rate, epochs * (TRAINED // BATCH), 0.02)


def _adam(rate, epochs):
    return optax.adam(_schedule(rate, epochs))


def _muon(rate, epochs, smoothing):
    outer = optax.contrib.muon(_schedule(rate, epochs))
    return nn.Gradient(outer, label_smoothing=smoothing)


def _backpropagation(rate, epochs, smoothing):
    return nn.Gradient(_adam(rate, epochs), label_smoothing=smoothing)


def _control(rate, epochs, smoothing):
    objective = loss_named("cross_entropy", smoothing)
    return DampedGradient(optimiser=_adam(rate, epochs), objective=objective)


def _projections(rate, epochs, smoothing):
    return nn.Projections(outer=_adam(rate, epochs), label_smoothing=smoothing)


# What is compared: trainers by learning rate, epochs and smoothing of labels, and the
# rates to choose from.
TRAINERS: dict[str, tuple[Any, tuple[float, ...]]] = {
    "backpropagation": (_backpropagation, (2e-3, 3e-3, 5e-3, 7e-3)),
    "backpropagation, Muon": (_muon, (0.01, 0.02, 0.04)),
    "damped backpropagation (control)": (_control, (2e-3, 3e-3, 5e-3, 7e-3)),
    "projections": (_projections, (2e-3, 3e-3, 5e-3, 7e-3)),
}
SMOOTHINGS = (0.0, 0.1)
EPOCHS = (1, 2, 5, 10)
# What `--full` chose, (rate, smoothing) for each of EPOCHS.
CHOSEN: dict[str, tuple[tuple[float, float], ...]] = {
    "backpropagation": ((5e-3, 0.1), (7e-3, 0.1), (7e-3, 0.0), (3e-3, 0.1)),
    "backpropagation, Muon": ((0.04, 0.1), (0.02, 0.1), (0.02, 0.1), (0.01, 0.1)),
    "damped backpropagation (control)": (
        (7e-3, 0.0),
        (7e-3, 0.0),
        (7e-3, 0.1),
        (7e-3, 0.1),
    ),
    "projections": ((7e-3, 0.0), (7e-3, 0.0), (5e-3, 0.1), (7e-3, 0.1)),
}


def try_settings(name, rates, epochs, seeds, train, held_out, **network):
    """(rate, smoothing) and its accuracy on held-out images, for all of them."""
    make = TRAINERS[name][0]
    return {
        (rate, smoothing): _mean_accuracy(
            make(rate, epochs, smoothing), epochs, seeds, train, held_out, **network
        )
        for smoothing in SMOOTHINGS
        for rate in rates
    }


def choose(name, train, held_out):
    """(rate, smoothing) by number of epochs, best on held-out images; prints all."""
    found = [
        try_settings(name, TRAINERS[name][1], n, (1, 2), train, held_out)
        for n in EPOCHS
    ]
    settings = (f"{rate:g}, {smoothing:g}" for rate, smoothing in found[0])
    rows = [[name, n, *each.values()] for n, each in zip(EPOCHS, found, strict=True)]
    heads = ["validation accuracy", "epochs", *settings]
    print(markdown_table(heads, rows) + "\n", flush=True)
    return tuple(max(each, key=each.__getitem__) for each in found)


def step_times(data, rounds=9, steps=20):
    """CPU milliseconds per step, by trainer and round."""
    x, y = (
        jnp.asarray(a[: steps * BATCH]).reshape(steps, BATCH, *a.shape[1:])
        for a in data
    )
    calls = {}
    for name, (make, _) in TRAINERS.items():
        trainer = make(CHOSEN[name][0][0], 1, 0.0)
        forward, params = perceptron(jr.key(0))
        state = trainer.start((forward, params), x[0], y[0])

        @eqx.filter_jit
        def run(params, state, x, y, trainer=trainer, forward=forward):
            def step(carry, batch):
                params, state = carry
                (_, params), state, _ = trainer.update((forward, params), state, *batch)
                return (params, state), None

            return jax.lax.scan(step, (params, state), (x, y))[0]

        calls[name] = lambda run=run, p=params, s=state: run(p, s, x, y)
        jax.block_until_ready(calls[name]())
    samples = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.process_time()
            jax.block_until_ready(call())
            samples[name].append((time.process_time() - start) / steps * 1e3)
    return samples


def straight_through(x):
    """The sign of x, with the derivative of clip(x, -1, 1)."""
    clipped = jnp.clip(x, -1, 1)
    return clipped + jax.lax.stop_gradient(jnp.sign(x) - clipped)


# Sizes, activations for gradients and for projections, epochs.
NETWORKS: dict[str, tuple[tuple[int, ...], tuple[Any, Any], int]] = {
    "sign": ((784, 128, 128, 10), (straight_through, jnp.sign), 5),
    "512 units": ((784, 512, 512, 10), (jax.nn.relu, jax.nn.relu), 3),
    "8 hidden layers": ((784, *8 * (128,), 10), (jax.nn.relu, jax.nn.relu), 3),
    "20 hidden layers": ((784, *20 * (128,), 10), (jax.nn.relu, jax.nn.relu), 2),
}


def networks(train, held_out, test, rates=(1e-3, 3e-3, 5e-3)):
    """Test accuracy of other perceptrons by Adam on gradients and on displacements."""
    rows = []
    for network, (sizes, activations, epochs) in NETWORKS.items():
        for k, trainer in enumerate(("backpropagation", "projections")):
            shape = {"sizes": sizes, "activation": activations[k]}
            found = try_settings(trainer, rates, epochs, (1,), train, held_out, **shape)
            rate, s = max(found, key=found.__getitem__)
            made = TRAINERS[trainer][0](rate, epochs, s)
            tested = _mean_accuracy(made, epochs, (1, 2, 3), train, test, **shape)
            rows.append([network, trainer, epochs, f"{rate:g}, {s:g}", tested])
            print(*rows[-1], file=sys.stderr, flush=True)
    heads = ["network", "", "epochs", "rate, smoothing", "test accuracy"]
    print(markdown_table(heads, rows))


def pure(train, held_out, test, seeds=(1, 2, 3)):
    """Accuracy without an optimiser: parameters become the projected ones."""
    weak = functools.partial(nn.Projections, weak=True)
    averaged = lambda **options: nn.Averaged(weak(**options), 0.998)
    makers = {
        "weak sweeps": weak,
        "averaged": averaged,
        "relaxation 1.9, averaged": lambda: averaged(relaxation=1.9),
        "smoothed labels, averaged": lambda: averaged(label_smoothing=0.1),
        "all three": lambda: averaged(relaxation=1.9, label_smoothing=0.1),
    }
    for name, method in (("Douglas-Rachford", fp.DouglasRachford()), ("RRR", fp.RRR())):
        for steps in (2, 10):
            makers[f"{name}, {steps} steps"] = functools.partial(
                nn.Projections, method=method, sweeps=steps
            )
    rows = []
    for name, make in makers.items():
        rows.append([name])
        for epochs, data in ((2, held_out), (10, held_out), (10, test)):
            if "steps" in name and epochs > 2:
                rows[-1].append("")
                continue
            mean = _mean_accuracy(make(), epochs, seeds, train, data)
            rows[-1].append(mean)
        print(*rows[-1], file=sys.stderr, flush=True)
    heads = ["no optimiser", "2 epochs, held out", "10, held out", "10, test"]
    print(markdown_table(heads, rows))


def time_to(level, chosen, times, seeds, train, test):
    """Epochs and CPU seconds of the shortest schedule whose end is above the level."""
    rows = []
    for name, settings in chosen.items():
        make = TRAINERS[name][0]
        for n in range(1, EPOCHS[-1] + 1):
            # What was chosen for the next number of epochs that was tried.
            rate, smoothing = settings[sum(e < n for e in EPOCHS)]
            mean = _mean_accuracy(make(rate, n, smoothing), n, seeds, train, test)
            if float(mean) >= level:
                spent = n * (TRAINED // BATCH) * times[name] / 1e3
                rows.append([name, n, mean, spent])
                break
        else:
            rows.append([name, f"not by {EPOCHS[-1]}", mean, ""])
    heads = [f"first schedule to reach {level}", "epochs", "test accuracy", "CPU s"]
    print("\n" + markdown_table(heads, rows))


def averages(train):
    """Validation accuracy of averaged weights and of schedules, mean of two seeds."""
    (x, y), kept = train, 50000
    fitted, held_out = (x[:kept], y[:kept]), (x[kept:], y[kept:])
    cosine = lambda rate, epochs, end: optax.adam(
        optax.cosine_decay_schedule(rate, epochs * (kept // BATCH), end)
    )
    by = lambda optimiser: nn.Projections(outer=optimiser)
    makers = {
        "3e-3, to .02": lambda n: by(cosine(3e-3, n, 0.02)),
        "4e-3, to .02": lambda n: by(cosine(4e-3, n, 0.02)),
        "3e-3, to .02, average": lambda n: nn.Averaged(by(cosine(3e-3, n, 0.02))),
        "3e-3, average": lambda n: nn.Averaged(by(optax.adam(3e-3))),
        "5e-3, to .1, .98": lambda n: nn.Averaged(by(cosine(5e-3, n, 0.1)), 0.98),
        "5e-3, to .2, average": lambda n: nn.Averaged(by(cosine(5e-3, n, 0.2))),
        "Adam": lambda n: nn.Gradient(cosine(3e-3, n, 0.02)),
        "Adam, average": lambda n: nn.Averaged(nn.Gradient(cosine(3e-3, n, 0.02))),
    }
    rows = [
        [name, *(_mean_accuracy(make(n), n, (1, 2), fitted, held_out) for n in (2, 5))]
        for name, make in makers.items()
    ]
    print(markdown_table(["validation accuracy", "2 epochs", "5 epochs"], rows))


class ConvolutionalNetwork(eqx.Module):
    """Two convolutions, each with a rectifier and 2 x 2 pooling, and a dense layer."""

    first: eqx.nn.Conv2d
    second: eqx.nn.Conv2d
    last: eqx.nn.Linear
    pool: eqx.nn.MaxPool2d

    def __init__(self, key):
        keys = jr.split(key, 3)
        self.first = eqx.nn.Conv2d(1, 16, 5, key=keys[0])
        self.second = eqx.nn.Conv2d(16, 32, 3, key=keys[1])
        self.last = eqx.nn.Linear(32 * 5 * 5, 10, key=keys[2])
        self.pool = eqx.nn.MaxPool2d(2, 2)

    def __call__(self, x):
        """Scores of one image, (1, 28, 28)."""
        x = self.pool(jax.nn.relu(self.first(x)))
        x = self.pool(jax.nn.relu(self.second(x)))
        return self.last(x.reshape(-1))


class _Shuffled:
    """Minibatches of images, in an order of its own every epoch.

    An iterable, because a convolution within a scan is slow on a CPU.
    """

    def __init__(self, data, seed):
        self.x: Any = data[0].reshape(-1, 1, 28, 28)
        self.y: Any = data[1]
        self.rng: Any = np.random.default_rng(seed)

    def __iter__(self):
        count = len(self.x) // BATCH
        order = self.rng.permutation(len(self.x))[: count * BATCH]
        for rows in order.reshape(count, BATCH):
            yield self.x[rows], self.y[rows]


def convolutions(train, held_out, test, epochs=6, seed=1):
    """Accuracy of a convolutional network by Adam on gradients and on displacements."""
    rows = []
    for name in ("projections", "backpropagation"):
        trainer = TRAINERS[name][0](3e-3, epochs, 0.0)
        model, data = ConvolutionalNetwork(jr.key(seed)), _Shuffled(train, seed)
        begun = time.process_time()
        model = nn.fit(model, trainer, data, epochs=epochs, progress=False).model
        spent = time.process_time() - begun
        rows.append([name, _of_images(model, held_out), _of_images(model, test), spent])
    print(markdown_table(["accuracy", "validation", "test", "CPU s"], rows))


def _of_images(model, data, part=1000):
    x, y = data[0].reshape(-1, 1, 28, 28), data[1]
    parts = [(x[i : i + part], y[i : i + part]) for i in range(0, len(x), part)]
    found = [nn.evaluate(model, each)["accuracy"] for each in parts]
    return f"{statistics.mean(found):.4f}"


def _mean_accuracy(trainer, epochs, seeds, train, held_out, **network):
    found = []
    for seed in seeds:
        model = perceptron(jr.key(seed), **network)
        options = {"batch_size": BATCH, "progress": False, "seed": seed}
        history = nn.fit(model, trainer, train, epochs=epochs, **options)
        found.append(nn.evaluate(history.model, held_out)["accuracy"])
    return f"{statistics.mean(found):.4f}"


def main(arguments):
    """Print the tables."""
    full = "--full" in arguments
    try:
        train, held_out, test = fashion_mnist()
    except FileNotFoundError as error:
        print(f"Not run: {error}")
        return
    if "--averages" in arguments:
        averages(train)
        return
    if "--networks" in arguments:
        networks(train, held_out, test)
        return
    if "--pure" in arguments:
        pure(train, held_out, test)
        return
    if "--convolutions" in arguments:
        convolutions(train, held_out, test)
        return
    all_epochs, seeds = (EPOCHS, (1, 2, 3)) if full else (EPOCHS[:2], (1,))
    found: dict[str, list] = {}
    chosen = {
        name: choose(name, train, held_out) if full else CHOSEN[name]
        for name in TRAINERS
    }
    for name, (make, _) in TRAINERS.items():
        found[name] = [
            _mean_accuracy(make(rate, n, smoothing), n, seeds, train, test)
            for n, (rate, smoothing) in zip(all_epochs, chosen[name], strict=False)
        ]
    samples = step_times(train)
    base = samples["backpropagation"]
    rows = []
    for name, accuracies in found.items():
        ratios = [a / b for a, b in zip(samples[name], base, strict=True)]
        times = [statistics.median(samples[name]), statistics.median(ratios)]
        rows.append([name, *accuracies, *times])
    heads = [f"{n} epoch{'s' * (n > 1)}" for n in all_epochs]
    print(markdown_table(["test accuracy", *heads, "CPU ms/step", "ratio"], rows))
    if full:
        times = {name: statistics.median(samples[name]) for name in TRAINERS}
        time_to(0.885, chosen, times, seeds, train, test)


if __name__ == "__main__":
    main(sys.argv[1:])
