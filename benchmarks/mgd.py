"""Multiplexed gradient descent against the loop of the tutorial and against its peers.

Fashion-MNIST, 784-128-64-10 with relu, batch 128:

- time of one update: the loop in Python (`jax.random.choice` signs with one key for all
  leaves, forward difference, plain gradient descent), the same as a jitted scan, ours;
- test accuracy at an equal number of forward passes.

Accuracies need the files of the Debian package dataset-fashion-mnist.
"""

import argparse
import gzip
import pathlib
import statistics

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

from benchmarks._timing import interleaved, markdown_table
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


def decaying(rate, updates):
    """Adam whose rate falls to zero over the training."""
    return optax.adam(optax.cosine_decay_schedule(rate, updates))


def accuracy(make, passes, seed, data, per_update):
    """The test accuracy after so many forward passes."""
    (x, y), test = data
    updates = passes // per_update
    trainer = make(updates, seed)

    @eqx.filter_jit
    def run(params):
        state = trainer.init((forward, params))

        def step(carry, key):
            params, state = carry
            rows = jr.randint(key, (BATCH,), 0, x.shape[0])
            model, state, _ = trainer.update((forward, params), state, x[rows], y[rows])
            return (model[1], state), None

        keys = jr.split(jr.key(seed + 100), updates)
        return jax.lax.scan(step, (params, state), keys)[0][0]

    params = run(start(jr.key(seed)))
    return nn.evaluate((forward, params), test)["accuracy"]


# What is trained, and the forward passes that an update takes; a backward one is two.
METHODS = {
    "backpropagation": (lambda n, s: nn.Gradient(decaying(1e-3, n)), 3),
    "weights": (lambda n, s: nn.MGD(decaying(2e-3, n), seed=s, warn=False), 2),
    "examples": (
        lambda n, s: nn.MGD(decaying(2e-3, n), perturb="examples", seed=s),
        2,
    ),
    "nodes": (lambda n, s: nn.MGD(decaying(2e-3, n), perturb="nodes", seed=s), 2),
}


def accuracies(passes, seeds):
    """A row per method."""
    data = fashion_mnist()
    rows = []
    for name, (make, per_update) in METHODS.items():
        found = [accuracy(make, passes, s, data, per_update) for s in range(seeds)]
        spread = statistics.stdev(found) if seeds > 1 else None
        rows.append((name, statistics.mean(found), spread))
    print(markdown_table([f"{passes} passes", "test accuracy", "spread"], rows))


def main(arguments=None):
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Multiplexed gradient descent.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--passes", type=int, nargs="*", default=[11_700])
    given = parser.parse_args(arguments)
    times(given.rounds)
    if not FOLDER.exists():
        print(f"\nNo accuracies: {FOLDER} is not there.")
        return
    for passes in given.passes:
        print()
        accuracies(passes, given.seeds)


if __name__ == "__main__":
    main()
