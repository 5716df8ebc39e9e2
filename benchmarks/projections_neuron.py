"""Neurons as constraints, without their copies, beside PJAX.

    python -m benchmarks.projections_neuron [FOLDER]
        [--equality | --cost | --reflections | --accuracy]

FOLDER, by default that in the variable PJAX, is a checkout of
https://github.com/AndreasBergmeister/pjax, whose requirements (frozendict, networkx)
must be importable. First, parameters after 50 steps of
alternating and cyclic projections, with and without skips, in both precisions, from the
same start on the same minibatch, beside how far either is in single precision from
itself in double: what rounding does in any order of operations. Then the cost of a step
at 784-128-128-10 with skips and 256 examples of random numbers: CPU time, and temporary
memory from XLA's analysis; on one core, so that it is the time of the work, without
that of a second thread that waits for it, and each of the two after a call that is not
counted. Only if asked for: `--reflections`, accuracy on Fashion-MNIST of
Douglas-Rachford, whose copies are approximate here, at equal steps (784-64-64-10, 60
minibatches of 50 steps each, the best setting of PJAX's that is known; ten minutes for
each seed); `--accuracy`, accuracy there (as `projections_training` reads it) after the
processor time that our defaults take for 2 epochs, compilation of PJAX's programs not
counted.
"""

import functools
import os
import statistics
import subprocess
import sys
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

import fixproj as fp
from benchmarks._timing import markdown_table
from benchmarks.projections_training import fashion_mnist, perceptron
from fixproj import nn


STEPS = 50
COST_STEPS = 20
METHODS = {
    "AP": fp.AlternatingProjections(),
    "CP": fp.CyclicProjections(),
    "DR": fp.DouglasRachford(),
}


def network(params, x, skip):
    """A perceptron whose last layer, without a bias, sees all others if `skip`."""
    seen = []
    for w, b in params[:-1]:
        x = jax.nn.relu(x @ w + b[None])
        seen.append(x)
    return (jnp.concatenate(seen, axis=-1) if skip else x) @ params[-1]


def pjax_network(sizes, skip):
    """The same in PJAX."""
    import pjax  # pyright: ignore
    from pjax import nn as layers  # pyright: ignore

    class Network(layers.Module):
        def __init__(self):
            for k, (i, o) in enumerate(zip(sizes, sizes[1:], strict=False)):
                setattr(self, f"dense_{k}", layers.Linear(i, o))
                setattr(self, f"relu_{k}", layers.ReLU(o))
            self.out = layers.Linear(sum(sizes[1:]) if skip else sizes[-1], 10)

        def __call__(self, x):
            seen = []
            for k in range(len(sizes) - 1):
                x = getattr(self, f"relu_{k}")(getattr(self, f"dense_{k}")(x))
                seen.append(x)
            return self.out(pjax.concatenate(seen, axis=-1) if skip else x)

    return Network()


def setting(sizes, skip, batch, seed=0):
    """PJAX's network and parameters, the same as ours, and a minibatch."""
    from pjax.core.frozen_dict import freeze  # pyright: ignore

    theirs = pjax_network(sizes, skip)
    start = theirs.init(jr.key(seed))
    start = freeze({k: v.astype(float) for k, v in start.items()})
    x = jr.normal(jr.key(1), (batch, sizes[0]))
    y = jr.randint(jr.key(2), (batch,), 0, 10)
    return theirs, start, as_ours(start, len(sizes) - 1), x, y


def as_ours(params, hidden):
    """PJAX's dictionary as our list."""
    layers = [
        (params[f"dense_{k}.weight"], params[f"relu_{k}.bias"]) for k in range(hidden)
    ]
    return [*layers, params["out.weight"]]


def pjax_update(theirs, name, steps):
    """PJAX's steps, as a function of parameters and a minibatch."""
    import pjax  # pyright: ignore
    from pjax import optim  # pyright: ignore

    kinds = {
        "AP": optim.AlternatingProjections,
        "CP": optim.CyclicProjections,
        "DR": optim.DouglasRachford,
    }
    optimizer = kinds[name](steps_per_update=steps)

    def update(params, x, y):
        def loss(params):
            labels = jax.nn.one_hot(y, 10, dtype=x.dtype)
            return pjax.cross_entropy(theirs.apply(params, x), labels)

        return optimizer.update(loss, params)[0]

    return update


def our_update(skip, name, steps):
    """Ours, in PJAX's numerics."""
    trainer = nn.Projections("neuron", METHODS[name], numerics="pjax", sweeps=steps)

    def update(params, x, y):
        model = (lambda p, x: network(p, x, skip), params)
        return trainer.update(model, None, x, y)[0][1]

    return update


def equality(sizes=(20, 16, 12), batch=32):
    """The largest differences of parameters after the steps."""
    rows = []
    for skip in (False, True):
        theirs, start, ours, x, y = setting(sizes, skip, batch)
        for name in ("AP", "CP"):
            found = {}
            for wide in (False, True):
                with jax.enable_x64(wide):
                    # Made in single precision, so that both start from the same.
                    cast = functools.partial(_cast, dtype=float)
                    a = pjax_update(theirs, name, STEPS)(cast(start), cast(x), y)
                    b = eqx.filter_jit(our_update(skip, name, STEPS))(
                        cast(ours), cast(x), y
                    )
                    pairs = {"PJAX": as_ours(a, len(sizes) - 1), "ours": b}
                for who, params in pairs.items():
                    leaves = jax.tree.leaves(params)
                    found[who, wide] = [np.asarray(p, np.float64) for p in leaves]
            row = [name, "yes" if skip else "no"]
            for one, other in (
                (("PJAX", True), ("ours", True)),
                (("PJAX", False), ("ours", False)),
                (("PJAX", False), ("PJAX", True)),
                (("ours", False), ("ours", True)),
            ):
                pairs = zip(found[one], found[other], strict=True)
                row.append(f"{max(np.max(np.abs(p - q)) for p, q in pairs):.1e}")
            rows.append(row)
    heads = ["method", "skips", "float64", "float32", "PJAX, rounding", "ours"]
    print(markdown_table(heads, rows))


def _cast(tree, dtype):
    return jax.tree.map(lambda a: jnp.asarray(np.asarray(a), dtype), tree)


def cost(sizes=(784, 128, 128), batch=256, names=("AP", "DR")):
    """CPU milliseconds and temporary megabytes of one step, in turns."""
    theirs, start, ours, x, y = setting(sizes, True, batch)
    rows = []
    for name in names:
        made = {
            "PJAX": (pjax_update(theirs, name, COST_STEPS), start),
            "ours": (our_update(True, name, COST_STEPS), ours),
        }
        compiled, samples = {}, {who: [] for who in made}
        memory = {}
        for who, (update, params) in made.items():
            begun = time.perf_counter()
            compiled[who] = jax.jit(update).lower(params, x, y).compile()
            took = time.perf_counter() - begun
            size = compiled[who].memory_analysis().temp_size_in_bytes / 2**20
            memory[who] = (size, took)
            jax.block_until_ready(compiled[who](params, x, y))
        for _ in range(3):
            for who, (_, params) in made.items():
                call = functools.partial(compiled[who], params, x, y)
                samples[who].append(_processor_time(call) / COST_STEPS * 1e3)
        times = {who: statistics.median(found) for who, found in samples.items()}
        for who in made:
            size, took = memory[who]
            rows.append([name, who, times[who], size, took])
        size = memory["PJAX"][0] / memory["ours"][0]
        rows.append([name, "ratio", times["PJAX"] / times["ours"], size, ""])
    heads = ["method", "", "CPU ms/step", "temporary MB", "compilation s"]
    print(markdown_table(heads, rows))


def _processor_time(call, at_least=0.5):
    """Seconds of a call, mean over half a second, after one that is not counted."""
    jax.block_until_ready(call())
    begun, calls = time.process_time(), 0
    while time.process_time() - begun < at_least:
        jax.block_until_ready(call())
        calls += 1
    return (time.process_time() - begun) / calls


def accuracy(sizes=(784, 128, 128), batch=256, epochs=2, inner=(1, 5, 25)):
    """Test accuracy of PJAX's methods in the processor time of our two epochs."""
    (x, y), _, (test_x, test_y) = fashion_mnist()
    steps = epochs * (len(x) // batch)
    rate = optax.cosine_decay_schedule(3e-3, steps, 0.02)
    trainer = nn.Projections(outer=optax.adam(rate))
    begun = time.process_time()
    model = perceptron(jr.key(1), (*sizes, 10))
    model = nn.fit(
        model, trainer, (x, y), epochs=epochs, batch_size=batch, progress=False
    ).model
    budget = time.process_time() - begun
    score = nn.evaluate(model, (test_x, test_y))["accuracy"]
    rows = [["ours, defaults with Adam", steps, budget, f"{score:.4f}"]]
    theirs, start, _, *_ = setting(sizes, True, batch)
    for name in METHODS:
        for many in inner:
            update = jax.jit(pjax_update(theirs, name, many))
            jax.block_until_ready(update(start, x[:batch], y[:batch]))
            params, done, begun = start, 0, time.process_time()
            order = np.random.default_rng(0)
            while time.process_time() - begun < budget:
                rows_of = order.integers(0, len(x), batch)
                params = update(params, x[rows_of], y[rows_of])
                jax.block_until_ready(params)
                done += 1
            spent = time.process_time() - begun
            out = network(as_ours(params, len(sizes) - 1), test_x, True)
            score = float(jnp.mean(jnp.argmax(out, -1) == test_y))
            rows.append([f"PJAX {name}, {many} a batch", done, spent, f"{score:.4f}"])
    heads = ["", "minibatches", "CPU s", "test accuracy"]
    print(markdown_table(heads, rows))


def reflections(sizes=(784, 64, 64), batch=256, minibatches=60, seeds=(1, 2)):
    """Test accuracy of Douglas-Rachford from the same start on the same minibatches."""
    (x, y), _, (test_x, test_y) = fashion_mnist()
    rows = []
    for skip in (False, True):
        for seed in seeds:
            theirs, start, ours, *_ = setting(sizes, skip, batch, seed)
            updates = {
                "PJAX": (jax.jit(pjax_update(theirs, "DR", STEPS)), start),
                "ours": (eqx.filter_jit(our_update(skip, "DR", STEPS)), ours),
            }
            found = []
            for who, (update, params) in updates.items():
                order = np.random.default_rng(seed)
                begun = time.process_time()
                for _ in range(minibatches):
                    rows_of = order.integers(0, len(x), batch)
                    params = update(params, x[rows_of], y[rows_of])
                jax.block_until_ready(params)
                spent = time.process_time() - begun
                if who == "PJAX":
                    params = as_ours(params, len(sizes) - 1)
                out = network(params, test_x, skip)
                found += [float(jnp.mean(jnp.argmax(out, -1) == test_y)), spent]
            rows.append(["yes" if skip else "no", seed, *found])
            print(*rows[-1], file=sys.stderr, flush=True)
    heads = ["skips", "seed", "PJAX", "CPU s", "ours", "CPU s"]
    print(markdown_table(heads, rows))


def _on_one_core(folder):
    """`cost` in a process of its own, if there is more than one core here."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    if len(cores) <= 1:
        cost()
        return
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.projections_neuron", folder, "--cost"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {min(cores)}),
    )
    print(run.stdout)


def main(arguments):
    """Print the tables."""
    folders = [a for a in arguments if not a.startswith("-")]
    folders = folders or [os.environ["PJAX"]] * ("PJAX" in os.environ)
    if len(folders) != 1:
        print("Not run: PJAX, a checkout of the peer, is not given.")
        return
    sys.path.insert(0, folders[0])
    if "--accuracy" in arguments:
        accuracy()
        return
    if "--reflections" in arguments:
        reflections()
        return
    if "--cost" not in arguments:
        equality()
    if "--equality" not in arguments:
        _on_one_core(folders[0])


if __name__ == "__main__":
    main(sys.argv[1:])
