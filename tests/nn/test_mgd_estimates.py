import warnings
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from fixproj import nn
from fixproj.nn._mgd._families import PERTURBATIONS


pytestmark = pytest.mark.slow_in_x64


FAMILIES = ("rademacher", "gaussian", "sequential", "walsh", "sinusoidal", "orthogonal")
EXACT = ("sequential", "walsh", "sinusoidal", "orthogonal")


def deep(params, x):
    """Eight layers of one width: a key shared by them would show."""
    for w in params[:-1]:
        x = jnp.tanh(x @ w)
    return jnp.mean((x @ params[-1]) ** 2)


def deep_params(key, width, dtype=None):
    keys = jr.split(key, 8)
    return [1.2 * jr.normal(k, (width, width), dtype) / width**0.5 for k in keys]


def ravel(tree):
    return jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(tree)])


def cosine(a, b):
    return jnp.vdot(a, b) / jnp.linalg.norm(a) / jnp.linalg.norm(b)


@pytest.mark.one_precision
@pytest.mark.parametrize(
    "name",
    ["walsh", "sequential"]
    + [pytest.param(n, marks=pytest.mark.slow) for n in FAMILIES if n[0] in "rgo"]
    + [pytest.param("sinusoidal", marks=pytest.mark.slow)],
)
@pytest.mark.slow
def test_cosine_is_that_of_theory(name):
    params, x = deep_params(jr.key(0), 8), jr.normal(jr.key(1), (16, 8))
    gradient = ravel(jax.grad(deep)(params, x))
    find = nn.mgd_value_and_grad(deep, perturbation=name, probes=128)

    @jax.jit
    @jax.vmap
    def cosines(key):
        return cosine(ravel(find(params, x, key=key)[1]), gradient)

    found = np.asarray(cosines(jr.split(jr.key(2), 48)))
    theory = PERTURBATIONS[name].expected_cosine(gradient.size, 128)
    # Within 2 %, beyond what 48 samples cannot tell.
    spread = 3 * found.std() / 48**0.5
    assert abs(found.mean() - theory) < 0.02 * theory + spread
    assert spread < 0.05


@pytest.mark.slow
@pytest.mark.one_precision
@pytest.mark.parametrize("name", FAMILIES)
def test_cosine_of_eight_wide_layers(name):
    params, x = deep_params(jr.key(0), 32), jr.normal(jr.key(1), (16, 32))
    gradient = ravel(jax.grad(deep)(params, x))
    probes = 512 if name == "orthogonal" else 2048
    find = jax.jit(nn.mgd_value_and_grad(deep, perturbation=name, probes=probes))
    found = [
        cosine(ravel(find(params, x, key=key)[1]), gradient)
        for key in jr.split(jr.key(2), 8)
    ]
    theory = PERTURBATIONS[name].expected_cosine(gradient.size, probes)
    np.testing.assert_allclose(np.mean(found), theory, rtol=0.02)


@pytest.mark.parametrize(
    "name",
    [
        "walsh",
        *(pytest.param(n, marks=pytest.mark.slow) for n in EXACT[:1] + EXACT[2:]),
    ],
)
def test_a_full_period_is_the_gradient(name):
    params, x = deep_params(jr.key(3), 4), jr.normal(jr.key(4), (16, 4))
    gradient = ravel(jax.grad(deep)(params, x))
    # Exact for any dtype where the cost is: a quadratic one has no third derivative.
    target = jr.normal(jr.key(5), gradient.shape)
    quadratic = lambda p: jnp.mean((ravel(p) - target) ** 2)
    size = gradient.size
    period = PERTURBATIONS[name].period(size) or size
    options: dict[str, Any] = {"perturbation": name, "probes": period}
    value, found = jax.jit(nn.mgd_value_and_grad(deep, **options))(
        params, x, key=jr.key(6)
    )
    tolerance = 1e-3 if jnp.result_type(float) == jnp.float32 else 1e-6
    error = jnp.linalg.norm(ravel(found) - gradient) / jnp.linalg.norm(gradient)
    assert error < tolerance
    np.testing.assert_allclose(value, deep(params, x), rtol=1e-3)
    find = nn.mgd_value_and_grad(quadratic, epsilon=0.1, **options)
    found = ravel(jax.jit(find)(params, key=jr.key(6))[1])
    expected = ravel(jax.grad(quadratic)(params))
    assert jnp.linalg.norm(found - expected) < 1e-4 * jnp.linalg.norm(expected)


@pytest.mark.one_precision
@pytest.mark.parametrize(
    "name",
    ["sequential", *(pytest.param(n, marks=pytest.mark.slow) for n in EXACT[1:3])],
)
def test_successive_steps_make_a_period(name):
    params = jr.normal(jr.key(0), (13,))
    cost = lambda p: jnp.sum(jnp.sin(jnp.arange(13.0) * 0.3) * p)
    find = nn.mgd_value_and_grad(cost, perturbation=name, epsilon=0.1)
    period = PERTURBATIONS[name].period(13) or 0
    steps = jnp.arange(5, 5 + period)
    each = jax.vmap(lambda step: find(params, key=jr.key(1), step=step)[1])
    expected = jnp.sin(jnp.arange(13.0) * 0.3)
    np.testing.assert_allclose(
        jnp.mean(jax.jit(each)(steps), axis=0), expected, atol=1e-5
    )


@pytest.mark.parametrize("scheme", ["central", "forward"])
def test_mixed_pytrees(scheme):
    factor = jnp.asarray(2.0)
    params = {
        "w": jnp.asarray([1.0, -2.0]),
        "z": jnp.asarray([1.0 + 2.0j]),
        "n": jnp.arange(3),
        "half": jnp.asarray(0.5, jnp.float16),
    }

    def cost(p, x):
        return factor * jnp.sum(p["w"] * x) * jnp.real(p["z"][0] * (1 - 1j)) + (
            p["n"][2] * p["half"].astype(x.dtype)
        ).astype(x.dtype)

    with jax.numpy_dtype_promotion("standard"):
        x = jnp.asarray([0.5, 1.5])
        _, expected = jax.value_and_grad(
            lambda q: cost({**params, **q}, x),
        )({k: v for k, v in params.items() if k != "n"})
        find = nn.mgd_value_and_grad(
            cost, perturbation="walsh", probes=8, scheme=scheme, epsilon=2.0**-6
        )
        value, found = find(params, x, key=jr.key(0))
    assert jax.tree.structure(found) == jax.tree.structure(params)
    for name, gradient in expected.items():
        assert found[name].dtype == params[name].dtype
        # Forward differences keep half the second derivative along the direction.
        tolerance = 2e-3 if scheme == "central" else 0.3
        np.testing.assert_allclose(found[name], gradient, atol=tolerance)
    assert found["n"].dtype == params["n"].dtype and not found["n"].any()
    assert jnp.isfinite(value)


@pytest.mark.one_precision
def test_keys_differ_between_leaves():
    """Equal shapes get unequal directions."""
    for name in FAMILIES:
        like = [jax.ShapeDtypeStruct((40,), jnp.float32)] * 2
        draw = PERTURBATIONS[name].draw
        a, b = draw(jr.key(0), jnp.zeros(1, jnp.uint32), like)
        assert not np.array_equal(a, b) or not a.any(), name


@pytest.mark.one_precision
def test_sequential_and_chunks_visit_every_parameter_once():
    like = [jax.ShapeDtypeStruct((5,), jnp.float32)] * 2
    a, b = PERTURBATIONS["sequential"].draw(
        jr.key(3), jnp.arange(10, dtype=jnp.uint32), like
    )
    np.testing.assert_array_equal(jnp.sum(a, 0), np.ones(5))
    np.testing.assert_array_equal(jnp.sum(b, 1) + jnp.sum(a, 1), np.ones(10))
    cost = lambda w: jnp.sum(jnp.sin(w))
    w, key = jnp.arange(7.0), jr.key(0)
    whole = nn.mgd_value_and_grad(cost, probes=10)(w, key=key)
    parts = nn.mgd_value_and_grad(cost, probes=10, chunk=3)(w, key=key)
    np.testing.assert_allclose(whole[1], parts[1], rtol=1e-4)
    np.testing.assert_allclose(whole[0], parts[0], rtol=1e-5)


def test_feeds_optax():
    target = jr.normal(jr.key(0), (6,))
    cost = lambda w: jnp.sum((w["a"] - target) ** 2)
    find = nn.mgd_value_and_grad(cost, probes=2)
    optimiser = optax.adam(0.05)

    def step(carry, key):
        w, state = carry
        value, gradient = find(w, key=key)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimiser.update(gradient, state)
        return (optax.apply_updates(w, updates), state), value

    w = {"a": jnp.zeros(6)}
    keys = jr.split(jr.key(1), 300)
    with jax.numpy_dtype_promotion("standard"), warnings.catch_warnings():
        # At the minimum there is nothing left to measure.
        warnings.simplefilter("ignore", nn.mgd.LostPerturbationWarning)
        (w, _), _ = jax.jit(lambda c: jax.lax.scan(step, c, keys))(
            (w, optimiser.init(w))
        )
    np.testing.assert_allclose(w["a"], target, atol=0.05)


class Chip:
    """A device: counts its calls, wants host arrays, is not JAX."""

    def __init__(self):
        self.calls = []

    def __call__(self, params, x):
        assert type(params["w"]) is np.ndarray and type(x) is np.ndarray
        self.calls.append(params["w"].copy())
        return float(np.sum(params["w"] ** 3 * x))


@pytest.mark.parametrize("scheme", ["central", "forward"])
def test_black_box_eager_and_jitted(scheme):
    params, x = {"w": jnp.asarray([1.0, 2.0, -1.0])}, jnp.asarray([1.0, 0.5, 2.0])
    chip = Chip()
    find = nn.mgd_value_and_grad(
        chip, perturbation="walsh", probes=4, scheme=scheme, black_box=True
    )
    value, gradient = find(params, x, key=jr.key(0))
    count = 8 if scheme == "central" else 5
    assert len(chip.calls) == count
    tolerance = 2e-3 if scheme == "central" else 2e-2
    expected = 3 * params["w"] ** 2 * x
    np.testing.assert_allclose(gradient["w"], expected, rtol=tolerance)
    value_jit, gradient_jit = jax.jit(lambda p, k: find(p, x, key=k))(params, jr.key(0))
    assert len(chip.calls) == 2 * count
    np.testing.assert_array_equal(chip.calls[:count], chip.calls[count:])
    np.testing.assert_allclose(gradient_jit["w"], gradient["w"], rtol=1e-5)
    np.testing.assert_allclose(value_jit, value, rtol=1e-6)
    traceable = nn.mgd_value_and_grad(
        lambda p, x: jnp.sum(p["w"] ** 3 * x),
        perturbation="walsh",
        probes=4,
        scheme=scheme,
    )
    np.testing.assert_allclose(
        traceable(params, x, key=jr.key(0))[1]["w"], gradient["w"], rtol=1e-2
    )


@pytest.mark.one_precision
def test_black_box_keeps_the_digits_of_the_host():
    """The device's float64 shows a change of 1e-8 of its cost."""
    find = nn.mgd_value_and_grad(
        lambda w: 1e6 + float(w[0]), probes=1, black_box=True, epsilon=0.01
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", nn.mgd.LostPerturbationWarning)
        _, gradient = find(jnp.zeros(1), key=jr.key(0))
    np.testing.assert_allclose(gradient, 1.0, rtol=1e-3)


@pytest.mark.one_precision
def test_lost_perturbations_are_told():
    w = jnp.ones(4, jnp.bfloat16)
    cost = lambda w: jnp.sum(w * w)
    lost = nn.mgd_value_and_grad(cost, epsilon=1e-4)
    with pytest.warns(nn.mgd.LostPerturbationWarning, match="try an epsilon"):
        _, gradient = lost(w, key=jr.key(0))
    assert not gradient.any()
    with pytest.warns(nn.mgd.LostPerturbationWarning):
        jax.block_until_ready(jax.jit(lambda k: lost(w, key=k))(jr.key(0)))
        jax.effects_barrier()
    found = nn.mgd_value_and_grad(cost, perturbation="walsh", probes=4)(
        w, key=jr.key(0)
    )
    np.testing.assert_allclose(found[1].astype(jnp.float32), 2.0, rtol=0.2)


@pytest.mark.one_precision
@pytest.mark.parametrize("traced", [False, True])
def test_failures_of_a_device_are_left_out(traced):
    calls = [0]

    def flaky(w):
        calls[0] += 1
        if calls[0] in (2, 3):
            raise TimeoutError("no reply")
        return float("nan") if calls[0] % 7 == 0 else float(np.sum(w))

    device = nn.mgd.Device(flaky, retries=2)
    find = nn.mgd_value_and_grad(device, probes=8, perturbation="walsh", black_box=True)
    call = lambda w, key: find(w, key=key)
    _, gradient = (jax.jit(call) if traced else call)(jnp.zeros(8), jr.key(0))
    np.testing.assert_allclose(gradient, np.ones(8), rtol=1e-4)
    assert device.report["failures"] == 2 + 2 and device.report["skipped"] == 0
    assert "nan" in device.report["last_error"]


@pytest.mark.one_precision
def test_skipped_measurements_and_a_dead_device():
    answers = iter([float("nan")] * 2 + [1.0] * 100)
    cost = lambda w: next(answers) * float(np.sum(w))
    device = nn.mgd.Device(cost, retries=1)
    find = nn.mgd_value_and_grad(device, probes=9, perturbation="walsh", black_box=True)
    with pytest.warns(nn.mgd.DeviceWarning, match="left out"):
        value, gradient = find(jnp.ones(2), key=jr.key(0))
    assert device.report["skipped"] == 1 and jnp.isfinite(value)
    np.testing.assert_allclose(gradient, np.ones(2), rtol=1e-3)

    def dead(w):
        raise ConnectionError("gone")

    recovered = []
    device = nn.mgd.Device(dead, retries=1, recover=lambda: recovered.append(1))
    find = nn.mgd_value_and_grad(device, probes=2, black_box=True)
    with pytest.warns(nn.mgd.DeviceWarning, match="gone"):
        value, gradient = find(jnp.ones(2), key=jr.key(0))
    assert jnp.isnan(value) and not gradient.any() and len(recovered) == 4
    broken = nn.mgd_value_and_grad(lambda w: w["typo"], black_box=True)
    with pytest.raises(IndexError):
        broken(jnp.ones(2), key=jr.key(0))


@pytest.mark.one_precision
def test_bad_input():
    cost = lambda w: jnp.sum(w**2)
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"perturbation": "white"}, "perturbation must be one of"),
        ({"probes": 0}, "probes"),
        ({"scheme": "backward"}, "scheme must be one of"),
        ({"epsilon": -1.0}, "epsilon"),
        ({"chunk": 0}, "chunk"),
    )
    for options, match in cases:
        with pytest.raises(ValueError, match=match):
            nn.mgd_value_and_grad(cost, **options)
    with pytest.raises(TypeError, match="callable"):
        nn.mgd_value_and_grad(3)  # pyright: ignore
    with pytest.raises(TypeError, match="real scalar"):
        nn.mgd_value_and_grad(lambda w: w)(jnp.ones(2), key=jr.key(0))
    with pytest.raises(TypeError, match="no floating-point"):
        nn.mgd_value_and_grad(cost)(jnp.arange(2), key=jr.key(0))
    with pytest.raises(TypeError, match="AbstractNoise"):
        nn.mgd_value_and_grad(cost, noise=[0.1])  # pyright: ignore
    with pytest.raises(ValueError, match="orthogonal directions"):
        nn.mgd_value_and_grad(cost, perturbation="orthogonal", probes=3)(
            jnp.ones(2), key=jr.key(0)
        )


@pytest.mark.one_precision
def test_noise_models():
    w, key = jnp.ones(64), jr.key(0)
    cost = lambda w: jnp.sum(w)
    find = lambda *noise: nn.mgd_value_and_grad(
        cost, perturbation="walsh", probes=64, epsilon=0.1, noise=noise
    )(w, key=key)[1]
    clean = find()
    np.testing.assert_allclose(clean, np.ones(64), rtol=1e-3)
    # Noise s on each cost is s / (sqrt(2) e) on a slope, and that over sqrt(64) on a
    # component of the mean.
    noisy = find(nn.mgd.CostNoise(1.0))
    np.testing.assert_allclose(jnp.std(noisy), 1 / (2**0.5 * 0.1 * 8), rtol=0.4)
    wrong = find(nn.mgd.AmplitudeError(0.3, seed=1))
    np.testing.assert_allclose(jnp.std(wrong), 0.3, rtol=0.4)
    defective = find(nn.mgd.Defects(gain=0.2, seed=4))
    np.testing.assert_allclose(jnp.std(defective), 0.2, rtol=0.4)
    both = find(nn.mgd.Defects(0.2, seed=4), nn.mgd.AmplitudeError(0.3, seed=1))
    np.testing.assert_allclose(both, defective * wrong, rtol=1e-2)
    for stochastic in (True, False):
        quantised = nn.mgd.QuantisedUpdates(0.25, stochastic=stochastic)
        (values,) = quantised(key, [jnp.full(4000, 0.1)])
        np.testing.assert_allclose(values % 0.25, 0)
        np.testing.assert_allclose(jnp.mean(values), 0.1 * stochastic, atol=0.01)
    with pytest.raises(ValueError, match="deviation"):
        nn.mgd.CostNoise(-1.0)


@pytest.mark.one_precision
def test_memory_is_that_of_the_cost():
    """Thirty probes one by one need no more memory than two."""
    cost = lambda w: jnp.sum(jnp.sin(w))
    w, key = jnp.zeros(200_000), jr.key(0)

    def bytes_of(probes):
        find = nn.mgd_value_and_grad(cost, probes=probes, chunk=1)
        compiled = jax.jit(lambda w, key: find(w, key=key)).lower(w, key).compile()
        analysis = compiled.memory_analysis()
        assert analysis is not None
        return analysis.temp_size_in_bytes

    assert bytes_of(30) <= bytes_of(2) * 1.05


@pytest.mark.one_precision
def test_a_batch_is_told_of_once():
    """A callback for each of many lanes would take minutes to compile."""
    find = nn.mgd_value_and_grad(lambda w: 1e6 + jnp.sum(w), epsilon=1e-6)
    lanes = jax.vmap(lambda key: find(jnp.ones(3), key=key)[1])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        text = str(jax.make_jaxpr(lanes)(jr.split(jr.key(0), 1000)))
        lanes(jr.split(jr.key(0), 1000)).block_until_ready()
        jax.effects_barrier()
    assert text.count("debug_callback[") == 1
    assert [w.category for w in caught] == [nn.mgd.LostPerturbationWarning]
