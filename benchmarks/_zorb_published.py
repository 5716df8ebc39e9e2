"""The published ZORB beside ours: the same numbers, and the seconds of a fit."""

import time

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from benchmarks._timing import markdown_table
from benchmarks._zorb_images import fashion
from fixproj import nn
from fixproj.nn._zorb._layers import Conv, Dense


NETWORKS = {
    "Dense[12] Sigmoid Dense[3]": (5,),
    "Dense[12] Tanh Dense[3]": (5,),
    "Dense[8] Sigmoid Dense[6] Tanh Dense[3] Softmax": (5,),
    "Dense[8] ReLU Dense[3]": (5,),
    "Conv2D[4,3] Sigmoid Flatten Dense[8] Sigmoid Dense[3] Softmax": (6, 6, 2),
}


def fit(x, y, network, reference, seed=0, rcond=None):
    """The published training from the weights of `nn.parse_network`; a predictor."""
    net = nn.parse_network(network, x.shape[1:], key=jr.key(seed))
    if reference is None:
        trainer = nn.ReferenceZORB(rcond)
        return trainer.update(net, None, jnp.asarray(x), jnp.asarray(y))[0]
    layers = [_theirs(token, rcond, reference.layers) for token in network.split()]
    model = reference.models.Sequential(x.shape[1:], layers)
    for own, layer in zip(net.layers, layers, strict=True):
        if isinstance(own, Dense | Conv):
            assert own.bias is not None
            weight = jnp.asarray(own.weight, float)
            if isinstance(own, Conv):
                # Theirs has channels fastest.
                parts = weight.reshape(-1, *own.size, weight.shape[1])
                weight = parts.transpose(1, 2, 0, 3).reshape(weight.shape)
            both = jnp.concatenate([weight, jnp.asarray(own.bias, float)[None]])
            getattr(layer, "dense", layer).W = both
            layer.W = both
    model.fit(x, y)
    return model.predict


def _theirs(token, rcond, layers):
    name, _, inside = token.rstrip("]").partition("[")
    name = "Convolution2D" if name == "Conv2D" else name
    sizes = [int(part) for part in inside.split(",")] if inside else []
    options = {"rcond": rcond} if sizes else {}
    return getattr(layers, name)(*sizes, **options)


def agreement(quick, reference):
    """Largest difference of predictions on new data, float64, the same weights."""
    if reference is None:
        print("Needs --reference PATH.")
        return
    rows = []
    for network, shape in NETWORKS.items():
        with jax.enable_x64(True):
            rng = np.random.default_rng(0)
            # Their convolution rounds images to half precision.
            x, test = rng.normal(size=(2, 90, *shape)).astype(np.float16).astype(float)
            first = x.reshape(90, -1)[:, :3]
            y = np.eye(3)[np.argmax(first + 0.3 * rng.normal(size=(90, 3)), 1)]
            for rcond in (None, 1e-4):
                theirs, ours = (
                    np.asarray(fit(x, y, network, peer, rcond=rcond)(test))
                    for peer in (reference, None)
                )
                gap = float(np.max(np.abs(theirs - ours)))
                rows.append([network, rcond, gap, float(np.max(np.abs(theirs)))])
    print(
        markdown_table(["network", "rcond", "difference", "largest prediction"], rows)
    )


def speed(quick, reference):
    """Fashion-MNIST, 10 000 examples, 1024 hidden units: a fit, compilation included.

    The fits take turns; seconds are medians, and ratios those of a turn. "cpu" counts
    the seconds that all threads of the process were busy, which other load on the
    machine changes less.
    """
    x, y, tx, ty = fashion(2000 if quick else 10000)
    x64, one_hot = x.astype(float), np.eye(10)[y]

    def theirs():
        with jax.enable_x64(True):
            network = "Dense[1024] Sigmoid Dense[10]"
            predict = fit(x64, one_hot, network, reference)
            return lambda: np.asarray(predict(jnp.asarray(tx, float))).argmax(1)

    def ours(**options):
        model = nn.ZORBClassifier(1024, random_state=0, **options).fit(x, y)
        return lambda: model.predict(tx)

    runs = {
        "published": theirs,
        "ours": ours,
        "ours, one sweep": lambda: ours(sweeps=1),
    }
    seconds = {name: [] for name in runs}
    scores = {}
    for _ in range(1 if quick else 3):
        for name, run in runs.items():
            jax.clear_caches()
            begin, busy = time.perf_counter(), time.process_time()
            predict = run()
            wall = time.perf_counter() - begin
            seconds[name].append((wall, time.process_time() - busy))
            scores[name] = float(np.mean(predict() == ty))
    rows = []
    for name, each in seconds.items():
        gain = np.median(np.array(seconds["published"]) / np.array(each), axis=0)
        wall, busy = np.median(np.array(each), axis=0)
        cells = [float(wall), float(gain[0]), float(busy), float(gain[1])]
        rows.append([name, *cells, f"{scores[name]:.4f}"])
    print(
        markdown_table(
            ["", "seconds", "times faster", "cpu", "times less", "accuracy"], rows
        )
    )
