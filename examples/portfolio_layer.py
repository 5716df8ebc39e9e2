"""Learn return forecasts through a portfolio layer.

The layer is a quadratic program: the long-only portfolio that trades forecast return
against risk, with no asset above 30 percent,

    x(c) = argmin  x'Cx risk/2 - c'x   subject to   sum(x) = 1, 0 <= x <= 0.3.

A linear forecast c = W f of returns from market features is trained twice: on squared
errors of the forecast, and through the layer on the utility that the portfolio earns.
The true dependence is not linear, so the best forecast is not the best for decisions.

Run `python examples/portfolio_layer.py [--out DIR] [--steps N]`. Prints the utility on
unseen days and writes `out/portfolio_layer.png`.
"""

import argparse
import pathlib

import jax
import jax.numpy as jnp
import jax.random as jr
import matplotlib
import optax

import fixproj as fp


matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


ASSETS, FEATURES, DAYS, RISK = 8, 5, 256, 2.0


def market(key):
    """Features, mean returns that depend on them, and the covariance of returns."""
    keys = jr.split(key, 4)
    features = jr.normal(keys[0], (2 * DAYS, FEATURES))
    linear = jr.normal(keys[1], (FEATURES, ASSETS)) / FEATURES**0.5
    bent = jr.normal(keys[2], (FEATURES, ASSETS))
    returns = 0.3 * features @ linear + 0.7 * jnp.maximum(features @ bent, 0) ** 2 / 4
    factor = jr.normal(keys[3], (ASSETS, 3)) / 3**0.5
    return features, returns, factor @ factor.T + 0.2 * jnp.eye(ASSETS)


def portfolio(forecast, covariance):
    """The layer: weights of the assets."""
    A = jnp.concatenate([jnp.ones((1, ASSETS)), jnp.eye(ASSETS)])
    lower = jnp.zeros(ASSETS + 1).at[0].set(1)
    upper = jnp.full((ASSETS + 1,), 0.3).at[0].set(1)
    program = fp.QuadraticProgram(RISK * covariance, -forecast, A, lower, upper)
    return fp.solve(program).value


def utility(weights, returns, covariance):
    """What a day's portfolio is worth."""
    return returns @ weights - RISK / 2 * weights @ covariance @ weights


def train(loss, weights, steps):
    """Adam from the same start; the weights after every step."""
    optimiser = optax.adam(0.03)

    def step(carry, _):
        weights, state = carry
        gradient = jax.grad(loss)(weights)
        updates, state = optimiser.update(gradient, state)
        weights = optax.apply_updates(weights, updates)
        return (weights, state), weights

    start = weights, optimiser.init(weights)
    return jax.jit(lambda s: jax.lax.scan(step, s, length=steps))(start)[1]


def main():
    """Train both ways and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out"))
    parser.add_argument("--steps", type=int, default=150)
    options = parser.parse_args()
    features, returns, covariance = market(jr.key(0))
    seen, unseen = slice(DAYS), slice(DAYS, None)

    def earned(weights, days):
        layer = jax.vmap(lambda c: portfolio(c, covariance))
        x = layer(features[days] @ weights)
        return jnp.mean(
            jax.vmap(lambda x, r: utility(x, r, covariance))(x, returns[days])
        )

    def squared(weights):
        return jnp.mean((features[seen] @ weights - returns[seen]) ** 2)

    start = jnp.zeros((FEATURES, ASSETS))
    paths = {
        "squared error of the forecast": train(squared, start, options.steps),
        "through the layer": train(lambda w: -earned(w, seen), start, options.steps),
    }
    every = max(options.steps // 50, 1)
    on_unseen = jax.jit(lambda path: jax.lax.map(lambda w: earned(w, unseen), path))
    curves = {name: on_unseen(path[::every]) for name, path in paths.items()}
    hindsight = jax.vmap(lambda r: portfolio(r, covariance))(returns[unseen])
    best = jnp.mean(
        jax.vmap(lambda x, r: utility(x, r, covariance))(hindsight, returns[unseen])
    )
    for name, curve in curves.items():
        print(f"utility on unseen days, {name}: {curve[-1]:.4f}")
    print(f"with returns known in advance: {best:.4f}")

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for name, curve in curves.items():
        left.plot(jnp.arange(len(curve)) * every, curve, label=name)
    left.axhline(float(best), color="0.6", ls=":", label="returns known in advance")
    left.set(xlabel="step", ylabel="utility on unseen days")
    left.legend(frameon=False, fontsize=8)
    days = features[unseen][:40] @ paths["through the layer"][-1]
    weights = jax.vmap(lambda c: portfolio(c, covariance))(days)
    right.stackplot(jnp.arange(40), weights.T)
    right.set(xlabel="day", ylabel="weight", ylim=(0, 1), title="The learned portfolio")
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "portfolio_layer.png"
    figure.savefig(path, dpi=110)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
