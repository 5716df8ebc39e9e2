"""`solve` on feasibility problems: every method against independent answers."""

import cvxpy as cp
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import fixproj as fp
from fixproj import projections as proj


METHODS = [
    fp.DouglasRachford(),
    fp.DouglasRachford(relaxation=1.5),
    fp.AlternatingProjections(),
]


def _affine_and_simplex(key, m=3, n=8):
    """A random affine subspace through a point of the simplex."""
    a_key, point_key = jr.split(key)
    a = jr.normal(a_key, (m, n))
    inside = jax.nn.softmax(jr.normal(point_key, (n,)))
    return [proj.Affine(a, a @ inside), proj.Simplex()], jnp.zeros(n)


def _four_sets(key, n=6):
    del key
    sets = [
        proj.Box(-1.0, 1.0),
        proj.Halfspace(jnp.ones(n), 1.0),
        proj.L2Ball(1.2),
        proj.Affine(jnp.arange(1.0, n + 1)[None, :], jnp.array([3.0])),
    ]
    return sets, 3.0 * jnp.ones(n)


def _one_set(key):
    del key
    return [proj.L2Ball(1.0)], jnp.array([3.0, 4.0])


PROBLEMS = [_affine_and_simplex, _four_sets, _one_set]


@pytest.mark.parametrize(
    "method, iteration",
    [(method, fp.Picard()) for method in METHODS]
    + [(fp.DouglasRachford(), fp.Anderson())],
    ids=repr,
)
@pytest.mark.parametrize("make", PROBLEMS)
@pytest.mark.slow_in_x64
def test_the_answer_lies_in_every_set(make, method, iteration, getkey):
    sets, y0 = make(getkey())
    solution = fp.solve(fp.Feasibility(sets, y0), method, iteration)
    assert solution.result == fp.RESULTS.successful
    assert solution.value.shape == y0.shape
    # Membership from the definitions, not from the projections.
    x = np.asarray(solution.value, np.float64)
    for s in sets:
        assert _defect(s, x) < 1e-3
    assert float(solution.stats["violation"]) < 1e-3


def _defect(s, x):
    match s:
        case proj.Affine():
            return np.max(np.abs(np.asarray(s.A, np.float64) @ x - np.asarray(s.b)))
        case proj.Simplex():
            return max(abs(x.sum() - float(s.radius)), -x.min())
        case proj.Box():
            return max(np.max(np.asarray(s.lower) - x), np.max(x - np.asarray(s.upper)))
        case proj.Halfspace():
            return np.asarray(s.a) @ x - float(s.b)
        case proj.L2Ball():
            return np.linalg.norm(x) - float(s.radius)
    raise AssertionError(f"no definition of {s} here")


def test_douglas_rachford_on_two_lines_against_closed_form():
    # Two lines through the origin at angle t: DR contracts by cos(t) (Bauschke et al.,
    # 2014, theorem 4.1) and z -> 0; the number of steps to 1e-4 follows.
    t = 0.7
    lines = [
        proj.Affine(jnp.array([[0.0, 1.0]]), jnp.zeros(1)),
        proj.Affine(jnp.array([[-np.sin(t), np.cos(t)]]), jnp.zeros(1)),
    ]
    y0 = jnp.array([1.0, 0.3])
    solution = fp.solve(fp.Feasibility(lines, y0), rtol=0.0, atol=1e-4)
    np.testing.assert_allclose(solution.value, 0, atol=1e-3)
    rate = np.cos(t)
    first = np.linalg.norm(
        fp.DouglasRachford().make_map(fp.Feasibility(lines, y0)).apply(y0) - y0
    )
    predicted = 1 + np.log(1e-4 / first) / np.log(rate)
    assert abs(int(solution.stats["num_steps"]) - predicted) <= 3


@pytest.mark.slow_in_x64
def test_alternating_projections_of_subspaces_find_the_nearest_point(getkey):
    # Von Neumann (1933): for affine sets the limit is the projection of the start.
    a, b = jr.normal(getkey(), (2, 7)), jr.normal(getkey(), (1, 7))
    y0 = jr.normal(getkey(), (7,))
    sets = [proj.Affine(a, jnp.array([1.0, 2.0])), proj.Affine(b, jnp.array([0.5]))]
    found = fp.solve(fp.Feasibility(sets, y0), fp.AlternatingProjections()).value
    stacked = np.vstack([a, b]).astype(np.float64)
    target = np.array([1.0, 2.0, 0.5])
    y64 = np.asarray(y0, np.float64)
    expected = y64 - np.linalg.pinv(stacked) @ (stacked @ y64 - target)
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.slow_in_x64
def test_infeasible_sets_are_reported(method):
    sets = [proj.L2Ball(1.0), proj.Halfspace(jnp.array([1.0, 0.0]), -3.0)]
    problem = fp.Feasibility(sets, jnp.array([0.5, 2.0]))
    solution = fp.solve(problem, method, throw=False)
    assert solution.result == fp.RESULTS.infeasible_suspected
    # The sets are 2 apart.
    assert float(solution.stats["violation"]) > 0.9
    with pytest.raises(eqx.EquinoxRuntimeError, match="no point in common"):
        fp.solve(problem, method)


@pytest.mark.slow_in_x64
def test_pytree_points_and_sets_of_the_users_own():
    class SumsTo(eqx.Module):
        total: jax.Array

        def project(self, x):
            shift = (self.total - jnp.sum(x["a"]) - jnp.sum(x["b"])) / 4
            return jax.tree.map(lambda v: v + shift, x)

    class NonNegative(eqx.Module):
        def project(self, x):
            return jax.tree.map(lambda v: jnp.maximum(v, 0), x)

    y0 = {"a": jnp.array([-5.0, 1.0]), "b": jnp.array([[2.0], [0.0]])}
    problem = fp.Feasibility([SumsTo(jnp.array(1.0)), NonNegative()], y0)
    for method in METHODS:
        value = fp.solve(problem, method).value
        total = float(jnp.sum(value["a"]) + jnp.sum(value["b"]))
        assert abs(total - 1) < 1e-3
        assert min(float(jnp.min(v)) for v in value.values()) > -1e-3


@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.slow_in_x64
def test_derivative_of_the_solution_against_cvxpy(method, getkey):
    # A line of solutions of Ax = b touches both the box and the halfspace at one point:
    # the solution is isolated, so every method must find it, and its derivative.
    n = 5
    a = np.asarray(jr.normal(getkey(), (n - 1, n)), np.float64)
    inside = np.full(n, 0.5)
    lower = inside.copy()
    lower[1:] = -10.0

    def solve(b):
        box = proj.Box(jnp.asarray(lower), jnp.asarray(np.full(n, 10.0)))
        halfspace = proj.Halfspace(jnp.eye(n)[0], jnp.asarray(inside[0]))
        affine = proj.Affine(jnp.asarray(a), b)
        sets = [affine, box, halfspace]
        return fp.solve(fp.Feasibility(sets, jnp.zeros(n)), method, max_steps=50_000)

    b = jnp.asarray(a @ inside)
    x = cp.Variable(n)
    cp.Problem(
        cp.Minimize(0), [a @ x == np.asarray(b), x >= lower, x[0] <= inside[0]]
    ).solve(solver=cp.CLARABEL)
    solution = solve(b)
    assert x.value is not None
    np.testing.assert_allclose(solution.value, x.value, atol=5e-3)
    # d x / d b: stay on x[0] = inside[0] while A x = b + db.
    system = np.vstack([a, np.eye(n)[:1]])
    expected = np.linalg.inv(system)[:, : n - 1]
    found = jax.jacrev(lambda b: solve(b).value)(b)
    np.testing.assert_allclose(found, expected, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.one_precision
def test_gradient_of_every_parameter_against_differences(method, getkey):
    with jax.enable_x64(True):
        # Three equations and the simplex meet in one point of R^4 with no zero entry.
        a = jr.normal(getkey(), (3, 4))
        b = a @ jnp.array([0.4, 0.3, 0.2, 0.1]) * 2
        args = (a, b, jnp.array(2.0), jnp.zeros(4))
        c = jnp.arange(1.0, 5.0)

        def loss(a, b, radius, y0):
            problem = fp.Feasibility([proj.Affine(a, b), proj.Simplex(radius)], y0)
            return jnp.vdot(c, fp.solve(problem, method, fp.Anderson()).value)

        loss = jax.jit(loss)
        gradients = jax.grad(loss, argnums=(0, 1, 2, 3))(*args)
        for i, (gradient, arg) in enumerate(zip(gradients, args, strict=True)):
            direction = jr.normal(getkey(), arg.shape)
            step = 1e-5
            move = lambda t, i=i, d=direction: [
                x + t * d if j == i else x for j, x in enumerate(args)
            ]
            ends = [loss(*move(t)) for t in (step, -step)]  # pyright: ignore[reportCallIssue]
            expected = (ends[0] - ends[1]) / (2 * step)
            found = jnp.sum(gradient * direction)
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("relaxation", [0.5, 1.0, 1.9])
@pytest.mark.slow_in_x64
def test_relaxation_may_be_traced_and_batched(relaxation, getkey):
    sets, y0 = _affine_and_simplex(getkey())
    problem = fp.Feasibility(sets, y0)
    lanes = jax.vmap(
        lambda r: fp.solve(problem, fp.DouglasRachford(r), throw=False).value
    )(jnp.array([relaxation, 1.0]))
    alone = fp.solve(problem, fp.DouglasRachford(relaxation)).value
    np.testing.assert_allclose(lanes[0], alone, atol=1e-5)


BAD_PROBLEMS = {
    "empty": (lambda: fp.Feasibility([], jnp.zeros(2)), ValueError, "`sets` is empty"),
    "not a list": (
        lambda: fp.Feasibility(proj.Simplex(), jnp.zeros(2)),  # pyright: ignore[reportArgumentType]
        TypeError,
        "`sets` must be a list",
    ),
    "not a set": (
        lambda: fp.Feasibility([proj.Simplex(), 3], jnp.zeros(2)),
        TypeError,
        r"`sets\[1\]` \(int\) is not a set",
    ),
    "shape": (
        lambda: fp.Feasibility(
            [proj.Simplex(), proj.Halfspace(jnp.ones(3), 1.0)], jnp.zeros(2)
        ),
        ValueError,
        r"`sets\[1\]` \(Halfspace\) cannot project `y0` = float\d\d\[2\]",
    ),
    "radius": (lambda: proj.L2Ball(-1.0), ValueError, "radius"),
    "relaxation": (
        lambda: fp.DouglasRachford(relaxation=2.0),
        ValueError,
        "`relaxation` must be strictly between 0 and 2, got 2.0",
    ),
    "start": (
        lambda: fp.solve(fp.Feasibility([proj.Simplex()], jnp.array([1.0, jnp.nan]))),
        ValueError,
        "`y0` has an entry that is NaN",
    ),
}


@pytest.mark.parametrize("case", BAD_PROBLEMS)
@pytest.mark.slow_in_x64
def test_bad_input_is_an_error_that_names_it(case):
    call, error, message = BAD_PROBLEMS[case]
    with pytest.raises(error, match=message):
        call()
