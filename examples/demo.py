"""The tour: networks by projections, a feasibility problem, an implicit layer.

On the 1797 handwritten digits that scikit-learn ships:

1. an ordinary Equinox MLP is trained by projections, and beside it by Adam;
2. the class shares of an unlabelled pile of digits are found from its mean image alone,
   as a point in the intersection of a simplex and an affine subspace, and the answer is
   differentiated with respect to the measurements;
3. a deep equilibrium classifier is trained by differentiating through its fixed point.

Run `make demo`, or `python examples/demo.py [--out DIR]`. Prints one table and writes
`out/demo.png`.
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
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fixproj as fp
from fixproj import nn, projections as proj


matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


def digits():
    """Images in [0, 1] as rows of 64, and classes: train x, test x, train y, test y."""
    images, labels = load_digits(return_X_y=True)
    return train_test_split(
        (images / 16).astype(np.float32),
        labels,
        test_size=0.25,
        random_state=0,
        stratify=labels,
    )


def train_network(trainer, data, epochs=20):
    """An unmodified Equinox MLP, trained by whatever the trainer does."""
    train_x, test_x, train_y, test_y = data
    model = eqx.nn.MLP(64, 10, width_size=64, depth=2, key=jr.key(0))
    start = time.perf_counter()
    history = nn.fit(
        model,
        trainer,
        (train_x, train_y),
        epochs=epochs,
        validation=(test_x, test_y),
        progress=True,
    )
    return history, time.perf_counter() - start


def class_shares(data):
    """What part of a pile of digits is a 0, a 1, ...: seen through nine numbers.

    The mean image of the pile is the mixture of the class means. Nine principal
    components of it give nine equations for the ten shares, which lie in the simplex.
    """
    train_x, test_x, train_y, test_y = data
    means = np.stack([train_x[train_y == c].mean(0) for c in range(10)])
    components = np.linalg.svd(means - means.mean(0))[2][:9]
    # A pile with unequal shares: 30 + 20c % 70 images of class c, drawn from the test
    # images' own classes with replacement.
    counts = np.array([30 + 20 * c % 70 for c in range(10)])
    draw = np.random.default_rng(0)
    pile = np.concatenate(
        [draw.choice(np.flatnonzero(test_y == c), n) for c, n in enumerate(counts)]
    )
    matrix = jnp.asarray(components @ means.T, float)
    measured = jnp.asarray(components @ test_x[pile].mean(0), float)
    return matrix, measured, counts / counts.sum()


def solve_shares(matrix, measured, iteration=None, **kwargs):
    """The point of the simplex that explains the measurements."""
    sets = [proj.Affine(matrix, measured), proj.Simplex()]
    problem = fp.Feasibility(sets, jnp.full(10, 0.1))
    return fp.solve(problem, fp.DouglasRachford(), iteration, **kwargs)


def residual_curve(map_, iteration, steps):
    """The residual of each step, with the iteration run by hand."""

    def step(carry, _):
        z, state = carry
        fz = map_.apply(z)
        residual = fp.max_norm(jax.tree.map(jnp.subtract, fz, z))
        return iteration.step(z, fz, state), residual

    z = map_.init()
    return jax.lax.scan(step, (z, iteration.init(z)), length=steps)[1]


def relative_gradient_error(loss, argument, key):
    """`jax.grad` against a central difference along a random direction."""
    direction = jr.normal(key, argument.shape, argument.dtype)
    step = 1e-6
    expected = loss(argument + step * direction) - loss(argument - step * direction)
    expected = expected / (2 * step)
    found = jnp.vdot(jax.grad(loss)(argument), direction)
    return float(abs(found - expected) / abs(expected))


class Equilibrium(eqx.Module):
    """Logits from the fixed point y = tanh(W y + U x + c), with |W| < 1."""

    recurrent: jax.Array
    inject: eqx.nn.Linear
    readout: eqx.nn.Linear

    def __init__(self, hidden, key):
        """Random weights for 64 pixels, 10 classes and `hidden` units."""
        keys = jr.split(key, 3)
        self.recurrent = jr.normal(keys[0], (hidden, hidden)) / hidden**0.5
        self.inject = eqx.nn.Linear(64, hidden, key=keys[1])
        self.readout = eqx.nn.Linear(hidden, 10, key=keys[2])

    def __call__(self, x):
        """Logits (batch, 10) of images (batch, 64)."""
        norm = jnp.sqrt(jnp.sum(self.recurrent**2))
        weight = 0.9 * self.recurrent / jnp.maximum(norm, 1)
        drive = jax.vmap(self.inject)(x)
        fn = lambda y, args: jnp.tanh(y @ args[0].T + args[1])
        problem = fp.FixedPoint(fn, jnp.zeros_like(drive), (weight, drive))
        return jax.vmap(self.readout)(fp.solve(problem).value)


def train_equilibrium(data, epochs=20, batch_size=64):
    """Adam on the gradient through the fixed point; accuracy after every epoch."""
    train_x, test_x, train_y, test_y = map(jnp.asarray, data)
    model = Equilibrium(48, jr.key(1))
    optimiser = optax.adam(3e-3)
    moments = optimiser.init(eqx.filter(model, eqx.is_array))

    def loss(model, x, y):
        per_example = optax.softmax_cross_entropy_with_integer_labels(model(x), y)
        return jnp.mean(per_example)

    @eqx.filter_jit
    def update(model, moments, x, y):
        gradient = eqx.filter_grad(loss)(model, x, y)
        updates, moments = optimiser.update(gradient, moments)
        return eqx.apply_updates(model, updates), moments

    accuracy = eqx.filter_jit(lambda m, x, y: jnp.mean(jnp.argmax(m(x), -1) == y))
    shuffle, curve = np.random.default_rng(0), []
    start = time.perf_counter()
    for _ in (bar := tqdm.trange(epochs, desc="equilibrium", unit="epoch")):
        order = shuffle.permutation(len(train_x))
        for i in range(0, len(order) - batch_size + 1, batch_size):
            batch = order[i : i + batch_size]
            model, moments = update(model, moments, train_x[batch], train_y[batch])
        curve.append(float(accuracy(model, test_x, test_y)))
        bar.set_postfix(accuracy=f"{curve[-1]:.4f}")
    seconds = time.perf_counter() - start

    with jax.enable_x64(True):
        wide = jax.tree.map(
            lambda p: jnp.asarray(p, float) if eqx.is_array(p) else p, model
        )
        x, y = jnp.asarray(train_x[:8], float), train_y[:8]

        def loss_of_recurrent(recurrent):
            return loss(eqx.tree_at(lambda m: m.recurrent, wide, recurrent), x, y)

        error = relative_gradient_error(loss_of_recurrent, wide.recurrent, jr.key(2))
    return curve, seconds, error


def draw(path, curves, residuals, shares, images, labels, guesses):
    """Learning curves, residual curves, the shares, and some classified digits."""
    # Narrow and of large letters, to be read where it is shrunk to a telephone.
    plt.rc("font", size=11)
    plt.rc("legend", fontsize=9.5)
    figure = plt.figure(figsize=(6.8, 6.2), layout="constrained")
    (training, residual), (share, corner) = figure.subplots(2, 2)
    for name, curve in curves.items():
        training.plot(range(1, len(curve) + 1), curve, label=name)
    training.set(
        title="Training on digits",
        xlabel="epoch",
        ylabel="test accuracy",
        ylim=(0.8, 1),
        xticks=range(5, 21, 5),
    )
    training.legend(loc="lower right")
    for name, curve in residuals.items():
        curve = np.maximum(curve, 1e-17)
        residual.semilogy(range(1, len(curve) + 1), curve, label=name)
    residual.set(
        title="Simplex ∩ affine",
        xlabel="map evaluations",
        ylabel="residual |T(z) - z|",
    )
    residual.legend()
    true, found = shares
    share.bar(np.arange(10) - 0.2, true, 0.4, label="true")
    share.bar(np.arange(10) + 0.2, found, 0.4, label="from 9 numbers")
    share.set(
        title="Class shares of a pile",
        xlabel="class",
        ylabel="share",
        xticks=range(10),
        ylim=(0, 0.23),
    )
    share.legend()
    corner.axis("off")
    corner.set_title("Test digits, with guesses")
    grid = [
        corner.inset_axes((column / 5, 0.75 - row / 4, 0.18, 0.18))
        for row in range(4)
        for column in range(5)
    ]
    for axes, image, label, guess in zip(grid, images, labels, guesses, strict=True):
        axes.imshow(image.reshape(8, 8), cmap="gray_r")
        axes.set_title(str(guess), color="black" if guess == label else "red", pad=2)
        axes.axis("off")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main():
    """Run the three parts, print the table, draw the picture."""
    parser = argparse.ArgumentParser(description="The tour of fixproj.")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out"))
    out = parser.parse_args().out
    data = digits()
    _, test_x, _, test_y = data
    rows, curves = [], {}

    trainers = {
        "MLP, projections": nn.Projections(),
        "MLP, projections + Adam": nn.Projections(outer=optax.adam(3e-3)),
        "MLP, backprop + Adam": nn.Gradient(optax.adam(3e-3)),
    }
    histories = {}
    for name, trainer in trainers.items():
        history, seconds = train_network(trainer, data)
        histories[name] = history
        curves[name] = history.metrics["validation_accuracy"]
        rows.append(
            (name, curves[name][-1], seconds, "loss", history.metrics["loss"][-1])
        )

    with jax.enable_x64(True):
        matrix, measured, true = class_shares(data)
        start = time.perf_counter()
        solution = solve_shares(matrix, measured, progress=True)
        jax.block_until_ready(solution)
        seconds = time.perf_counter() - start
        error = relative_gradient_error(
            lambda b: solve_shares(matrix, b).value[3], measured, jr.key(0)
        )
        map_ = fp.DouglasRachford().make_map(
            fp.Feasibility(
                [proj.Affine(matrix, measured), proj.Simplex()], jnp.full(10, 0.1)
            )
        )
        steps = int(solution.stats["num_steps"])
        residuals = {
            "Picard": residual_curve(map_, fp.Picard(), steps),
            "Anderson": residual_curve(map_, fp.Anderson(), min(steps, 60)),
        }
    residual, found = float(solution.stats["residual"]), np.asarray(solution.value)
    rows.append(("shares, Douglas-Rachford", None, seconds, "residual", residual))
    rows.append(("  its jax.grad", None, None, "gradient error", error))

    curve, seconds, error = train_equilibrium(data)
    curves["DEQ, implicit gradient"] = curve
    rows.append(("DEQ, implicit gradient", curve[-1], seconds, "gradient error", error))

    print(f"\n{'method':<26}{'test accuracy':>14}{'seconds':>9}   figure")
    for name, accuracy, seconds, figure, value in rows:
        accuracy = "" if accuracy is None else f"{accuracy:.4f}"
        seconds = "" if seconds is None else f"{seconds:.1f}"
        print(f"{name:<26}{accuracy:>14}{seconds:>9}   {figure} {value:.1e}")
    print(
        "Seconds include compilation. Gradient errors are relative, against central "
        "differences in float64.\nLargest error of a share: "
        f"{np.max(np.abs(found - true)):.3f}"
    )

    model = histories["MLP, projections"].model
    guesses = np.argmax(jax.vmap(model)(test_x), -1)
    wrong = np.flatnonzero(guesses != test_y)[:4]
    shown = np.concatenate([wrong, np.setdiff1d(np.arange(40), wrong)])[:20]
    draw(
        out / "demo.png",
        curves,
        residuals,
        (true, found),
        test_x[shown],
        test_y[shown],
        guesses[shown],
    )
    print(f"Wrote {out / 'demo.png'}")


if __name__ == "__main__":
    main()
