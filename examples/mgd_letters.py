"""The letters N, I, S and T on 7 x 7 pixels, learned by perturbing all weights.

Each letter is 5 x 5 pixels, stands at any of 9 places, and has up to two flips:
4 * 9 * (1 + 49 + 49 * 48 / 2) = 44 136 images. A 49-4-4 network of sigmoids, 220
parameters, learns them by multiplexed gradient descent and by backpropagation at the
same rate, from many random starts.

Run `python examples/mgd_letters.py [--starts N] [--out DIR]`. Prints the share of
starts that are solved and the distribution of solve times, and writes
`out/mgd_letters.png`.
"""

import argparse
import functools
import itertools
import pathlib

import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib
import numpy as np

from fixproj import nn


matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


LETTERS = {
    "N": ("#...#", "##..#", "#.#.#", "#..##", "#...#"),
    "I": ("#####", "..#..", "..#..", "..#..", "#####"),
    "S": (".####", "#....", ".###.", "....#", "####."),
    "T": ("#####", "..#..", "..#..", "..#..", "..#.."),
}
# A start counts as solved once so many of the images that it is not trained on are
# told apart.
SOLVED = 0.95
BATCH = 32
EVERY = 500


@functools.cache
def letters():
    """All images, shuffled: ((x, y) to train on, (x, y) held out), 49 pixels each."""
    images, labels = [], []
    pixels = [(), *((i,) for i in range(49)), *itertools.combinations(range(49), 2)]
    for label, rows in enumerate(LETTERS.values()):
        letter = np.array([[c == "#" for c in row] for row in rows])
        for top, left in itertools.product(range(3), range(3)):
            clean = np.zeros((7, 7), bool)
            clean[top : top + 5, left : left + 5] = letter
            for flips in pixels:
                image = clean.reshape(-1).copy()
                image[list(flips)] ^= True
                images.append(image)
                labels.append(label)
    order = np.random.default_rng(0).permutation(len(labels))
    x, y = np.array(images, float)[order], np.array(labels)[order]
    return (x[4096:], y[4096:]), (x[:4096], y[:4096])


def network(params, x):
    """Four sigmoid units, then four more."""
    hidden = jax.nn.sigmoid(x @ params["w1"] + params["b1"][None])
    return jax.nn.sigmoid(hidden @ params["w2"] + params["b2"][None])


def cost(params, x, y):
    """The mean squared distance to the one-hot labels."""
    wanted = jax.nn.one_hot(y, 4, dtype=x.dtype)
    return jnp.mean(jnp.sum((network(params, x) - wanted) ** 2, axis=1))


def start(key):
    """220 normal parameters, scaled by the number of inputs."""
    first, second = jr.split(key)
    return {
        "w1": jr.normal(first, (49, 4)) / 7,
        "b1": jnp.zeros(4),
        "w2": jr.normal(second, (4, 4)),
        "b2": jnp.zeros(4),
    }


def solve_times(find, starts, updates=100_000, rate=0.03, seed=0):
    """The update, in steps of `EVERY`, after which each start is solved.

    Args:
        find: `(params, x, y, key=, step=) -> (cost, gradient)`.
        starts: number of random starts.
        updates: how many updates are made at most, and the answer where it is not.
        rate: of plain gradient descent.
        seed: of starts, minibatches and perturbations.
    """
    (x, y), held_out = jax.tree.map(jnp.asarray, letters())

    def one(key):
        begin, walk, pick = jr.split(key, 3)

        def step(params, i):
            rows = jr.randint(jr.fold_in(pick, i), (BATCH,), 0, x.shape[0])
            _, gradient = find(params, x[rows], y[rows], key=walk, step=i)
            return jax.tree.map(lambda p, g: p - rate * g, params, gradient), None

        def look(carry, block):
            params, solved = carry
            steps = block * EVERY + jnp.arange(EVERY)
            params, _ = jax.lax.scan(step, params, steps)
            right = jnp.argmax(network(params, held_out[0]), 1) == held_out[1]
            done = jnp.mean(right.astype(float)) >= SOLVED
            now = jnp.where(done, (block + 1) * EVERY, updates)
            return (params, jnp.minimum(solved, now)), None

        first = (start(begin), jnp.asarray(updates))
        blocks = jnp.arange(updates // EVERY)
        (_, solved), _ = jax.lax.scan(look, first, blocks)
        return solved

    return np.asarray(jax.jit(jax.vmap(one))(jr.split(jr.key(seed), starts)))


def perturbed(**options):
    """The multiplexed gradient of the cost of a minibatch."""
    options = {"epsilon": 0.01, "warn": False, **options}
    return nn.mgd_value_and_grad(cost, **options)


def backpropagated(params, x, y, *, key, step):
    """The gradient of the cost, as a reference."""
    return jax.value_and_grad(cost)(params, x, y)


def describe(times, updates):
    """The share of solved starts and quantiles over those."""
    solved = times[times < updates]
    if not solved.size:
        return "0.0% solved"
    low, middle, high = np.quantile(solved, [0.1, 0.5, 0.9])
    share = solved.size / times.size
    return f"{share:6.1%} solved, median {middle:.0f} (10%: {low:.0f}, 90%: {high:.0f})"


def main():
    """Train, print and draw."""
    parser = argparse.ArgumentParser(description="Letters by perturbation.")
    parser.add_argument("--starts", type=int, default=100)
    parser.add_argument("--updates", type=int, default=100_000)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out"))
    given = parser.parse_args()
    methods = {
        "backpropagation": backpropagated,
        "rademacher": perturbed(),
        "walsh": perturbed(perturbation="walsh"),
    }
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10, 3.8), layout="constrained", width_ratios=[1, 2]
    )
    (x, y), _ = letters()
    samples = [x[y == k][:4].reshape(4, 7, 7) for k in range(4)]
    tiles = np.pad(samples, [(0, 0), (0, 0), (1, 1), (1, 1)], constant_values=0.5)
    left.imshow(tiles.transpose(0, 2, 1, 3).reshape(36, 36), cmap="gray_r")
    left.axis("off")
    edges = np.geomspace(EVERY, given.updates, 30)
    for name, find in methods.items():
        times = solve_times(find, given.starts, given.updates)
        print(f"{name:<16} {describe(times, given.updates)}", flush=True)
        right.hist(times[times < given.updates], edges, histtype="step", label=name)
    right.set(xscale="log", xlabel=f"updates until {SOLVED:.0%}", ylabel="starts")
    right.legend()
    given.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(given.out / "mgd_letters.png", dpi=110)
    print(f"Wrote {given.out / 'mgd_letters.png'}")


if __name__ == "__main__":
    main()
