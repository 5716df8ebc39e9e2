"""ZORB on scikit-learn's tables and made-up streams."""

import subprocess
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
)
from sklearn.linear_model import RidgeCV
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler

from benchmarks import _zorb_published
from benchmarks._timing import markdown_table
from benchmarks._zorb_images import fashion
from fixproj import nn


WIDTH = 256


def _spirals(return_X_y=True):
    """As in the published package: two turns each, 194 points."""
    turn = np.sqrt(np.linspace(0.05, 1, 97)) * 3 * np.pi
    points = np.stack([turn * np.cos(turn), turn * np.sin(turn)], 1) / (3 * np.pi)
    return np.concatenate([points, -points]), np.repeat([0, 1], 97)


def _sinc(return_X_y=True):
    x = np.random.default_rng(0).uniform(-10, 10, (500, 1))
    return x, np.sinc(x[:, 0] / np.pi)


LOADERS = {
    "iris": load_iris,
    "wine": load_wine,
    "breast cancer": load_breast_cancer,
    "diabetes": load_diabetes,
    "two spirals": _spirals,
    "sinc": _sinc,
    "digits": load_digits,
}


def _random_features(x, y, test, seed):
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(x.shape[1], WIDTH)) * 2 / np.sqrt(x.shape[1])
    b = rng.normal(size=WIDTH)
    hidden = lambda x: 1 / (1 + np.exp(-(x @ w + b)))
    model = RidgeCV(10.0 ** np.arange(-6, 4)).fit(hidden(x), y)
    return model.predict(hidden(test)).reshape(len(test), -1)


def _ridge(x, y, test):
    model = RidgeCV(10.0 ** np.arange(-4, 4)).fit(x, y)
    return model.predict(test).reshape(len(test), -1)


def _published(x, y, test, seed, reference):
    with jax.enable_x64(True):
        network = f"Dense[{WIDTH}] Sigmoid Dense[{y.shape[1]}]"
        predict = _zorb_published.fit(x, y, network, reference, seed)
        return np.asarray(predict(jnp.asarray(test)))


def _peers(classes, seed, reference):
    """Functions of training rows, labels, and test rows, all of which are scaled."""
    ours = (nn.ZORBClassifier if classes else nn.ZORBRegressor)(
        WIDTH, random_state=seed
    )
    mlp = (MLPClassifier if classes else MLPRegressor)(
        hidden_layer_sizes=(WIDTH,),
        random_state=seed,
        early_stopping=True,
        max_iter=300,
    )

    def by_outputs(fit):
        def run(x, y, test):
            offset = 0.0 if classes else y.mean()
            targets = np.eye(y.max() + 1)[y] if classes else y[:, None] - offset
            found = fit(x, targets, test)
            return found.argmax(1) if classes else found[:, 0] + offset

        return run

    return {
        "ours": lambda x, y, test: ours.fit(x, y).predict(test),
        "published": by_outputs(lambda x, y, t: _published(x, y, t, seed, reference)),
        "random features": by_outputs(lambda x, y, t: _random_features(x, y, t, seed)),
        "ridge": by_outputs(_ridge),
        "MLP (Adam)": lambda x, y, test: mlp.fit(x, y).predict(test),
    }


def accuracy(quick, reference):
    """Sets of scikit-learn and of the published package: five seeds of five folds.

    Digits: five seeds of one split in four to one. Nothing was chosen on these folds:
    what has no fixed value is chosen by leave-one-out error within the training rows.
    """
    rows, times = [], []
    peers: list[str] = []
    for name, load in LOADERS.items():
        if quick and name == "digits":
            continue
        x, y = load(return_X_y=True)
        classes = np.issubdtype(y.dtype, np.integer)
        scores: dict[str, list[float]] = {}
        seconds: dict[str, list[float]] = {}
        for seed in range(1 if quick else 5):
            splitter = (StratifiedKFold if classes else KFold)(5, shuffle=True)
            splitter.random_state = seed
            folds = list(splitter.split(x, y))
            for train, test in folds[:1] if name == "digits" else folds:
                scaler = StandardScaler().fit(x[train])
                a, b = scaler.transform(x[train]), scaler.transform(x[test])
                for peer, run in _peers(classes, seed, reference).items():
                    start = time.perf_counter()
                    found = run(a, y[train], b)
                    seconds.setdefault(peer, []).append(time.perf_counter() - start)
                    score = (accuracy_score if classes else r2_score)(y[test], found)
                    scores.setdefault(peer, []).append(float(score))
        peers = list(scores)
        rows.append([name, *(f"{np.mean(each):.4f}" for each in scores.values())])
        times.append([name, *(float(np.median(each)) for each in seconds.values())])
    print(markdown_table(["accuracy or R2", *peers], rows))
    print()
    print(markdown_table(["seconds of a fit", *peers], times))


def rank(quick, reference):
    """Digits, 256 units: rank of the hidden weights and outputs, and test accuracy.

    A rank is how many singular values exceed a thousandth of the largest one.
    "random targets" fits the hidden layer to random projections of inputs and labels
    instead of what the output layer asks for.
    """
    x, y = load_digits(return_X_y=True)
    x, tx, y, ty = train_test_split(x, y, test_size=0.25, random_state=0, stratify=y)
    scaler = StandardScaler().fit(x)
    x, tx = scaler.transform(x), scaler.transform(tx)
    rows = []

    def add(name, weight, hidden, score):
        rows.append([name, _rank(weight), _rank(hidden - hidden.mean(0)), score])

    with jax.enable_x64(True):
        one_hot = np.eye(10)[y]
        net = nn.parse_network("Dense[256] Tanh Dense[10]", (64,), key=jr.key(0))
        untrained = net

        def of_network(name, net):
            first = net.layers[0]
            hidden = np.tanh(x @ np.asarray(first.weight) + np.asarray(first.bias))
            score = np.mean(np.asarray(net(jnp.asarray(tx))).argmax(1) == ty)
            add(name, np.asarray(first.weight), hidden, f"{score:.4f}")

        published = nn.ReferenceZORB(1e-6)
        x_, y_ = jnp.asarray(x), jnp.asarray(one_hot)
        of_network("published", published.update(net, None, x_, y_)[0])
        for start in ("given", "pairs"):
            for sweeps in (1, 3):
                trainer = nn.ZORB(sweeps, start=start)
                name = f"nn.ZORB, start {start}, sweeps {sweeps}"
                of_network(name, trainer.solve(untrained, (x, y)))
        rng = np.random.default_rng(0)
        targets = np.concatenate([x, 3 * one_hot], 1) @ rng.normal(size=(74, 256)) / 8
        wanted: Any = RidgeCV(10.0 ** np.arange(-3, 4)).fit(x, targets)
        hidden, held = (np.tanh(wanted.predict(part)) for part in (x, tx))
        out = RidgeCV(10.0 ** np.arange(-6, 4)).fit(hidden, one_hot)
        score = np.mean(out.predict(held).argmax(1) == ty)
        add("random targets", wanted.coef_.T, hidden, f"{score:.4f}")
        for sweeps in (0, 1, 3):
            for skip in (False, True):
                model = nn.ZORBClassifier(
                    256, sweeps=sweeps, skip=skip, random_state=0
                ).fit(x, y)
                hidden = model._network.expansion(x, np.dtype(float))[:, :256]
                name = f"nn.ZORBClassifier, sweeps {sweeps}, skip {skip}"
                add(name, model.coefs_[0], hidden, f"{model.score(tx, ty):.4f}")
    print(markdown_table(["", "rank of weights", "of outputs", "accuracy"], rows))


def _rank(a):
    s = np.linalg.svd(a, compute_uv=False)
    return int(np.sum(s > 1e-3 * s[0]))


_STREAM = """
import resource, time
import numpy as np
from fixproj import nn
def batch(i):
    rng = np.random.default_rng(i)
    x = rng.normal(size=(10000, 32)).astype(np.float32)
    return x, (x[:, 0] * x[:, 1] > 0).astype(int)
model = nn.ZORBClassifier(128, random_state=0)
busy = time.process_time()
for i in range({count} // 10000):
    model.partial_fit(*batch(i), classes=[0, 1])
busy = time.process_time() - busy
print(busy, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
      model.score(*batch(-1 % 10**6)))
"""


def memory(quick, reference):
    """A made-up stream of 32 inputs by `partial_fit`, 128 units, batches of 10 000."""
    rows = []
    for count in (10_000, 100_000) if quick else (10_000, 100_000, 1_000_000):
        code = _STREAM.format(count=count)
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        busy, peak, score = map(float, done.stdout.split())
        rows.append([f"{count:,}", busy, f"{peak:.3f}", f"{score:.4f}"])
    print(markdown_table(["examples", "cpu seconds", "peak GB", "accuracy"], rows))


def time_to_accuracy(quick, reference):
    """Seconds to our own final score on the test set, compilation included.

    Adam (optax, 1e-3, batches of 128, one compiled epoch at a time) trains the network
    of one hidden tanh layer and is tested after each epoch; it stops when it is as good
    as ours, or after 20 epochs without an improvement of its test score.
    """
    rows = []
    names = [n for n in LOADERS if not (quick and n == "digits")]
    sizes = [] if quick else [10000, 60000]
    x: Any
    tx: Any
    for name in [*names, *(f"Fashion-MNIST {n}" for n in sizes)]:
        if name in LOADERS:
            x, y = LOADERS[name](return_X_y=True)
            classes = np.issubdtype(y.dtype, np.integer)
            x, tx, y, ty = train_test_split(
                x, y, random_state=0, stratify=y if classes else None
            )
            width = WIDTH
        else:
            count = int(name.split()[-1])
            x, y, tx, ty = fashion(count)
            classes, width = True, 512 if count == 10000 else 1024
        scaler = StandardScaler().fit(x)
        x, tx = (np.asarray(scaler.transform(p), np.float32) for p in (x, tx))
        make = nn.ZORBClassifier if classes else nn.ZORBRegressor
        jax.clear_caches()
        start = time.perf_counter()
        model = make(width, random_state=0).fit(x, y)
        ours = time.perf_counter() - start
        goal = model.score(tx, ty)
        jax.clear_caches()
        adam, best, epochs = _adam(x, y, tx, ty, width, classes, goal)
        reached = best >= goal
        cells = [ours, f"{goal:.4f}", adam if reached else None, f"{best:.4f}", epochs]
        rows.append([name, *cells])
        print(rows[-1], file=sys.stderr, flush=True)
    header = ["", "ours, s", "score", "Adam to it, s", "Adam's best", "epochs"]
    print(markdown_table(header, rows))


def _adam(x, y, tx, ty, width, classes, goal):
    start = time.perf_counter()
    outputs = int(y.max()) + 1 if classes else 1
    keys = jr.split(jr.key(0), 3)
    glorot = jax.nn.initializers.glorot_uniform()
    params = (
        glorot(keys[0], (x.shape[1], width)),
        jnp.zeros(width),
        glorot(keys[1], (width, outputs)),
        jnp.zeros(outputs),
    )
    centre, spread = (0.0, 1.0) if classes else (float(y.mean()), float(y.std()))
    targets = jnp.asarray(y if classes else (y - centre) / spread)
    x, tx = jnp.asarray(x), jnp.asarray(tx)
    optimiser = optax.adam(1e-3)
    size = min(128, len(x))

    def outputs_of(params, x):
        return jnp.tanh(x @ params[0] + params[1]) @ params[2] + params[3]

    def loss(params, x, y):
        out = outputs_of(params, x)
        if classes:
            each = optax.softmax_cross_entropy_with_integer_labels(out, y)
            return each.mean()
        return jnp.mean((out[:, 0] - y) ** 2)

    def step(carry, rows):
        params, state = carry
        grads = jax.grad(loss)(params, x[rows], targets[rows])
        updates, state = optimiser.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), None

    @jax.jit
    def epoch(params, state, key):
        rows = jr.permutation(key, len(x))[: len(x) // size * size].reshape(-1, size)
        (params, state), _ = jax.lax.scan(step, (params, state), rows)
        return params, state, outputs_of(params, tx)

    state, best, since, count = optimiser.init(params), -np.inf, 0, 0
    for key in jr.split(keys[2], 1000):
        params, state, out = epoch(params, state, key)
        out, count = np.asarray(out), count + 1
        if classes:
            score = float(np.mean(out.argmax(1) == ty))
        else:
            score = float(r2_score(ty, out[:, 0] * spread + centre))
        best, since = (score, 0) if score > best else (best, since + 1)
        if best >= goal or since == 20:
            break
    return time.perf_counter() - start, best, count
