"""ZORB on Fashion-MNIST: accuracy, time and memory, one process for each fit."""

import json
import resource
import subprocess
import sys
import time
from typing import Any

import equinox as eqx
import jax.random as jr
import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.neural_network import MLPClassifier

from benchmarks._timing import markdown_table
from fixproj import nn
from fixproj._datasets import load_dataset


NETWORK = "Conv2D[8,3] Sigmoid Flatten Dense[1024] Sigmoid Dense[10] Softmax"


def fashion(count, images=False):
    """Training examples, their labels, and those of the test."""
    data = load_dataset("fashion-mnist")
    shape = (28, 28, 1) if images else (784,)
    x, test = (part.reshape(-1, *shape) for part in (data.x, data.test_x))
    return x[:count], data.y[:count], test, data.test_y


def accuracy(quick, reference):
    """Test accuracy, seconds, busy seconds and peak memory, one process for each fit.

    Compilation is included; peak memory includes JAX and the data.
    """
    sizes = [(2000, 128)] if quick else [(10000, 512), (60000, 1024)]
    seeds = 1 if quick else 5
    rows = []
    for count, width in sizes:
        peers = {"ours": seeds}
        if count <= 10000:
            peers |= {"random features": 1, "ridge": 1, "MLP (Adam)": 1}
        for peer, runs in peers.items():
            found = [_apart(_one, peer, count, width, seed) for seed in range(runs)]
            means = np.mean([[*each.values()] for each in found], axis=0)
            score, wall, busy, peak = map(float, means)
            cells = [f"{score:.4f}", wall, busy, f"{peak:.2f}"]
            rows.append([count, width, peer, runs, *cells])
            print(rows[-1], file=sys.stderr, flush=True)
    header = ["examples", "units", "", "seeds", "accuracy", "seconds", "cpu", "GB"]
    print(markdown_table(header, rows))


def network(quick, reference):
    """The published example's network on images, by `nn.ZORB.solve`."""
    count = 2000 if quick else 60000
    seeds = 1
    found = [_apart(_network, count, seed) for seed in range(seeds)]
    header = list(found[0])
    print(NETWORK + "\n")
    print(markdown_table(header, [[*each.values()] for each in found]))


def _apart(function, *arguments):
    code = (
        "import json\nfrom benchmarks import _zorb_images as own\n"
        f"print(json.dumps(own.{function.__name__}(*{arguments!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def _measured(fit, score):
    begin, busy = time.perf_counter(), time.process_time()
    model = fit()
    return {
        "seconds": time.perf_counter() - begin,
        "cpu": time.process_time() - busy,
        "GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    } | {"accuracy": float(score(model))}


def _one(peer, count, width, seed):
    x, y, tx, ty = fashion(count)
    if peer == "ours":
        model = nn.ZORBClassifier(width, random_state=seed)
    elif peer == "random features":
        model = _RandomFeatures(width, seed)
    elif peer == "ridge":
        model = _Ridge()
    else:
        model = MLPClassifier((width,), early_stopping=True, random_state=seed)
    found = _measured(lambda: model.fit(x, y), lambda m: np.mean(m.predict(tx) == ty))
    return {key: found[key] for key in ("accuracy", "seconds", "cpu", "GB")}


class _Ridge:
    def fit(self, x, y):
        self.model = RidgeCV(10.0 ** np.arange(-3, 5)).fit(
            self.features(x), np.eye(10)[y]
        )
        return self

    def predict(self, x):
        return self.model.predict(self.features(x)).argmax(1)

    def features(self, x):
        return x


class _RandomFeatures(_Ridge):
    def __init__(self, width, seed):
        self.width: int = width
        self.rng: Any = np.random.default_rng(seed)
        self.weights: Any = None
        self.bias: Any = None

    def features(self, x):
        if self.weights is None:
            scale = 2 / np.sqrt(x.shape[1])
            self.weights = scale * self.rng.normal(size=(x.shape[1], self.width))
            self.bias = self.rng.normal(size=self.width).astype(np.float32)
            self.weights = self.weights.astype(np.float32)
        return 1 / (1 + np.exp(-(x @ self.weights + self.bias)))


def _network(count, seed):
    x, y, tx, ty = fashion(count, images=True)
    net = nn.parse_network(NETWORK, (28, 28, 1), key=jr.key(seed))
    trainer = nn.ZORB(start="pairs", rounds=20, hidden_examples=8192)

    def score(net):
        call = eqx.filter_jit(net)
        parts = [np.asarray(call(tx[i : i + 1000])) for i in range(0, len(tx), 1000)]
        return np.mean(np.concatenate(parts).argmax(1) == ty)

    return _measured(lambda: trainer.solve(net, (x, y), key=jr.key(seed)), score)
