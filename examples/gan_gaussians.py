"""A GAN on a ring of eight Gaussians, trained by ACGD and by Adam.

Generator and discriminator are multilayer perceptrons in the min-max game of Goodfellow
et al. (2014):

    min over G, max over D:   E log s(D(x)) + E log (1 - s(D(G(z))))

ACGD (Schaefer, Zheng & Anandkumar, 2020) solves this game itself. Adam takes the usual
steps, with momentum 0.5: of the same game, and with the generator's gradient of
-E log s(D(G(z))) ("non-saturating"). A mode counts as covered if at least 1% of 2048
samples are within three standard deviations of it; good samples are those near any.

Run `python examples/gan_gaussians.py [--out DIR] [--steps N] [--seeds K]`. Prints the
modes covered, the first step from which on all eight are, and the share of good
samples; draws the samples of the first seed.
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

import fixproj as fp
from fixproj import competitive


matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


MODES, RADIUS, SPREAD = 8, 2.0, 0.1
NOISE, WIDTH, BATCH = 8, 64, 128
EVERY = 100
_ANGLES = 2 * np.pi * np.arange(MODES) / MODES
CENTRES = RADIUS * np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)


def data(key, number):
    """Points of the mixture."""
    which, noise = jr.split(key)
    centres = jnp.asarray(CENTRES, jnp.float32)[jr.randint(which, (number,), 0, MODES)]
    return centres + SPREAD * jr.normal(noise, (number, 2), jnp.float32)


def networks(key):
    """The players, and the function that puts activations back into one of them."""
    first, second = jr.split(key)
    pair = (
        eqx.nn.MLP(NOISE, 2, WIDTH, 2, jax.nn.tanh, key=first),
        eqx.nn.MLP(2, "scalar", WIDTH, 2, jax.nn.tanh, key=second),
    )
    players, rest = eqx.partition(pair, eqx.is_inexact_array)
    return players, rest


def scores(players, rest, key):
    """The discriminator on a batch of data, and on one of the generator."""
    generator, discriminator = eqx.combine(players, rest)
    real, noise = jr.split(key)
    points = data(real, BATCH)
    fakes = jax.vmap(generator)(jr.normal(noise, (BATCH, NOISE), jnp.float32))
    return jax.vmap(discriminator)(points), jax.vmap(discriminator)(fakes)


def minmax(players, rest):
    """The game; its `args` is the key of a batch."""

    def value(generator, discriminator, key):
        real, fake = scores((generator, discriminator), rest, key)
        return jnp.mean(jax.nn.log_sigmoid(real)) + jnp.mean(jax.nn.log_sigmoid(-fake))

    generator, discriminator = players
    return lambda key: competitive.MinMax(value, generator, discriminator, key)


def nonsaturating(players, rest):
    """The same with a generator that maximises log s(D(G(z))): not a zero-sum game."""

    def of_generator(players, key):
        return -jnp.mean(jax.nn.log_sigmoid(scores(players, rest, key)[1]))

    def of_discriminator(players, key):
        real, fake = scores(players, rest, key)
        return -jnp.mean(jax.nn.log_sigmoid(real)) - jnp.mean(jax.nn.log_sigmoid(-fake))

    return lambda key: competitive.Game([of_generator, of_discriminator], players, key)


def trainer(name, step):
    """The game, the method, and the iteration that takes its directions."""
    if name == "ACGD":
        return minmax, competitive.ACGD(step), fp.Picard()
    game = minmax if name == "Adam" else nonsaturating
    adam = competitive.Optax(optax.adam(step, b1=0.5))
    return game, competitive.SimultaneousGradient(1.0), adam


def samples(players, rest, key, number=2048):
    """What the generator makes."""
    generator, _ = eqx.combine(players, rest)
    return jax.vmap(generator)(jr.normal(key, (number, NOISE), jnp.float32))


def quality(points):
    """The number of modes covered, and the share of samples near one."""
    gaps = jnp.linalg.norm(points[:, None] - jnp.asarray(CENTRES, jnp.float32), axis=-1)
    near = gaps < 3 * SPREAD
    return jnp.sum(jnp.mean(near, axis=0) >= 0.01), jnp.mean(jnp.any(near, axis=1))


def train(name, step, steps, seed):
    """Modes and quality after every `EVERY` steps, samples at the end, seconds."""
    players, rest = networks(jr.key(seed))
    make, method, iteration = trainer(name, step)
    game = make(players, rest)

    def one(carry, key):
        z, state = carry
        fz = method.make_map(game(key)).apply(z)
        return iteration.step(z, fz, state), None

    @jax.jit
    def chunk(carry, key):
        carry, _ = jax.lax.scan(one, carry, jr.split(key, EVERY))
        points = samples(carry[0].players, rest, jr.fold_in(key, 1))
        return carry, quality(points)

    z = method.make_map(game(jr.key(0))).init()
    carry = z, iteration.init(z)
    history = []
    start = time.perf_counter()
    for i in range(steps // EVERY):
        carry, found = chunk(carry, jr.fold_in(jr.key(100 + seed), i))
        history.append([float(x) for x in found])
        if i == 0:
            start = time.perf_counter()
    seconds = (time.perf_counter() - start) / max(steps - EVERY, 1)
    return np.array(history), samples(carry[0].players, rest, jr.key(7)), seconds


def covered_from(history):
    """The step from which on all modes are covered, or None."""
    missing = np.flatnonzero(history[:, 0] < MODES)
    first = int(missing[-1]) + 1 if missing.size else 0
    return EVERY * (first + 1) if first < len(history) else None


def main(arguments=None):
    """Train, print the table and draw the picture."""
    parser = argparse.ArgumentParser(description="A GAN on eight Gaussians.")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out"))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--acgd-step", type=float, default=1e-3)
    parser.add_argument("--adam-step", type=float, default=1e-3)
    options = parser.parse_args(arguments)
    names = ("ACGD", "Adam", "Adam, non-saturating")
    figure, panels = plt.subplots(1, len(names), figsize=(12, 4), sharey=True)
    print("| method | seed | modes | all from step | good samples | ms a step |")
    print("|---|---|---|---|---|---|")
    for axes, name in zip(panels, names, strict=True):
        step = options.acgd_step if name == "ACGD" else options.adam_step
        for seed in range(options.seeds):
            history, points, seconds = train(name, step, options.steps, seed)
            modes, good = history[-1]
            first = covered_from(history) or "-"
            cells = f"{seed} | {modes:.0f} of {MODES} | {first} | {good:.2f}"
            print(f"| {name} | {cells} | {1e3 * seconds:.1f} |", flush=True)
            if seed == 0:
                axes.plot(*CENTRES.T, "k+", ms=12)
                axes.plot(*np.asarray(points).T, ".", ms=1.5)
                axes.set(title=f"{name}: {modes:.0f} of {MODES}", aspect="equal")
                axes.set(xlim=(-3, 3), ylim=(-3, 3))
    figure.tight_layout()
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / "gan_gaussians.png", dpi=110)
    plt.close(figure)
    print(f"\nWrote {options.out / 'gan_gaussians.png'}")


if __name__ == "__main__":
    main()
