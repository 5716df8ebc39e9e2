"""Every function with a prox: value, minimiser, derivatives, edge cases, bad input."""

import importlib
import warnings
from typing import Any

import cvxpy as cp
import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from derivatives import check_derivatives
from prox_cases import CASES, every_case, every_nonconvex_case

from fixproj import projections as proj


# No ties and no kinks within reach of a difference quotient; positive ones for logs.
POINT = np.array([[1.7, -0.45, 2.15, 0.62], [-1.3, 0.85, -0.1, 3.1]])
INSIDE = np.abs(POINT) + 0.3


def _run(case):
    names = list(case.parameters)

    def run(x, step, *parameters):
        return case.build(**dict(zip(names, parameters, strict=True))).prox(x, step)

    return run


@every_case
@pytest.mark.one_precision
@pytest.mark.slow
def test_value_and_minimiser_against_definition_and_cvxpy(case):
    with jax.enable_x64(True):
        f = case.function()
        np.testing.assert_allclose(f(jnp.asarray(INSIDE)), case.value(INSIDE), 1e-10)
        prox = eqx.filter_jit(f.prox)
        for step in (0.3, 2.5):
            z = np.asarray(prox(jnp.asarray(POINT), step))
            x = cp.Variable(POINT.shape)
            cost = step * case.cvx(x) + cp.sum_squares(x - POINT) / 2
            cp.Problem(cp.Minimize(cost)).solve(solver=cp.CLARABEL)
            np.testing.assert_allclose(z, x.value, atol=2e-4)
            # Clarabel's own error aside, nothing is better than ours.
            ours = step * case.value(z) + ((z - POINT) ** 2).sum() / 2
            theirs = step * case.value(x.value) + ((x.value - POINT) ** 2).sum() / 2
            assert ours <= theirs + 1e-9 * (1 + abs(theirs))


@every_case
@pytest.mark.one_precision
@pytest.mark.slow
def test_derivatives_are_those_of_finite_differences(case):
    with jax.enable_x64(True):
        parameters = [jnp.asarray(p) for p in case.parameters.values()]
        run = _run(case)
        v, unravel = jax.flatten_util.ravel_pytree(
            (jnp.asarray(POINT), jnp.asarray(0.8), *parameters)
        )
        flat = jax.jit(lambda v: run(*unravel(v)).reshape(-1))
        directions = np.random.default_rng(0).normal(size=(6, v.size))
        if case.name == "cross_entropy":
            # Distributions stay distributions.
            directions[:, 9:] = 0
        forward = jax.jit(lambda v, d: jax.jvp(flat, (v,), (d,))[1])
        weights = jnp.asarray(np.random.default_rng(1).normal(size=8))
        gradient = jax.jit(jax.grad(lambda v: weights @ flat(v)))(v)
        for d in jnp.asarray(directions):
            h = 1e-6
            difference = (flat(v + h * d) - flat(v - h * d)) / (2 * h)
            np.testing.assert_allclose(forward(v, d), difference, atol=2e-8, rtol=1e-7)
            np.testing.assert_allclose(gradient @ d, weights @ difference, atol=1e-7)


@every_case
@pytest.mark.slow
def test_derivatives_are_finite_and_nonexpansive_at_kinks(case):
    points = jnp.stack([jnp.zeros((2, 4)), jnp.ones((2, 4)), -jnp.eye(4)[:2]])
    names = list(case.parameters)
    parameters = [jnp.asarray(p) for p in case.parameters.values()]
    weights = jnp.asarray([1.0, -2.0, 0.5, 3.0])
    run = _run(case)

    def loss(x, *parameters):
        step = jnp.ones((), x.dtype)
        return jnp.sum(weights[None, :] * run(x, step, *parameters))

    argnums = tuple(range(1 + len(names)))
    axes = (0, *[None] * len(names))
    gradients = jax.jit(jax.vmap(jax.grad(loss, argnums), axes))(points, *parameters)
    assert all(bool(jnp.all(jnp.isfinite(g))) for g in gradients)
    bound = np.sqrt(2) * np.linalg.norm(weights) * (1 + 1e-5)
    assert np.linalg.norm(gradients[0].reshape(3, -1), axis=-1).max() <= bound


@every_case
@pytest.mark.slow
def test_extreme_points_keep_their_digits_and_dtype(case):
    f = case.function()
    prox = eqx.filter_jit(f.prox)
    x = jnp.asarray(POINT).astype(float)
    eps = float(jnp.finfo(x.dtype).eps)
    huge = 1e6 * x
    z = prox(huge)
    assert z.dtype == x.dtype and bool(jnp.all(jnp.isfinite(z)))
    # Nonexpansive, also where rounding is 1e6 times larger.
    other = prox(huge + 1)
    assert float(jnp.linalg.norm(other - z)) <= np.sqrt(8) + 64 * eps * 3e6
    assert bool(jnp.all(jnp.isfinite(prox(1e-30 * x))))
    assert bool(jnp.any(jnp.isnan(prox(x.at[0, 1].set(jnp.nan)))))
    assert f.prox(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


@every_nonconvex_case
@pytest.mark.one_precision
def test_nonconvex_minimiser_against_a_grid(case):
    with jax.enable_x64(True):
        f = case.function()
        x = np.linspace(-4, 4, 301) + 1e-3
        grid = np.append(np.linspace(-5, 5, 200_001), 0.0)
        for step in (0.3, 1.0, 1.7, 5.0):
            z = np.asarray(f.prox(jnp.asarray(x), step))
            cost = step * case.value(z) + (z - x) ** 2 / 2
            on_grid = step * case.value(grid)
            best = np.array([(on_grid + (grid - v) ** 2 / 2).min() for v in x])
            assert np.all(cost <= best + 1e-12)
            assert np.all(cost >= best - 1e-4)
        np.testing.assert_allclose(f(jnp.asarray(x)), case.value(x).sum(), 1e-12)


@every_nonconvex_case
@pytest.mark.one_precision
@pytest.mark.slow
def test_nonconvex_derivatives(case):
    with jax.enable_x64(True):
        parameters = [jnp.asarray(p) for p in case.parameters.values()]
        x = jnp.array([0.2, -1.15, 1.5, 4.0])
        check_derivatives(_run(case), x, jnp.asarray(0.6), *parameters)
        zero = jnp.zeros(2)
        assert bool(jnp.all(jnp.isfinite(jax.jacfwd(case.function().prox)(zero))))


@pytest.mark.one_precision
def test_all_prox_operators_of_jaxopt():
    """Seven, with the calls that replace them."""
    with warnings.catch_warnings():
        # That it is no longer maintained.
        warnings.simplefilter("ignore", DeprecationWarning)
        jaxopt = importlib.import_module("jaxopt")
    with jax.enable_x64(True):
        x, s = jnp.asarray(POINT), 0.7
        nonnegative = proj.Box(0.0, jnp.inf)
        pairs = [
            (jaxopt.prox.prox_none(x, None, s), proj.Zero()),
            (jaxopt.prox.prox_lasso(x, 0.4, s), proj.L1(0.4)),
            (
                jaxopt.prox.prox_non_negative_lasso(x, 0.4, s),
                proj.tilt(nonnegative, 0.4),
            ),
            (
                jaxopt.prox.prox_elastic_net(x, (0.4, 0.5), s),
                proj.ElasticNet(0.4, 0.4 * 0.5),
            ),
            (jaxopt.prox.prox_ridge(x, 0.4, s), proj.SquaredL2(0.4)),
            (
                jaxopt.prox.prox_non_negative_ridge(x, 0.4, s),
                proj.regularize(nonnegative, 0.4),
            ),
            (jaxopt.prox.prox_group_lasso(x, 0.4, s), proj.L2(0.4, axis=None)),
        ]
        for theirs, f in pairs:
            np.testing.assert_allclose(f.prox(x, s), theirs, atol=1e-12)


@pytest.mark.one_precision
@pytest.mark.slow
def test_logistic_and_entropies_against_bracketing():
    """Roots to machine precision, for steps and points of any size."""
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=50), 1e3 * rng.normal(size=50)])
    with jax.enable_x64(True):
        for step in (1e-4, 0.1, 7.0, 1e4):
            z = np.asarray(proj.Logistic().prox(jnp.asarray(points), step))
            for v, found in zip(points, z, strict=True):
                root = lambda t, v=v, s=step: t - v - s * scipy.special.expit(-t)
                exact = scipy.optimize.brentq(root, v - 1, v + step + 1, xtol=1e-13)
                assert abs(found - exact) <= 1e-13 * (abs(v) + step) + 2e-13
            z = np.asarray(proj.KL(0.3).prox(jnp.asarray(points), step))
            keep = z > 1e-200
            gap = z + step * np.log(np.where(keep, z, 1) / 0.3) - points
            assert np.all(np.abs(gap[keep]) <= 1e-12 * (np.abs(points[keep]) + step))
            assert np.all(z >= 0)


@pytest.mark.slow
def test_total_variation_of_long_sequences(getkey):
    """Optimality from the dual: cumulative sums of x - z stay within the step."""
    x = jnp.cumsum(jax.random.normal(getkey(), (3, 400)), axis=-1)
    step = jnp.asarray(4.0)
    z = np.asarray(eqx.filter_jit(proj.TV1D().prox)(x, step), np.float64)
    dual = np.cumsum(np.asarray(x, np.float64) - z, axis=-1)
    tolerance = 1e-9 if x.dtype == jnp.float64 else 2e-3
    assert np.abs(dual[:, -1]).max() < tolerance
    assert np.abs(dual).max() <= 4 + tolerance
    jumps = np.diff(z, axis=-1)
    at = np.abs(jumps) > 0
    assert 5 < at.sum() < 600
    assert np.abs(dual[:, :-1] + 4 * np.sign(jumps))[at].max() < tolerance
    # Ties and plateaus, a single entry, two entries, and one huge step.
    for row in ([0.0] * 6, [1.0, 1.0, 5.0, 5.0, 1.0], [3.0], [3.0, -1.0]):
        row = jnp.asarray(row)
        np.testing.assert_allclose(
            proj.TV1D().prox(row, 1e6), jnp.full(row.shape, row.mean()), rtol=1e-5
        )


@pytest.mark.slow
def test_piecewise_constant_image_is_found_exactly():
    """Two halves: by symmetry each moves by step * edge length / area."""
    x = jnp.concatenate([jnp.zeros((6, 5)), jnp.full((6, 5), 3.0)], axis=1)
    z = eqx.filter_jit(proj.TV2D().prox)(x, 0.5)
    expected = jnp.where(x == 0, 0.5 * 6 / 30, 3 - 0.5 * 6 / 30)
    np.testing.assert_allclose(z, expected, atol=1e-5)
    gradient = jax.grad(lambda s: proj.TV2D().prox(x, s)[0, 0])(0.5)
    np.testing.assert_allclose(gradient, 6 / 30, rtol=1e-5)


@pytest.mark.one_precision
def test_nuclear_norm_has_derivatives_at_repeated_and_zero_singular_values():
    f = proj.Nuclear(0.5)
    for x in (jnp.eye(3)[:, :2] * 2, jnp.zeros((3, 2)), jnp.ones((2, 3))):
        jacobian = jax.jacrev(f.prox)(x).reshape(6, 6)
        assert bool(jnp.all(jnp.isfinite(jacobian)))
        # The derivative of a prox is symmetric, with eigenvalues between 0 and 1.
        np.testing.assert_allclose(jacobian, jacobian.T, atol=1e-5)
        values = np.linalg.eigvalsh(np.asarray(jacobian, np.float64))
        assert -1e-5 < values.min() and values.max() < 1 + 1e-5


def test_cross_entropy_with_fixed_steps_is_the_fixed_point_iteration():
    v, labels = jnp.asarray(POINT).astype(float), jnp.array([0, 2])
    found = proj.CrossEntropy(labels, fixed_steps=3).prox(v, 5.0)
    z = v
    for _ in range(3):
        z = v + 5.0 * (jax.nn.one_hot(labels, 4, dtype=v.dtype) - jax.nn.softmax(z, -1))
    np.testing.assert_allclose(found, z, rtol=1e-6)


CONVEX = [case for case in CASES if case.name not in ("tv2d", "quadratic")]


@pytest.mark.one_precision
@pytest.mark.parametrize("case", CONVEX, ids=lambda case: case.name)
@pytest.mark.slow
def test_moreau_identity_and_envelope(case):
    with jax.enable_x64(True):
        f = case.function()
        dual = proj.conjugate(f)
        x = jnp.asarray(POINT)
        step = 0.6
        p = f.prox(x, step)
        np.testing.assert_allclose(
            p + step * dual.prox(x / step, 1 / step), x, atol=1e-10
        )
        assert proj.conjugate(dual) is f
        envelope = proj.moreau_envelope(f, step)
        np.testing.assert_allclose(jax.grad(envelope)(x), (x - p) / step, atol=1e-10)


@pytest.mark.one_precision
@pytest.mark.slow
def test_calculus_against_minimisation():
    value = lambda x: float(np.sum(x * np.log(x / 0.7) - x + 0.7))
    a, w, c = np.array([0.5, -0.2, 0.3]), 0.4, 2.5
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0] * 1.5
    with jax.enable_x64(True):
        f = proj.KL(0.7)
        cases: list[Any] = [
            (proj.translate(f, a), lambda x: value(x - a), a),
            (proj.scale(f, c), lambda x: c * value(x), 0),
            (proj.tilt(f, a), lambda x: value(x) + a @ x, 0),
            (
                proj.regularize(f, w, a),
                lambda x: value(x) + w * ((x - a) ** 2).sum() / 2,
                0,
            ),
            (proj.precompose(f, -2.0), lambda x: value(-2 * x), None),
            (proj.precompose(f, q), lambda x: value(q @ x), None),
        ]
        v, step = np.array([0.9, 1.4, 0.6]), 0.8
        for g, reference, start in cases:
            z = np.asarray(g.prox(jnp.asarray(v), step))
            np.testing.assert_allclose(g(jnp.asarray(z)), reference(z), rtol=1e-10)
            cost = lambda x, r=reference: step * r(x) + ((x - v) ** 2).sum() / 2
            # A stationary point of a convex function, by central differences.
            for e in 1e-6 * np.eye(3):
                assert abs(cost(z + e) - cost(z - e)) / 2e-6 < 1e-7
            del start
        envelope = proj.moreau_envelope(proj.L1(), 0.5)
        z = np.asarray(envelope.prox(jnp.asarray(v), step))
        gradient = np.asarray(jax.grad(envelope)(jnp.asarray(z)))
        np.testing.assert_allclose(z + step * gradient, v, atol=1e-12)
        # Derivatives of an envelope in the parameters of the function, and second ones.
        slope = jax.grad(lambda w: proj.moreau_envelope(proj.L1(w), 0.5)(v))(1.0)
        np.testing.assert_allclose(slope, np.abs(v - 0.5).sum(), rtol=1e-10)
        hessian = jax.hessian(proj.moreau_envelope(proj.SquaredL2(2.0), 0.5))(v)
        np.testing.assert_allclose(hessian, np.eye(3), atol=1e-12)


CONJUGATES = {
    "l1": lambda: proj.L1(0.7),
    "weighted_l1": lambda: proj.WeightedL1(jnp.array([0.5, 1.0, 0.2, 1.4])),
    "l2": lambda: proj.L2(0.8),
    "squared_l2": lambda: proj.SquaredL2(0.6),
    "elastic_net": lambda: proj.ElasticNet(0.5, 0.8),
    "huber": lambda: proj.Huber(0.6, 0.9),
    "linear": lambda: proj.Linear(jnp.array([[0.5, 1.0, 0.2, 1.4]])),
    "box": lambda: proj.Box(-0.2, 1.5),
    "nonnegative": proj.NonNegative,
    "simplex": lambda: proj.Simplex(1.5),
    "l1_ball": lambda: proj.L1Ball(1.2),
    "l2_ball": lambda: proj.L2Ball(0.8),
    "linf_ball": lambda: proj.LinfBall(0.9),
}


@pytest.mark.slow_in_x64
def test_values_of_conjugates_meet_the_inequality_of_fenchel_and_young():
    """f(p) + f*(x - p) = <p, x - p> at p = prox_f(x), and >= elsewhere."""
    functions = [make() for make in CONJUGATES.values()]
    functions = [proj.Indicator(f) if hasattr(f, "project") else f for f in functions]

    @jax.jit
    def gaps(x, far):
        out = []
        for f in functions:
            p = f.prox(x)
            u = x - p
            value = proj.conjugate(f)
            out.append((f(p) + value(u) - jnp.vdot(p, u), value(u + far)))
        return out

    x = jnp.asarray(POINT).astype(float)
    eps = float(jnp.finfo(x.dtype).eps)
    found = dict(zip(CONJUGATES, gaps(x, jnp.full_like(x, 9.0)), strict=True))
    for name, (gap, _) in found.items():
        assert abs(float(gap)) <= 300 * eps, name
    infinite = {"l1", "weighted_l1", "l2", "huber", "linear", "nonnegative"}
    assert {name for name, (_, far) in found.items() if jnp.isinf(far)} == infinite
    with pytest.raises(NotImplementedError, match="conjugate of TV1D is not known"):
        proj.conjugate(proj.TV1D())(x)


QUICK = ["l2", "elastic_net", "group_lasso", "huber", "hinge", "logistic", "kl"]
QUICK += ["log_barrier", "max", "sum_of_largest", "least_squares", "nuclear", "tv1d"]


@pytest.mark.slow_in_x64
def test_no_neighbour_of_a_prox_is_better():
    """A part of the slow tests: the definition itself, on random neighbours."""
    cases = [case for case in CASES if case.name in QUICK]
    dtype = jnp.zeros(()).dtype
    functions = [
        case.build(*[jnp.asarray(p).astype(dtype) for p in case.parameters.values()])
        for case in cases
    ]
    proxes = jax.jit(lambda x: [f.prox(x, 0.7) for f in functions])
    moves = np.random.default_rng(0).normal(size=(20, *POINT.shape))
    # Small enough to stay in every domain, large enough to be seen over rounding.
    exact = dtype == jnp.float64
    size, slack = (1e-4, 1e-12) if exact else (1e-2, 1e-5)
    for case, z in zip(cases, proxes(jnp.asarray(POINT).astype(dtype)), strict=True):
        z = np.asarray(z, np.float64)
        cost = lambda z, case=case: 0.7 * case.value(z) + ((z - POINT) ** 2).sum() / 2
        with np.errstate(invalid="ignore", divide="ignore"):
            others = [cost(z + size * move) for move in moves]
        assert cost(z) <= np.nanmin(others) + slack, case.name


def test_separable_over_a_tree_and_jit_of_the_function_itself():
    f = proj.separable({"a": proj.L1(), "b": (proj.SquaredL2(), proj.Box(0.0, 1.0))})
    x = {"a": jnp.array([3.0, -0.5]), "b": (jnp.array(4.0), jnp.array([[2.0]]))}
    z = eqx.filter_jit(lambda f, x: f.prox(x, 1.0))(f, x)
    np.testing.assert_allclose(z["a"], [2.0, 0.0])
    np.testing.assert_allclose(z["b"][0], 2.0)
    np.testing.assert_allclose(z["b"][1], [[1.0]])
    np.testing.assert_allclose(f(z), 2.0 + 2.0)


def _untyped(value) -> Any:
    return value


x3, x23 = np.ones(3), np.ones((2, 3))
BAD = {
    "negative_weight": (lambda: proj.L1(-1.0), ValueError, "`weight` must be finite"),
    "nan_weight": (lambda: proj.L2(np.nan), ValueError, "`weight` must be finite"),
    "zero_barrier": (lambda: proj.LogBarrier(0.0), ValueError, "`weight` must be .*po"),
    "labels": (lambda: proj.Hinge([0, 1]), ValueError, "`labels` must be -1 or 1"),
    "step": (lambda: proj.L1().prox(x3, -1.0), ValueError, "step must be positive"),
    "step_shape": (lambda: proj.L1().prox(x3, x3), ValueError, "`step` must be a sc"),
    "point": (lambda: proj.L1().prox(np.ones(3, int)), TypeError, "`x` must have a re"),
    "broadcast": (
        lambda: proj.L1(x3).prox(np.ones(4)),
        ValueError,
        r"`weight` of shape \(3,\) does not broadcast .* \(4,\)",
    ),
    "axis": (lambda: proj.L2(axis=3).prox(x3), ValueError, "`axis` = 3 does not exist"),
    "axis_type": (lambda: proj.TV1D(axis=_untyped(0.5)), TypeError, "`axis` must be"),
    "k": (lambda: proj.SumOfLargest(0), ValueError, "`k` must be at least 1, but was"),
    "k_large": (lambda: proj.SumOfLargest(4).prox(x3), ValueError, "fewer than `k` = "),
    "groups": (lambda: proj.GroupLasso([0.5]), TypeError, "`groups` must be integers"),
    "group_weights": (
        lambda: proj.GroupLasso([0, 1], x3),
        ValueError,
        r"`weights` must have shape \(2,\)",
    ),
    "P": (lambda: proj.Quadratic(x23), ValueError, r"`P` must have shape \(n, n\)"),
    "asymmetric": (
        lambda: proj.Quadratic(np.triu(np.ones((3, 3)))),
        ValueError,
        "`P` must be symmetric",
    ),
    "indefinite": (
        lambda: proj.Quadratic(-np.eye(3)),
        ValueError,
        "`P` must be positive semidefinite",
    ),
    "b": (
        lambda: proj.LeastSquares(x23, x3),
        ValueError,
        r"`b` must have shape \(2,\)",
    ),
    "matrix": (lambda: proj.Nuclear().prox(x3), ValueError, "`x` must be a matrix"),
    "a": (lambda: proj.SCAD(1.0, 2.0), ValueError, "`a` must be .* greater than 2"),
    "function": (
        lambda: proj.conjugate(_untyped(3)),
        TypeError,
        "`f` must be a function with `prox",
    ),
    "factor": (lambda: proj.scale(proj.L1(), 0.0), ValueError, "`factor` must be fin"),
    "rows": (
        lambda: proj.precompose(proj.L1(), np.ones((2, 2))),
        ValueError,
        "`operator` must have orthogonal rows",
    ),
    "set": (lambda: proj.Indicator(_untyped(1)), TypeError, "`set` must have a method"),
    "fixed_steps": (
        lambda: proj.CrossEntropy(np.array([0]), 0),
        ValueError,
        "`fixed_steps` must be an integer",
    ),
}


@pytest.mark.one_precision
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_an_error_that_names_it(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call()


@pytest.mark.one_precision
def test_traced_bad_input():
    with pytest.raises(eqx.EquinoxRuntimeError, match="`weight` must be finite"):
        eqx.filter_jit(lambda w: proj.L1(w).prox(jnp.ones(2)))(-1.0 * jnp.ones(()))
    step = jnp.asarray(-1.0)
    assert bool(jnp.all(jnp.isnan(eqx.filter_jit(proj.L1().prox)(jnp.ones(2), step))))
