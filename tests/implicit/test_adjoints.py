"""Derivatives of solutions against dense implicit solves and finite differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import lineax as lx
import numpy as np
import pytest

import fixproj as fp
from fixproj import implicit


ADJOINTS = [
    implicit.Implicit(),
    pytest.param(implicit.Implicit(lx.LU()), marks=pytest.mark.slow, id="LU"),
    implicit.TwoPhase(),
    implicit.TwoPhase(iteration=fp.Anderson()),
]
JVP_ADJOINTS = ADJOINTS[:2]


def _tanh_problem(key, n):
    """y = tanh(W y + x): the weights and the input."""
    w_key, x_key = jr.split(key)
    w = jr.normal(w_key, (n, n)) * (0.4 / n**0.5)
    return w, jr.normal(x_key, (n,))


def _equilibrium(w, x, adjoint, **kwargs):
    fn = lambda y, args: jnp.tanh(args[0] @ y + args[1])
    problem = fp.FixedPoint(fn, jnp.zeros_like(x), (w, x))
    return fp.solve(problem, adjoint=adjoint, **kwargs).value


def _dense_gradient(w, x, cotangent):
    """By the implicit function theorem with NumPy alone, in float64."""
    w, x, c = (np.asarray(v, np.float64) for v in (w, x, cotangent))
    y = np.zeros_like(x)
    for _ in range(2000):
        y = np.tanh(w @ y + x)
    slope = 1 - y**2
    jacobian = slope[:, None] * w
    u = np.linalg.solve((np.eye(len(x)) - jacobian).T, c) * slope
    return np.outer(u, y), u


def _tolerance(scale=1.0):
    return scale * (1e-4 if jnp.zeros(()).dtype == jnp.float32 else 1e-9)


@pytest.mark.parametrize("n", [6, 300], ids=["dense", "iterated"])
@pytest.mark.parametrize("adjoint", ADJOINTS, ids=repr)
def test_gradient_against_dense_solve(adjoint, n, getkey):
    w, x = _tanh_problem(getkey(), n)
    c = jr.normal(getkey(), (n,))
    loss = lambda w, x: jnp.vdot(c, _equilibrium(w, x, adjoint))
    found = jax.grad(loss, argnums=(0, 1))(w, x)
    for g, expected in zip(found, _dense_gradient(w, x, c), strict=True):
        np.testing.assert_allclose(g, expected, atol=_tolerance())


@pytest.mark.parametrize("n", [6, 300], ids=["dense", "iterated"])
@pytest.mark.parametrize("adjoint", JVP_ADJOINTS, ids=repr)
@pytest.mark.slow_in_x64
def test_forward_modes_agree_with_reverse(adjoint, n, getkey):
    w, x = _tanh_problem(getkey(), n)
    c, dx = jr.normal(getkey(), (2, n))
    loss = lambda x: jnp.vdot(c, _equilibrium(w, x, adjoint))
    _, expected = _dense_gradient(w, x, c)
    expected = float(np.asarray(dx, np.float64) @ expected)
    _, tangent = jax.jvp(loss, (x,), (dx,))
    np.testing.assert_allclose(tangent, expected, atol=_tolerance(10))
    _, linear = jax.linearize(loss, x)
    np.testing.assert_allclose(linear(dx), expected, atol=_tolerance(10))


@pytest.mark.parametrize("adjoint", JVP_ADJOINTS, ids=repr)
@pytest.mark.slow_in_x64
def test_jacobians_and_hessian(adjoint, getkey):
    w, x = _tanh_problem(getkey(), 4)
    solve = lambda x: _equilibrium(w, x, adjoint)
    expected = np.stack([_dense_gradient(w, x, row)[1] for row in np.eye(4)])
    np.testing.assert_allclose(jax.jacfwd(solve)(x), expected, atol=_tolerance())
    np.testing.assert_allclose(jax.jacrev(solve)(x), expected, atol=_tolerance())

    c = jnp.arange(1.0, 5.0)
    gradient = lambda x: _dense_gradient(w, x, c)[1]
    step = 1e-5
    x64 = np.asarray(x, np.float64)
    differences = [
        (gradient(x64 + step * e) - gradient(x64 - step * e)) / (2 * step)
        for e in np.eye(4)
    ]
    hessian = jax.hessian(lambda x: jnp.vdot(c, solve(x)))(x)
    loose = 1e-3 if x.dtype == jnp.float32 else 1e-7
    np.testing.assert_allclose(hessian, np.stack(differences), atol=loose)


@pytest.mark.parametrize("adjoint", ADJOINTS, ids=repr)
@pytest.mark.slow_in_x64
def test_gradient_of_gradient(adjoint):
    # y = a cos(y): differentiate the closed form of dy/da = cos(y) / (1 + a sin(y)).
    solve = lambda a: (
        fp.solve(
            fp.FixedPoint(lambda y, a: a * jnp.cos(y), 1.0, a), adjoint=adjoint
        ).value
    )
    a = 0.5
    y = 0.0
    for _ in range(200):
        y = a * np.cos(y)
    d = 1 + a * np.sin(y)
    first = np.cos(y) / d
    second = (
        -np.sin(y) * first / d - np.cos(y) * (np.sin(y) + a * np.cos(y) * first) / d**2
    )
    np.testing.assert_allclose(jax.grad(solve)(a), first, rtol=_tolerance())
    np.testing.assert_allclose(
        jax.grad(jax.grad(solve))(a), second, rtol=_tolerance(10)
    )


@pytest.mark.parametrize("adjoint", ADJOINTS, ids=repr)
@pytest.mark.slow_in_x64
def test_closed_over_value_under_vmap_and_jit(adjoint):
    def solve(a):
        problem = fp.FixedPoint(lambda y, args: a * jnp.cos(y), 1.0)
        return fp.solve(problem, adjoint=adjoint).value

    a = jnp.array([0.1, 0.3, 0.5])
    lanes = jax.jit(jax.vmap(jax.grad(solve)))(a)
    for lane, value in zip(lanes, a, strict=True):
        y = float(solve(value))
        expected = np.cos(y) / (1 + float(value) * np.sin(y))
        np.testing.assert_allclose(lane, expected, rtol=_tolerance())


@pytest.mark.parametrize("adjoint", ADJOINTS, ids=repr)
@pytest.mark.slow_in_x64
def test_complex_against_finite_differences(adjoint):
    # A map that is not holomorphic, so that a wrong conjugation shows.
    def loss(parts):
        c = jax.lax.complex(parts[0], parts[1])
        fn = lambda y, c: 0.4 * jnp.conj(y) * c + 0.3 * y**2 + c
        y = fp.solve(
            fp.FixedPoint(fn, jnp.zeros((), c.dtype), c), adjoint=adjoint
        ).value
        return jnp.real(y) + 2 * jnp.imag(y) ** 2

    with jax.enable_x64(True):
        parts = jnp.array([0.3, -0.2])
        found = jax.grad(loss)(parts)
        step = 1e-6
        expected = [
            (loss(parts + step * e) - loss(parts - step * e)) / (2 * step)
            for e in jnp.eye(2)
        ]
    np.testing.assert_allclose(found, np.array(expected), rtol=1e-6)


@pytest.mark.parametrize("adjoint", ADJOINTS, ids=repr)
@pytest.mark.slow_in_x64
def test_integer_and_key_arguments_have_no_derivative(adjoint, getkey):
    key = getkey()

    def loss(a):
        fn = lambda y, args: args[0] * y + jr.normal(args[1], y.shape) * args[2]
        args = (a, key, jnp.array(2))
        problem = fp.FixedPoint(fn, jnp.zeros(3), args)
        with jax.numpy_dtype_promotion("standard"):
            return jnp.sum(fp.solve(problem, adjoint=adjoint).value)

    noise = 2 * float(jnp.sum(jr.normal(key, (3,))))
    np.testing.assert_allclose(jax.grad(loss)(0.5), noise / 0.25, rtol=1e-3)


@pytest.mark.parametrize("adjoint", ADJOINTS, ids=repr)
def test_bfloat16_and_float32_keep_their_dtype(adjoint):
    for dtype, rtol in ((jnp.bfloat16, 0.15), (jnp.float32, 1e-4)):
        solve = lambda a: (
            fp.solve(
                fp.FixedPoint(lambda y, a: a * y + 1, jnp.zeros((), a.dtype), a),
                adjoint=adjoint,
            ).value
        )
        gradient = jax.grad(solve)(jnp.asarray(0.5, dtype))
        assert gradient.dtype == dtype
        np.testing.assert_allclose(float(gradient), 4.0, rtol=rtol)


@pytest.mark.slow_in_x64
def test_derivative_does_not_depend_on_the_iteration(getkey):
    w, x = _tanh_problem(getkey(), 8)
    gradients = [
        jax.grad(
            lambda x, i=i: jnp.sum(_equilibrium(w, x, implicit.Implicit(), iteration=i))
        )(x)
        for i in (fp.Picard(), fp.Picard(0.5), fp.Anderson())
    ]
    for g in gradients[1:]:
        np.testing.assert_allclose(g, gradients[0], atol=_tolerance())


@pytest.mark.slow_in_x64
def test_one_of_many_solutions_gets_the_smallest_derivative():
    # Every point with y1 + y2 = b is fixed; I - J has rank one.
    def solve(b):
        fn = lambda y, b: y - 0.5 * (jnp.sum(y) - b)
        return fp.solve(fp.FixedPoint(fn, jnp.array([1.0, 0.0]), b)).value

    np.testing.assert_allclose(jax.jacfwd(solve)(3.0), [0.5, 0.5], rtol=1e-4)
    np.testing.assert_allclose(jax.jacrev(solve)(3.0), [0.5, 0.5], rtol=1e-4)


def _expanding(a, adjoint, throw):
    # 0 is fixed, but y -> y + a has no fixed point near: I - J is zero, b is not.
    fn = lambda y, a: jnp.where(a == 0, y, y) + a
    return fp.solve(fp.FixedPoint(fn, 1.0, a), adjoint=adjoint, throw=throw).value


@pytest.mark.parametrize(
    "adjoint, differentiate",
    [(implicit.Implicit(), jax.jacfwd), (implicit.TwoPhase(), jax.grad)],
    ids=["Implicit", "TwoPhase"],
)
@pytest.mark.slow_in_x64
def test_a_derivative_that_does_not_exist_is_reported(adjoint, differentiate):
    with pytest.raises(Exception, match="derivative was not solved"):
        jax.block_until_ready(
            eqx.filter_jit(differentiate(lambda a: _expanding(a, adjoint, True)))(0.0)
        )
    assert np.isnan(differentiate(lambda a: _expanding(a, adjoint, False))(0.0))


@pytest.mark.slow_in_x64
def test_backward_does_not_see_the_steps(getkey):
    # The compiled gradient holds no more memory for 10000 steps than for 10.
    def temporaries(max_steps):
        def loss(w, x):
            y = _equilibrium(w, x, None, max_steps=max_steps, throw=False)
            return jnp.sum(y)

        w, x = _tanh_problem(jr.key(0), 20)
        compiled = jax.jit(jax.grad(loss)).lower(w, x).compile()
        memory = compiled.memory_analysis()
        assert memory is not None
        return memory.temp_size_in_bytes

    assert temporaries(10) == temporaries(10_000)
