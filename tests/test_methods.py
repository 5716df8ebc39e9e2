"""Every method for feasibility: its map, its answers, its results, its derivative."""

import cvxpy as cp
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.optimize

import fixproj as fp
from benchmarks import nearest_correlation
from fixproj import projections as proj
from fixproj._dispatch import _SETS


METHODS = [
    fp.AlternatingProjections(),
    fp.CyclicProjections(),
    fp.AveragedProjections(weights=[0.2, 0.3, 0.1, 0.1, 0.1, 0.1, 0.1]),
    fp.AveragedProjections(extrapolate=True),
    fp.Dykstra(),
    fp.DouglasRachford(relaxation=1.3),
    fp.CyclicDouglasRachford(),
    fp.DifferenceMap(beta=0.8),
    fp.RRR(),
    fp.RAAR(),
]
NAMES = [type(method).__name__ for method in METHODS]


def _numpy_sets(rng):
    """Two sets of the plane and their projections, written out."""
    a, b = rng.normal(size=3), 0.3
    in_halfspace = lambda x: x - max(a @ x - b, 0) / (a @ a) * a
    in_ball = lambda x: x / max(np.linalg.norm(x), 1)
    sets = [proj.Halfspace(jnp.asarray(a), b), proj.L2Ball(1.0)]
    return sets, in_halfspace, in_ball


@pytest.mark.one_precision
def test_maps_against_their_formulas():
    rng = np.random.default_rng(0)
    sets, p_a, p_b = _numpy_sets(rng)
    z = rng.normal(size=3) * 3
    problem = fp.Feasibility(sets, jnp.asarray(z))
    r_a, r_b = (lambda x: 2 * p_a(x) - x), (lambda x: 2 * p_b(x) - x)
    half = lambda x: (x + r_b(r_a(x))) / 2
    back = lambda x: (x + r_a(r_b(x))) / 2
    moves = [p_a(z) - z, p_b(z) - z]
    mean = 0.25 * moves[0] + 0.75 * moves[1]
    long = (0.25 * moves[0] @ moves[0] + 0.75 * moves[1] @ moves[1]) / (mean @ mean)
    estimate_a = p_a(z) - (p_a(z) - z) / 0.8
    estimate_b = p_b(z) + (p_b(z) - z) / 0.8
    for method, expected in [
        (fp.CyclicProjections(), p_b(p_a(z))),
        (fp.AveragedProjections([1.0, 3.0]), z + mean),
        (fp.AveragedProjections([1, 3], extrapolate=True), z + long * mean),
        (fp.PeacemanRachford(), r_b(r_a(z))),
        (fp.RRR(0.6), z + 0.6 * (p_b(r_a(z)) - p_a(z))),
        (fp.RAAR(0.7), 0.7 * half(z) + 0.3 * p_a(z)),
        (fp.CyclicDouglasRachford(), back(half(z))),
        (fp.DifferenceMap(0.8), z + 0.8 * (p_a(estimate_b) - p_b(estimate_a))),
        (fp.DifferenceMap(1.0, gammas=(-1.0, 0.0)), z + p_a(p_b(z)) - p_b(z)),
    ]:
        found = method.make_map(problem).apply(problem.y0)
        np.testing.assert_allclose(found, expected, atol=2e-6, err_msg=repr(method))


def test_dykstra_is_dykstras_algorithm():
    rng = np.random.default_rng(1)
    sets, p_a, p_b = _numpy_sets(rng)
    y0 = rng.normal(size=3) * 3
    map_ = fp.Dykstra().make_map(fp.Feasibility(sets, jnp.asarray(y0)))
    z = map_.init()
    # The algorithm as published, with one increment for each set.
    x, p, q = y0, np.zeros(3), np.zeros(3)
    for _ in range(4):
        y, x = x, p_a(x + p)
        p = y + p - x
        np.testing.assert_allclose(map_.readout(z), x, atol=1e-5)
        y, x = x, p_b(x + q)
        q = y + q - x
        z = map_.apply(z)
        np.testing.assert_allclose(y0 - np.asarray(z[0]), q, atol=1e-5)


def _polyhedron(n=4, m=6):
    """Halfspaces with a common interior, and what says how far a point is outside."""
    rng = np.random.default_rng(3)
    a = rng.normal(size=(m, n))
    inside = rng.normal(size=n)
    return a, a @ inside + 0.1, inside


def _sets(a, b, center):
    halfspaces = [proj.Halfspace(a[i], b[i]) for i in range(len(a))]
    return [*halfspaces, proj.L2Ball(0.5, center)]


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
@pytest.mark.one_precision
def test_lanes_with_and_without_a_common_point(method):
    a, b, inside = _polyhedron()
    # The second lane's ball is far outside of the first halfspace.
    away = inside + 3 * a[0] / np.linalg.norm(a[0])
    centers = jnp.asarray(np.stack([inside, away]), jnp.float32)
    y0 = jnp.asarray(inside + 2, jnp.float32)

    @jax.jit
    @jax.vmap
    def solve(center):
        sets = _sets(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32), center)
        return fp.solve(fp.Feasibility(sets, y0), method, throw=False)

    solution = solve(centers)
    x = np.asarray(solution.value[0], np.float64)
    assert bool((solution.result == fp.RESULTS.successful)[0])
    assert np.max(a @ x - b) < 2e-3
    assert np.linalg.norm(x - inside) < 0.5 + 2e-3
    assert bool((solution.result == fp.RESULTS.infeasible_suspected)[1])
    assert float(solution.stats["violation"][1]) > 0.3


DIFFERENTIATED = [
    *METHODS,
    fp.PeacemanRachford(),
    fp.Haugazeau(),
    fp.CyclicProjections(jr.key(0)),
    fp.InteriorPointProjection(),
]


@pytest.mark.one_precision
def test_the_list_of_derivatives_has_every_method():
    assert {type(method) for method in DIFFERENTIATED} == set(_SETS)


@pytest.mark.parametrize(
    "method",
    DIFFERENTIATED,
    ids=[*NAMES, "PeacemanRachford", "Haugazeau", "random order", "InteriorPoint"],
)
@pytest.mark.slow
@pytest.mark.one_precision
def test_derivative_in_set_parameters(method):
    """Three equations and the simplex meet in one point of R^4 with no zero entry."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(5)
        a = rng.normal(size=(3, 4))
        given = a, a @ [0.8, 0.6, 0.4, 0.2], np.array(2.0)
        way = [rng.normal(size=np.shape(x)) for x in given]
        weights = getattr(method, "weights", None)
        if weights is not None:
            method = fp.AveragedProjections(weights[:2])
        accelerated = not isinstance(method, fp.Haugazeau | fp.RRR)
        iteration = fp.Anderson() if accelerated else fp.Picard()
        if isinstance(method, fp.InteriorPointProjection):
            iteration = None

        @jax.jit
        def value(t):
            a, b, radius = (
                x + t * jnp.asarray(d) for x, d in zip(given, way, strict=True)
            )
            sets = [proj.Affine(a, b), proj.Simplex(radius)]
            problem = fp.Feasibility(sets, jnp.full(4, 0.7))
            return fp.solve(problem, method, iteration, max_steps=100_000).value

        def written_out(t):
            a, b, radius = (x + t * d for x, d in zip(given, way, strict=True))
            return np.linalg.solve(np.vstack([a, np.ones(4)]), np.append(b, radius))

        ahead, further = (written_out(t) - written_out(-t) for t in (1e-3, 2e-3))
        expected = (8 * ahead - further) / 12e-3
        forward = jax.jvp(value, (0.0,), (1.0,))[1]
        np.testing.assert_allclose(forward, expected, rtol=1e-8, atol=1e-8)
        backward = jax.grad(lambda t: jnp.arange(1.0, 5.0) @ value(t))(0.0)
        np.testing.assert_allclose(backward, np.arange(1, 5) @ expected, rtol=1e-8)


def test_nearest_point_against_clarabel():
    a, b, inside = _polyhedron(n=5, m=8)
    point = inside + 2
    dtype = jnp.result_type(float)

    @jax.jit
    def nearest(point):
        sets = _sets(jnp.asarray(a, dtype), jnp.asarray(b, dtype), jnp.asarray(inside))
        return fp.nearest_point(sets, point)

    solution = nearest(jnp.asarray(point, dtype))
    x = cp.Variable(5)
    cp.Problem(
        cp.Minimize(cp.sum_squares(x - point)),
        [a @ x <= b, cp.norm(x - inside) <= 0.5],
    ).solve(solver=cp.CLARABEL)
    assert x.value is not None
    tolerance = 1e-6 if dtype == jnp.float64 else 1e-3
    np.testing.assert_allclose(solution.value, x.value, atol=tolerance)
    assert solution.stats["num_steps"] < 30


class _UnitDiagonal(eqx.Module):
    def project(self, x):
        return jnp.where(jnp.eye(x.shape[0], dtype=bool), 1, x)


@pytest.mark.one_precision
def test_the_nearest_correlation_matrix_is_that_of_newton():
    noise = np.triu(np.random.default_rng(7).uniform(-1, 1, (100, 100)), 1)
    matrix = noise + noise.T + np.eye(100)
    expected, _ = nearest_correlation.by_newton(matrix)
    with jax.enable_x64(True):

        @jax.jit
        def nearest(rtol):
            sets = [proj.PSDCone(), _UnitDiagonal()]
            return fp.nearest_point(sets, jnp.asarray(matrix), rtol=rtol)

        exact, quick = nearest(1e-12), nearest(1e-8)
        np.testing.assert_allclose(exact.value, expected, atol=1e-10)
        np.testing.assert_allclose(quick.value, expected, atol=1e-7)
        assert quick.stats["num_steps"] <= 15


def _system(rng, n=10, m=30):
    """A random polyhedron and ball with a common interior, and a point outside."""
    a, inside = rng.normal(size=(m, n)), rng.normal(size=n)
    b = a @ inside + rng.uniform(0, 1, m)
    return a, b, inside + 0.1, 0.8, inside + 3 * rng.normal(size=n)


@pytest.mark.one_precision
def test_polyhedra_and_balls_side_by_side():
    rng = np.random.default_rng(7)
    lanes = [_system(rng) for _ in range(6)]
    with jax.enable_x64(True):

        @jax.jit
        @jax.vmap
        def nearest(a, b, center, radius, point):
            sets = [proj.Polyhedron(a, -jnp.inf, b), proj.L2Ball(radius, center)]
            solution = fp.nearest_point(sets, point)
            return solution.value, solution.stats["num_steps"]

        found, steps = nearest(
            *(jnp.asarray(np.stack(v)) for v in zip(*lanes, strict=True))
        )
        assert np.max(steps) < 40
        for (a, b, center, radius, point), x in zip(lanes, found, strict=True):
            x = np.asarray(x)
            # Nearest if and only if x is in the set and the way there is a sum, with
            # signs, of the normals of the constraints that it touches.
            gaps = np.append(b - a @ x, radius - np.linalg.norm(x - center))
            normals = np.vstack([a, x - center])[gaps < 1e-10]
            assert np.min(gaps) > -1e-12
            assert scipy.optimize.nnls(normals.T, point - x)[1] < 1e-10


@pytest.mark.slow
@pytest.mark.one_precision
def test_derivative_of_a_nearest_point_in_every_parameter():
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        *given, point = map(jnp.asarray, _system(rng, n=6, m=15))
        normal = jnp.arange(1.0, 7.0)
        level = normal @ given[2]
        args = (*given, point, normal, level)
        way = jax.tree.map(lambda v: jnp.asarray(rng.normal(size=v.shape)), args)

        @jax.jit
        def value(t):
            moved = jax.tree.map(lambda v, w: v + t * w, args, way)
            a, b, center, radius, point, normal, level = moved
            sets = [proj.Polyhedron(a, -jnp.inf, b), proj.L2Ball(radius, center)]
            sets += [proj.Hyperplane(normal, level)]
            return fp.nearest_point(sets, point).value

        slope = jax.jacrev(value)(0.0)
        ahead, further = (value(t) - value(-t) for t in (1e-4, 2e-4))
        expected = (8 * ahead - further) / 12e-4
        np.testing.assert_allclose(slope, expected, atol=1e-8)


_AXIS = np.array([1.0, 0.0, 0.0])


@pytest.mark.parametrize(
    "sets, result",
    [
        # Apart, tangent (no multipliers), without interior, a single point.
        ([proj.Halfspace(-_AXIS, -2.5), proj.L2Ball(2.0)], "infeasible_suspected"),
        ([proj.Halfspace(-_AXIS, -2.0), proj.L2Ball(2.0)], "touching"),
        pytest.param(
            [proj.Halfspace(_AXIS, 1.0), proj.Halfspace(-_AXIS, -1.0)],
            "successful",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            [proj.Affine(np.eye(3), np.ones(3)), proj.Box(-2.0, 2.0)],
            "successful",
            marks=pytest.mark.slow,
        ),
    ],
)
@pytest.mark.one_precision
def test_how_the_interior_point_ends(sets, result):
    with jax.enable_x64(True):
        sets = jax.tree.map(lambda x: x.astype(float), sets)
        point = jnp.array([8.0, 4.0, 5.0])
        solution = fp.nearest_point(sets, point, throw=False)
        if result == "touching":
            # Which one is a matter of rounding, but it is no success.
            names = "stagnated", "infeasible_suspected"
            assert any(solution.result == getattr(fp.RESULTS, name) for name in names)
        else:
            assert solution.result == getattr(fp.RESULTS, result)
        if result == "infeasible_suspected":
            assert float(solution.stats["violation"]) > 0.2
        else:
            assert float(solution.stats["violation"]) < 1e-8


def test_a_start_far_away_does_not_hide_the_sets():
    sets = [proj.L2Ball(2.0), proj.Halfspace(jnp.array([1.0, 0.0, 0.0]), 1.0)]
    value = fp.nearest_point(sets, 1e6 * jnp.array([8.0, 4.0, 5.0])).value
    expected = [1, *(np.sqrt(3 / 41) * np.array([4.0, 5.0]))]
    np.testing.assert_allclose(value, expected, atol=1e-5)


@pytest.mark.one_precision
@pytest.mark.parametrize("method", [fp.AlternatingProjections()])
def test_a_small_residual_is_not_taken_for_a_small_violation(method):
    # A line almost parallel to another, where the moves are far smaller than the gap.
    lines = [
        proj.Hyperplane(jnp.array([0.0, 1.0]), 0.0),
        proj.Hyperplane(jnp.array([0.03, 1.0]), 0.0),
    ]
    problem = fp.Feasibility(lines, jnp.array([1.0, 1.0]))
    solution = fp.solve(problem, method, max_steps=50_000)
    allowed = 10 * 6.5e-6 * (1 + float(jnp.max(jnp.abs(solution.value))))
    assert float(solution.stats["violation"]) <= allowed
    stopped = fp.solve(problem, method, max_steps=200, throw=False)
    assert stopped.result == fp.RESULTS.max_steps_reached


@pytest.mark.one_precision
def test_derivative_of_a_nearest_point_that_is_not_isolated():
    with jax.enable_x64(True):
        # Onto a face of the box, through a ball: P(x) = (1, y) with |(1, y)| = 2 there.
        def value(point):
            sets = [proj.L2Ball(2.0), proj.Halfspace(jnp.array([1.0, 0.0, 0.0]), 1.0)]
            return fp.nearest_point(sets, point, fp.Anderson(memory=8)).value

        point = jnp.array([8.0, 4.0, 5.0])
        rest = np.array([4.0, 5.0]) / np.sqrt(41)
        expected = np.concatenate([[1], np.sqrt(3) * rest])
        np.testing.assert_allclose(value(point), expected, atol=1e-10)
        # The last two entries: sqrt(3) u / |u|.
        jacobian = np.zeros((3, 3))
        jacobian[1:, 1:] = np.sqrt(3) * (np.eye(2) - np.outer(rest, rest)) / np.sqrt(41)
        found = jax.jacrev(value)(point)
        np.testing.assert_allclose(found, jacobian, atol=1e-8)


def test_haugazeau_finds_the_nearest_point():
    sets = [
        proj.Halfspace(jnp.array([1.0, 0.0]), 1.0),
        proj.Halfspace(jnp.array([1.0, 1.0]), 1.0),
    ]
    problem = fp.Feasibility(sets, jnp.array([2.0, -3.0]))
    value = fp.solve(problem, fp.Haugazeau(), rtol=1e-5).value
    # Clear of the second one: the nearest is (1, -3) itself.
    np.testing.assert_allclose(value, [1.0, -3.0], atol=1e-4)
    problem = fp.Feasibility(sets, jnp.array([3.0, 1.0]))
    value = fp.solve(problem, fp.Haugazeau(), rtol=1e-5).value
    np.testing.assert_allclose(value, [1.0, 0.0], atol=1e-3)


@pytest.mark.one_precision
def test_stacked_sets_are_the_same_as_single_ones():
    a, b, inside = _polyhedron()
    sets = _sets(jnp.asarray(a), jnp.asarray(b), jnp.asarray(inside))
    # With the ball in between, no neighbours are left to be stacked.
    ball = proj.L2Ball(1e6)
    apart = [s for halfspace in sets[:3] for s in (halfspace, ball)] + sets[3:6]
    together = sets[:6] + [ball] * 3
    y0 = jnp.asarray(inside + 2)
    ends = []
    for group in (apart, together):
        map_ = fp.AveragedProjections().make_map(fp.Feasibility(group, y0))
        ends.append(map_.apply(map_.apply(y0)))
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-5)
    y = np.asarray(y0, np.float64)
    for i in range(6):
        y = y - max(a[i] @ y - b[i], 0) / (a[i] @ a[i]) * a[i]
    problem = fp.Feasibility(sets[:6], y0)
    swept = fp.CyclicProjections().make_map(problem).apply(y0)
    np.testing.assert_allclose(swept, y, atol=1e-5)


@pytest.mark.one_precision
def test_random_order_visits_every_set_and_follows_the_key():
    class Label(eqx.Module):
        index: int

        def project(self, x):
            # Writes down, in the digits of x, who was here.
            return 10 * x + self.index

    y0 = jnp.array(0.0)
    problem = fp.Feasibility([Label(i) for i in (1, 2, 3)], y0)
    sweep = lambda key: fp.CyclicProjections(key).make_map(problem).apply(y0)
    sweeps = jax.jit(jax.vmap(sweep))
    keys = jr.split(jr.key(0), 20)
    found = np.asarray(sweeps(keys), int)
    np.testing.assert_array_equal(found[::-1], sweeps(keys[::-1]))
    digits = set(found.tolist())
    assert digits <= {123, 132, 213, 231, 312, 321}
    assert len(digits) >= 4


def test_restarts_leave_a_cycle():
    # Only |y| < 1 is fixed; from anywhere else the map goes back and forth.
    map_ = lambda y, args: jnp.where(jnp.abs(y) < 1, y, -y)
    problem = fp.FixedPoint(map_, jnp.array([5.0, -4.0, 0.5]))
    plain = fp.solve(problem, throw=False)
    assert plain.result == fp.RESULTS.stagnated
    again = fp.Restarts(jr.key(0), every=7, scale=1.5)
    solution = fp.solve(problem, iteration=again)
    assert np.all(np.abs(np.asarray(solution.value)) < 1)
    steps = int(solution.stats["num_steps"])
    # A new start is looked at in the step after.
    assert steps % 7 == 1 and steps > 7


@pytest.mark.one_precision
def test_a_cycle_of_reflections_is_not_called_infeasible():
    # Two lines that meet at a right angle: both reflections together are -1.
    lines = [
        proj.Affine(jnp.array([[1.0, 0.0]]), jnp.zeros(1)),
        proj.Affine(jnp.array([[0.0, 1.0]]), jnp.zeros(1)),
    ]
    problem = fp.Feasibility(lines, jnp.array([1.0, 2.0]))
    solution = fp.solve(problem, fp.PeacemanRachford(), throw=False)
    assert solution.result == fp.RESULTS.stagnated
    halved = fp.solve(problem, fp.PeacemanRachford(), fp.Picard(relaxation=0.5))
    np.testing.assert_allclose(halved.value, 0, atol=1e-5)


@pytest.mark.parametrize(
    "make, match",
    [
        (lambda: fp.RRR(2.0), "beta"),
        (lambda: fp.RAAR(1.0), "beta"),
        (lambda: fp.DifferenceMap(0.0), "must not be 0"),
        (lambda: fp.DifferenceMap(1.0, gammas=(1.0,)), "pair"),
        (lambda: fp.AveragedProjections([1.0, -1.0]), "positive"),
        (lambda: fp.AveragedProjections(extrapolate=2), "True or False"),  # pyright: ignore[reportArgumentType]
        (lambda: fp.AveragedProjections(jnp.ones((2, 2))), "vector"),
        (lambda: fp.Restarts(jr.key(0), every=0), "every"),
        (
            lambda: fp.AveragedProjections([1.0]).make_map(
                fp.Feasibility([proj.L2Ball(1.0)] * 2, jnp.ones(2))
            ),
            "1 entries for 2 sets",
        ),
    ],
)
def test_bad_arguments_are_named(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_keys_must_be_keys():
    for make in (fp.CyclicProjections, lambda key: fp.Restarts(key, every=5)):
        with pytest.raises(TypeError, match="PRNG key"):
            make(0)


@pytest.mark.one_precision
def test_iterates_that_run_away_do_not_make_a_gap_small():
    # 0.05 apart: Dykstra's increments grow until that is small beside them.
    sets = [
        proj.Halfspace(jnp.array([1.0, 0.0]), 0.0),
        proj.Halfspace(jnp.array([-1.0, 0.0]), -0.05),
    ]
    problem = fp.Feasibility(sets, jnp.array([1.0, 0.0]))
    solution = fp.solve(problem, fp.Dykstra(), rtol=2e-3, throw=False)
    assert float(solution.stats["violation"]) > 0.04
    assert float(solution.stats["residual"]) > 0.04
    assert solution.result == fp.RESULTS.infeasible_suspected


@pytest.mark.one_precision
@pytest.mark.parametrize("height, found", [(0.5, True), (2.0, False)])
def test_a_search_on_sets_that_are_not_convex(height, found):
    class Circle(eqx.Module):
        def project(self, x):
            return x / jnp.linalg.norm(x)

    line = proj.Affine(jnp.array([[0.0, 1.0]]), jnp.array([height]))
    problem = fp.Feasibility([line, Circle()], jnp.array([0.3, 0.2]))
    solution = fp.solve(problem, fp.RRR(), max_steps=3000, throw=False)
    assert bool(solution.result == fp.RESULTS.successful) is found
    if found:
        x = np.asarray(solution.value)
        np.testing.assert_allclose([x[1], np.linalg.norm(x)], [0.5, 1], atol=1e-4)
    else:
        # The sets are 1 apart.
        assert float(solution.stats["violation"]) > 0.9
