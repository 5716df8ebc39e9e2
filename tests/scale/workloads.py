"""What must not depend on how many devices or processes share the work.

`python -m tests.scale.workloads OUT [COORDINATOR COUNT ID]` writes the answers to an
`.npz` file; data are made shard by shard, from one key for each row.
"""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import fixproj as fp
from fixproj import nn, projections as proj


def rows(mesh, count, make, *shape, dtype=np.float32):
    """An array whose row i is `make(i)`; every process makes its own rows only."""

    def shard(index):
        first, last, _ = index[0].indices(count)
        return np.stack([make(i) for i in range(first, last)]).astype(dtype)

    sharding = NamedSharding(mesh, PartitionSpec("rows"))
    return jax.make_array_from_callback((count, *shape), sharding, shard)


def _draw(i, *shape, stream=0):
    return np.random.default_rng([stream, i]).normal(size=shape)


def halfspaces(mesh, count=800, n=20):
    """A point in many halfspaces, which all hold a small ball around a hidden point."""
    hidden = _draw(0, n, stream=1)
    normal = lambda i: _draw(i, n, stream=2)
    offset = lambda i: normal(i) @ hidden + 0.1 * np.linalg.norm(normal(i))
    a, b = rows(mesh, count, normal, n), rows(mesh, count, offset)
    return a, b, jnp.zeros(n)


def feasible_point(a, b, x0):
    """A common point of a family of halfspaces."""
    family = proj.Family(eqx.filter_vmap(proj.Halfspace)(a, b))
    problem = fp.Feasibility([family], x0)
    method = fp.AveragedProjections(extrapolate=True)
    return fp.solve(problem, method, rtol=1e-5, throw=False).value


def agreeing_copies(a, b, x0):
    """The same, with a copy of the point for each halfspace and a consensus of all."""
    sets = [proj.Stacked(eqx.filter_vmap(proj.Halfspace)(a, b)), proj.Consensus()]
    copies = jnp.broadcast_to(x0, a.shape)
    method = fp.AlternatingProjections()
    problem = fp.Feasibility(sets, copies)
    return fp.solve(problem, method, max_steps=50, throw=False).value[0]


def lasso(mesh, count=64, n=12):
    """Rows of a sparse regression."""
    hidden = np.where(np.arange(n) % 4 == 0, 1.0, 0.0)
    row = lambda i: _draw(i, n, stream=3)
    a = rows(mesh, count, row, n)
    b = rows(mesh, count, lambda i: row(i) @ hidden + 0.01 * _draw(i, stream=4))
    return a, b


def lasso_solution(a, b):
    """Its minimiser; the gradient is the one sum over all rows."""
    smooth = lambda x, args: 0.5 * jnp.sum((a @ x - b) ** 2) / a.shape[0]
    start = jnp.zeros(a.shape[1])
    problem = fp.Composite(smooth, proj.L1(0.05), y0=start)
    return fp.solve(problem, fp.ForwardBackward(), throw=False).value


def minibatch(mesh, count=64, n=6):
    """Inputs and labels of a small classification."""
    x = rows(mesh, count, lambda i: _draw(i, n, stream=5), n)
    y = rows(mesh, count, lambda i: i % 3, dtype=np.int32)
    return x, y


TRAINERS = {
    "gradient": nn.Gradient(optax.adam(1e-2)),
    "projections": nn.Projections(outer=optax.adam(1e-2)),
    "pure_projections": nn.Projections(),
}


def trained(name, x, y):
    """The parameters after three steps."""
    trainer = TRAINERS[name]
    model = eqx.nn.MLP(x.shape[1], 3, 8, 1, key=jr.key(0))
    state = trainer.init(model)
    update = eqx.filter_jit(trainer.update)
    for _ in range(3):
        model, state, _ = update(model, state, x, y)
    return jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))


def answers(mesh):
    """All of them, by name."""
    out = {}
    problem = halfspaces(mesh)
    for solver in (feasible_point, agreeing_copies):
        out[solver.__name__] = jax.jit(solver)(*problem)
    out["lasso"] = jax.jit(lasso_solution)(*lasso(mesh))
    for name in TRAINERS:
        for i, leaf in enumerate(trained(name, *minibatch(mesh))):
            out[f"{name}_{i}"] = leaf
    return {name: np.asarray(value) for name, value in out.items()}


def main():
    """Joins the other processes, if there are any."""
    path, *group = sys.argv[1:]
    if group:
        jax.distributed.initialize(group[0], int(group[1]), int(group[2]))
    mesh = Mesh(jax.devices(), ("rows",))
    found = answers(mesh)
    if jax.process_index() == 0:
        np.savez(
            path, devices=jax.device_count(), processes=jax.process_count(), **found
        )


if __name__ == "__main__":
    main()
