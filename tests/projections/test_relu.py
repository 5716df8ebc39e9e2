import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fixproj.projections import ReluGraph
from fixproj.projections._relu import maximum_displacement, relu_displacement


pytestmark = pytest.mark.slow_in_x64


# Scale of the point, weight of x, weight of y.
REGIMES = [
    (1.0, 1.0, 1.0),
    (1e-3, 1.0, 1.0),
    (1e3, 1.0, 1.0),
    (1.0, 0.03, 4.0),
    (1.0, 10.0, 0.5),
    (1.0, 1e4, 1.0),
    (100.0, 1.0, 100.0),
]


def _cost(wx, wy, x, y, x0, y0):
    return wx * (x - x0) ** 2 + wy * (y - y0) ** 2


def _brute_force(wx, wy, x0, y0):
    """The least cost over a grid of the graph that is refined around its best point."""
    reach = 3 * (np.abs(x0) + np.abs(y0)) + 1e-12
    best = np.full(x0.shape, np.inf)
    # Both half-lines on their own, as the cost has a minimum on each.
    for low, high in ((-reach, 0 * reach), (0 * reach, reach)):
        for _ in range(6):
            grid = low + (high - low) * np.linspace(0, 1, 201)[:, None]
            costs = _cost(wx, wy, grid, np.maximum(grid, 0), x0, y0)
            at = np.take_along_axis(grid, costs.argmin(0)[None], 0)[0]
            width = (high - low) / 100
            low, high = np.maximum(low, at - width), np.minimum(high, at + width)
            best = np.minimum(best, costs.min(0))
    return best


@pytest.mark.parametrize("scale,wx,wy", REGIMES)
def test_nearest_point_by_brute_force(scale, wx, wy):
    rng = np.random.default_rng(0)
    x0, y0 = scale * rng.normal(size=(2, 1000))
    x, y = ReluGraph(wx, wy).project((jnp.asarray(x0), jnp.asarray(y0)))
    dtype = x.dtype
    assert dtype == jnp.result_type(float)
    x, y = np.asarray(x, float), np.asarray(y, float)
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    x0, y0 = np.asarray(x0, dtype).astype(float), np.asarray(y0, dtype).astype(float)
    slack = 1e-6 * scale**2 * max(wx, wy)
    excess = _cost(wx, wy, x, y, x0, y0) - _brute_force(wx, wy, x0, y0)
    assert np.sum(excess > slack) == 0
    # The grid is no better than the projection by more than its spacing: it is a bound.
    assert np.all(excess < slack) and np.all(excess > -slack)


@pytest.mark.parametrize("scale,wx,wy", REGIMES)
def test_maximum_of_two_by_brute_force(scale, wx, wy):
    rng = np.random.default_rng(1)
    x0, y0, d = scale * rng.normal(size=(3, 1000))
    dtype = jnp.result_type(float)
    x1, y1, d1 = (jnp.asarray(a, dtype) for a in (x0, y0, d))
    dx, dy = maximum_displacement(x1, y1, d1, wx, 1.0, wy)
    x0, y0, d = (np.asarray(a, float) for a in (x1, y1, d1))
    z0 = np.maximum(x0, y0) + d
    x, y = x0 + np.asarray(dx, float), y0 + np.asarray(dy, float)

    def cost(x, y):
        z = np.maximum(x, y)
        return wx * (x - x0) ** 2 + (y - y0) ** 2 + wy * (z - z0) ** 2

    found = cost(x, y)
    # On either branch the minimum is one of: loser unmoved, or all three equal.
    candidates = []
    total = wx + 1 + wy
    equal = (wx * x0 + y0 + wy * z0) / total
    candidates.append(cost(equal, equal))
    u = (wx * x0 + wy * z0) / (wx + wy)
    candidates.append(np.where(u >= y0, cost(u, y0), np.inf))
    v = (y0 + wy * z0) / (1 + wy)
    candidates.append(np.where(v >= x0, cost(x0, v), np.inf))
    slack = 1e-6 * scale**2 * max(wx, wy, 1)
    assert np.sum(np.abs(found - np.min(candidates, axis=0)) > slack) == 0
    # And no random neighbour is nearer.
    for _ in range(50):
        step = scale * 10 ** rng.uniform(-3, 0)
        dx, dy = step * rng.normal(size=(2, 1000))
        assert np.all(found <= cost(x + dx, y + dy) + slack)


def test_small_displacements_keep_their_digits():
    x = jnp.asarray([1000.0, 3.0, 0.5], jnp.float32)
    d = jnp.asarray([1e-9, -1e-9, 1e-12], jnp.float32)
    moved = relu_displacement(x, d)
    np.testing.assert_allclose(moved, d / 2, rtol=1e-6)


def test_points_of_the_graph_stay():
    x = jnp.linspace(-2, 2, 41)
    point = (x, jnp.maximum(x, 0))
    moved = ReluGraph(0.1, 3.0).project(point)
    np.testing.assert_array_equal(moved[0], x)
    assert bool(ReluGraph().contains(point))
    assert not bool(ReluGraph().contains((x, x - 1)))


def test_transformations():
    x, y = jnp.array([-1.0, 2.0]), jnp.array([0.5, 1.0])
    plain = ReluGraph().project((x, y))
    jitted = jax.jit(ReluGraph().project)((x, y))
    mapped = jax.vmap(lambda w: ReluGraph(w, 1.0).project((x, y)))(jnp.ones(3))
    for a, b, c in zip(plain, jitted, mapped, strict=True):
        np.testing.assert_allclose(a, b)
        np.testing.assert_allclose(jnp.stack([a] * 3), c)
    low = x.astype(jnp.bfloat16)
    assert ReluGraph().project((low, low))[0].dtype == jnp.bfloat16


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_weight(weight):
    with pytest.raises(ValueError, match="output_weight"):
        ReluGraph(1.0, weight)


def test_bad_shapes():
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\)"):
        ReluGraph().project((jnp.zeros(2), jnp.zeros(3)))
