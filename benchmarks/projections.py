"""Projections onto sets, against jaxopt and optax on the same points, float32.

    python -m benchmarks.projections [--quick]

"ratio" is the peer's time divided by ours, the median over interleaved rounds. Short
calls are mostly the price of calling a compiled function, which both pay: the row
"a call" has the time of `x + 1`, below which no call gets. The rows of 100 steps are
within one compiled loop.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import jaxopt.projection as peer
import numpy as np
import optax

from benchmarks._timing import interleaved, markdown_table
from fixproj import projections as proj


@dataclass(frozen=True)
class Row:
    """One comparison: functions of the point, and the shape of the point."""

    name: str
    ours: Callable
    theirs: Callable
    shape: tuple[int, ...]
    peer: str = "jaxopt"


def _gradient(function):
    return jax.grad(lambda x: jnp.sum(jnp.sin(function(x))))


def _simplex(x):
    return proj.Simplex().project(x)


def _ball(x):
    return proj.L1Ball().project(x)


def _steps(function):
    """Projections within a compiled loop, where a call has no price of its own."""

    def run(x):
        def step(_, y):
            return function(x + 0.01 * y)

        return jax.lax.fori_loop(0, 100, step, x)

    return run


def _section(n):
    lower, upper, a = jnp.zeros(n), jnp.ones(n), jnp.ones(n)

    def ours(x):
        return proj.BoxHyperplane(0.0, 1.0, a, n / 4).project(x)

    return ours, lambda x: peer.projection_box_section(x, (lower, upper, a, n / 4))


def _couplings(n):
    ones = jnp.full(n, 1 / n)
    return {
        "transport": (
            lambda x: proj.TransportPolytope(ones, ones).project(x),
            lambda x: peer.projection_transport(x, (ones, ones)),
        ),
        "transport, divergence": (
            lambda x: proj.KLTransportPolytope(ones, ones).project_log(x),
            lambda x: peer.kl_projection_transport(x, (ones, ones)),
        ),
    }


def rows(quick: bool) -> list[Row]:
    """The comparisons; other files may append their own."""
    made = []
    simplex, ball = peer.projection_simplex, peer.projection_l1_ball
    for n in (1_000, 10_000, 100_000) if quick else (1_000, 10_000, 100_000, 1_000_000):
        made += [
            Row("simplex", _simplex, simplex, (n,)),
            Row(
                "simplex", _simplex, optax.projections.projection_simplex, (n,), "optax"
            ),
            Row("simplex, gradient", _gradient(_simplex), _gradient(simplex), (n,)),
            Row("l1 ball", _ball, ball, (n,)),
            Row("l1 ball, gradient", _gradient(_ball), _gradient(ball), (n,)),
            Row("box and hyperplane", *_section(n), (n,)),
        ]
    made += [
        Row("simplex, 100 steps", _steps(_simplex), _steps(simplex), (1_000,)),
        Row("l1 ball, 100 steps", _steps(_ball), _steps(ball), (1_000,)),
    ]
    ours, theirs = _section(1_000)
    made.append(
        Row("box and hyperplane, 100 steps", _steps(ours), _steps(theirs), (1_000,))
    )
    for shape in ((256, 1_000), (64, 10_000)):
        ours, theirs = _section(shape[1])
        made += [
            Row("box and hyperplane, batch", ours, jax.vmap(theirs), shape),
            Row("simplex, batch", _simplex, jax.vmap(simplex), shape),
            Row("l1 ball, batch", _ball, jax.vmap(ball), shape),
        ]
    made.append(
        Row(
            "simplex, batch, gradient",
            _gradient(_simplex),
            _gradient(jax.vmap(simplex)),
            (256, 1_000),
        )
    )
    for name, both in _couplings(200).items():
        made.append(Row(name, *both, (200, 200)))
    made.append(Row("a call", lambda x: x + 1, lambda x: x + 1, (1_000,), "the same"))
    for n in (100, 500):
        products = proj.NewtonSchulzPSDCone().project
        made.append(
            Row("semidefinite", products, proj.PSDCone().project, (n, n), "by `eigh`")
        )
    return made


def main(arguments=None):
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Time projections.")
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args(arguments).quick
    table, errors = [], []
    for row in rows(quick):
        x = np.random.default_rng(0).normal(size=row.shape)
        x = jnp.asarray(x, jnp.float32)
        ours, theirs = jax.jit(row.ours), jax.jit(row.theirs)
        calls = {"ours": lambda f=ours, x=x: f(x), "peer": lambda f=theirs, x=x: f(x)}
        times = interleaved(calls, rounds=5 if quick else 11, budget=20)
        ratio = times.ratio("peer", "ours")
        shape = " x ".join(map(str, row.shape))
        us, them = times.median("ours"), times.median("peer")
        table.append((row.name, shape, us, row.peer, them, ratio))
        if row.name.startswith("transport"):
            errors.append((row.name, shape, *(_error(f(x)) for f in (ours, theirs))))
    print(
        markdown_table(["what", "shape", "seconds", "peer", "seconds", "ratio"], table)
    )
    print("\nLargest error of a row or column sum, relative to it:\n")
    print(markdown_table(["what", "shape", "error", "jaxopt's"], errors))
    print("\nLargest error of an entry, relative to the largest eigenvalue:\n")
    table = [_semidefinite_errors(n) for n in (100, 500)]
    print(markdown_table(["shape", "by products", "by `eigh`"], table))


def _semidefinite_errors(n):
    x = np.random.default_rng(0).normal(size=(n, n)).astype(np.float32)
    x = x + x.T
    values, u = np.linalg.eigh(x.astype(np.float64))
    exact = (u * np.maximum(values, 0)) @ u.T
    cones = proj.NewtonSchulzPSDCone(), proj.PSDCone()
    found = [np.asarray(jax.jit(cone.project)(x), np.float64) for cone in cones]
    size = np.abs(values).max()
    return (f"{n} x {n}", *(float(np.abs(y - exact).max() / size) for y in found))


def _error(y):
    y = np.asarray(y, np.float64)
    return float(max(np.abs(y.sum(axis) * len(y) - 1).max() for axis in (0, 1)))


if __name__ == "__main__":
    main()
