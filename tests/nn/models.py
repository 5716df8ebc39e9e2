"""Models and data that the tests of the networks share."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np


def digits():
    """scikit-learn's digits: ((x, y) to train on, (x, y) to test on)."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        np.asarray(x) / 16, y, test_size=0.25, random_state=0, stratify=y
    )
    return (train_x, train_y), (test_x, test_y)


def rings(key, n=256):
    """Two classes that no line separates."""
    x = jr.normal(key, (n, 2))
    return x, (jnp.sum(x**2, axis=1) > 1.4).astype(int)


def eqx_mlp(key, sizes=(64, 64, 64, 10), **options):
    """An unmodified Equinox MLP, which maps one example."""
    return eqx.nn.MLP(
        sizes[0], sizes[-1], sizes[1], depth=len(sizes) - 2, key=key, **options
    )


def plain_mlp_fn(params, x):
    """A perceptron in plain JAX, which maps a batch."""
    for w, b in params[:-1]:
        x = jax.nn.relu(x @ w + b[None])
    w, b = params[-1]
    return x @ w + b[None]


def plain_mlp(key, sizes=(64, 64, 64, 10)):
    """The pair (fn, params)."""
    params = []
    for i, o in zip(sizes, sizes[1:], strict=False):
        key, sub = jr.split(key)
        params.append((jr.normal(sub, (i, o)) * (2 / i) ** 0.5, jnp.zeros(o)))
    return plain_mlp_fn, params


class SkipAndConcat(eqx.Module):
    """A residual sum, a concatenation with the input, and a maximum of two units."""

    first: eqx.nn.Linear
    second: eqx.nn.Linear
    last: eqx.nn.Linear

    def __init__(self, key, size=2, width=32, classes=2):
        keys = jr.split(key, 3)
        self.first = eqx.nn.Linear(size, width, key=keys[0])
        self.second = eqx.nn.Linear(width, width, key=keys[1])
        self.last = eqx.nn.Linear(width // 2 + size, classes, key=keys[2])

    def __call__(self, x):
        h = jax.nn.relu(self.first(x))
        h = h + jax.nn.relu(self.second(h))
        a, b = jnp.split(h, 2)
        return self.last(jnp.concatenate([jnp.maximum(a, 0.5 * b), x]))
