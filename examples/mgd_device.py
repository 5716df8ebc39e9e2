"""A chip in the loop: training a device that lives in another process.

The device computes the outputs of a small network with defects that nobody knows, adds
noise to every cost, and answers over a pipe. Now and then it does not answer in time,
or answers NaN. The driver knows only how to write parameters and to read a cost.

Run `python examples/mgd_device.py [--updates N]`. Prints the cost as it falls and the
report of the failures that the training went over.
"""

import argparse
import multiprocessing

import jax.numpy as jnp
import numpy as np
import optax

from fixproj import nn


INPUTS = np.asarray([[0, 0], [0, 1], [1, 0], [1, 1]], float)
PARITY = np.asarray([0, 1, 1, 0], float)


def chip(pipe):
    """The device: sigmoids with defects, noise, and failures."""
    draw = np.random.default_rng(1)
    gains = 1 + 0.15 * draw.normal(size=9)
    requests = 0
    while (request := pipe.recv()) is not None:
        number, parameters = request
        requests += 1
        if requests % 97 == 0:
            continue
        p = gains * parameters
        hidden = 1 / (1 + np.exp(-(INPUTS @ p[:4].reshape(2, 2) + p[4:6])))
        output = 1 / (1 + np.exp(-(hidden @ p[6:8] + p[8])))
        cost = np.mean((output - PARITY) ** 2) + 1e-4 * draw.normal()
        pipe.send((number, float("nan") if requests % 61 == 0 else cost))


class Driver:
    """Writes parameters, reads costs; a reply that comes too late is discarded."""

    def __init__(self, pipe, timeout=0.5):
        self.pipe = pipe
        self.timeout = timeout
        self.number = 0

    def __call__(self, parameters):
        """The measured cost.

        Raises:
            TimeoutError: if the device does not answer in time.
        """
        self.number += 1
        self.pipe.send((self.number, parameters))
        # The first reply waits for the process to start.
        while self.pipe.poll(60 if self.number == 1 else self.timeout):
            number, cost = self.pipe.recv()
            if number == self.number:
                return cost
        raise TimeoutError(f"no reply within {self.timeout} s")


def train(updates, seed=2):
    """Trains the device; returns the costs and the report of failures."""
    import jax

    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=chip, args=(there,), daemon=True)
    process.start()
    device = nn.mgd.Device(Driver(here), retries=2)
    find = nn.mgd_value_and_grad(
        device, perturbation="walsh", black_box=True, epsilon=0.1
    )
    optimiser = optax.adam(0.05)
    parameters = jax.random.normal(jax.random.key(seed), (9,))
    state, costs = optimiser.init(parameters), []
    try:
        for step in range(updates):
            cost, gradient = find(parameters, key=jax.random.key(0), step=step)
            change, state = optimiser.update(gradient, state)
            parameters = optax.apply_updates(parameters, change)
            costs.append(float(cost))
            if (step + 1) % max(1, updates // 10) == 0:
                recent = jnp.nanmean(jnp.asarray(costs[-50:]))
                print(f"update {step + 1:5d}: cost {recent:.4f}", flush=True)
    finally:
        here.send(None)
        process.join(10)
    return costs, device.report


def main():
    """Train and print."""
    parser = argparse.ArgumentParser(description="A chip in the loop.")
    parser.add_argument("--updates", type=int, default=1500)
    _, report = train(parser.parse_args().updates)
    print("\n".join(f"{name}: {value}" for name, value in report.items()))


if __name__ == "__main__":
    main()
