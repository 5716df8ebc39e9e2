"""Solvers that JAX cannot see into, against closed forms and differences."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.optimize

from fixproj import implicit


custom_fixed_point, custom_root = implicit.custom_fixed_point, implicit.custom_root
MATRIX = np.array([[1.0, 2.0], [3.0, 4.0]])
# The Rayleigh quotient at the normalised right eigenvector v of a matrix that is not
# symmetric, as in the README of fax, where this is printed to eight digits.
GRADIENT = [[0.23888351, 0.52223295], [0.34815535, 0.76111656]]


def power_step(y, matrix):
    y = matrix @ y
    return y / jnp.linalg.norm(y)


def largest_eigenvector(y0, matrix):
    w, v = np.linalg.eig(matrix)
    v = v[:, np.argmax(w)]
    return v * np.sign(v.sum())


def _rtol():
    return 1e-4 if jnp.zeros(()).dtype == jnp.float32 else 1e-8


@pytest.mark.one_precision
def test_power_iteration_by_numpy_eager_and_jitted():
    matrix = jnp.asarray(MATRIX)

    def gradient(solver):
        def eigenvalue(matrix):
            y = solver(jnp.ones(2), matrix)
            return y @ matrix @ y

        return jax.grad(eigenvalue)

    eager = custom_fixed_point(power_step)(largest_eigenvector)
    hosted = custom_fixed_point(power_step, on_host=True)(largest_eigenvector)

    def by_callback(y0, matrix):
        return jax.pure_callback(
            lambda y0, m: largest_eigenvector(y0, m).astype(y0.dtype), y0, y0, matrix
        )

    called = custom_fixed_point(power_step)(by_callback)
    for solver, jit in ((eager, False), (hosted, True), (called, True)):
        fn = jax.jit(gradient(solver)) if jit else gradient(solver)
        np.testing.assert_allclose(fn(matrix), GRADIENT, rtol=1e-6)
    with pytest.raises(TypeError, match="on_host=True"):
        jax.jit(gradient(eager))(matrix)


@pytest.mark.slow
def test_every_mode_through_scipy():
    def residual(y, a):
        return jnp.array([y[0] ** 2 + a * y[1] - 3, y[0] * y[1] - a])

    @custom_root(residual, on_host=True)
    def solve(y0, a):
        def fn(y):
            return [y[0] ** 2 + a * y[1] - 3, y[0] * y[1] - a]

        return scipy.optimize.fsolve(fn, y0, xtol=1e-14)

    loss = lambda a: jnp.sum(solve(jnp.array([1.0, 1.0]), a) ** 3)
    exact = lambda a: float(_closed_form_loss(a))
    a, h = 0.7, 1e-4
    first = (exact(a + h) - exact(a - h)) / (2 * h)
    second = (exact(a + h) - 2 * exact(a) + exact(a - h)) / h**2
    loose = 1e-3 if jnp.zeros(()).dtype == jnp.float32 else 1e-6
    for mode in (jax.grad, jax.jacfwd, jax.jacrev):
        np.testing.assert_allclose(mode(loss)(a), first, rtol=loose)
    np.testing.assert_allclose(jax.jvp(loss, (a,), (1.0,))[1], first, rtol=loose)
    np.testing.assert_allclose(jax.linearize(loss, a)[1](1.0), first, rtol=loose)
    for mode in (jax.hessian, lambda f: jax.grad(jax.grad(f))):
        np.testing.assert_allclose(mode(loss)(a), second, rtol=10 * loose)
    lanes = jnp.array([0.6, 0.7, 0.8])
    found = jax.jit(jax.vmap(jax.grad(loss)))(lanes)
    np.testing.assert_allclose(found[1], first, rtol=loose)


def _closed_form_loss(a):
    # y1 = a / y0 leaves y0^3 - 3 y0 + a^2 = 0; the root that Newton finds from 1.
    roots = np.roots([1.0, 0.0, -3.0, a**2])
    y0 = max(r.real for r in roots if abs(r.imag) < 1e-12)
    return y0**3 + (a / y0) ** 3


def test_closure_tree_key_integer_none_and_aux():
    key = jr.key(3)

    def loss(scale, shift):
        # `shift` is closed over by both functions and differentiated.
        def fn(y, scale, key, power, nothing):
            assert nothing is None
            noise = jr.normal(key, y["a"].shape, y["a"].dtype)
            tanh = jnp.tanh(y["a"] / 4)
            return {"a": scale * noise + tanh, "b": (y["b"][0] / 2 + shift**power,)}

        @custom_fixed_point(fn, has_aux=True)
        def solve(y0, *args):
            y, _ = jax.lax.while_loop(
                lambda c: c[1] < 60, lambda c: (fn(c[0], *args), c[1] + 1), (y0, 0)
            )
            return y, jnp.array(7)

        y0 = {"a": jnp.zeros(3), "b": (jnp.zeros(()),)}
        y, aux = solve(y0, scale, key, jnp.array(2), None)
        return jnp.sum(y["a"]) + y["b"][0], aux

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
    (by_scale, by_shift), aux = gradient(0.5, 3.0)
    assert aux == 7
    noise = np.asarray(jr.normal(key, (3,)), np.float64)
    y = np.zeros(3)
    for _ in range(100):
        y = 0.5 * noise + np.tanh(y / 4)
    expected = np.sum(noise / (1 - (1 - np.tanh(y / 4) ** 2) / 4))
    np.testing.assert_allclose(by_scale, expected, rtol=10 * _rtol())
    np.testing.assert_allclose(by_shift, 12.0, rtol=_rtol())


@pytest.mark.one_precision
def test_complex_and_dtypes():
    # Not holomorphic: y = c + conj(y) c / 3; the linear equation is solved by NumPy.
    fn = lambda y, c: c + jnp.conj(y) * c / 3

    @custom_fixed_point(fn, on_host=True)
    def solve(y0, c):
        re, im = c.real / 3, c.imag / 3
        matrix = np.array([[1 - re, -im], [-im, 1 + re]])
        u, v = np.linalg.solve(matrix, [c.real, c.imag])
        return np.asarray(u + 1j * v)

    def loss(parts):
        y = solve(jnp.zeros((), complex), jax.lax.complex(parts[0], parts[1]))
        return jnp.real(y) + 2 * jnp.imag(y) ** 2

    with jax.enable_x64(True):
        parts, h = jnp.array([0.3, -0.2]), 1e-6
        loss_jit = jax.jit(loss)
        expected = [
            (loss_jit(parts + h * e) - loss_jit(parts - h * e)) / (2 * h)
            for e in jnp.eye(2)
        ]
        found = jax.grad(loss)(parts)
        np.testing.assert_allclose(found, np.array(expected), rtol=1e-7)
        # float32 and bfloat16 stay what they are, though NumPy answers in float64.
        half = custom_fixed_point(lambda y, a: y / 2 + a, on_host=True)(
            lambda y0, a: 2 * np.asarray(a, np.float64)
        )
        for dtype in (jnp.float32, jnp.bfloat16):
            a = jnp.asarray(1.5, dtype)
            value, slope = jax.value_and_grad(lambda a: half(jnp.zeros_like(a), a))(a)
            assert value.dtype == slope.dtype == dtype
            np.testing.assert_allclose(float(slope), 2.0, rtol=1e-2)


@pytest.mark.one_precision
def test_an_answer_that_is_none_is_refused():
    half = lambda y, a: y / 2 + a
    wrong = lambda y0, a: 2 * a + 0.1
    with pytest.raises(eqx.EquinoxRuntimeError, match="residual 5.00e-02"):
        custom_fixed_point(half)(wrong)(0.0, 1.0)
    with pytest.raises(Exception, match="no solution of"):
        jax.block_until_ready(eqx.filter_jit(custom_fixed_point(half)(wrong))(0.0, 1.0))
    with pytest.raises(eqx.EquinoxRuntimeError, match="fn\\(y, \\*args\\) = 0"):
        custom_root(lambda y, a: y - a)(lambda y0, a: y0)(0.0, 1.0)
    with pytest.raises(eqx.EquinoxRuntimeError, match="no solution"):
        custom_root(lambda y, a: y - a)(lambda y0, a: a * jnp.nan)(0.0, 1.0)
    accepted = custom_fixed_point(half, rtol=float("inf"))(wrong)
    assert float(accepted(0.0, 1.0)) == pytest.approx(2.1)
    assert float(jax.grad(accepted, argnums=1)(0.0, 1.0)) == pytest.approx(2.0)


@pytest.mark.one_precision
def test_errors_name_what_is_wrong():
    with pytest.raises(TypeError, match="`fn` must be a function"):
        custom_root(3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="`adjoint` must be"):
        custom_root(jnp.sin, adjoint="implicit")  # pyright: ignore
    with pytest.raises(ValueError, match="`rtol` must be a scalar >= 0"):
        custom_fixed_point(jnp.sin, rtol=-1.0)
    with pytest.raises(ValueError, match="`has_aux`"):
        custom_fixed_point(jnp.sin, has_aux=True, on_host=True)
    with pytest.raises(TypeError, match="decorated solver"):
        custom_fixed_point(jnp.cos)(1.0)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="`fn` must return the structure"):
        custom_fixed_point(lambda y: (y, y))(lambda y0: y0)(1.0)
    with pytest.raises(ValueError, match="`fn` must return the shapes"):
        custom_fixed_point(lambda y: jnp.stack([y, y]))(lambda y0: y0)(1.0)
    with pytest.raises(TypeError, match=r"answer\['a'\] must be a number"):
        custom_fixed_point(lambda y: y)(lambda y0: {"a": jnp.array(True)})(1.0)
    for answer, match in (
        (np.zeros(3), "must have the shape of `y0`"),
        (np.array([1j, 1j]), "is complex"),
        ((0.0, 0.0), "the structure of `y0`"),
    ):
        solve = custom_fixed_point(lambda y: y, on_host=True)(lambda y0, a=answer: a)
        with pytest.raises(Exception, match=match):
            jax.block_until_ready(solve(jnp.zeros(2)))
