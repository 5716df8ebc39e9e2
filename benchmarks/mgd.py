"""Multiplexed gradient descent against the loop of the tutorial and against its peers.

Fashion-MNIST, 784-128-64-10 with relu, batch 128:

- time of one update: the loop in Python (`jax.random.choice` signs with one key for all
  leaves, forward difference, plain gradient descent), the same as a jitted scan, ours;
- accuracy at an equal number of forward passes, beside the peers of `mgd_peers`, and
  with `--plot` on the way there.

The last 10 000 of the 60 000 training images are held out; `--validation` shows the
accuracy on them, by which all settings were chosen. Accuracies need the files of the
Debian package dataset-fashion-mnist.
"""

import argparse
import gzip
import pathlib
import statistics
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

from benchmarks._timing import interleaved, markdown_table
from benchmarks.mgd_peers import ForwardGradient, OpenES, Tutorial
from fixproj import nn


FOLDER = pathlib.Path("/usr/share/datasets/fashion-mnist")
SIZES = (784, 128, 64, 10)
BATCH = 128


def fashion_mnist():
    """((x, y) to train on, (x, y) to test on), pixels in 0..1."""

    def read(name, offset):
        raw = gzip.decompress((FOLDER / name).read_bytes())
        return np.frombuffer(raw, np.uint8, offset=offset)

    parts = []
    for part in ("train", "t10k"):
        x = read(f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 784)
        y = read(f"{part}-labels-idx1-ubyte.gz", 8)
        parts.append((jnp.asarray(x / np.float32(255)), jnp.asarray(y, jnp.int32)))
    return parts


def forward(params, x):
    """A perceptron on a batch."""
    for w, b in params[:-1]:
        x = jax.nn.relu(x @ w + b[None])
    w, b = params[-1]
    return x @ w + b[None]


def start(key):
    """He's initial weights."""
    keys = jr.split(key, len(SIZES) - 1)
    return [
        (jr.normal(k, (i, o)) * (2 / i) ** 0.5, jnp.zeros(o))
        for k, i, o in zip(keys, SIZES, SIZES[1:], strict=False)
    ]


def loss(params, x, y):
    """Mean cross-entropy."""
    logits = forward(params, x)
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def tutorial_perturbation(key, params, epsilon=1e-3):
    """Signs for every leaf, all from one key."""
    values = jnp.asarray([-epsilon, epsilon])
    return jax.tree.map(lambda p: jr.choice(key, values, p.shape), params)


def tutorial_step(params, key, x, y, rate=1e-4, epsilon=1e-3):
    """One update as the tutorial makes it: two costs, forward difference."""
    signs = tutorial_perturbation(key, params, epsilon)
    base = loss(params, x, y)
    change = loss(jax.tree.map(jnp.add, params, signs), x, y) - base
    return jax.tree.map(lambda p, s: p - rate * change * s / epsilon**2, params, signs)


_jitted_perturbation = jax.jit(tutorial_perturbation)
_jitted_loss = jax.jit(loss)
_jitted_move = jax.jit(
    lambda params, signs, change: jax.tree.map(
        lambda p, s: p - 1e-4 * change * s / 1e-6, params, signs
    )
)


def tutorial_loop(params, keys, x, y):
    """The loop in Python, with its parts jitted."""
    for key in keys:
        signs = _jitted_perturbation(key, params)
        base = _jitted_loss(params, x, y)
        moved = jax.tree.map(jnp.add, params, signs)
        change = _jitted_loss(moved, x, y) - base
        params = _jitted_move(params, signs, change)
    return params


def times(rounds, steps=40):
    """Seconds per update, interleaved."""
    params = start(jr.key(0))
    x, y = jr.uniform(jr.key(1), (BATCH, 784)), jnp.arange(BATCH) % 10
    keys = jr.split(jr.key(2), steps)

    @jax.jit
    def scanned(params, keys):
        step = lambda p, key: (tutorial_step(p, key, x, y), None)
        return jax.lax.scan(step, params, keys)[0]

    def trained(**options):
        trainer = nn.MGD(optax.sgd(1e-4), warn=False, **options)
        model = (forward, params)
        state = trainer.init(model)

        @eqx.filter_jit
        def run(params, state):
            def step(carry, _):
                params, state = carry
                model, state, _ = trainer.update((forward, params), state, x, y)
                return (model[1], state), None

            return jax.lax.scan(step, (params, state), length=steps)[0]

        return lambda: run(params, state)

    walsh = nn.mgd.Walsh()
    like = tuple(
        jax.ShapeDtypeStruct(p.shape, p.dtype) for p in jax.tree.leaves(params)
    )

    @jax.jit
    def generated(key):
        def step(total, time):
            drawn = walsh.draw(key, time[None], like)
            return [t + d[0] for t, d in zip(total, drawn, strict=True)], None

        zeros = [jnp.zeros(s.shape, s.dtype) for s in like]
        return jax.lax.scan(step, zeros, jnp.arange(steps, dtype=jnp.uint32))[0]

    calls = {
        "tutorial, Python loop": lambda: tutorial_loop(params, keys, x, y),
        "tutorial, jitted scan": lambda: scanned(params, keys),
        "MGD, Walsh, forward": trained(scheme="forward"),
        "MGD, Walsh, central": trained(),
        "MGD, nodes": trained(perturb="nodes"),
        "MGD, nodes, 7 forward": trained(perturb="nodes", scheme="forward", probes=7),
        "MGD, examples": trained(perturb="examples"),
        "Walsh codes alone": lambda: generated(jr.key(0)),
    }
    found = interleaved(calls, rounds=rounds)
    rows = [
        (
            name,
            1e3 * found.median(name) / steps,
            found.ratio("tutorial, Python loop", name),
            found.ratio("tutorial, jitted scan", name),
        )
        for name in calls
    ]
    print(markdown_table(["what", "ms per update", "x of loop", "x of scan"], rows))
    share = 1 / found.ratio("MGD, Walsh, forward", "Walsh codes alone")
    print(f"\nMaking the codes takes {share:.1%} of an update by forward differences.")


def decaying(rate, updates):
    """Adam whose rate falls to zero over the training."""
    return optax.adam(optax.cosine_decay_schedule(rate, updates))


def mgd(rate, **options):
    """`nn.MGD` as a function of the number of updates and the seed."""
    return lambda n, s: _on_params(
        nn.MGD(decaying(rate, n), seed=s, warn=False, **options)
    )


def _on_params(trainer):
    """A trainer with the protocol of the peers: parameters in, parameters out."""

    class OnParams:
        def init(self, params):
            return trainer.init((forward, params))

        def update(self, params, state, x, y):
            model, state, _ = trainer.update((forward, params), state, x, y)
            return model[1], state

    return OnParams()


def amplitudes(params):
    """Initial sizes of the weights, and a tenth for biases, which start from zero."""
    return [((2 / w.shape[0]) ** 0.5, 0.1) for w, _ in params]


def times_amplitudes(units, power=1):
    """Parameters in units of their initial sizes, as they are; or the reverse."""
    pairs = zip(units, amplitudes(units), strict=True)
    return [(w * a**power, b * c**power) for (w, b), (a, c) in pairs]


def relative(rate, **options):
    """`nn.MGD` of parameters in units of their initial sizes, with a long memory.

    Each layer is perturbed, and moves, in proportion to its size. Where all are
    perturbed alike, the first layer, whose inputs are the most and the largest, drowns
    the others.
    """

    class Relative:
        def __init__(self, updates, seed):
            optimiser = optax.adam(optax.cosine_decay_schedule(rate, updates), b1=0.97)
            self.inner = nn.MGD(optimiser, seed=seed, warn=False, **options)

        def init(self, params):
            return self.inner.init(self._model(params))

        def update(self, params, state, x, y):
            model = self._model(params)
            model, state, _ = self.inner.update(model, state, x, y)
            return times_amplitudes(model[1]), state

        def _model(self, params):
            fn = lambda units, x: forward(times_amplitudes(units), x)
            return fn, times_amplitudes(params, -1)

    return Relative


# What is trained, and the forward passes that an update takes. A backward pass counts
# as two, a forward derivative as one more pass.
METHODS = {
    "weights": (relative(0.04, scheme="forward", probes=7), 8),
    "nodes": (mgd(2e-3, perturb="nodes", scheme="forward", probes=7), 8),
    "nodes, two costs per update": (mgd(2e-3, perturb="nodes"), 2),
    "examples": (mgd(2e-3, perturb="examples"), 2),
    "weights, two costs per update": (mgd(2e-3), 2),
    "backpropagation": (lambda n, s: _on_params(nn.Gradient(decaying(1e-3, n))), 3),
    "forward gradient": (lambda n, s: ForwardGradient(loss, decaying(2e-3, n), s), 2),
    "OpenES, population 8": (lambda n, s: OpenES(loss, decaying(2e-3, n), seed=s), 8),
    "tutorial": (lambda n, s: Tutorial(tutorial_step, s), 2),
}


def split(validation):
    """((x, y) to train on, (x, y) to evaluate on)."""
    (x, y), test = fashion_mnist()
    held_out = (x[-10_000:], y[-10_000:])
    return (x[:-10_000], y[:-10_000]), held_out if validation else test


def curve(make, passes, seed, data, per_update, points=1):
    """Accuracies after equal shares of so many forward passes."""
    (x, y), held_out = data
    share = passes // per_update // points
    trainer = make(share * points, seed)

    @eqx.filter_jit
    def run(params, state, keys):
        def step(carry, key):
            params, state = carry
            rows = jr.randint(key, (BATCH,), 0, x.shape[0])
            return trainer.update(params, state, x[rows], y[rows]), None

        return jax.lax.scan(step, (params, state), keys)[0]

    keys = jr.split(jr.key(seed + 100), (points, share))
    params = start(jr.key(seed))
    state, found = trainer.init(params), []
    for part in keys:
        params, state = run(params, state, part)
        found.append(nn.evaluate((forward, params), held_out)["accuracy"])
    return found


def accuracies(passes, seeds, validation=False, plot=None, methods=None):
    """A row per method; a picture of the curves where a path is given."""
    data = split(validation)
    points = 20 if plot else 1
    rows, curves = [], {}
    for name in methods or METHODS:
        make, per_update = METHODS[name]
        found = [curve(make, passes, s, data, per_update, points) for s in range(seeds)]
        last = [values[-1] for values in found]
        print(f"{name}: {last}", file=sys.stderr, flush=True)
        spread = statistics.stdev(last) if seeds > 1 else None
        rows.append((name, statistics.mean(last), spread))
        curves[name] = np.mean(found, axis=0)
    which = "validation" if validation else "test"
    print(markdown_table([f"{passes} passes", f"{which} accuracy", "spread"], rows))
    if plot:
        _draw(curves, passes, plot)


def _draw(curves, passes, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for name, values in curves.items():
        axis.plot(
            passes * np.arange(1, len(values) + 1) / len(values), values, label=name
        )
    axis.set(xlabel="forward passes", ylabel="test accuracy")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print(f"Wrote {path}")


def main(arguments=None):
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Multiplexed gradient descent.")
    parser.add_argument("--rounds", type=int, default=7, help="0 leaves times out")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--passes", type=int, nargs="*", default=[11_700])
    parser.add_argument("--methods", nargs="*", choices=list(METHODS))
    parser.add_argument("--validation", action="store_true")
    parser.add_argument("--plot", help="a file for the curves")
    given = parser.parse_args(arguments)
    if given.rounds:
        times(given.rounds)
    if not FOLDER.exists():
        print(f"\nNo accuracies: {FOLDER} is not there.")
        return
    for passes in given.passes:
        print()
        accuracies(passes, given.seeds, given.validation, given.plot, given.methods)


if __name__ == "__main__":
    main()
