# pyright: reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportArgumentType=false, reportIndexIssue=false
# pyright: reportOptionalMemberAccess=false
"""Layers against Flax on the same weights."""

from typing import Any

import equinox as eqx
import flax.linen as linen
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from fixproj import nn, projections as proj


pytestmark = pytest.mark.one_precision


def perturbed(variables, key):
    """Random numbers in place of the initial ones; positive variances."""
    flat, treedef = jax.tree_util.tree_flatten_with_path(variables)
    keys = jr.split(key, len(flat))
    new = []
    for (path, leaf), k in zip(flat, keys, strict=True):
        value = jr.normal(k, leaf.shape)
        new.append(1 + value**2 if "var" in jax.tree_util.keystr(path) else value)
    return treedef.unflatten(new)


def against(ours, theirs, x, key, names=None, **options):
    """Both on the same weights; ours as made with inferred shapes."""
    shapes = jax.eval_shape(lambda: theirs.init(jr.key(0), x))
    variables = perturbed(shapes, key)
    model = ours.init(0, x)
    merged = {k: v for collection in variables.values() for k, v in collection.items()}
    for name in names or merged:
        leaf = merged[name]
        assert getattr(model, name).shape == leaf.shape
        assert getattr(model, name).dtype == leaf.dtype
        model = model.replace(**{name: leaf})
    y = jax.jit(lambda m: nn.call(m, x))(model)
    return model, variables, y


CASES = {
    "linear": (nn.Linear(4), linen.Dense(4), (2, 3, 5)),
    "linear without bias": (
        nn.Linear(4, use_bias=False),
        linen.Dense(4, use_bias=False),
        (5,),
    ),
    "conv 1": (nn.Conv(4, 3), linen.Conv(4, (3,)), (2, 7, 3)),
    "conv 2": (
        nn.Conv(4, [3, 2], strides=2, padding="VALID"),
        linen.Conv(4, (3, 2), strides=2, padding="VALID"),
        (2, 7, 6, 3),
    ),
    "conv 3": (nn.Conv(2, (2, 2, 2)), linen.Conv(2, (2, 2, 2)), (1, 4, 4, 3, 2)),
    "conv groups": (
        nn.Conv(4, (3, 3), groups=2, dilation=2, use_bias=False),
        linen.Conv(4, (3, 3), feature_group_count=2, kernel_dilation=2, use_bias=False),
        (2, 6, 6, 6),
    ),
    "conv circular": (
        nn.Conv(2, (3, 4), padding="CIRCULAR", dilation=(1, 2)),
        linen.Conv(2, (3, 4), padding="CIRCULAR", kernel_dilation=(1, 2)),
        (2, 7, 8, 3),
    ),
    "conv causal": (
        nn.Conv(2, 3, padding="CAUSAL", dilation=2),
        linen.Conv(2, (3,), padding="CAUSAL", kernel_dilation=2),
        (2, 7, 3),
    ),
    "conv pads": (
        nn.Conv(2, (3, 3), padding=(1, (0, 2))),
        linen.Conv(2, (3, 3), padding=[(1, 1), (0, 2)]),
        (3, 5, 5, 2),
    ),
    "conv unbatched": (nn.Conv(2, (3, 3)), linen.Conv(2, (3, 3)), (5, 5, 2)),
    "conv two batch axes": (nn.Conv(2, (3,)), linen.Conv(2, (3,)), (2, 3, 5, 2)),
    "conv transpose 1": (
        nn.ConvTranspose(4, 3, strides=2),
        linen.ConvTranspose(4, (3,), strides=(2,)),
        (2, 7, 3),
    ),
    "conv transpose 2": (
        nn.ConvTranspose(4, (3, 3), strides=2, padding="VALID", dilation=2),
        linen.ConvTranspose(
            4, (3, 3), strides=(2, 2), padding="VALID", kernel_dilation=(2, 2)
        ),
        (2, 5, 5, 3),
    ),
    "conv transpose 3": (
        nn.ConvTranspose(2, (2, 3, 2), strides=(2, 1, 2)),
        linen.ConvTranspose(2, (2, 3, 2), strides=(2, 1, 2)),
        (1, 3, 4, 2, 3),
    ),
    "conv transpose flipped": (
        nn.ConvTranspose(4, (3, 3), strides=2, transpose_kernel=True),
        linen.ConvTranspose(4, (3, 3), strides=(2, 2), transpose_kernel=True),
        (2, 5, 5, 3),
    ),
    "layer norm": (nn.LayerNorm(), linen.LayerNorm(), (2, 3, 5)),
    "layer norm without scale": (
        nn.LayerNorm(use_scale=False, epsilon=0.1),
        linen.LayerNorm(use_scale=False, epsilon=0.1),
        (2, 5),
    ),
    "rms norm": (nn.RMSNorm(), linen.RMSNorm(), (2, 3, 5)),
    "group norm": (nn.GroupNorm(2), linen.GroupNorm(2), (2, 4, 4, 6)),
    "group norm by size": (
        nn.GroupNorm(group_size=3),
        linen.GroupNorm(num_groups=None, group_size=3),
        (2, 4, 6),
    ),
}


QUICK = ("conv 2", "group norm")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in CASES],
)
def test_equals_flax(name, getkey):
    ours, theirs, shape = CASES[name]
    x = jr.normal(getkey(), shape)
    _, variables, (y, _) = against(ours, theirs, x, getkey())
    expected = jax.jit(theirs.apply)(variables, x)
    assert y.dtype == expected.dtype
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "kind", ["full", pytest.param("plain", marks=pytest.mark.slow)]
)
def test_batch_norm_equals_flax(kind, getkey):
    options: dict[str, Any] = {"momentum": 0.7, "epsilon": 1e-2}
    if kind == "plain":
        options |= {"use_scale": False, "use_bias": False}
    theirs = linen.BatchNorm(use_running_average=False, **options)
    average = linen.BatchNorm(use_running_average=True, **options)
    x = 2 + jr.normal(getkey(), (4, 3, 5))
    model, variables, (y, after) = against(nn.BatchNorm(**options), theirs, x, getkey())
    expected, new = theirs.apply(variables, x, mutable=["batch_stats"])
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    for name in ("mean", "var"):
        np.testing.assert_allclose(
            getattr(after, name), new["batch_stats"][name], rtol=1e-5
        )
    y, same = model.eval()(x)
    expected = average.apply(variables, x)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(same.mean, model.mean)
    # Statistics over a mapped axis are those of the whole.
    mapped = (
        nn.BatchNorm(axis_name="i", **options)
        .init(0, x)
        .replace(scale=model.scale, bias=model.bias, mean=model.mean, var=model.var)
    )
    ys, _ = jax.vmap(lambda x: mapped(x), axis_name="i")(x)
    np.testing.assert_allclose(ys, nn.call(model, x)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [pytest.param(False, marks=pytest.mark.slow), True])
def test_attention_equals_flax(causal, getkey):
    heads, size = 2, 6
    x, context = jr.normal(getkey(), (3, 4, 5)), jr.normal(getkey(), (3, 4, 5))
    theirs = linen.MultiHeadDotProductAttention(heads, qkv_features=size)
    variables = perturbed(jax.eval_shape(lambda: theirs.init(jr.key(0), x)), getkey())
    model = nn.MultiHeadAttention(heads, size).init(0, x)
    for name, part in variables["params"].items():
        bias = {f"{name}_bias": part["bias"]}
        assert getattr(model, name).shape == part["kernel"].shape
        model = model.replace(**{name: part["kernel"]}, **bias)
    mask = jr.bernoulli(getkey(), 0.7, (3, 1, 4, 4))
    lower = linen.make_causal_mask(jnp.ones((3, 4)), dtype=bool)
    both = linen.combine_masks(mask, lower, dtype=bool) if causal else mask
    y = jax.jit(lambda m: m(x, context, mask=mask, causal=causal))(model)
    expected = jax.jit(theirs.apply)(variables, x, context, mask=both)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(nn.LayerError, match="mask that broadcasts"):
        model(x, mask=jnp.ones((3, 2), bool))
    with pytest.raises(ValueError, match="4 heads do not divide 6"):
        nn.MultiHeadAttention(4, 6, features_in=3).init(0)


def _flax_cell(name, cell):
    """Flax's parameters with the numbers of ours."""
    if name == "rnn":
        i, h = cell.from_input, cell.from_hidden
        return {"i": {"kernel": i.kernel, "bias": i.bias}, "h": {"kernel": h.kernel}}
    inner = cell.cell
    ws = jnp.split(inner.weight_ih.T, 3 if name == "gru" else 4, axis=1)
    us = jnp.split(inner.weight_hh.T, len(ws), axis=1)
    bs = jnp.split(inner.bias, len(ws))
    if name == "lstm":
        parts = {f"i{g}": {"kernel": w} for g, w in zip("ifgo", ws, strict=True)}
        for g, u, b in zip("ifgo", us, bs, strict=True):
            parts[f"h{g}"] = {"kernel": u, "bias": b}
        return parts
    parts = {
        f"i{g}": {"kernel": w, "bias": b} for g, w, b in zip("rzn", ws, bs, strict=True)
    }
    parts |= {f"h{g}": {"kernel": u} for g, u in zip("rzn", us, strict=True)}
    parts["hn"]["bias"] = inner.bias_n
    return parts


CELLS = {
    "rnn": (nn.RNNCell, linen.SimpleCell),
    "gru": (nn.GRUCell, linen.GRUCell),
    "lstm": (nn.LSTMCell, linen.LSTMCell),
}


@pytest.mark.parametrize(
    "name", [pytest.param("rnn", marks=pytest.mark.slow), "gru", "lstm"]
)
def test_recurrence_equals_flax(name, getkey):
    ours, theirs = CELLS[name]
    x = jr.normal(getkey(), (2, 5, 3))
    model = nn.RNN(ours(4), return_carry=True, reverse=name == "gru").init(getkey(), x)
    carry, ys = jax.jit(lambda m: m(x))(model)
    flax_rnn = linen.RNN(
        theirs(4), return_carry=True, reverse=name == "gru", keep_order=True
    )
    params = {"params": {"cell": _flax_cell(name, model.cell)}}
    expected_carry, expected = jax.jit(flax_rnn.apply)(params, x)
    np.testing.assert_allclose(ys, expected, atol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), carry, expected_carry
    )
    # A sequence in two pieces is the sequence.
    if name != "gru":
        carry, first = model(x[:, :2])
        _, second = model(x[:, 2:], carry)
        np.testing.assert_allclose(jnp.concatenate([first, second], 1), ys, atol=1e-5)
    with pytest.raises(nn.LayerError, match="at least one step"):
        model(x[:, :0])


PADS = ((1, 0), (0, 1))


@pytest.mark.parametrize(
    "padding",
    ["SAME", *(pytest.param(p, marks=pytest.mark.slow) for p in ("VALID", PADS))],
)
def test_pooling_equals_flax(padding, getkey):
    x = jr.normal(getkey(), (2, 7, 6, 3))
    options = {"strides": (2, 1), "padding": padding}
    for ours, theirs in ((nn.MaxPool, linen.max_pool), (nn.AvgPool, linen.avg_pool)):
        y = ours((3, 2), **options)(x)
        with jax.numpy_dtype_promotion("standard"):
            expected = theirs(x, (3, 2), **options)
        np.testing.assert_allclose(y, expected, rtol=1e-5)
        np.testing.assert_allclose(ours((3, 2), **options)(x[0]), y[0], rtol=1e-5)
        grads = jax.jit(jax.grad(lambda x: ours((3, 2), **options)(x).sum()))(x)  # noqa: B023
        if ours is nn.MaxPool:  # each window passes 1 on
            np.testing.assert_allclose(grads.sum(), y.size, rtol=1e-5)
    with pytest.raises(nn.LayerError, match=r"\(\.\.\., _, _, features\), got \(6, 3"):
        nn.MaxPool((3, 2))(x[0, 0])


def test_embedding(getkey):
    model, ids = nn.Embedding(7, 3).init(getkey()), jnp.array([[0, 6], [3, 3]])
    theirs = linen.Embed(7, 3)
    params = {"params": {"embedding": model.embedding}}
    np.testing.assert_array_equal(model(ids), theirs.apply(params, ids))
    x = jr.normal(getkey(), (2, 3))
    np.testing.assert_allclose(
        model.attend(x), theirs.apply(params, x, method="attend"), rtol=1e-5
    )
    # Flax gives NaN for these.
    for bad in (jnp.array([7]), jnp.array([-1])):
        with pytest.raises(nn.LayerError, match="from 0 to 6"):
            model(bad)
        with pytest.raises(eqx.EquinoxRuntimeError, match="from 0 to 6"):
            eqx.filter_jit(model)(bad)
    with pytest.raises(nn.LayerError, match="expected integers"):
        model(jnp.ones(2))


def test_dropout(getkey):
    model, x = nn.Dropout(0.25).init(getkey()), jnp.ones(4000)
    step = jax.jit(lambda m, x: m(x))
    y, after = step(model, x)
    assert set(np.unique(y).round(4)) == {0.0, np.float32(4 / 3).round(4)}
    assert abs(float(np.mean(y == 0)) - 0.25) < 0.03
    np.testing.assert_array_equal(step(model, x)[0], y)
    assert (step(after, x)[0] != y).any()
    y, same = model.eval()(x)
    assert y is x and same.rng is model.rng
    # Old-style keys serve as well.
    nn.Dropout(0.25).init(jr.PRNGKey(0))(x)
    for rate in (-0.1, 1.5, True):
        with pytest.raises(ValueError, match="rate must be"):
            nn.Dropout(rate)


def test_containers(getkey):
    x = jr.normal(getkey(), (4, 3))
    stateful = nn.Sequential(nn.Linear(3), nn.BatchNorm())
    model = nn.Sequential(
        nn.Residual(stateful), nn.SkipConcat(jnp.negative), nn.Flatten()
    ).init(getkey(), x)
    y, after = jax.jit(lambda m: m(x))(model)
    inner = model.layers[0].module
    expected = x + inner.layers[1](inner.layers[0](x))[0]
    np.testing.assert_allclose(y, jnp.concatenate([expected, -expected], 1), atol=1e-5)
    moved = after.layers[0].module.layers[1].mean
    np.testing.assert_allclose(moved, 0.01 * jnp.mean(inner.layers[0](x), 0), atol=1e-6)
    # The convention does not depend on the mode.
    _, same = model.eval()(x)
    assert isinstance(same, nn.Sequential)
    assert len(model) == 3 and model[0] is model.layers[0] and len(model[1:]) == 2
    assert nn.Sequential(nn.Linear(3, 2)).init(0)(x).shape == (4, 2)
    with pytest.raises(nn.LayerError, match="keep the shape"):
        nn.Residual(nn.Linear(3, 2).init(0))(x)
    with pytest.raises(TypeError, match="modules or functions"):
        nn.Sequential(3)  # pyright: ignore
    with pytest.raises(ValueError, match="at least one"):
        nn.MLP([])


class Cell(nn.Module):
    linear: nn.Linear

    def __call__(self, z, x):
        return 0.3 * jnp.tanh(self.linear(z)) + x


def test_deq_gradient_is_that_of_unrolling(getkey):
    x = jr.normal(getkey(), (2, 3))
    model = nn.DEQ(Cell(nn.Linear(3)), rtol=1e-6).init(getkey(), x)
    z = model(x)
    np.testing.assert_allclose(z, model.cell(z, x), atol=1e-5)

    def unrolled(model):
        z = jnp.zeros_like(x)
        for _ in range(30):
            z = model.cell(z, x)
        return jnp.sum(z**2)

    expected = jax.jit(jax.grad(unrolled))(model)
    grads = jax.jit(jax.grad(lambda m: jnp.sum(m(x) ** 2)))(model)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
        grads,
        expected,
    )
    with pytest.raises(TypeError, match="cell must be"):
        nn.DEQ(jnp.tanh)  # pyright: ignore


def test_projection_layer():
    x = jnp.array([[3.0, 4.0], [0.1, 0.2]])
    model = nn.ProjectionLayer(proj.L2Ball(radius=jnp.array(1.0), axis=-1))
    np.testing.assert_allclose(model(x), [[0.6, 0.8], [0.1, 0.2]], rtol=1e-5)
    assert jax.tree.leaves(nn.trainable(model)) == []
    free = nn.ProjectionLayer(model.set, trainable=True)
    grads = jax.grad(lambda m: jnp.sum(m(x)))(nn.trainable(free))
    np.testing.assert_allclose(grads.set.radius, 1.4, rtol=1e-5)
    with pytest.raises(TypeError, match="AbstractSet"):
        nn.ProjectionLayer(jnp.tanh)  # pyright: ignore


def test_quantisers():
    x = jnp.array([-1.5, -0.6, 0.0, 0.4, 2.0])
    inside = [0.0, 1.0, 1.0, 1.0, 0.0]
    np.testing.assert_array_equal(nn.Sign()(x), [-1, -1, 1, 1, 1])
    np.testing.assert_array_equal(nn.Quantize(5)(x), [-1, -0.5, 0, 0.5, 1])
    np.testing.assert_array_equal(nn.Quantize(2, 0.0, 1.0)(x), [0, 0, 0, 0, 1])
    for layer in (nn.Sign(), nn.Quantize(5)):
        np.testing.assert_array_equal(jax.grad(lambda x: layer(x).sum())(x), inside)  # noqa: B023
    with pytest.raises(ValueError, match="low must be below"):
        nn.Quantize(3, 1.0, 1.0)


@pytest.mark.parametrize(
    "make,error,words",
    [
        (lambda: nn.Linear(), TypeError, "got nothing"),
        (lambda: nn.Linear(1, 2, 3), TypeError, "1, 2, 3"),
        (lambda: nn.Linear(0), TypeError, "positive integers; got 0"),
        (lambda: nn.Conv(3), TypeError, "kernel_size"),
        (lambda: nn.Conv(3, (0, 1)), TypeError, "kernel_size must be"),
        (lambda: nn.Conv(3, (3, 3), strides=(1,)), TypeError, "length 2"),
        (lambda: nn.Conv(3, (3, 3), padding="same"), TypeError, "SAME, VALID"),
        (lambda: nn.Conv(3, (3, 3), padding="CAUSAL"), TypeError, "padding must"),
        (lambda: nn.Conv(4, 6, 3, groups=4), ValueError, "does not divide"),
        (lambda: nn.BatchNorm(momentum=2.0), ValueError, "momentum"),
        (lambda: nn.GroupNorm(), ValueError, "one of groups and group_size"),
        (lambda: nn.GroupNorm(3, 4), ValueError, "3 groups do not divide 4"),
        (lambda: nn.RNN(nn.Linear(3)), TypeError, "cell must be a cell"),  # pyright: ignore
    ],
)
def test_bad_arguments(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_bad_inputs(getkey):
    conv = nn.Conv(2, 4, (3, 3)).init(getkey())
    with pytest.raises(nn.LayerError, match=r"\(\.\.\., _, _, 2\), got \(1, 5, 3\)"):
        conv(jnp.ones((1, 5, 3)))
    with pytest.raises(nn.LayerError, match="needs a batch"):
        nn.BatchNorm(3)(jnp.ones(3))
    with pytest.raises(nn.LayerError, match="got str"):
        nn.LayerNorm(3)("x")  # pyright: ignore
