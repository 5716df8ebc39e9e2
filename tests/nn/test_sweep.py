"""What arrives at the parameters is the nearest point, checked by dense algebra."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from fixproj import nn
from fixproj.nn._graph import Metric, propagate, split


pytestmark = pytest.mark.slow_in_x64


def _spread(params):
    return jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(params)])


def _table(*rows):
    return jnp.asarray(np.array(rows))


# Each maps a (3, 4) array to something of any shape, moving numbers only.
WIRES = {
    "reshape": lambda p: p.reshape(2, 6),
    "transpose": lambda p: p.T,
    "broadcast": lambda p: jnp.broadcast_to(p[:, None], (3, 5, 4)),
    "squeeze": lambda p: jnp.squeeze(p[:1], 0),
    "slice": lambda p: p[1:, ::2],
    "dynamic_slice": lambda p: jax.lax.dynamic_slice(p, (1, 0), (2, 3)),
    "concatenate": lambda p: jnp.concatenate([p, p[:2], p[1:2]]),
    "concatenate_constant": lambda p: jnp.concatenate([p, jnp.ones((1, 4))]),
    "split": lambda p: jnp.split(p, 2, axis=1)[1],
    "split_twice": lambda p: jnp.concatenate(jnp.split(p, 2, axis=1)[::-1], axis=1),
    "rev": lambda p: jnp.flip(p, 0),
    "pad": lambda p: jnp.pad(p, ((1, 0), (2, 1))),
    "gather": lambda p: p[:, _table(0, 0, 3, 0)],
    "select": lambda p: jnp.where(jnp.arange(4)[None] > 1, p, p[::-1]),
    "convert": lambda p: p.astype(jnp.float16).astype(p.dtype),
    "tied": lambda p: jnp.concatenate([p.reshape(-1), p.T.reshape(-1)[:5]]),
}


@pytest.mark.parametrize("name", WIRES)
def test_wires_move_to_the_least_squares_point(getkey, name):
    batch = 2

    def fn(p, x):
        flat = WIRES[name](p).reshape(1, -1)
        return jnp.broadcast_to(flat, (x.shape[0], flat.shape[1]))

    p, x = jr.normal(getkey(), (3, 4)), jnp.ones((batch, 1))
    graph = nn.trace((fn, p), x)
    assert graph.nodes == ()
    values = graph.evaluate([p], x)
    wanted = jr.normal(getkey(), values[graph.output].shape)
    (moved,), _ = propagate(graph, values, wanted, Metric(1.0, 1.0, 1.0, 1.0))
    # The matrix of the wire, column by column; constants drop out of the difference.
    origin = np.asarray(fn(jnp.zeros_like(p), x), float).ravel()
    units = jnp.eye(12, dtype=p.dtype).reshape(12, 3, 4)
    columns = [np.asarray(fn(unit, x), float).ravel() - origin for unit in units]
    nearest = np.linalg.pinv(np.stack(columns, 1)) @ np.asarray(wanted, float).ravel()
    atol = 2e-3 if name == "convert" else 1e-5
    np.testing.assert_allclose(np.asarray(moved).ravel(), nearest, atol=atol)


def _dense_nearest(fn, params, x, wanted, weights, output_weight):
    """argmin of sum weights |dp|^2 + output_weight |dz - wanted|^2, z affine in p."""
    flat, rebuild = jax.flatten_util.ravel_pytree(params)
    origin = np.asarray(fn(params, x), float).ravel()
    unit = np.eye(flat.size)
    columns = [
        np.asarray(fn(rebuild(flat + jnp.asarray(e, flat.dtype)), x), float).ravel()
        - origin
        for e in unit
    ]
    a = np.stack(columns, 1)
    w = np.asarray(jax.flatten_util.ravel_pytree(weights)[0], float)
    system = output_weight * a.T @ a + np.diag(w)
    return np.linalg.solve(system, output_weight * a.T @ np.asarray(wanted).ravel())


# Nodes that are affine in the parameters; the parameters have the shapes given.
ELEMENTWISE = {
    "add": (lambda p, x: p["a"] + p["b"], {"a": (2, 3), "b": (2, 3)}),
    "add_broadcast": (lambda p, x: p["a"] + p["b"], {"a": (2, 3), "b": (1, 3)}),
    "add_scalar": (lambda p, x: p["a"] + p["b"], {"a": (2, 3), "b": ()}),
    "sub": (lambda p, x: p["a"] - p["b"], {"a": (2, 3), "b": (2, 3)}),
    "sub_constant": (lambda p, x: x - p["a"], {"a": (2, 3)}),
    "neg": (lambda p, x: -p["a"], {"a": (2, 3)}),
    "mul": (lambda p, x: p["a"] * x, {"a": (2, 3)}),
    "mul_broadcast": (lambda p, x: 3.0 * p["a"], {"a": (2, 3)}),
    "mul_one_row": (lambda p, x: p["a"] * x, {"a": (1, 3)}),
    "mul_scalar": (lambda p, x: p["a"] * x, {"a": ()}),
    "div": (lambda p, x: p["a"] / x, {"a": (2, 3)}),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_affine_elementwise_nodes(getkey, name):
    fn, shapes = ELEMENTWISE[name]
    params = {k: jr.normal(getkey(), shape) for k, shape in shapes.items()}
    x = 1.5 + jr.uniform(getkey(), (2, 3))
    weight, out = 0.7, 1.3

    def on_batch(p, x):
        # Any batch size, so that the model can be traced; on two rows it is fn.
        return fn(p, x) if x.shape[0] == 2 else jnp.zeros_like(x)

    graph = nn.trace((on_batch, params), x)
    leaves = split((on_batch, params)).leaves
    values = graph.evaluate(leaves, x)
    wanted = jr.normal(getkey(), (2, 3))
    moved, _ = propagate(graph, values, wanted, Metric(1.0, weight, 1.0, out))
    weights = jax.tree.map(lambda p: jnp.full_like(p, weight), params)
    nearest = _dense_nearest(fn, params, x, wanted, weights, out)
    found = np.asarray(_spread(dict(zip(sorted(params), moved, strict=True))))
    np.testing.assert_allclose(found, nearest, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("parameter_first", [False, True])
@pytest.mark.parametrize("use_bias", [False, True])
def test_first_layer_is_ridge_regression(getkey, use_bias, parameter_first):
    def fn(p, x):
        y = (p["w"].T @ x.T).T if parameter_first else x @ p["w"]
        return y + p["b"][None] if use_bias else y

    params = {"w": jr.normal(getkey(), (3, 2))}
    if use_bias:
        params["b"] = jr.normal(getkey(), (2,))
    x = jr.normal(getkey(), (6, 3))
    graph = nn.trace((fn, params), x)
    assert len(graph.nodes) == 1
    values = graph.evaluate(split((fn, params)).leaves, x)
    wanted = jr.normal(getkey(), (6, 2))
    moved, projected = propagate(graph, values, wanted, Metric(1.0, 2.5, 0.8, 1.0))
    weights = jax.tree.map(lambda p: jnp.full_like(p, 2.5), params)
    nearest = _dense_nearest(fn, params, x, wanted, weights, 0.8)
    found = dict(zip(sorted(params), moved, strict=True))
    np.testing.assert_allclose(_spread(found), nearest, rtol=1e-4, atol=1e-5)
    landed = fn(jax.tree.map(jnp.add, params, found), x)
    (product,) = (node.outputs[0] for node in graph.nodes)
    # Without a bias the last transpose is a wire after the node.
    landed = landed.T if parameter_first and not use_bias else landed
    np.testing.assert_allclose(projected[product], landed, rtol=1e-4, atol=1e-5)


def test_shared_bias_entries_move_by_their_mean(getkey):
    """One number as the bias of two columns: the mean of what both want."""
    x = jr.normal(getkey(), (6, 3))
    w = jr.normal(getkey(), (3, 2))
    wanted = jr.normal(getkey(), (6, 2))
    metric = Metric(1.0, 2.5, 0.8, 1.0)

    def move(fn, b):
        model = (fn, {"b": b, "w": w})
        graph = nn.trace(model, x)
        assert [node.name for node in graph.nodes] == ["affine"]
        values = graph.evaluate(split(model).leaves, x)
        return propagate(graph, values, wanted, metric)[0]

    own = move(lambda p, x: x @ p["w"] + p["b"][None], jnp.zeros(2))
    shared = move(lambda p, x: x @ p["w"] + p["b"], jnp.zeros(()))
    np.testing.assert_allclose(shared[0], jnp.mean(own[0]), rtol=1e-4)


def test_fan_out_moves_by_the_mean(getkey):
    """An activation that two nodes use goes where they want it to be on average."""
    w = jr.normal(getkey(), (3, 2))
    x = jr.normal(getkey(), (6, 3))
    metric = Metric(1.0, 2.5, 0.8, 1.0)
    wanted = jr.normal(getkey(), (6, 4))

    def moved(fn, wanted):
        graph = nn.trace((fn, w), x)
        values = graph.evaluate([w], x)
        return propagate(graph, values, wanted, metric)[0][0]

    def two(w, x):
        y = x @ w
        return jnp.concatenate([2.0 * y, 3.0 * y], axis=1)

    def one(w, x):
        return x @ w

    # By hand: each multiple wants c d / (c^2 + 1 / 1) in the metric of weights 1.
    mean = (2.0 * wanted[:, :2] / 5.0 + 3.0 * wanted[:, 2:] / 10.0) / 2
    np.testing.assert_allclose(moved(two, wanted), moved(one, mean), rtol=1e-4)


def test_second_sweep_counts_the_gap(getkey):
    """A node whose inputs moved under it must close the gap to its own output."""
    from fixproj.nn._graph import reconcile

    model = (lambda w, x: jax.nn.relu(x @ w), jr.normal(getkey(), (3, 2)))
    x = jr.normal(getkey(), (6, 3))
    graph = nn.trace(model, x)
    leaves = split(model).leaves
    values = graph.evaluate(leaves, x)
    same = {op.outputs[0]: values[op.outputs[0]] for op in graph.nodes}
    again, gaps = reconcile(graph, leaves, x, same)
    assert all(bool(jnp.all(gap == 0)) for gap in gaps.values())
    moved = {number: value + 1.0 for number, value in same.items()}
    _, gaps = reconcile(graph, leaves, x, moved)
    product = graph.nodes[0].outputs[0]
    np.testing.assert_allclose(gaps[product], jnp.ones((6, 2)), rtol=1e-6)
    metric = Metric(1.0, 2.5, 0.8, 1.0)
    nothing = jnp.zeros_like(values[graph.output])
    (still,), _ = propagate(graph, again, nothing, metric)
    np.testing.assert_array_equal(still, jnp.zeros_like(still))
    (closing,), _ = propagate(graph, again, nothing, metric, gaps)
    assert float(jnp.max(jnp.abs(closing))) > 1e-3
