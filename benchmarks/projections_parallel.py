"""All layers at once against a sweep: chains of products, devices, accuracy per step.

    python -m benchmarks.projections_parallel [--accuracy]

The longest chain of matrix products that wait for each other in the compiled program of
one update, for perceptrons of several depths. Then the same update with its levels on
eight forced host devices: the largest difference of parameters after 20 steps. With
`--accuracy`, the test accuracy on Fashion-MNIST after 1 and 2 epochs beside the sweep
and backpropagation.
"""

import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import jax.random as jr
import optax

from benchmarks._timing import markdown_table
from benchmarks.projections_training import (
    BATCH,
    TRAINED,
    fashion_mnist,
    perceptron,
)
from fixproj import nn
from fixproj.nn._graph import split


WIDTH = 16
DEVICES = 8
_FORCED = f"--xla_force_host_platform_device_count={DEVICES}"


def longest_chain(text: str) -> int:
    """The longest chain of `dot` instructions in a compiled program's text.

    A fusion, call, loop or branch counts with the longest chain inside of it; a loop's
    body once.
    """
    bodies, entry = {}, ""
    for line in text.splitlines():
        opened = re.match(r"^(ENTRY )?%?([\w.\-]+) .*\{$", line)
        if opened and "=" not in line.split("(")[0]:
            current = opened.group(2)
            bodies[current] = []
            entry = current if opened.group(1) else entry
        elif " = " in line:
            bodies[current].append(line.strip().removeprefix("ROOT "))
    known: dict[str, int] = {}

    def chain(name):
        if name in known:
            return known[name]
        known[name] = 0
        before: dict[str, int] = {}
        for line in bodies[name]:
            made, right = line.split(" = ", 1)
            names = re.findall(r"%?([\w.\-]+)", right)
            own = int(bool(re.search(r"\bdot\(", right)))
            called = [n for n in names if n in bodies and n != name]
            own += max([chain(n) for n in called], default=0)
            used = [before[n] for n in names if n in before]
            before[made.lstrip("%")] = own + max(used, default=0)
        known[name] = max(before.values(), default=0)
        return known[name]

    return chain(entry)


def _made(depth, parallel, mesh=None):
    model = perceptron(jr.key(0), (WIDTH, *[WIDTH] * depth, 10))
    x, y = jr.normal(jr.key(1), (WIDTH, WIDTH)), jnp.arange(WIDTH) % 10
    sgd = optax.sgd(0.1)
    if parallel:
        trainer = nn.LayerParallel((x, y), sgd, mesh=mesh)
    else:
        trainer = nn.Projections(outer=sgd)
    _, _, rebuild = split(model)

    def update(leaves, state, x, y):
        new, state, _ = trainer.update(rebuild(leaves), state, x, y)
        return split(new).leaves, state

    return update, (split(model).leaves, trainer.init(model), x, y)


def chains(depths=(2, 4, 8)):
    """By depth, for a sweep and for a step of all layers."""
    rows = []
    for name, parallel in (("sweep", False), ("all layers at once", True)):
        found = []
        for depth in depths:
            update, values = _made(depth, parallel)
            text = jax.jit(update).lower(*values).compile().as_text()
            found.append(longest_chain(text or ""))
        rows.append([name, *found])
    print(markdown_table(["products in a chain", *map(str, depths)], rows))


def devices(depth=7, steps=20):
    """The parallel step on eight devices against one."""
    mesh = jax.make_mesh((DEVICES,), ("layers",), (jax.sharding.AxisType.Auto,))
    results = []
    for where in (None, mesh):
        update, (leaves, state, x, y) = _made(depth, True, where)
        step = jax.jit(update)
        for _ in range(steps):
            leaves, state = step(leaves, state, x, y)
        results.append(leaves)
    gap = max(float(jnp.max(jnp.abs(a - b))) for a, b in zip(*results, strict=True))
    size = max(float(jnp.max(jnp.abs(a))) for a in results[0])
    print(
        f"{depth} hidden layers on {jax.device_count()} devices, {steps} steps: "
        f"largest difference {gap:.1e} of parameters up to {size:.1f}"
    )
    return gap


def accuracy(epochs=(1, 2), seed=1):
    """Test accuracy, one seed."""
    train, _, test = fashion_mnist()
    batch = (jnp.asarray(train[0][:BATCH]), jnp.asarray(train[1][:BATCH]))
    rows = []
    for name in ("backpropagation", "sweep", "all layers at once"):
        found = []
        for count in epochs:
            steps = count * (TRAINED // BATCH)
            adam = optax.adam(optax.cosine_decay_schedule(3e-3, steps, 0.02))
            trainer = {
                "backpropagation": lambda adam=adam: nn.Gradient(adam),
                "sweep": lambda adam=adam: nn.Projections(outer=adam),
                "all layers at once": lambda adam=adam: nn.LayerParallel(batch, adam),
            }[name]()
            history = nn.fit(
                perceptron(jr.key(seed)),
                trainer,
                train,
                epochs=count,
                batch_size=BATCH,
                progress=False,
                seed=seed,
            )
            found.append(f"{nn.evaluate(history.model, test)['accuracy']:.4f}")
        rows.append([name, *found])
    print(markdown_table(["test accuracy", *map(str, epochs)], rows))


def main(arguments):
    """Print the tables."""
    if "--accuracy" in arguments:
        accuracy()
    elif jax.device_count() < DEVICES:
        # The number of devices is settled before the first computation.
        command = [sys.executable, "-m", "benchmarks.projections_parallel"]
        flags = f"{os.environ.get('XLA_FLAGS', '')} {_FORCED}"
        run = subprocess.run(
            command,
            env={**os.environ, "XLA_FLAGS": flags},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        print(run.stdout)
    else:
        chains()
        devices()


if __name__ == "__main__":
    main(sys.argv[1:])
