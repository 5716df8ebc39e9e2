import os
import types

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from fixproj import nn
from fixproj.nn._graph import batched, split
from fixproj.nn._graph._source import describe_source
from fixproj.projections import CrossEntropy

from .models import SkipAndConcat, eqx_mlp, plain_mlp


pytestmark = pytest.mark.slow_in_x64


def _output(graph, model, x):
    return graph.evaluate(split(model).leaves, x)[graph.output]


def _names(graph):
    return [node.name for node in graph.nodes]


@pytest.mark.parametrize("depth", [0, 1, 2, 4])
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("use_final_bias", [True, False])
def test_equinox_mlp(getkey, depth, use_bias, use_final_bias):
    model = eqx.nn.MLP(
        4,
        3,
        8,
        depth,
        use_bias=use_bias,
        use_final_bias=use_final_bias,
        key=getkey(),
    )
    x = jr.normal(getkey(), (5, 4))
    graph = nn.trace(model, x)
    layer = "affine" if use_bias else "dot_general"
    last = "affine" if use_final_bias else "dot_general"
    assert _names(graph) == [layer, "max"] * depth + [last]
    np.testing.assert_allclose(_output(graph, model, x), jax.vmap(model)(x), rtol=1e-6)
    assert len(graph.names) == len(graph.parameters) == len(split(model).leaves)


def test_plain_mlp(getkey):
    model = plain_mlp(getkey(), (4, 8, 8, 3))
    x = jr.normal(getkey(), (5, 4))
    graph = nn.trace(model, x)
    assert _names(graph) == ["affine", "max", "affine", "max", "affine"]
    np.testing.assert_array_equal(_output(graph, model, x), model[0](model[1], x))
    assert graph.names[0] == "[1][0][0]"
    assert "node  affine(" in str(graph)


def test_skip_and_concat(getkey):
    model = SkipAndConcat(getkey())
    x = jr.normal(getkey(), (5, 2))
    graph = nn.trace(model, x)
    kinds = sorted(_names(graph))
    assert kinds == ["add", "affine", "affine", "affine", "max", "max", "max", "mul"]
    assert {"concatenate", "split"} <= {wire.name for wire in graph.wires}
    np.testing.assert_allclose(_output(graph, model, x), jax.vmap(model)(x), rtol=1e-6)


def test_calls_are_looked_through(getkey):
    @jax.jit
    def layer(w, x):
        return jax.checkpoint(lambda x: jax.nn.relu(x @ w))(x)

    @jax.custom_vjp
    def same(x):
        return x

    same.defvjp(lambda x: (x, None), lambda _, g: (g,))
    model = (lambda w, x: same(layer(w, x)), jr.normal(getkey(), (3, 2)))
    x = jr.normal(getkey(), (4, 3))
    graph = nn.trace(model, x)
    assert _names(graph) == ["dot_general", "max"]
    np.testing.assert_allclose(_output(graph, model, x), model[0](model[1], x))


def test_a_branch_is_selected(getkey):
    cases = [lambda w, x: x @ w, lambda w, x: jax.nn.relu(x @ w), lambda w, x: -(x @ w)]

    def fn(params, x):
        which = jnp.argmax((x @ params[0])[0, :3])
        return jax.lax.switch(which, cases, params[1], x)

    model = (fn, [jr.normal(getkey(), (3, 3)), jr.normal(getkey(), (3, 2))])
    graph = nn.trace(model, jnp.ones((4, 3)))
    assert _names(graph).count("dot_general") == 3
    taken = set()
    for _ in range(20):
        x = jr.normal(getkey(), (4, 3))
        taken.add(int(jnp.argmax((x @ model[1][0])[0, :3])))
        np.testing.assert_allclose(
            _output(graph, model, x), fn(model[1], x), rtol=1e-5, atol=1e-6
        )
    assert taken == {0, 1, 2}


@pytest.mark.parametrize(
    "fn",
    [
        lambda y: jnp.sort(y, axis=0),
        lambda y: jnp.sort(y, descending=True),
        lambda y: jax.lax.top_k(y, 4)[0],
        lambda y: jnp.median(y, axis=1, keepdims=True),
        lambda y: jax.lax.sort((y, jnp.tanh(y)), num_keys=1)[1],
        lambda y: jnp.take_along_axis(y, jnp.argsort(y), axis=1),
    ],
    ids=["sort", "descending", "top_k", "median", "by key", "argsort"],
)
def test_orders_are_decisions_and_values_follow(getkey, fn):
    """The values, and in the limit of weak sweeps the gradient."""
    w, x = jr.normal(getkey(), (3, 4)), jr.normal(getkey(), (5, 3))
    out = jr.normal(getkey(), (fn(x @ w).shape[1], 3))

    def forward(params, x):
        return fn(x @ params[0]) @ params[1]

    model = (forward, [w, out])
    np.testing.assert_allclose(
        _output(nn.trace(model, x), model, x), forward(model[1], x), rtol=1e-5
    )
    y = jnp.arange(5) % 3
    heavy = {"parameter_weight": 1e9, "activation_weight": 1e6}
    trainer = nn.Projections(outer=optax.sgd(1.0), **heavy)
    new, _, _ = trainer.update(model, trainer.init(model), x, y)
    mean = lambda params: CrossEntropy(y)(forward(params, x)) / 5
    for a, b, slope in zip(new[1], model[1], jax.grad(mean)(model[1]), strict=True):
        np.testing.assert_allclose(b - a, slope, rtol=1e-3, atol=1e-4)


def test_what_does_not_depend_on_parameters_may_be_anything(getkey):
    def fn(params, x):
        scale = jnp.exp(jnp.linspace(0.0, 1.0, 3))
        return jnp.sin(x) * scale[None] @ params["w"]

    model = (fn, {"w": jr.normal(getkey(), (3, 2)), "count": jnp.arange(3)})
    x = jr.normal(getkey(), (4, 3))
    graph = nn.trace(model, x)
    assert _names(graph) == ["dot_general"]
    assert len(graph.names) == 1 and "w" in graph.names[0]
    np.testing.assert_allclose(_output(graph, model, x), fn(model[1], x), rtol=1e-6)


def test_unused_and_frozen_computations_need_no_rule(getkey):
    def fn(w, x):
        y = x @ w
        jnp.sin(y)
        return y + jax.lax.stop_gradient(jnp.tanh(y))

    graph = nn.trace((fn, jr.normal(getkey(), (3, 2))), jnp.ones((4, 3)))
    assert _names(graph) == ["dot_general", "add"]


def test_position_dependent_bias_is_not_fused(getkey):
    """A table added per position is no bias of the layer: its own node."""

    def fn(params, x):
        return x @ params["w"] + params["table"][None]

    params = {"w": jr.normal(getkey(), (3, 2)), "table": jr.normal(getkey(), (5, 2))}
    x = jr.normal(getkey(), (4, 5, 3))
    graph = nn.trace((fn, params), x)
    assert _names(graph) == ["dot_general", "add"]
    bias = {"w": params["w"], "table": jr.normal(getkey(), (1, 2))}
    assert _names(nn.trace((fn, bias), x)) == ["affine"]


def test_batch_and_single_conventions(getkey):
    x = jr.normal(getkey(), (5, 4))
    single = eqx_mlp(getkey(), (4, 7, 3))
    on_batch = plain_mlp(getkey(), (4, 7, 3))
    assert batched(single, x)(single, x).shape == (5, 3)
    np.testing.assert_allclose(batched(single, x)(single, x), jax.vmap(single)(x))
    np.testing.assert_array_equal(
        batched(on_batch, x)(on_batch, x), on_batch[0](on_batch[1], x)
    )

    # Per example this is a sum over features; on a batch it would sum the batch away.
    def mean_of_example(w, x):
        return w * jnp.mean(x, axis=0, keepdims=True)

    pooled = (mean_of_example, jnp.ones(1))
    y = jr.normal(getkey(), (5, 6))
    np.testing.assert_allclose(
        batched(pooled, y)(pooled, y), jnp.mean(y, 1, keepdims=True), rtol=1e-5
    )


def test_neither_convention_gives_both_reasons(getkey):
    model = eqx_mlp(getkey(), (4, 7, 3))
    with pytest.raises(ValueError, match="(?s)with a batch: .*with one example: "):
        nn.trace(model, jnp.ones((5, 9)))
    with pytest.raises(ValueError, match="returns tuple, not one array"):
        nn.trace((lambda w, x: (x * w, x), jnp.ones(())), jnp.ones((5, 9)))


@pytest.mark.parametrize("model", [3, "mlp", (1, 2), [jnp.ones(2)]])
def test_not_a_model(model):
    with pytest.raises(TypeError, match="callable pytree"):
        nn.trace(model, jnp.ones((2, 2)))


def test_output_must_be_floating():
    model = (lambda w, x: x.astype(int), jnp.ones(()))
    with pytest.raises(ValueError, match="floating-point"):
        nn.trace(model, jnp.ones((2, 2)))


class Gamma(eqx.Module):
    inner: eqx.nn.Linear

    def __call__(self, x):
        return jax.lax.lgamma(self.inner(x))  # the line the error must name


def _line_of(text):
    with open(__file__) as file:
        return next(i for i, line in enumerate(file, 1) if text in line)


def test_unsupported_primitive_names_itself_and_the_line(getkey):
    model = Gamma(eqx.nn.Linear(3, 2, key=getkey()))
    with pytest.raises(nn.UnsupportedPrimitiveError) as caught:
        nn.trace(model, jnp.ones((5, 3)))
    message = str(caught.value)
    dtype = jnp.result_type(float).name
    assert f"'lgamma' on {dtype}[5, 2]" in message
    line = _line_of("# the line the error must name")
    assert f"{os.path.basename(__file__)}:{line} (in Gamma.__call__)" in message
    assert "register_projection" in message


def test_library_functions_are_blamed_on_their_caller(getkey):
    w, x = jr.normal(getkey(), (3, 2)), jnp.ones((5, 3))

    def fn(w, x):
        return jax.scipy.special.betaln(x @ w, 1.0)  # the library line

    with pytest.raises(nn.UnsupportedPrimitiveError) as caught:
        nn.trace((fn, w), x)
    assert f"{os.path.basename(__file__)}:{_line_of('# the library line')}" in str(
        caught.value
    )


def test_tracebacks_of_library_functions_are_not_followed():
    """Their equations may be cached, with the traceback of another caller."""

    def traceback(*frames):
        return types.SimpleNamespace(
            frames=[
                types.SimpleNamespace(file_name=file, line_num=line, function_name="f")
                for file, line in frames
            ]
        )

    library = jax.__file__
    call = (traceback((library, 1), ("model.py", 7), ("main.py", 3)), "model.py")
    inner = traceback((library, 2), ("someone_else.py", 9))
    assert describe_source([call, (inner, library)]) == "model.py:7 (in f)"
    own = traceback((library, 2), ("layers.py", 5), ("model.py", 7))
    assert describe_source([call, (own, "layers.py")]) == "layers.py:5 (in f)"
    lost = [(traceback((library, 2)), "layers.py"), (None, "")]
    assert describe_source([call, *lost]) == "model.py:7 (in f)"
    # Where only a library above JAX stands in between, better its line than none.
    above = traceback((library, 1), (eqx.__file__, 4))
    assert describe_source([(above, "")]) == f"{eqx.__file__}:4 (in f)"


def _count(x):
    return jnp.argmax(x[0])


def _tanh(_, carry):
    return jnp.tanh(carry)


@pytest.mark.parametrize(
    "fn,word",
    [
        (lambda w, x: jnp.cumprod(x @ w, 1), "cumprod"),
        (lambda w, x: jnp.abs(jnp.fft.rfft(x @ w)), "fft"),
        (lambda w, x: jax.lax.fori_loop(0, _count(x), _tanh, x @ w), "while"),
        (lambda w, x: jnp.power(x @ w, w[:1]), "pow"),
        (lambda w, x: jax.lax.digamma(x @ w), "digamma"),
    ],
)
def test_unsupported_use_of_a_parameter(fn, word):
    """Also where it makes whole numbers besides, or complex ones: never a constant."""
    with pytest.raises(nn.UnsupportedPrimitiveError, match=f"'{word}' on .*test_trace"):
        nn.trace((fn, jnp.ones((3, 2))), jnp.ones((4, 3)))


def test_lost_source_information(getkey, monkeypatch):
    monkeypatch.setattr("fixproj.nn._graph._source._frames", lambda _: [])
    with pytest.raises(nn.UnsupportedPrimitiveError, match="did not record"):
        nn.trace(Gamma(eqx.nn.Linear(3, 2, key=getkey())), jnp.ones((5, 3)))


def test_register_projection(getkey, monkeypatch):
    from fixproj.nn._graph import _registry

    monkeypatch.setattr(_registry, "_RULES", dict(_registry._RULES))
    model = Gamma(eqx.nn.Linear(3, 2, key=getkey()))
    seen = []

    @nn.register_projection(jax.lax.lgamma_p)
    def project_lgamma(operation, inputs, output, displacement, weights):
        seen.append((operation.name, output.shape))
        return (displacement * jax.lax.digamma(inputs[0]) / 2,)

    x, y = jnp.ones((5, 3)), jnp.zeros(5, int)
    trainer = nn.Projections()
    new, _, _ = trainer.update(model, trainer.init(model), x, y)
    assert seen[-1] == ("lgamma", (5, 2))
    assert bool(jnp.any(new.inner.weight != model.inner.weight))
    with pytest.raises(TypeError, match="primitive"):
        nn.register_projection(3)  # pyright: ignore[reportArgumentType]


@pytest.mark.one_precision
def test_parameters_that_are_no_floats():
    model = (lambda p, x: x @ p.astype(x.dtype), jnp.ones((2, 2), int))
    with pytest.raises(ValueError, match="no trainable array"):
        nn.trace(model, jnp.ones((3, 2)))
