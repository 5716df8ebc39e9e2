"""What a competitive step costs: CGD beside a gradient step of the same game.

Two zero-sum games with about 1e5 unknowns for each player, in float32. Bilinear:
x' A y with A the product of two chains of differences; network: a generator and a
discriminator of one wide hidden layer, batches of 128. "CGDs" is the algorithm of the
PyTorch package cgds-package (`BCGD`, its tolerances, its alternation), ported to JAX
for this comparison. All are compiled; moves are along a run of each method's own, after
ten moves, so that warm starts are what they are in use. Times are in milliseconds, the
median of rounds in turn; the factors are those to the gradient step of the same round.
"""

import argparse

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from benchmarks._timing import interleaved
from fixproj import competitive


SIZE = 100_000


def _bilinear():
    key = jr.key(0)

    def value(x, y, args):
        return jnp.vdot(x - jnp.roll(x, 1), y + 0.5 * jnp.roll(y, 7))

    x, y = jr.normal(key, (2, SIZE), jnp.float32)
    return competitive.MinMax(value, x, y)


def _network():
    keys = jr.split(jr.key(1), 6)
    width, noise, dimension = 780, 62, 64
    layer = lambda key, m, n: jr.normal(key, (m, n), jnp.float32) / np.sqrt(m)
    generator = (layer(keys[0], noise, width), layer(keys[1], width, dimension))
    hidden = 1515
    discriminator = (layer(keys[2], dimension, hidden), layer(keys[3], hidden, 1))
    z = jr.normal(keys[4], (128, noise), jnp.float32)
    data = jr.normal(keys[5], (128, dimension), jnp.float32)

    def value(g, d, args):
        score = lambda points: jnp.tanh(points @ d[0]) @ d[1]
        fakes = jnp.tanh(z @ g[0]) @ g[1]
        real, fake = jax.nn.log_sigmoid(score(data)), jax.nn.log_sigmoid(-score(fakes))
        return jnp.mean(real) + jnp.mean(fake)

    return competitive.MinMax(value, generator, discriminator)


def cgds_move(f, step):
    """One move of `BCGD`: x minimises, y maximises; the state is (x, y, old, turn)."""

    def move(carry):
        x, y, (old_x, old_y), turn = carry
        g_x, g_y = jax.grad(f, (0, 1))(x, y)
        d_xy = jax.linearize(lambda y: jax.grad(f)(x, y), y)[1]
        d_yx = jax.linearize(lambda x: jax.grad(f, 1)(x, y), x)[1]
        p_x = g_x + step * d_xy(g_y)
        p_y = g_y - step * d_yx(g_x)

        def cg(forth, back, b, start):
            product = lambda p: p + step**2 * back(forth(p))
            r = b - product(start)
            limit = jnp.maximum(1e-12 * jnp.vdot(b, b), 1e-20)

            def body(carry):
                u, r, p, size, count = carry
                ap = product(p)
                length = size / jnp.vdot(p, ap)
                u, r = u + length * p, r - length * ap
                now = jnp.vdot(r, r)
                return u, r, r + now / size * p, now, count + 1

            more = lambda c: (c[3] >= limit) & (c[4] < b.size)
            start = (start, r, r, jnp.vdot(r, r), jnp.zeros((), jnp.int32))
            return jax.lax.while_loop(more, body, start)[0]

        def by_x():
            c_x = cg(d_yx, d_xy, p_x, old_x)
            return c_x, g_y - step * d_yx(c_x)

        def by_y():
            c_y = cg(d_xy, d_yx, p_y, old_y)
            return g_x + step * d_xy(c_y), c_y

        c_x, c_y = jax.lax.cond(turn, by_x, by_y)
        return x - step * c_x, y + step * c_y, (c_x, c_y), ~turn

    return move


def _flat(game):
    x, from_x = jax.flatten_util.ravel_pytree(game.x0)
    y, from_y = jax.flatten_util.ravel_pytree(game.y0)
    return lambda x, y: game.f(from_x(x), from_y(y), None), x, y


def main(arguments=None):
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="two steps, 5 rounds")
    options = parser.parse_args(arguments)
    rounds = 5 if options.quick else options.rounds
    steps = (0.1, 0.3) if options.quick else (0.01, 0.1, 0.2, 0.3)
    print("| game | step | gradient, ms | CGD, ms | factor | CGDs, ms | factor |")
    print("|---|---|---|---|---|---|---|")
    for name, game in (("bilinear", _bilinear()), ("network", _network())):
        f, x, y = _flat(game)
        for step in steps:
            runs = []
            for method in (competitive.SimultaneousGradient, competitive.CGD):
                map_ = method(step).make_map(game)
                runs.append((eqx.filter_jit(map_.apply), map_.init()))
            zeros = (jnp.zeros_like(x), jnp.zeros_like(y))
            runs.append((jax.jit(cgds_move(f, step)), (x, y, zeros, jnp.array(True))))
            calls = {}
            for label, (move, z) in zip(("gradient", "CGD", "CGDs"), runs, strict=True):
                for _ in range(10):
                    z = move(z)
                calls[label] = lambda move=move, z=z: move(z)
            times = interleaved(calls, rounds=rounds, least_sample=0.02)
            ms = [1e3 * times.median(label) for label in calls]
            factors = [times.ratio(label, "gradient") for label in calls]
            print(
                f"| {name} | {step} | {ms[0]:.2f} | {ms[1]:.2f} | {factors[1]:.1f} "
                f"| {ms[2]:.2f} | {factors[2]:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
