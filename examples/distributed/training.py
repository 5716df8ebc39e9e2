"""Training by projections, the minibatch spread over processes.

Parameters are the same everywhere, examples are not: the Gram matrices and the products
with the displacements are sums over examples, which XLA turns into all-reduces. Nothing
in the trainer knows of it.

    cd examples/distributed
    python launch.py --processes 4 training.py --epochs 5 --batch-size 128

Uses the digits of scikit-learn.
"""

import argparse
import time

import cluster
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec
from sklearn.datasets import load_digits

from fixproj import nn


def main(argv=None):
    """Trains, and prints the accuracy on examples that were kept back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    arguments = parser.parse_args(argv)
    mesh = cluster.join()
    if arguments.batch_size % mesh.size:
        parser.error(f"--batch-size must be a multiple of {mesh.size}")
    x, y = load_digits(return_X_y=True)
    x, y = (x / 16).astype(np.float32), y.astype(np.int32)
    order = np.random.default_rng(0).permutation(len(x))
    test, train = order[:360], order[360:]
    rows = NamedSharding(mesh, PartitionSpec("rows"))

    def spread(values):
        """Every process hands over its own rows of a minibatch."""
        return jax.make_array_from_callback(values.shape, rows, lambda i: values[i])

    model = eqx.nn.MLP(64, 10, 64, 2, key=jr.key(0))
    trainer = nn.Projections(outer=optax.adam(3e-3))
    state = trainer.init(model)
    update = eqx.filter_jit(trainer.update)
    size, start = arguments.batch_size, time.perf_counter()
    for epoch in range(arguments.epochs):
        shuffled = np.random.default_rng([1, epoch]).permutation(train)
        for first in range(0, len(train) - size + 1, size):
            batch = shuffled[first : first + size]
            model, state, _ = update(model, state, spread(x[batch]), spread(y[batch]))
        predicted = jnp.argmax(jax.vmap(model)(jnp.asarray(x[test])), axis=1)
        accuracy = float(jnp.mean(predicted == y[test]))
        cluster.say(f"epoch {epoch + 1}: test accuracy {accuracy:.3f}")
    cluster.say(
        f"{time.perf_counter() - start:.1f} s with compilation on {mesh.size} devices "
        f"of {jax.process_count()} processes"
    )
    return accuracy


if __name__ == "__main__":
    main()
