"""Composite problems: every method against cvxpy, and derivatives."""

import cvxpy as cp
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import fixproj as fp
from fixproj import projections as proj
from fixproj._dispatch import _TERMS


rng = np.random.default_rng(0)
A, B = rng.normal(size=(12, 8)), rng.normal(size=12)
WEIGHT = 1.5


def _smooth(y, args):
    return jnp.sum((args[0] @ y - args[1]) ** 2) / 2


def _with_prox(weight):
    args = (jnp.asarray(A), jnp.asarray(B))
    return fp.Composite(_smooth, proj.L1(weight), y0=jnp.zeros(8), args=args)


def _with_identity(weight):
    args = (jnp.asarray(A), jnp.asarray(B))
    pair = (None, proj.L1(weight))
    return fp.Composite(_smooth, None, pair, y0=jnp.zeros(8), args=args)


def _two_proxes(weight):
    pair = (None, proj.L1(weight))
    return fp.Composite(None, proj.LeastSquares(A, B), pair, y0=jnp.zeros(8))


CASES = {
    "forward_backward": (_with_prox, fp.ForwardBackward()),
    "accelerated": (_with_prox, fp.ForwardBackward(accelerate=True)),
    "davis_yin": (_with_identity, fp.DavisYin()),
    "douglas_rachford": (_two_proxes, fp.DouglasRachford(step=0.2)),
    "admm": (_with_prox, fp.ADMM()),
    "condat_vu": (_with_identity, fp.CondatVu()),
    "pdhg": (_two_proxes, fp.PDHG()),
    "linearized_admm": (_with_identity, fp.LinearizedADMM()),
}


@pytest.mark.one_precision
def test_the_list_of_derivatives_has_every_method():
    assert {type(method) for _, method in CASES.values()} == set(_TERMS)


@pytest.mark.slow
@pytest.mark.one_precision
@pytest.mark.parametrize("name", CASES)
def test_lasso_and_its_derivative(name):
    make, method = CASES[name]
    x = cp.Variable(8)
    cost = cp.sum_squares(A @ x - B) / 2 + WEIGHT * cp.norm1(x)
    cp.Problem(cp.Minimize(cost)).solve(solver=cp.CLARABEL)
    assert x.value is not None
    with jax.enable_x64(True):

        @jax.jit
        def value(weight):
            return fp.solve(make(weight), method, max_steps=50_000).value

        weight = jnp.asarray(WEIGHT)
        found = np.asarray(value(weight))
        np.testing.assert_allclose(found, x.value, atol=1e-6)
        # On the support S the solution is (A_S'A_S)^-1 (A_S'b - weight sign).
        support = np.abs(x.value) > 1e-6
        gram = A[:, support].T @ A[:, support]
        expected = np.zeros(8)
        expected[support] = -np.linalg.solve(gram, np.sign(x.value[support]))
        _, slope = jax.jvp(value, (weight,), (jnp.ones_like(weight),))
        np.testing.assert_allclose(slope, expected, atol=1e-8)
        loss = jnp.linspace(1, 2, 8)
        gradient = jax.grad(lambda weight: loss @ value(weight))(weight)
        step = 1e-5
        difference = loss @ (value(weight + step) - value(weight - step)) / (2 * step)
        np.testing.assert_allclose(gradient, difference, atol=1e-7)


LABELS = np.sign(A @ rng.normal(size=8) + rng.normal(size=12))


def _logistic(y, args):
    return jnp.sum(jnp.logaddexp(0.0, -args[1] * (args[0] @ y)))


def _logistic_problem(weight, start, split):
    weight, args = jnp.asarray(weight), (jnp.asarray(A), jnp.asarray(LABELS))
    y0 = jnp.full(8, start).astype(weight.dtype)
    args = jax.tree.map(lambda a: a.astype(weight.dtype), args)
    prox, linear = proj.L1(weight), None
    if split:
        prox, linear = None, (None, prox)
    return fp.Composite(_logistic, prox, linear, y0=y0, args=args)


def _logistic_by_cvxpy(weight):
    x = cp.Variable(8)
    loss = cp.sum(cp.logistic(-cp.multiply(LABELS, A @ x)))
    cost = cp.Problem(cp.Minimize(loss + weight * cp.norm1(x)))
    cost.solve(solver=cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    return x.value


SMOOTH = {
    "forward_backward": (False, fp.ForwardBackward()),
    "accelerated": (False, fp.ForwardBackward(accelerate=True)),
    "admm": (False, fp.ADMM()),
    "davis_yin": (True, fp.DavisYin()),
    "condat_vu": (True, fp.CondatVu()),
    "linearized_admm": (True, fp.LinearizedADMM()),
}
slow = pytest.mark.slow


@pytest.mark.one_precision
@pytest.mark.parametrize(
    "name",
    [n if n in ("admm", "condat_vu") else pytest.param(n, marks=slow) for n in SMOOTH],
)
def test_smooth_part_that_is_not_quadratic(name):
    """Also from starts where it is flat, or curved otherwise than at the solution."""
    split, method = SMOOTH[name]
    with jax.enable_x64(True):
        expected = [_logistic_by_cvxpy(weight) for weight in (0.6, 1.2)]

        @jax.jit
        def value(weight, start):
            problem = _logistic_problem(weight, start, split)
            return fp.solve(problem, method, max_steps=50_000).value

        weights = jnp.array([0.6, 1.2, 1.2])
        found = jax.vmap(value)(weights, jnp.array([0.0, 3.0, 30.0]))
        np.testing.assert_allclose(found[0], expected[0], atol=1e-7)
        np.testing.assert_allclose(found[1], expected[1], atol=1e-7)
        np.testing.assert_allclose(found[2], expected[1], atol=1e-7)


@pytest.mark.slow
@pytest.mark.one_precision
@pytest.mark.parametrize("name", SMOOTH)
def test_derivative_where_the_curvature_is_followed(name):
    split, method = SMOOTH[name]
    with jax.enable_x64(True):
        value = jax.jit(
            lambda w: (
                fp.solve(
                    _logistic_problem(w, 0.0, split),
                    method,
                    max_steps=50_000,
                    rtol=1e-13,
                ).value
            )
        )
        weight, step = jnp.asarray(0.6), 1e-4
        slope = jax.jacrev(value)(weight)
        ahead = value(weight + step) - value(weight - step)
        further = value(weight + 2 * step) - value(weight - 2 * step)
        difference = (8 * ahead - further) / (12 * step)
        np.testing.assert_allclose(slope, difference, atol=1e-8)


@pytest.mark.one_precision
@pytest.mark.parametrize("name", ["forward_backward", "davis_yin", "condat_vu"])
@pytest.mark.slow
def test_a_short_first_step_is_no_solution(name):
    """The curvature falls by six orders of magnitude between start and solution."""
    split, method = SMOOTH[name]
    smooth = lambda y, _: jnp.sum(jnp.exp(y)) - 0.0067 * jnp.sum(y)
    box = proj.Box(-100.0, 100.0)
    linear = (None, box) if split else None
    problem = fp.Composite(smooth, None if split else box, linear, jnp.full(2, 10.0))
    found = fp.solve(problem, method, max_steps=5000).value
    np.testing.assert_allclose(found, np.log(0.0067), atol=1e-2)


SPARSE = np.zeros(20)
SPARSE[[2, 7, 11]] = [1.0, -2.0, 3.0]
WIDE = np.random.default_rng(1).normal(size=(10, 20))
KINDS = {
    "matrix": (jnp.asarray, fp.PDHG()),
    "lineax": (lambda K: lx.MatrixLinearOperator(jnp.asarray(K)), fp.PDHG()),
    "callable": (lambda K: lambda y: jnp.asarray(K) @ y, fp.PDHG()),
    "anderson": (jnp.asarray, fp.PDHG()),
    "admm": (jnp.asarray, fp.ADMM()),
    "linearized_admm": (jnp.asarray, fp.LinearizedADMM()),
}


@pytest.mark.one_precision
@pytest.mark.parametrize(
    "name", [n if n == "callable" else pytest.param(n, marks=slow) for n in KINDS]
)
def test_basis_pursuit(name):
    make, method = KINDS[name]
    x = cp.Variable(20)
    constraint = [WIDE @ x == WIDE @ SPARSE]
    program = cp.Problem(cp.Minimize(cp.norm1(x)), constraint)
    best = float(program.solve(solver=cp.CLARABEL))  # pyright: ignore
    with jax.enable_x64(True):
        target = jnp.asarray(WIDE @ SPARSE)
        linear = (make(WIDE), proj.Box(target, target))
        problem = fp.Composite(prox=proj.L1(), linear=linear, y0=jnp.zeros(20))
        iteration = fp.Anderson() if name == "anderson" else None
        solution = fp.solve(problem, method, iteration)
        assert abs(float(jnp.sum(jnp.abs(solution.value))) - best) < 1e-6
        assert float(solution.stats["violation"]) < 1e-8


def _tv(data):
    smooth = lambda y, data: jnp.sum((y - data) ** 2) / 2
    pair = (jnp.diff, proj.L1(0.7))
    return fp.Composite(smooth, None, pair, y0=jnp.zeros(40), args=data)


def _elastic(data):
    smooth = lambda y, args: jnp.sum((args[0] @ y - args[1]) ** 2) / 2
    args = (jnp.asarray(WIDE), data)
    return fp.Composite(smooth, proj.ElasticNet(0.5, 0.3), y0=jnp.zeros(20), args=args)


def _bounded(data):
    # An objective of size 1e6, whose multipliers are as large.
    smooth = lambda y, args: 5e3 * jnp.sum((args[0] @ y - args[1]) ** 2)
    args = (jnp.asarray(WIDE[:, :6]), data)
    plane = (None, proj.Hyperplane(jnp.ones(6), 1.0))
    return fp.Composite(smooth, proj.NonNegative(), plane, jnp.zeros(6), args)


PROBLEMS = {
    "tv_condat_vu": (_tv, fp.CondatVu()),
    "tv_admm": (_tv, fp.ADMM()),
    "tv_linearized_admm": (_tv, fp.LinearizedADMM()),
    "elastic_forward_backward": (_elastic, fp.ForwardBackward(accelerate=True)),
    "elastic_admm": (_elastic, fp.ADMM()),
    "bounded_davis_yin": (_bounded, fp.DavisYin()),
    "bounded_condat_vu": (_bounded, fp.CondatVu()),
    "bounded_admm": (_bounded, fp.ADMM()),
}


@pytest.mark.slow
@pytest.mark.one_precision
@pytest.mark.parametrize("name", PROBLEMS)
def test_objective_is_that_of_cvxpy(name):
    make, method = PROBLEMS[name]
    draw = np.random.default_rng(2)
    if make is _tv:
        data = np.repeat([0.0, 2.0, -1.0, 1.0], 10) + 0.3 * draw.normal(size=40)
        x = cp.Variable(40)
        cost = cp.sum_squares(x - data) / 2 + 0.7 * cp.norm1(cp.diff(x))
        constraints = []
    elif make is _elastic:
        data, x, constraints = draw.normal(size=10), cp.Variable(20), []
        cost = cp.sum_squares(WIDE @ x - data) / 2
        cost += 0.5 * cp.norm1(x) + 0.15 * cp.sum_squares(x)
    else:
        data, x = draw.normal(size=10), cp.Variable(6)
        cost = 5e3 * cp.sum_squares(WIDE[:, :6] @ x - data)
        constraints = [x >= 0, cp.sum(x) == 1]
    program = cp.Problem(cp.Minimize(cost), constraints)
    options = dict(tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    best = float(program.solve(solver=cp.CLARABEL, **options))  # pyright: ignore
    with jax.enable_x64(True):
        problem = make(jnp.asarray(data))
        value = fp.solve(problem, method, max_steps=50_000).value
        assert abs(float(problem.objective(value)) - best) <= 1e-6 * max(1, abs(best))
        assert float(problem.violation(value) or 0) < 1e-9


def test_infeasible_and_unbounded_problems_say_so():
    def solve(problem):
        return fp.solve(problem, throw=False, max_steps=20_000).result

    infeasible = fp.Composite(
        prox=proj.NonNegative(),
        linear=(jnp.ones((1, 2)), proj.Box(-2.0, -1.0)),
        y0=jnp.zeros(2),
    )
    assert solve(infeasible) == fp.RESULTS.infeasible_suspected
    below = proj.Box(-jnp.inf, 1.0)
    unbounded = fp.Composite(lambda y, _: jnp.sum(y), below, y0=jnp.zeros(2))
    assert solve(unbounded) == fp.RESULTS.diverged


def test_an_operator_that_is_not_linear_is_an_error():
    with pytest.raises(ValueError, match="must be linear"):
        fp.Composite(linear=(jnp.exp, proj.L1()), y0=jnp.zeros(2))
    affine = fp.Composite(linear=(lambda y: y + 1, proj.L1()), y0=jnp.zeros(2))
    with pytest.raises(RuntimeError, match="does not map 0 to 0"):
        fp.solve(affine)


WRONG = {
    "linear": (fp.ForwardBackward(), "ForwardBackward cannot treat `linear`"),
    "smooth": (fp.PDHG(), "PDHG cannot treat `smooth`"),
    "identity": (fp.DavisYin(), "DavisYin needs exactly one pair"),
}


@pytest.mark.one_precision
@pytest.mark.parametrize("name", WRONG)
def test_wrong_combinations_name_the_right_method(name):
    method, message = WRONG[name]
    linear = (jnp.ones((1, 8)), proj.L1())
    problem = fp.Composite(lambda y, _: jnp.sum(y**2), None, linear, jnp.zeros(8))
    with pytest.raises(ValueError, match=message):
        fp.solve(problem, method)


BAD = {
    "empty": (lambda: fp.Composite(y0=jnp.zeros(2)), "at least one of `smooth`"),
    "start": (lambda: fp.Composite(prox=proj.L1()), "`y0`, the start, is needed"),
    "scalar": (
        lambda: fp.Composite(lambda y, _: y, y0=jnp.zeros(2)),
        "`smooth` must return one real",
    ),
    "matrix": (
        lambda: fp.Composite(linear=(np.ones((2, 3)), proj.L1()), y0=jnp.zeros(2)),
        r"`linear\[0\]` does not fit `y0`",
    ),
}


@pytest.mark.one_precision
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_an_error_that_names_it(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call()
