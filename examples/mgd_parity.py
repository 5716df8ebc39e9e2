"""Two-bit parity with 9 parameters, learned by perturbing all of them at once.

1000 random starts of a 2-2-1 network with sigmoids, trained by multiplexed gradient
descent and by backpropagation at the same rate; then with noise on every measured cost,
which is borne the better the more measurements are averaged before an update.

Run `python examples/mgd_parity.py [--starts N] [--out DIR]`. Prints the share of starts
that are solved and the median number of updates, and writes `out/mgd_parity.png`.
"""

import argparse
import pathlib

import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib
import numpy as np

from fixproj import nn


matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


INPUTS = jnp.asarray([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
PARITY = jnp.asarray([0.0, 1.0, 1.0, 0.0])
# A start counts as solved once the mean squared error is below this.
SOLVED = 0.04


def network(params, x):
    """Two sigmoid units, then one."""
    hidden = jax.nn.sigmoid(x @ params["w1"] + params["b1"][None])
    return jax.nn.sigmoid(hidden @ params["w2"] + params["b2"])


def cost(params):
    """The mean squared error over the four inputs."""
    return jnp.mean((network(params, INPUTS) - PARITY) ** 2)


def start(key):
    """Nine normal parameters of standard deviation 0.5; larger ones saturate."""
    shapes = {"w1": (2, 2), "b1": (2,), "w2": (2,), "b2": ()}
    keys = jr.split(key, len(shapes))
    return {
        name: 0.5 * jr.normal(k, shape)
        for (name, shape), k in zip(shapes.items(), keys, strict=True)
    }


def solve_times(find, starts, updates=20_000, rate=1.0, seed=0):
    """The first update at which each start is solved; `updates` if it is not.

    Args:
        find: `(params, key=, step=) -> (cost, gradient)`.
        starts: number of random starts.
        updates: how many updates are made at most.
        rate: of plain gradient descent.
        seed: of starts and perturbations.
    """

    def one(key):
        begin, walk = jr.split(key)

        def step(carry, i):
            params, solved = carry
            _, gradient = find(params, key=walk, step=i)
            params = jax.tree.map(lambda p, g: p - rate * g, params, gradient)
            done = cost(params) < SOLVED
            return (params, jnp.where(done, jnp.minimum(solved, i + 1), solved)), None

        first = (start(begin), jnp.asarray(updates))
        (_, solved), _ = jax.lax.scan(step, first, jnp.arange(updates))
        return solved

    return np.asarray(jax.jit(jax.vmap(one))(jr.split(jr.key(seed), starts)))


def perturbed(**options):
    """The multiplexed gradient of the cost."""
    options = {"epsilon": 0.01, "warn": False, **options}
    return nn.mgd_value_and_grad(cost, **options)


def backpropagated(params, *, key, step):
    """The gradient of the cost, as a reference."""
    return jax.value_and_grad(cost)(params)


def describe(times, updates):
    """The share of solved starts and the median over those."""
    solved = times < updates
    median = np.median(times[solved]) if solved.any() else float("nan")
    return f"{solved.mean():6.1%} solved, median {median:6.0f} updates"


def main():
    """Train, print and draw."""
    parser = argparse.ArgumentParser(description="Two-bit parity by perturbation.")
    parser.add_argument("--starts", type=int, default=1000)
    parser.add_argument("--updates", type=int, default=20_000)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out"))
    given = parser.parse_args()
    methods = {"backpropagation": backpropagated}
    for name in ("rademacher", "walsh", "sequential", "sinusoidal"):
        methods[name] = perturbed(perturbation=name)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    edges = np.geomspace(100, given.updates, 40)
    for name, find in methods.items():
        times = solve_times(find, given.starts, given.updates)
        print(f"{name:<16} {describe(times, given.updates)}", flush=True)
        left.hist(times[times < given.updates], edges, histtype="step", label=name)
    left.set(xscale="log", xlabel="updates until solved", ylabel="starts")
    left.legend()
    levels = [0.0, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1]
    updates, starts = given.updates // 4, max(1, given.starts // 8)
    for costs in (1, 10, 100):
        shares = []
        for level in levels:
            noise = [nn.mgd.CostNoise(level)] if level else []
            find = perturbed(noise=noise, epsilon=0.1, probes=costs)
            times = solve_times(find, starts, updates)
            words = f"cost noise {level:<5g}, {costs:3d} probes an update"
            print(f"{words} {describe(times, updates)}", flush=True)
            shares.append(np.mean(times < updates))
        right.plot(range(len(levels)), shares, "o-", label=f"{costs} probes an update")
    right.set_xticks(range(len(levels)), [f"{level:g}" for level in levels])
    right.set(
        xlabel="standard deviation of the cost's noise",
        ylabel=f"share of starts solved in {updates} updates",
        ylim=(0, 1),
    )
    right.legend()
    given.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(given.out / "mgd_parity.png", dpi=110)
    print(f"Wrote {given.out / 'mgd_parity.png'}")


if __name__ == "__main__":
    main()
