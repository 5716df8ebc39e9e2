"""The simplest GAN: a linear generator learns the covariance of data.

The generator maps noise z to V z, the discriminator is the quadratic form of W:

    min over V, max over W:   E x' W x - E (V z)' W (V z) = <W, C - V V'>

Its equilibria have V V' = C. Daskalakis, Ilyas, Syrgkanis & Zeng (2018), section 4;
Schaefer & Anandkumar (2019), section 4.2. For every method and step size, the script
prints how far V V' is from C after so many moves, relative to the start, and draws how
the distance falls.

Run `python examples/gan_covariance.py [--out DIR] [--moves N] [--dimension D]`.
"""

import argparse
import pathlib

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib
import numpy as np

from fixproj import competitive


matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


STEPS = (0.005, 0.025, 0.1, 0.4)
METHODS = {
    "gradient": competitive.SimultaneousGradient,
    "optimistic": competitive.OptimisticGradient,
    "extragradient": competitive.Extragradient,
    "symplectic": competitive.SymplecticGradient,
    "consensus": competitive.ConsensusGradient,
    "CGD": competitive.CGD,
    "ACGD": competitive.ACGD,
}


def value(v, w, covariance):
    """The game: the generator V minimises, the discriminator W maximises."""
    return jnp.sum(w * (covariance - v @ v.T))


def problem(dimension, key):
    """A covariance with a spread of scales, and a start near nothing."""
    factor = jr.normal(key, (dimension, dimension)) / np.sqrt(dimension)
    covariance = factor @ factor.T
    start = 0.1 * jr.normal(jr.fold_in(key, 1), (2, dimension, dimension))
    return competitive.MinMax(
        value, start[0] + jnp.eye(dimension), start[1], covariance
    )


@eqx.filter_jit
def distances(method, game, moves):
    """|V V' - C| before every move, relative to the first."""
    map_ = method.make_map(game)

    def move(z, _):
        v = z.players[0]
        return map_.apply(z), jnp.linalg.norm(v @ v.T - game.args)

    _, found = jax.lax.scan(move, map_.init(), None, moves + 1)
    return found / found[0]


def main(arguments=None):
    """Print the table and draw the picture."""
    parser = argparse.ArgumentParser(description="A GAN that learns a covariance.")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out"))
    parser.add_argument("--moves", type=int, default=1000)
    parser.add_argument("--dimension", type=int, default=10)
    options = parser.parse_args(arguments)
    game = problem(options.dimension, jr.key(0))
    print(f"|V V' - C| after {options.moves} moves, relative to the start\n")
    print("| step | " + " | ".join(METHODS) + " |")
    print("|---" * (len(METHODS) + 1) + "|")
    figure, panels = plt.subplots(1, len(STEPS), figsize=(14, 3.6), sharey=True)
    for axes, step in zip(panels, STEPS, strict=True):
        row = f"| {step:g} "
        for name, method in METHODS.items():
            path = np.asarray(distances(method(jnp.asarray(step)), game, options.moves))
            good = np.isfinite(path[-1]) and path[-1] < 1e3
            row += f"| {path[-1]:.1e} " if good else "| diverges "
            axes.semilogy(np.where(path < 1e3, path, np.nan), lw=1, label=name)
        print(row + "|", flush=True)
        axes.set(title=f"step {step:g}", xlabel="moves", ylim=(1e-7, 1e2))
    panels[0].set_ylabel("|V V' - C| / start")
    panels[-1].legend(fontsize=7)
    figure.tight_layout()
    options.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out / "gan_covariance.png", dpi=110)
    plt.close(figure)
    print(f"\nWrote {options.out / 'gan_covariance.png'}")


if __name__ == "__main__":
    main()
