"""A deep equilibrium classifier of Fashion-MNIST, and what its gradient costs.

One layer of weight-tied depth: the logits are read from the fixed point

    y = tanh(W y + U x + c)

The same network with the same start is trained by Adam four times: differentiated
implicitly (`fixproj`'s default), by `JacobianFree` (one step, biased), by unrolling a
fixed number of steps from y = 0, and, to see what the equilibrium is for, with no
recurrence at all (W = 0). Beside the accuracies stand the seconds of a training step
and the bytes that its gradient needs, against the number of steps.

    python examples/deq_fashion_mnist.py [--epochs N] [--units N] [--out DIR]

Needs the data set (Debian's package dataset-fashion-mnist); `--digits` runs on
scikit-learn's digits instead. Prints two tables and writes `deq_fashion_mnist.png`. No
setting was chosen by what it does on the test images: one run each, last epoch.
"""

import argparse
import pathlib
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib
import numpy as np
import optax
import tqdm

import fixproj as fp
from fixproj._datasets import load_dataset


matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


TOLERANCE = 1e-4
STEPS = (10, 30, 100, 300, 1000)


class Equilibrium(eqx.Module):
    """Logits from the fixed point of one layer."""

    recurrent: jax.Array
    inject: eqx.nn.Linear
    readout: eqx.nn.Linear

    def __init__(self, pixels, units, classes, key):
        """Random weights."""
        keys = jr.split(key, 3)
        self.recurrent = jr.normal(keys[0], (units, units)) / units**0.5
        self.inject = eqx.nn.Linear(pixels, units, key=keys[1])
        self.readout = eqx.nn.Linear(units, classes, key=keys[2])

    def __call__(self, x, fixed_point):
        """Logits (batch, classes) of images (batch, pixels)."""
        size = jnp.abs(self.recurrent)
        # At least the spectral norm, so that the map contracts by .9.
        bound = jnp.sqrt(jnp.max(jnp.sum(size, 0)) * jnp.max(jnp.sum(size, 1)))
        weight = 0.9 * self.recurrent / jnp.maximum(bound, 0.9)
        drive = jax.vmap(self.inject)(x)
        return jax.vmap(self.readout)(fixed_point(step, 0 * drive, (weight, drive)))


def step(y, args):
    """The map whose fixed point the hidden units are."""
    weight, drive = args
    return jnp.tanh(y @ weight.T + drive)


def solved(adjoint=None):
    """The fixed point, solved to a tolerance and differentiated by an adjoint."""

    def fixed_point(fn, y0, args):
        problem = fp.FixedPoint(fn, y0, args)
        solution = fp.solve(problem, rtol=TOLERANCE, atol=TOLERANCE, adjoint=adjoint)
        return solution.value

    return fixed_point


def unrolled(steps):
    """That many steps from the start, differentiated by JAX as they are."""

    def fixed_point(fn, y0, args):
        body = lambda y, _: (fn(y, args), None)
        return jax.lax.scan(body, y0, None, length=steps)[0]

    return fixed_point


WAYS = {
    "implicit": solved(),
    "Jacobian-free": solved(fp.implicit.JacobianFree()),
    "unrolled, 30 steps": unrolled(30),
    "no recurrence": lambda fn, y0, args: jnp.tanh(args[1]),
}


def loss(model, fixed_point, x, y):
    """Mean cross-entropy."""
    logits = model(x, fixed_point)
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, y))


def train(data, model, fixed_point, epochs, batch_size, name):
    """Adam; the test accuracy after every epoch, and the seconds of a step."""
    train_x, train_y, test_x, test_y = data
    optimiser = optax.adam(1e-3)
    moments = optimiser.init(eqx.filter(model, eqx.is_array))

    @eqx.filter_jit
    def update(model, moments, x, y):
        gradient = eqx.filter_grad(loss)(model, fixed_point, x, y)
        updates, moments = optimiser.update(gradient, moments)
        return eqx.apply_updates(model, updates), moments

    @eqx.filter_jit
    def accuracy(model):
        # Every way of training is judged by the equilibrium it has found.
        evaluate = solved() if "no" not in name else fixed_point
        return jnp.mean(jnp.argmax(model(test_x, evaluate), -1) == test_y)

    shuffle, curve, seconds = np.random.default_rng(0), [], []
    for _ in (bar := tqdm.trange(epochs, desc=name, unit="epoch")):
        order = shuffle.permutation(len(train_x))
        for i in range(0, len(order) - batch_size + 1, batch_size):
            batch = order[i : i + batch_size]
            start = time.perf_counter()
            model, moments = update(model, moments, train_x[batch], train_y[batch])
            jax.block_until_ready(moments)
            seconds.append(time.perf_counter() - start)
        curve.append(float(accuracy(model)))
        bar.set_postfix(accuracy=f"{curve[-1]:.4f}")
    return model, curve, float(np.median(seconds))


def temporary_bytes(model, fixed_point, x, y):
    """What the compiled gradient of a batch holds in temporary buffers."""
    params, static = eqx.partition(model, eqx.is_array)
    gradient = jax.grad(lambda p: loss(eqx.combine(p, static), fixed_point, x, y))
    analysis = jax.jit(gradient).lower(params).compile().memory_analysis()
    if analysis is None:
        raise RuntimeError(f"{jax.default_backend()} does not report memory")
    return analysis.temp_size_in_bytes


def draw(path, curves, memory, images, labels, guesses, names):
    """Learning curves, memory against steps, and some classified images."""
    figure = plt.figure(figsize=(12, 6.5), layout="constrained")
    halves = figure.subfigures(2, 1, squeeze=False, height_ratios=[1.7, 1])
    top, bottom = halves[:, 0]
    left, right = top.subplots(1, 2)
    for name, curve in curves.items():
        left.plot(range(1, len(curve) + 1), curve, marker="o", label=name)
    left.set(title="Test accuracy", xlabel="epoch")
    left.legend(loc="lower right")
    for name, found in memory.items():
        right.loglog(STEPS, np.asarray(found) / 1e6, marker="o", label=name)
    right.set(title="Memory of the gradient (MB)", xlabel="steps")
    right.legend()
    bottom.suptitle("Test images classified at the equilibrium (wrong ones in red)")
    grid = bottom.subplots(2, 10, squeeze=False).flat
    side = round(images.shape[1] ** 0.5)
    for axes, image, label, guess in zip(grid, images, labels, guesses, strict=True):
        axes.imshow(image.reshape(side, side), cmap="gray_r")
        colour = "black" if guess == label else "red"
        axes.set_title(names[guess], color=colour, pad=2, fontsize=8)
        axes.axis("off")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(arguments=None):
    """Train, measure, print and draw."""
    parser = argparse.ArgumentParser(description="A deep equilibrium classifier.")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--digits", action="store_true", help="scikit-learn's digits")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out"))
    options = parser.parse_args(arguments)
    data_set = load_dataset("digits" if options.digits else "fashion-mnist")
    train_x, test_x = (
        jnp.asarray(x, jnp.float32).reshape(len(x), -1)
        for x in (data_set.x, data_set.test_x)
    )
    train_y, test_y = jnp.asarray(data_set.y), jnp.asarray(data_set.test_y)
    data = train_x, train_y, test_x, test_y
    batch_size = 64 if options.digits else 256
    model = Equilibrium(train_x.shape[1], options.units, 10, jr.key(0))

    batch = train_x[:batch_size], train_y[:batch_size]
    curves, rows, models = {}, [], {}
    for name, fixed_point in WAYS.items():
        trained = train(data, model, fixed_point, options.epochs, batch_size, name)
        models[name], curves[name], seconds = trained
        size = temporary_bytes(model, fixed_point, *batch)
        rows.append((name, curves[name][-1], 1e3 * seconds, size))
    print("| gradient | test accuracy | ms a step | MB of temporaries |")
    print("|---|---|---|---|")
    for name, accuracy, milliseconds, size in rows:
        print(f"| {name} | {accuracy:.4f} | {milliseconds:.1f} | {size / 1e6:.1f} |")

    def limited(steps):
        def fixed_point(fn, y0, args):
            problem = fp.FixedPoint(fn, y0, args)
            return fp.solve(problem, max_steps=steps, throw=False).value

        return fixed_point

    memory = {
        "implicit": [temporary_bytes(model, limited(k), *batch) for k in STEPS],
        "unrolled": [temporary_bytes(model, unrolled(k), *batch) for k in STEPS],
    }
    print(f"\n| MB by steps | {' | '.join(map(str, STEPS))} |")
    print("|---|" + "---|" * len(STEPS))
    for name, found in memory.items():
        print(f"| {name} | {' | '.join(f'{b / 1e6:.1f}' for b in found)} |")

    images = test_x[:20]
    guesses = np.argmax(models["implicit"](images, solved()), -1)
    path = options.out / "deq_fashion_mnist.png"
    names = data_set.classes or tuple(map(str, range(10)))
    draw(path, curves, memory, np.asarray(images), test_y[:20], guesses, names)
    print(f"\nwrote {path}")


if __name__ == "__main__":
    main()
