"""ZORB against its published form, random features with ridge, ridge, and MLPs.

    python -m benchmarks.zorb [--quick] [--reference PATH]

Accuracy on held-out data, the mean over folds or seeds (R2 for diabetes). "published"
is `nn.ReferenceZORB` in float64; PATH is the `src` folder of a checkout of the
published package (its data sets need TensorFlow: leave them out), run in its place.
"""

import argparse
import importlib
import sys
import time

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
)
from sklearn.linear_model import RidgeCV
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler

from benchmarks._timing import markdown_table
from fixproj import nn


WIDTH = 256
LOADERS = {
    "iris": load_iris,
    "wine": load_wine,
    "breast cancer": load_breast_cancer,
    "digits": load_digits,
    "diabetes": load_diabetes,
}


def _published(x, y, test, seed, reference):
    with jax.enable_x64(True):
        x, y, test = (jnp.asarray(part, float) for part in (x, y, test))
        outputs = y.shape[1]
        if reference is not None:
            layers = reference.layers
            network = [layers.Dense(WIDTH), layers.Sigmoid(), layers.Dense(outputs)]
            model = reference.models.Sequential((x.shape[1],), network)
            model.fit(x, y)
            return np.asarray(model.predict(test))
        net = nn.parse_network(
            f"Dense[{WIDTH}] Sigmoid Dense[{outputs}]", x.shape[1:], key=jr.key(seed)
        )
        net, _, _ = nn.ReferenceZORB().update(net, None, x, y)
        return np.asarray(net(test))


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


def _small(name, load, seeds, reference):
    x, y = load(return_X_y=True)
    classes = name != "diabetes"
    scores: dict[str, list[float]] = {}
    seconds: dict[str, float] = {}
    for seed in range(seeds):
        splitter = (StratifiedKFold if classes else KFold)(5, shuffle=True)
        splitter.random_state = seed
        for train, test in splitter.split(x, y):
            scaler = StandardScaler().fit(x[train])
            a, b = scaler.transform(x[train]), scaler.transform(x[test])
            one_hot = np.eye(y.max() + 1)[y[train]] if classes else y[train, None]
            offset = 0.0 if classes else one_hot.mean()
            one_hot = one_hot - offset
            ours = (nn.ZORBClassifier if classes else nn.ZORBRegressor)(
                WIDTH, random_state=seed
            )
            mlp = (MLPClassifier if classes else MLPRegressor)(
                hidden_layer_sizes=(WIDTH,),
                random_state=seed,
                early_stopping=True,
                max_iter=300,
            )

            def labels(found, offset=offset):
                return found.argmax(1) if classes else found[:, 0] + offset

            runs = {
                "ZORB (ours)": lambda m=ours, t=train, s=test: m.fit(
                    x[t], y[t]
                ).predict(x[s]),
                "published": lambda a=a, b=b, o=one_hot, s=seed: labels(
                    _published(a, o, b, s, reference)
                ),
                "random features": lambda a=a, b=b, o=one_hot, s=seed: labels(
                    _random_features(a, o, b, s)
                ),
                "ridge": lambda a=a, b=b, o=one_hot: labels(_ridge(a, o, b)),
                "MLP (Adam)": lambda m=mlp, a=a, b=b, t=train: m.fit(a, y[t]).predict(
                    b
                ),
            }
            for peer, run in runs.items():
                start = time.perf_counter()
                found = run()
                seconds[peer] = seconds.get(peer, 0.0) + time.perf_counter() - start
                score = (accuracy_score if classes else r2_score)(y[test], found)
                scores.setdefault(peer, []).append(float(score))
    means = {peer: float(np.mean(each)) for peer, each in scores.items()}
    return means, {peer: total / (5 * seeds) for peer, total in seconds.items()}


def main(arguments: list[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Benchmark ZORB.")
    parser.add_argument("--quick", action="store_true", help="one seed, no digits")
    parser.add_argument("--reference", help="src folder of the published package")
    options = parser.parse_args(arguments)
    reference = None
    if options.reference:
        sys.path.insert(0, options.reference)
        reference = importlib.import_module("zorb")
    rows, times = [], []
    peers: list[str] = []
    for name, load in LOADERS.items():
        if options.quick and name == "digits":
            continue
        found, seconds = _small(name, load, 1 if options.quick else 3, reference)
        peers = list(found)
        rows.append([name, *(f"{value:.4f}" for value in found.values())])
        times.append([name, *seconds.values()])
    print(markdown_table(["accuracy or R2", *peers], rows))
    print()
    print(markdown_table(["seconds per fit", *peers], times))


if __name__ == "__main__":
    main()
