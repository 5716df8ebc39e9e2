"""Graphs of functions against brute force over their points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from fixproj import projections as proj


pytestmark = pytest.mark.slow_in_x64


# Scale of the point, weight of the inputs, weight of the output.
REGIMES = [
    (1.0, 1.0, 1.0),
    (1e-3, 1.0, 1.0),
    (1e3, 1.0, 1.0),
    (1.0, 0.03, 4.0),
    (1.0, 10.0, 0.5),
    (1.0, 1e4, 1.0),
    (100.0, 1.0, 100.0),
]
every_regime = pytest.mark.parametrize(
    "scale,a,c",
    [
        pytest.param(*regime, marks=() if k in (0, 3) else pytest.mark.slow)
        for k, regime in enumerate(REGIMES)
    ],
)


def _points(scale, n, count=1000):
    rng = np.random.default_rng(0)
    return scale * rng.normal(size=(count, n)), scale * rng.normal(size=count)


def _check(found, others, slack):
    """No other point of the graph is nearer."""
    assert np.sum(found > others * (1 + slack) + 1e-30) == 0


@every_regime
@pytest.mark.one_precision
def test_bilinear(scale, a, c):
    rng = np.random.default_rng(1)
    x, w = scale * rng.normal(size=(2, 1000, 3))
    y = scale * rng.normal(size=1000)
    with jax.enable_x64(True):
        point = tuple(map(jnp.asarray, (x, w, y)))
        got = jax.jit(proj.Bilinear(a, 1.0, c).project)(point)
    new_x, new_w, new_y = map(np.asarray, got)
    np.testing.assert_allclose(
        new_y, np.sum(new_x * new_w, -1), rtol=1e-9, atol=1e-12 * scale**2
    )

    def cost(x1, w1):
        move = a * np.sum((x1 - x) ** 2, -1) + np.sum((w1 - w) ** 2, -1)
        return move + c * (np.sum(x1 * w1, -1) - y) ** 2

    found = cost(new_x, new_w)
    # Stationary, and no point from many random directions and sizes is nearer.
    for _ in range(60):
        size = scale * 10 ** rng.uniform(-4, 0.3)
        d_x, d_w = size * rng.normal(size=(2, 1000, 3))
        _check(found, cost(new_x + d_x, new_w + d_w), 1e-9)
        _check(found, cost(x + d_x, w + d_w), 1e-9)
    for k in range(5):
        best = scipy.optimize.minimize(
            lambda z, k=k: (
                (
                    a * np.sum((z[:3] - x[k]) ** 2)
                    + np.sum((z[3:] - w[k]) ** 2)
                    + c * (z[:3] @ z[3:] - y[k]) ** 2
                )
                / scale**2
            ),
            np.concatenate([x[k], w[k]]),
        )
        assert found[k] <= best.fun * scale**2 * (1 + 1e-6)


@every_regime
@pytest.mark.one_precision
def test_sum_max_and_rectified_sum(scale, a, c):
    x, y = _points(scale, 4)
    functions = {
        proj.SumGraph: lambda x: np.sum(x, -1),
        proj.MaxGraph: lambda x: np.max(x, -1),
        proj.SumReluGraph: lambda x: np.maximum(np.sum(x, -1), 0),
    }
    rng = np.random.default_rng(2)
    for graph, function in functions.items():
        with jax.enable_x64(True):
            got = jax.jit(graph(a, c).project)((jnp.asarray(x), jnp.asarray(y)))
        new_x, new_y = map(np.asarray, got)
        np.testing.assert_allclose(new_y, function(new_x), atol=1e-12 * scale)

        def cost(z, function=function):
            return a * np.sum((z - x) ** 2, -1) + c * (function(z) - y) ** 2

        found = cost(new_x)
        for _ in range(40):
            step = scale * 10 ** rng.uniform(-4, 0.3) * rng.normal(size=x.shape)
            _check(found, cost(new_x + step), 1e-9)
            _check(found, cost(x + step), 1e-9)


@every_regime
@pytest.mark.one_precision
def test_quantize(scale, a, c):
    x, y = (v.ravel() for v in _points(scale, 1))
    levels = scale * np.array([-1.0, 0.2, 1.0])
    with jax.enable_x64(True):
        graph = proj.Quantize(jnp.asarray(levels), None, a, c)
        new_x, new_y = map(np.asarray, graph.project((jnp.asarray(x), jnp.asarray(y))))
    found = a * (new_x - x) ** 2 + c * (new_y - y) ** 2
    ends = np.concatenate([[-np.inf], (levels[1:] + levels[:-1]) / 2, [np.inf]])
    costs = [
        a * (np.clip(x, ends[k], ends[k + 1]) - x) ** 2 + c * (levels[k] - y) ** 2
        for k in range(3)
    ]
    np.testing.assert_allclose(found, np.min(costs, 0), rtol=1e-12)


@every_regime
@pytest.mark.parametrize("name", ["tanh", "exp", "square"])
@pytest.mark.one_precision
def test_elementwise(scale, a, c, name):
    function = {"tanh": jnp.tanh, "exp": jnp.exp, "square": jnp.square}[name]
    plain = getattr(np, name)
    # exp(1e3) is no number.
    x, y = (v.ravel() for v in _points(scale if name == "tanh" else min(scale, 3.0), 1))
    with jax.enable_x64(True):
        graph = proj.Elementwise(function, a, c)
        got = jax.jit(graph.project)((jnp.asarray(x), jnp.asarray(y)))
    new_x, new_y = map(np.asarray, got)
    np.testing.assert_allclose(new_y, plain(new_x), rtol=1e-12)
    found = a * (new_x - x) ** 2 + c * (new_y - y) ** 2
    reach = np.sqrt(c / a) * np.abs(plain(x) - y)
    grid = x + reach * np.linspace(-1, 1, 4001)[:, None]
    with np.errstate(over="ignore"):
        brute = a * (grid - x) ** 2 + c * (plain(grid) - y) ** 2
    _check(found, brute.min(0), 1e-9)


@pytest.mark.one_precision
def test_elementwise_derivatives_reach_the_function():
    @jax.jit
    def run(scale):
        graph = proj.Elementwise(lambda x: jnp.tanh(scale * x))
        return graph.project((jnp.array(0.3), jnp.array(0.9)))[0]

    step = 1e-2
    numeric = (run(jnp.array(1.2 + step)) - run(jnp.array(1.2 - step))) / (2 * step)
    got = jax.jit(jax.grad(run))(jnp.array(1.2))
    np.testing.assert_allclose(got, numeric, rtol=2e-3)


def test_bilinear_from_zero_and_at_symmetry():
    project = jax.jit(proj.Bilinear().project)
    zero = jnp.zeros(2)
    x, w, y = project((zero, zero, jnp.array(4.0)))
    # x = w of length^2 y: the cost 2 y + (y - 4)^2 is least at y = 3.
    np.testing.assert_allclose(y, 3.0, rtol=1e-5)
    np.testing.assert_allclose(jnp.sum(x * w), 3.0, rtol=1e-5)
    one = jnp.ones(2)
    for value in (-5.0, 0.5, 7.0):
        result = project((one, one, jnp.array(value)))
        assert all(bool(jnp.all(jnp.isfinite(part))) for part in result)
