"""Every node: nearest points by brute force, and weak sweeps against gradients."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import optimize

from fixproj import nn
from fixproj.nn._graph import Metric, batched, propagate, split
from fixproj.nn._trainers import loss_named


pytestmark = pytest.mark.slow_in_x64


def _move(fn, p, x, wanted, metric):
    graph = nn.trace((fn, p), x)
    values = graph.evaluate([p], x)
    (moved,), _ = propagate(graph, values, wanted, metric)
    return graph, moved


SCALAR = {
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "gelu": jax.nn.gelu,
    "exact gelu": lambda p: jax.nn.gelu(p, approximate=False),
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "elu": jax.nn.elu,
    "leaky relu": jax.nn.leaky_relu,
    "relu6": jax.nn.relu6,
    "hard swish": jax.nn.hard_swish,
    "abs": jnp.abs,
    "relu": jax.nn.relu,
    "minimum": lambda p: jnp.minimum(p, 0.3),
    "clip": lambda p: jnp.clip(p, -1, 1),
    "square": jnp.square,
    "exp": jnp.exp,
    "log": lambda p: jnp.log(1.5 + p**2),
    "sin": jnp.sin,
    "steep sin": lambda p: 3 * jnp.sin(2 * p),
    "snake": lambda p: p + jnp.sin(p) ** 2,
    "arcsin": lambda p: jnp.arcsin(p / 12),
    "where": lambda p: jnp.where(p > 0.2, 2 * p - 0.2, 0.5 * p + 0.1),
}


_QUICK = ("tanh", "gelu", "leaky relu", "clip", "relu", "abs")


@pytest.mark.one_precision
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in _QUICK else pytest.mark.slow) for n in SCALAR],
)
def test_scalar_functions_go_to_the_nearest_point(name):
    f = SCALAR[name]
    rng = np.random.default_rng(0)
    p = jnp.asarray(rng.normal(0, 1.5, (1, 200)), jnp.float32)
    wanted = jnp.asarray(rng.normal(0, 1.5, (1, 200)), jnp.float32)
    a, c = 0.7, 1.3

    def model(p, x):
        return jnp.broadcast_to(f(p), (x.shape[0], p.shape[1]))

    graph, moved = _move(model, p, jnp.ones((1, 1)), wanted, Metric(1.0, a, 1.0, c))
    assert len(graph.nodes) == 1

    def cost(u):
        return a * (u - p[0]) ** 2 + c * (f(u) - f(p[0]) - wanted[0]) ** 2

    found = np.asarray(cost(p[0] + moved[0]), float)
    grid = jnp.asarray(np.linspace(-12, 12, 48001), jnp.float32)
    least = jax.lax.map(lambda u: cost(jnp.full_like(p[0], u)), grid, batch_size=4800)
    least = np.min(np.asarray(least, float), axis=0)
    assert np.all(found <= least + 1e-3 * (1e-2 + least))


def _dense(cost, start):
    best = min(
        optimize.minimize(cost, start + noise, method="BFGS").fun
        for noise in np.random.default_rng(0).normal(0, 1, (12, start.size))
    )
    return best


def test_gates_go_to_the_nearest_point(getkey):
    """z = x y with both free, also from the saddle x = y = 0."""
    n = 20
    p = jr.normal(getkey(), (2, n)).at[:, 0].set(0.0)
    wanted = 2 * jr.normal(getkey(), (1, n))

    def model(p, x):
        return jnp.broadcast_to(p[:1] * p[1:], (x.shape[0], n))

    a, c = 0.7, 1.3
    _, moved = _move(model, p, jnp.ones((1, 1)), wanted, Metric(1.0, a, 1.0, c))
    p, moved, wanted = (np.asarray(v, float) for v in (p, moved, wanted))
    for i in range(n):
        z = p[0, i] * p[1, i] + wanted[0, i]

        def cost(q, i=i, z=z):
            return a * np.sum((q - p[:, i]) ** 2) + c * (q[0] * q[1] - z) ** 2

        assert cost(p[:, i] + moved[:, i]) <= _dense(cost, p[:, i]) + 1e-4


@pytest.mark.parametrize("stride", [2, 1])
def test_max_pool_goes_to_the_nearest_point(getkey, stride):
    """Disjoint windows by brute force; in overlapping ones every copy moves less."""
    p = jr.normal(getkey(), (1, 1, 8))
    count = (8 - 2) // stride + 1
    wanted = 2 * jr.normal(getkey(), (1, 1, count))

    def pool(p):
        return jax.lax.reduce_window(
            p, -jnp.inf, jax.lax.max, (1, 1, 2), (1, 1, stride), "VALID"
        )

    def model(p, x):
        return jnp.broadcast_to(pool(p), (x.shape[0], 1, count))

    a, c = 0.7, 1.3
    graph, moved = _move(model, p, jnp.ones((1, 1)), wanted, Metric(1.0, a, 1.0, c))
    assert [node.name for node in graph.nodes] == ["reduce_window_max"]
    before = np.asarray(p, float).reshape(-1)
    after = before + np.asarray(moved, float).reshape(-1)
    z = np.asarray(pool(p) + wanted, float).reshape(-1)
    if stride == 1:
        assert np.sum((np.maximum(after[:-1], after[1:]) - z) ** 2) < np.sum(
            np.asarray(wanted, float) ** 2
        )
        return
    line = np.linspace(-6, 6, 1201)
    one, two = np.meshgrid(line, line)
    for i in range(count):
        x, y = before[2 * i : 2 * i + 2]
        grid = a * ((one - x) ** 2 + (two - y) ** 2)
        grid += c * (np.maximum(one, two) - z[i]) ** 2
        q = after[2 * i : 2 * i + 2]
        found = a * np.sum((q - [x, y]) ** 2) + c * (q.max() - z[i]) ** 2
        assert found <= grid.min() + 1e-5


LINEAR = {
    "sum": lambda p: jnp.sum(p, axis=1),
    "mean": lambda p: jnp.mean(p.reshape(2, 3, 2), axis=(0, 2)),
    "cumsum": lambda p: jnp.cumsum(p, axis=1),
    "average pool": lambda p: jax.lax.reduce_window(
        p, 0.0, jax.lax.add, (1, 3), (1, 2), "SAME"
    ),
    "convolution": lambda p: jax.lax.conv_general_dilated(
        jnp.asarray(np.arange(30.0).reshape(1, 3, 10) % 7 / 3).astype(p.dtype),
        p.reshape(2, 3, 2),
        (2,),
        "SAME",
    ),
    "grouped convolution": lambda p: jax.lax.conv_general_dilated(
        jnp.asarray(np.arange(24.0).reshape(1, 2, 12) % 5 / 3).astype(p.dtype),
        p.reshape(4, 1, 3),
        (1,),
        [(2, 1)],
        rhs_dilation=(2,),
        feature_group_count=2,
    ),
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear_nodes_solve_the_least_squares_problem(getkey, name):
    f = LINEAR[name]
    p = jr.normal(getkey(), (2, 6))
    shape = f(p).shape
    wanted = jr.normal(getkey(), (1, int(np.prod(shape))))
    a, c = 0.7, 1.3

    def model(p, x):
        return jnp.broadcast_to(f(p).reshape(1, -1), (x.shape[0], wanted.size))

    if name == "mean":
        # The mean is a sum and a division: two nodes, so not the nearest point.
        graph, moved = _move(model, p, jnp.ones((1, 1)), wanted, Metric(1.0, a, 1.0, c))
        assert [node.name for node in graph.nodes] == ["reduce_sum", "div"]
        gain = np.sum(np.asarray(f(p + moved) - f(p)) * np.asarray(wanted).reshape(-1))
        assert gain > 0
        return
    graph, moved = _move(model, p, jnp.ones((1, 1)), wanted, Metric(1.0, a, c, c))
    assert len(graph.nodes) == 1
    units = jnp.eye(12, dtype=p.dtype).reshape(12, 2, 6)
    matrix = np.stack([np.asarray(f(u), float).reshape(-1) for u in units], 1)
    target = np.asarray(wanted, float).reshape(-1)
    system = c * matrix.T @ matrix + a * np.eye(12)
    nearest = np.linalg.solve(system, c * matrix.T @ target)
    np.testing.assert_allclose(np.asarray(moved).reshape(-1), nearest, atol=2e-3)


def test_softmax_gets_nearer(getkey):
    """Overflow-proof, and where the displacement is small the linearised solution."""
    p = jnp.asarray(10.0) * jr.normal(getkey(), (4, 5))
    small = jnp.asarray(1e-3) * jr.normal(getkey(), (4, 5))

    def model(p, x):
        q = jax.nn.softmax(p, axis=-1)
        return jnp.broadcast_to(q.reshape(1, 20), (x.shape[0], 20))

    wanted = small.reshape(1, 20)
    graph, moved = _move(model, p, jnp.ones((1, 1)), wanted, Metric(1.0, 0.5, 1.0, 2.0))
    assert [node.name for node in graph.nodes] == ["sub", "softmax"]
    for row in range(4):
        j = np.asarray(jax.jacobian(jax.nn.softmax)(p[row]), float)
        d = np.asarray(small[row], float)
        # First the softmax, then the subtraction of the maximum before it.
        inner = np.linalg.solve(2 * j @ j + 0.5 * np.eye(5), 2 * j @ d)
        nearest = 2 / (2 + 0.5) * inner
        np.testing.assert_allclose(moved[row], nearest, rtol=5e-2, atol=1e-6)


@pytest.mark.one_precision
def test_sign_projects_onto_the_graph_of_clip():
    from fixproj.nn._graph._rules.steps import clip_displacement

    rng = np.random.default_rng(0)
    x, d = (jnp.asarray(rng.normal(0, 1.5, 300), jnp.float32) for _ in range(2))
    moved = np.asarray(clip_displacement(x, d, 0.7, 1.3), float)
    x, d = np.asarray(x, float), np.asarray(d, float)
    z = np.clip(x, -1, 1) + d

    def cost(u):
        return 0.7 * (u - x) ** 2 + 1.3 * (np.clip(u, -1, 1) - z) ** 2

    least = np.min([cost(u) for u in np.linspace(-8, 8, 16001)], axis=0)
    assert np.all(cost(x + moved) <= least + 1e-5)


class Convolutional(eqx.Module):
    first: eqx.nn.Conv2d
    second: eqx.nn.Conv2d
    last: eqx.nn.Linear

    def __init__(self, key):
        keys = jr.split(key, 3)
        self.first = eqx.nn.Conv2d(1, 4, 3, padding=1, key=keys[0])
        self.second = eqx.nn.Conv2d(4, 4, 3, stride=2, groups=2, key=keys[1])
        self.last = eqx.nn.Linear(4, 3, key=keys[2])

    def __call__(self, x):
        x = eqx.nn.MaxPool2d(2, 2)(jax.nn.leaky_relu(self.first(x)))
        x = eqx.nn.AvgPool2d(1, 1)(jax.nn.relu(self.second(x)))
        return self.last(jnp.mean(x, axis=(1, 2)))


class Recurrent(eqx.Module):
    cell: eqx.nn.GRUCell
    last: eqx.nn.Linear

    def __init__(self, key):
        self.cell = eqx.nn.GRUCell(4, 5, key=key)
        self.last = eqx.nn.Linear(5, 3, key=key)

    def __call__(self, x):
        def step(h, x):
            h = self.cell(x, h)
            return h, h

        _, states = jax.lax.scan(step, jnp.zeros(5), x, reverse=True)
        return self.last(states[0] + states[1])


class Attentive(eqx.Module):
    attention: eqx.nn.MultiheadAttention
    norm: eqx.nn.LayerNorm
    table: eqx.nn.Embedding
    last: eqx.nn.Linear

    def __init__(self, key):
        keys = jr.split(key, 3)
        self.attention = eqx.nn.MultiheadAttention(2, 4, key=keys[0])
        self.norm = eqx.nn.LayerNorm(4)
        self.table = eqx.nn.Embedding(7, 4, key=keys[1])
        self.last = eqx.nn.Linear(8, 3, key=keys[2])

    def __call__(self, x):
        h = jax.vmap(self.table)(x)
        h = jax.vmap(self.norm)(h + self.attention(h, h, h))
        gate = jax.nn.silu(h)
        return self.last(jnp.concatenate([jnp.max(gate, 0), jnp.mean(gate, 0)]))


NETWORKS = {
    "convolutional": (Convolutional, lambda k: jr.normal(k, (6, 1, 8, 8))),
    "recurrent": (Recurrent, lambda k: jr.normal(k, (6, 3, 4))),
    # No word twice in a row of words: a maximum over equal ones has no gradient.
    "attentive": (
        Attentive,
        lambda k: jnp.stack([jr.permutation(c, 7)[:4] for c in jr.split(k, 6)]),
    ),
}


@pytest.mark.one_precision
@pytest.mark.parametrize("name", NETWORKS)
def test_a_weak_sweep_tends_to_the_gradient(getkey, name):
    """Heavy inputs: what arrives is the gradient, whatever the paths on the way."""
    make, data = NETWORKS[name]
    model, x = make(getkey()), data(getkey())
    y = jr.randint(getkey(), (6,), 0, 3)
    leaves, _, rebuild = split(model)
    call, loss = batched(model, x), loss_named("cross_entropy")
    graph = nn.trace(model, x)
    metric = Metric(1e6, 1e8, 4.0, 0.05, weak=True)
    step = 1e-4

    @jax.jit
    def both(leaves):
        values = graph.evaluate(leaves, x)
        outputs = values[graph.output]
        wanted = -jnp.asarray(step, outputs.dtype) * loss.slope(outputs, y)
        moved, _ = propagate(graph, values, wanted, metric)
        gradient = jax.grad(lambda p: 6 * loss.mean(call(rebuild(p), x), y))(leaves)
        return moved, gradient

    moved, gradient = both(leaves)
    for name, m, g in zip(graph.names, moved, gradient, strict=True):
        np.testing.assert_allclose(-m / step, g, rtol=5e-3, atol=2e-4, err_msg=name)


@pytest.mark.one_precision
def test_straight_through_by_stop_gradient(getkey):
    """A user's own surrogate is respected: the rounding is a constant."""

    def fn(w, x):
        y = x @ w
        return y + jax.lax.stop_gradient(jnp.round(y) - y)

    w, x = jr.normal(getkey(), (3, 2)), jr.normal(getkey(), (4, 3))
    wanted = jr.normal(getkey(), (4, 2))
    metric = Metric(300.0, 1e9, 4.0, 0.05, weak=True)
    _, moved = _move(fn, w, x, wanted, metric)
    np.testing.assert_allclose(moved, x.T @ wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.one_precision
def test_plot_graph(getkey):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    model = eqx.nn.MLP(3, 2, 4, 1, key=getkey())
    axes = nn.plot_graph(nn.trace(model, jnp.ones((5, 3))))
    texts = [text.get_text() for text in axes.texts]
    assert texts.count("affine") == 2 and texts.count("max") == 1 and "x" in texts
    assert ".layers[0].weight" in texts
    residual = lambda h: h + jax.nn.relu(h)
    model = eqx.nn.Sequential(
        [eqx.nn.Linear(3, 3, key=getkey()), eqx.nn.Lambda(residual)]
    )
    axes = nn.plot_graph(nn.trace(model, jnp.ones((5, 3))), two_sets=True)
    texts = [text.get_text() for text in axes.texts]
    assert "identity" in texts and "loss" in texts
    squares = [line for line in axes.lines if line.get_marker() == "s"]
    assert {line.get_color() for line in squares} == {"tab:orange", "tab:purple"}
    # affine, max, add, an identity, two parameters and the loss.
    assert len(squares) == 7
    plt.close("all")
    with pytest.raises(TypeError, match="nn.trace returns, got Sequential"):
        nn.plot_graph(model)  # pyright: ignore
