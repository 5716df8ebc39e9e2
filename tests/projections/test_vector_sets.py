"""Discrete and non-convex sets, couplings, sizes, and faults of other libraries."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from fixproj import projections as proj
from fixproj.projections._knapsack import clip_to_plane


pytestmark = pytest.mark.slow_in_x64


project = eqx.filter_jit(lambda s, x: s.project(x))


def test_l1_sphere_with_zero_entries():
    """jaxopt multiplies by sign(0) = 0, and leaves the sphere."""
    y = project(proj.L1Sphere(2.0), jnp.zeros(4))
    np.testing.assert_allclose(y, np.full(4, 0.5))
    y = project(proj.L1Sphere(2.0), jnp.array([0.0, -1.0]))
    np.testing.assert_allclose(y, [0.5, -1.5], rtol=1e-6)


def test_gradient_of_balls_and_spheres_at_zero_is_finite():
    """jaxopt's is NaN for the Euclidean ball."""
    for s in (proj.L2Ball(), proj.L2Sphere(), proj.L1Ball(), proj.GroupBall([0, 1, 1])):
        jacobian = jax.jacrev(s.project)(jnp.zeros(3))
        assert bool(jnp.all(jnp.isfinite(jacobian)))


def test_box_hyperplane_with_zero_weights_and_infinite_bounds():
    """jaxopt's bisection fails on both."""
    section = proj.BoxHyperplane(-np.inf, np.inf, jnp.array([0.0, 1.0, -1.0]), 1.0)
    y = project(section, jnp.array([5.0, 2.0, 3.0]))
    np.testing.assert_allclose(y, [5, 3, 2], rtol=1e-6)


def test_nearest_one_hot_sparse_grid_and_support():
    x = jnp.array([0.2, -3.0, 1.4, 1.4])
    np.testing.assert_array_equal(proj.OneHot().project(x), [0, 0, 1, 0])
    np.testing.assert_allclose(proj.Sparse(2).project(x), [0, -3, x[2], 0])
    y = proj.SparseSimplex(2).project(x)
    np.testing.assert_allclose(y, [0, 0, 0.5, 0.5], rtol=1e-6)
    np.testing.assert_array_equal(proj.Grid().project(x), [0, -3, 1, 1])
    levels = jnp.array([-1.0, 0.5, 2.0])
    np.testing.assert_allclose(proj.Grid(levels).project(x), [0.5, -1, 2, 2])
    mask = np.array([True, False, True, False])
    np.testing.assert_allclose(proj.Support(mask).project(x), np.asarray(x) * mask)


def test_permutation_is_the_best_assignment():
    x = np.random.default_rng(0).normal(size=(3, 7, 7))
    y = np.asarray(project(proj.Permutation(), jnp.asarray(x)))
    for point, got in zip(x, y, strict=True):
        rows, columns = linear_sum_assignment(-point)
        np.testing.assert_allclose((got * point).sum(), point[rows, columns].sum())
        np.testing.assert_array_equal(got.sum(0), 1)
        np.testing.assert_array_equal(got.sum(1), 1)
    assert bool(
        jnp.all(jnp.isnan(proj.Permutation().project(jnp.full((2, 2), np.nan))))
    )


def test_marginals_of_kl_couplings_and_their_scaling_form():
    rng = np.random.default_rng(1)
    logits = jnp.asarray(5 * rng.normal(size=(6, 5)))
    row, col = jnp.full(6, 0.5), jnp.full(5, 0.6)
    y = np.asarray(proj.KLTransportPolytope(row, col).project_log(logits), float)
    np.testing.assert_allclose(y.sum(0), col, rtol=1e-5)
    np.testing.assert_allclose(y.sum(1), row, rtol=1e-5)
    # log y - logits is f 1' + 1 g', so its double differences vanish.
    change = np.log(y) - np.asarray(logits, float)
    change = change - change[:1] - change[:, :1] + change[:1, :1]
    np.testing.assert_allclose(change, 0, atol=1e-3)


def test_random_small_couplings_converge():
    rng = np.random.default_rng(2)
    polytope = proj.TransportPolytope(jnp.array([0.7, 1.1]), jnp.array([0.72, 1.08]))
    y = np.asarray(project(polytope, jnp.asarray(rng.normal(size=(500, 2, 2)))))
    np.testing.assert_allclose(y.sum(1), np.tile([0.72, 1.08], (500, 1)), rtol=1e-5)
    assert y.min() >= 0


@pytest.mark.parametrize("size", [1.0, 10.0])
def test_large_coupling_is_the_nearest(size):
    """Targets thousands of times the sums are nearly linear programs."""
    n = 200
    sums = jnp.full(n, 1 / n)
    x = size * np.random.default_rng(0).normal(size=(n, n))
    polytope = proj.TransportPolytope(sums, sums)
    y = np.asarray(project(polytope, jnp.asarray(x)), float)
    np.testing.assert_allclose(y.sum(0), sums, rtol=1e-5)
    np.testing.assert_allclose(y.sum(1), sums, rtol=1e-5)
    assert y.min() >= 0
    # The nearest point is the one of largest product with x - y, which no corner, a
    # permutation, surpasses.
    best = linear_sum_assignment(y - x)
    eps = float(jnp.finfo(sums.dtype).eps)
    assert ((x - y)[best].sum() / n - ((x - y) * y).sum()) <= 30 * eps * size


def test_coupling_that_does_not_exist_is_an_error():
    polytope = proj.KLTransportPolytope(jnp.ones(2), jnp.ones(2))
    x = jnp.array([[0.0, 1.0], [0.0, 1.0]])
    with pytest.raises(Exception, match="no matrix with the sums"):
        project(polytope, x)
    with pytest.raises(ValueError, match="`x` must not have negative entries"):
        polytope.project(-x)


@pytest.mark.parametrize("n", [1, 2, 37])
def test_isotonic_regression_by_its_minimax_formula(n):
    rng = np.random.default_rng(n)
    for x in (
        rng.normal(size=n),
        -np.arange(n) * 1.0,
        np.zeros(n),
        np.round(rng.normal(size=n)),
    ):
        means = np.array(
            [[x[j : k + 1].mean() if k >= j else 0 for k in range(n)] for j in range(n)]
        )
        expected = [max(means[j, i:].min() for j in range(i + 1)) for i in range(n)]
        got = project(proj.Monotone(), jnp.asarray(x))
        np.testing.assert_allclose(got, expected, atol=1e-5)


BAD = {
    "polyhedron": (
        lambda: proj.Polyhedron(np.ones((2, 3)), [1.0, 2.0], [1.0, 2.0]),
        "infeasible",
    ),
    "polyhedron_order": (lambda: proj.Polyhedron(np.ones((1, 3)), 2.0, 1.0), "`lower`"),
    "box_hyperplane": (lambda: proj.BoxHyperplane(0.0, 1.0, np.ones(3), 4.0), "misses"),
    "transport": (lambda: proj.TransportPolytope([1.0], [2.0]), "same sum"),
    "transport_sign": (lambda: proj.TransportPolytope([-1.0], [-1.0]), "`row`"),
    "capped": (
        lambda: proj.CappedSimplex(4.0).project(jnp.ones(3)),
        "sum of the 3 caps",
    ),
    "l1": (lambda: proj.L1Ball(-1.0), "`radius`"),
    "weights": (lambda: proj.WeightedL1Ball([-1.0]), "`weights`"),
    "hyperslab": (lambda: proj.Hyperslab(np.ones(2), 1.0, 0.0), "`lower`"),
    "ellipsoid": (lambda: proj.Ellipsoid(np.array([1.0, -1.0])), "semidefinite"),
    "epigraph": (lambda: proj.NormEpigraph(0.5), "`p` must be a number from 1"),
    "variation": (lambda: proj.TotalVariationBall(-1.0), "`radius`"),
    "grid": (lambda: proj.Grid([1.0, 0.0]), "ascending"),
    "sparse": (lambda: proj.Sparse(0), "`k` must be at least 1"),
    "axis": (lambda: proj.L1Ball(axis=2).project(jnp.ones(3)), "`axis` = 2"),
}


@pytest.mark.one_precision
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_a_named_error(name):
    function, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        function()


WEIGHTS = np.array([1.0, 2.0])
BAD_WHEN_TRACED = {
    "polyhedron": (
        lambda v: proj.Polyhedron(np.ones((2, 3)), v * WEIGHTS, v * WEIGHTS),
        "infeasible",
    ),
    "box_hyperplane": (
        lambda v: proj.BoxHyperplane(0.0, 1.0, np.ones(3), 4.0 * v),
        "misses",
    ),
    "box_hyperplane_order": (
        lambda v: proj.BoxHyperplane(v, -v, np.ones(3), 0.0),
        "`lower` must not exceed `upper`",
    ),
    "transport": (
        lambda v: proj.TransportPolytope(v * np.ones(1), np.full(1, 2.0)),
        "same sum",
    ),
    "transport_sign": (
        lambda v: proj.TransportPolytope(-v * np.ones(1), -v * np.ones(1)),
        "`row`",
    ),
    "l1": (lambda v: proj.L1Ball(-v), "`radius` must be finite and not negative"),
    "variation": (lambda v: proj.TotalVariationBall(-v), "`radius`"),
    "weights": (lambda v: proj.WeightedL1Ball(-v * np.ones(2)), "`weights`"),
    "hyperslab": (lambda v: proj.Hyperslab(np.ones(2), v, -v), "`lower`"),
    "ellipsoid": (lambda v: proj.Ellipsoid(-v * np.ones(2)), "semidefinite"),
}


@pytest.mark.one_precision
def test_bad_traced_input_is_a_runtime_error():
    one = jnp.ones(())
    for name, (build, message) in BAD_WHEN_TRACED.items():

        def run(v, build=build):
            return jax.tree.leaves(eqx.filter(build(v), eqx.is_array))

        with pytest.raises(RuntimeError, match=message):
            jax.block_until_ready(jax.jit(run)(one))
            raise AssertionError(name)


def _section_in_long_double(x, a, lower, upper, b):
    """By bisection of the multiplier, and the formula on the face it ends on."""
    x, a, lower, upper = (np.asarray(v, np.longdouble) for v in (x, a, lower, upper))

    def at(t):
        return np.clip(x - t * a, lower, upper)

    ends = np.concatenate([(x - lower) / a, (x - upper) / a])
    ends = ends[np.isfinite(ends)]
    low, high = ends.min() - 1, ends.max() + 1
    # In a corner b may be out of reach by its rounding, so not for ever.
    for _ in range(40):
        low = low - (1 + abs(low)) * (a @ at(low) < b)
        high = high + (1 + abs(high)) * (a @ at(high) > b)
    for _ in range(150):
        middle = (low + high) / 2
        low, high = (middle, high) if a @ at(middle) > b else (low, middle)
    y = at(low)
    free = (y > lower) & (y < upper)
    return np.where(free, y - a * (a @ y - b) / max(a[free] @ a[free], 1e-300), y)


@pytest.mark.one_precision
def test_hard_sections_of_boxes():
    """Offsets, ties, infinite bounds, corners, weights of several sizes; float32."""
    rng = np.random.default_rng(0)
    count, n = 300, 7
    a = rng.normal(size=(count, n)) * rng.choice([1.0, 1.0, 1e3], (count, n))
    lower = -np.abs(rng.normal(size=(count, n)))
    upper = lower + np.abs(rng.normal(size=(count, n))) * rng.choice([0, 1], (count, n))
    corner = np.where(rng.random((count, n)) < 0.5, lower, upper)
    some = rng.uniform(lower, upper)
    inner = np.where(np.arange(count)[:, None] % 5 == 0, corner, some)
    lower = np.where(rng.random((count, n)) < 0.1, -np.inf, lower)
    upper = np.where(rng.random((count, n)) < 0.1, np.inf, upper)
    x = rng.normal(size=(count, n))
    kind = np.arange(count)[:, None] % 4
    x = np.where(kind == 1, np.round(x), np.where(kind == 2, 1e4 + x, x))
    x = np.where(kind == 3, 1e3 * x, x)
    x, a, lower, upper = (v.astype(np.float32) for v in (x, a, lower, upper))
    b = np.sum(a.astype(np.longdouble) * inner, -1).astype(np.float32)

    def build(x, a, lower, upper, b):
        return clip_to_plane(x, a, lower, upper, b[None], 0)

    got = np.asarray(jax.jit(jax.vmap(build))(x, a, lower, upper, b), np.float64)
    assert (got >= lower).all() and (got <= upper).all()
    eps = float(jnp.finfo(jnp.float32).eps)
    for k in range(count):
        expected = _section_in_long_double(x[k], a[k], lower[k], upper[k], b[k])
        size = np.abs(x[k]).max() + np.abs(expected.astype(float)).max()
        terms = np.abs(a[k] * got[k]).sum() + abs(b[k])
        assert abs(a[k].astype(float) @ got[k] - b[k]) <= 16 * eps * terms, k
        # As far as rounding of b moves it.
        assert np.abs(got[k] - expected).max() <= 64 * eps * (size + terms), k
