import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from fixproj.projections import MatrixProduct
from fixproj.projections._matrix_product import product_displacement


pytestmark = pytest.mark.slow_in_x64


# rows, inner, columns: each decides differently which Gram matrix is the smaller.
SHAPES = [(7, 3, 2), (3, 7, 2), (4, 4, 4), (1, 5, 3), (6, 1, 1), (2, 3, 9)]
WEIGHTS: list[tuple[float, float, float]] = [
    (1.0, 1.0, 1.0),
    (0.03, 10.0, 4.0),
    (10.0, 1e4, 4.0),
    (5.0, 0.1, 0.2),
]


def _problem(shape, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    b, i, o = shape
    dtype = jnp.result_type(float)
    x, w, d = rng.normal(size=(b, i)), rng.normal(size=(i, o)), rng.normal(size=(b, o))
    return [jnp.asarray(a, dtype) for a in (x, w, scale * d)]


def _tolerance():
    return 1e-10 if jnp.result_type(float) == jnp.float64 else 2e-4


def _linearised(x, w, d, weights, fixed_left=False, bias=False):
    """The linearised problem by dense least squares: dX, dW (with the bias row)."""
    x, w, d = (np.asarray(array, float) for array in (x, w, d))
    a, b, c = weights
    (rows, inner), columns = x.shape, w.shape[1]
    x1 = np.concatenate([x, np.ones((rows, 1))], 1) if bias else x
    n_x, n_w = (0 if fixed_left else rows * inner), x1.shape[1] * columns
    # The rows of the map (dX, dW) -> dX W + X dW.
    columns_of_map = []
    for k in range(n_x + n_w):
        unit = np.zeros(n_x + n_w)
        unit[k] = 1
        d_x = unit[:n_x].reshape(rows, inner) if n_x else np.zeros((rows, inner))
        d_w = unit[n_x:].reshape(x1.shape[1], columns)
        columns_of_map.append((d_x @ w + x1 @ d_w).ravel())
    system = np.sqrt(c) * np.stack(columns_of_map, 1)
    damping = np.diag(np.sqrt([a] * n_x + [b] * n_w))
    solution = np.linalg.lstsq(
        np.concatenate([system, damping]),
        np.concatenate([np.sqrt(c) * d.ravel(), np.zeros(n_x + n_w)]),
        rcond=None,
    )[0]
    return solution[:n_x], solution[n_x:].reshape(x1.shape[1], columns)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bias", [False, True])
def test_solves_the_linearised_problem(shape, weights, bias):
    x, w, d = _problem(shape)
    b = jnp.zeros(shape[2], x.dtype) if bias else None
    moved = product_displacement(x, w, b, d, *weights)
    dx, dw = _linearised(x, w, d, weights, bias=bias)
    assert moved.left is not None and moved.right is not None
    scale = max(np.abs(dx).max(), np.abs(dw).max())
    tolerance = _tolerance() * scale
    np.testing.assert_allclose(moved.left.ravel(), dx, rtol=0, atol=tolerance)
    rows = shape[1]
    np.testing.assert_allclose(moved.right, dw[:rows], rtol=0, atol=tolerance)
    if moved.bias is not None:
        np.testing.assert_allclose(moved.bias, dw[rows], rtol=0, atol=tolerance)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_optimality_conditions(shape, weights):
    """KKT of the linearised problem, with the multiplier read off dY."""
    a, b, c = weights
    x, w, d = _problem(shape, seed=1)
    moved = product_displacement(x, w, None, d, *weights)
    dx, dw = (np.asarray(m, float) for m in (moved.left, moved.right))
    x, w, d = (np.asarray(m, float) for m in (x, w, d))
    multiplier = c * (d - dx @ w - x @ dw)
    atol = 10 * _tolerance() * np.abs(multiplier).max()
    np.testing.assert_allclose(a * dx, multiplier @ w.T, atol=atol)
    np.testing.assert_allclose(b * dw, x.T @ multiplier, atol=atol)


@pytest.mark.parametrize("shape", SHAPES)
def test_known_factor_is_ridge_regression(shape):
    x, w, d = _problem(shape, seed=2)
    y = x @ w + d
    new_x, new_w, new_y = MatrixProduct(math.inf, 10.0, 4.0).project((x, w, y))
    np.testing.assert_array_equal(new_x, x)
    _, dw = _linearised(x, w, d, (1.0, 10.0, 4.0), fixed_left=True)
    tolerance = _tolerance()
    np.testing.assert_allclose(new_w, w + dw, atol=tolerance, rtol=tolerance)
    np.testing.assert_array_equal(new_y, new_x @ new_w)
    # The mirror image: W known.
    left, right, out = MatrixProduct(10.0, math.inf, 4.0).project((w.T, x.T, y.T))
    np.testing.assert_array_equal(right, x.T)
    np.testing.assert_allclose(left.T, new_w, atol=tolerance, rtol=tolerance)
    np.testing.assert_array_equal(out, left @ right)


@pytest.mark.parametrize("steps", [1, 3])
def test_lands_on_the_graph(steps):
    x, w, d = _problem((5, 4, 3), seed=3, scale=3.0)
    s = MatrixProduct(0.5, 2.0, 1.0, steps=steps)
    x, w, y = s.project((x, w, x @ w + d))
    np.testing.assert_array_equal(y, x @ w)
    assert bool(s.contains((x, w, y)))


@pytest.mark.one_precision
@pytest.mark.parametrize("shape", [(3, 2, 2), (2, 3, 1), (1, 1, 1)])
def test_many_steps_reach_the_nearest_point_of_slsqp(shape):
    weights = (0.7, 2.0, 1.3)
    with jax.enable_x64(True):
        x, w, d = (np.asarray(a, float) for a in _problem(shape, seed=4, scale=0.2))
        y = x @ w + d
        projection = MatrixProduct(*weights, steps=60)
        moved = projection.project((jnp.asarray(x), jnp.asarray(w), jnp.asarray(y)))
        moved = [np.asarray(m) for m in moved]

    def unpack(z):
        return z[: x.size].reshape(x.shape), z[x.size :].reshape(w.shape)

    def cost(z):
        x1, w1 = unpack(z)
        terms = ((x1 - x) ** 2, (w1 - w) ** 2, (x1 @ w1 - y) ** 2)
        return sum(g * t.sum() for g, t in zip(weights, terms, strict=True))

    start = np.concatenate([x.ravel(), w.ravel()])
    found = scipy.optimize.minimize(cost, start, method="SLSQP", tol=1e-14)
    assert found.fun > 1e-4
    ours = cost(np.concatenate([moved[0].ravel(), moved[1].ravel()]))
    # One step is near, not equal.
    one = MatrixProduct(*weights).project(
        (jnp.asarray(x), jnp.asarray(w), jnp.asarray(y))
    )
    first = cost(
        np.concatenate([np.asarray(one[0]).ravel(), np.asarray(one[1]).ravel()])
    )
    np.testing.assert_allclose(ours, found.fun, rtol=1e-7)
    assert 1.00001 * found.fun < first < 1.05 * found.fun


def test_rank_deficient_and_empty_inputs():
    dtype = jnp.result_type(float)
    x, w = jnp.zeros((4, 3), dtype), jnp.zeros((3, 2), dtype)
    moved = MatrixProduct().project((x, w, jnp.ones((4, 2), dtype)))
    for m in moved:
        np.testing.assert_array_equal(m, jnp.zeros_like(m))
    wide = MatrixProduct(0.03, 1e-3, 4.0).project((jnp.ones_like(x), w, moved[2] + 1))
    assert all(bool(jnp.all(jnp.isfinite(m))) for m in wide)


def test_jit_vmap_and_half_precision():
    x, w, d = _problem((5, 4, 3))
    s = MatrixProduct(0.5, 2.0, 1.0)
    point = (x, w, x @ w + d)
    plain = s.project(point)
    stacked = tuple(jnp.stack([p, 2 * p]) for p in point)
    mapped = jax.jit(jax.vmap(s.project))(stacked)
    for a, b in zip(plain, mapped, strict=True):
        np.testing.assert_allclose(a, b[0], atol=10 * _tolerance())
    low = [p.astype(jnp.bfloat16) for p in point]
    half = s.project((low[0], low[1], low[2]))
    assert all(h.dtype == jnp.bfloat16 for h in half)
    np.testing.assert_allclose(half[1].astype(x.dtype), plain[1], atol=0.1)


@pytest.mark.parametrize(
    "arguments,word",
    [
        ({"left_weight": 0.0}, "left_weight"),
        ({"right_weight": -1.0}, "right_weight"),
        ({"output_weight": math.inf}, "output_weight"),
        ({"steps": 0}, "steps"),
    ],
)
def test_bad_arguments(arguments, word):
    with pytest.raises(ValueError, match=word):
        MatrixProduct(**arguments)


def test_bad_shapes():
    with pytest.raises(ValueError, match=r"\(2, 3\), \(4, 5\) and \(2, 5\)"):
        MatrixProduct().project((jnp.ones((2, 3)), jnp.ones((4, 5)), jnp.ones((2, 5))))
