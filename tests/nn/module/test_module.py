# pyright: reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportArgumentType=false, reportIndexIssue=false
# pyright: reportOptionalMemberAccess=false
import json
import pathlib
import pickle
import re
from typing import Annotated

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from jaxtyping import Array

from fixproj import nn


class Affine(nn.Module):
    w: nn.Parameter
    b: nn.Parameter
    features: int

    def __init__(self, size, features):
        self.features = features
        self.w = nn.Initializer(lambda key: jr.normal(key, (size, features)))
        self.b = jnp.zeros(features)

    def __call__(self, x):
        return x @ self.w + self.b[None]


class Carry(nn.Cache):  # pyright: ignore[reportGeneralTypeIssues]
    pass


class Everything(nn.Module):
    parameter: nn.Parameter
    heads: dict[str, nn.Parameter]
    optional: nn.Parameter | None
    annotated: Annotated[Array, nn.BatchStat]
    subscripted: nn.Rng[Array]
    own: Carry
    layers: list[Affine]
    by_name: "dict[str, nn.Linear]"
    foreign: eqx.nn.Linear
    static: nn.Static
    names: list[str]


def everything():
    return Everything(
        parameter=jnp.ones(2),
        heads={"a": jnp.ones(3), "b": jnp.zeros(1)},
        optional=None,
        annotated=jnp.ones(4),
        subscripted=jr.key(0),
        own=jnp.ones(5),
        layers=[Affine(2, 3), Affine(3, 1)],
        by_name={"l": nn.Linear(2, 2)},
        foreign=eqx.nn.Linear(2, 3, key=jr.key(0)),
        static="relu",
        names=["x", "y"],
    ).init(0)


def paths(tree):
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path) for path, _ in flat}


PARAMETERS = {
    ".parameter",
    ".heads['a']",
    ".heads['b']",
    ".layers[0].w",
    ".layers[0].b",
    ".layers[1].w",
    ".layers[1].b",
    ".by_name['l'].kernel",
    ".by_name['l'].bias",
    ".foreign.weight",
    ".foreign.bias",
}


@pytest.mark.one_precision
def test_kinds_by_annotation():
    model = everything()
    assert model.names == ("x", "y")
    assert paths(nn.filter(model, nn.Parameter)) == PARAMETERS
    assert paths(nn.filter(model, nn.BatchStat)) == {".annotated"}
    assert paths(nn.filter(model, nn.Rng)) == {".subscripted"}
    assert paths(nn.filter(model, nn.Cache)) == paths(nn.filter(model, Carry))
    states = {".annotated", ".subscripted", ".own"}
    assert paths(nn.filter(model, nn.State)) == states
    assert paths(model) == PARAMETERS | states


@pytest.mark.one_precision
def test_predicates_see_the_field():
    model = everything()
    weights = nn.filter(model, nn.Parameter, lambda info: info.name == "w")
    assert paths(weights) == {".layers[0].w", ".layers[1].w"}
    wide = nn.filter(model, lambda i: getattr(i.module, "features", 0) == 3)
    assert paths(wide) == {".layers[0].w", ".layers[0].b"}
    [info] = [i for i in nn.field_infos(model) if i.path == ".own"]
    assert info.kind is Carry and info.annotation is Carry and info.is_kind(nn.State)
    with pytest.raises(TypeError, match="kind such as nn.Parameter"):
        nn.filter(model, "w")
    with pytest.raises(TypeError, match="kind such as nn.Parameter"):
        nn.filter(model, int)


@pytest.mark.one_precision
def test_partition_and_merge_undo_each_other():
    model = everything()
    parts = nn.partition(model, nn.Parameter, nn.Cache)
    assert [len(jax.tree.leaves(p)) for p in parts] == [11, 1, 2]
    for order in (parts, parts[::-1]):
        again = nn.merge(*order)
        assert jax.tree.structure(again) == jax.tree.structure(model)
        assert all(
            a is b
            for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(model), strict=True)
        )
    # The last that has something decides, and merging twice is merging at once.
    doubled = jax.tree.map(lambda p: 2 * p, parts[0])
    tripled = jax.tree.map(lambda p: 3 * p, nn.filter(model, lambda i: i.name == "w"))
    a, b = (
        nn.merge(model, doubled, tripled),
        nn.merge(model, nn.merge(doubled, tripled)),
    )
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x is y
    np.testing.assert_allclose(a.layers[0].w, 3 * model.layers[0].w)
    np.testing.assert_allclose(a.parameter, 2 * model.parameter)
    # Static fields, the mode among them, are those of the first.
    assert not nn.merge(model.eval(), parts[0]).training
    assert nn.merge(parts[0], model.eval()).training
    with pytest.raises(ValueError, match="merge: part 1 .* at .layers"):
        nn.merge(model, nn.at(model, lambda m: m.layers).set([model.layers[0]]))


@pytest.mark.one_precision
def test_nothing_is_an_empty_tree():
    assert jax.tree.leaves(nn.Nothing) == [] and repr(nn.Nothing) == "Nothing"
    assert pickle.loads(pickle.dumps(nn.Nothing)) is nn.Nothing
    assert jax.tree.map(lambda x: x, [nn.Nothing])[0] is nn.Nothing
    model = nn.map(jnp.zeros_like, everything(), nn.BatchStat)
    assert not model.annotated.any() and model.parameter.all()
    # Trees without modules: arrays are parameters.
    tree = {"w": jnp.ones(2), "n": 3, "i": jnp.arange(2)}
    assert paths(nn.filter(tree, nn.Parameter)) == {"['w']"}


@pytest.mark.one_precision
def test_masks_are_found_once_per_structure():
    asked = []

    def wanted(info):
        asked.append(info.path)
        return True

    model = everything()
    for _ in range(3):
        model = jax.tree.map(lambda x: x, nn.filter(model, wanted))
    assert len(asked) == len(set(asked)) == 14
    nn.filter(model.eval(), wanted)
    assert len(asked) == 28


@pytest.mark.one_precision
def test_initialisation():
    model = nn.Sequential(Affine(3, 4), Affine(4, 2))
    assert not model.initialized
    with pytest.raises(nn.LayerError, match=r"Affine at model.layers\[0\]: .*init"):
        model(jnp.ones((1, 3)))
    a, b = model.init(0), model.init(jr.key(0))
    assert a.initialized and a.layers[0].w.shape == (3, 4)
    jax.tree.map(np.testing.assert_array_equal, a, b)
    # What is initialised is kept; a layer's key follows from its path only.
    jax.tree.map(np.testing.assert_array_equal, a, a.init(1))
    longer = nn.Sequential(Affine(3, 4), Affine(4, 2), Affine(2, 2)).init(0)
    np.testing.assert_array_equal(longer.layers[1].w, a.layers[1].w)
    assert (a.layers[0].w[:2, :2] != a.layers[1].w[:2, :2]).all()
    for key in ("seed", None, 1.5, jnp.ones(2)):
        with pytest.raises(TypeError, match="key must be"):
            model.init(key)


@pytest.mark.one_precision
def test_shapes_are_inferred_without_arithmetic():
    ran = []

    class Probe(nn.Module):
        def __call__(self, x):
            ran.append(isinstance(x, jax.core.Tracer))
            return x

    model = nn.Sequential(nn.Linear(4), Probe(), nn.Sequential(nn.Linear(2)))
    with pytest.raises(ValueError, match=r"model.layers\[0\].kernel.*init\(key, x\)"):
        model.init(0)
    by_struct = model.init(0, jax.ShapeDtypeStruct((8, 3), jnp.float32))
    by_array = model.init(0, jnp.ones((8, 3)))
    assert ran and all(ran)
    assert by_struct.layers[2].layers[0].kernel.shape == (4, 2)
    jax.tree.map(np.testing.assert_array_equal, by_struct, by_array)
    named = nn.Sequential(nn.Linear(3, 4), Probe(), nn.Sequential(nn.Linear(4, 2)))
    jax.tree.map(np.testing.assert_array_equal, named.init(0), by_array)

    class Unused(nn.Module):
        used: nn.Linear
        unused: nn.Linear

        def __call__(self, x):
            return self.used(x)

    with pytest.raises(ValueError, match="model.unused.kernel .* not reach it"):
        Unused(nn.Linear(2), nn.Linear(2)).init(0, jnp.ones((1, 3)))


@pytest.mark.one_precision
def test_module_init_sees_what_was_initialised():
    class Tied(nn.Module):
        inner: nn.Linear
        copy: nn.Parameter
        a: nn.Parameter
        b: nn.Parameter

        def __init__(self, *features):
            self.inner, self.copy, self.b = nn.Linear(*features), None, None
            self.a = nn.Initializer(lambda key: jr.uniform(key, (1,)))

        def module_init(self, key):
            noise = jr.normal(key, (1,))
            return self.replace(copy=self.inner.kernel, b=10 * self.a + noise)

        def __call__(self, x):
            return self.inner(x)

    for model in (Tied(3, 2).init(0), Tied(2).init(0, jnp.ones((1, 3)))):
        assert model.initialized and abs(model.b - 10 * model.a) < 5
        assert model.copy is model.inner.kernel
        assert model.init(1).b is model.b
    assert not Tied(3, 2).initialized

    class Forgets(nn.Module):
        def module_init(self, key):  # pyright: ignore
            pass

    with pytest.raises(TypeError, match="must return the new module"):
        Forgets().init(0)


@pytest.mark.one_precision
def test_plain_transformations(getkey):
    """No filtered transformation is needed; arrays are the only leaves."""
    model = nn.MLP([8, 2]).init(getkey(), jnp.ones((1, 3)))
    x = jr.normal(getkey(), (5, 3))
    expected = jax.nn.relu(x @ model.layers[0].kernel + model.layers[0].bias[None])
    expected = expected @ model.layers[1].kernel + model.layers[1].bias[None]
    call = jax.jit(lambda m, x: m(x))
    np.testing.assert_allclose(call(model, x), expected, atol=1e-5)
    np.testing.assert_allclose(jax.vmap(model)(x), expected, atol=1e-5)
    grads = jax.jit(jax.grad(lambda m: jnp.sum(m(x) ** 2)))(model)
    assert jax.tree.structure(grads) == jax.tree.structure(model)
    np.testing.assert_allclose(
        grads.layers[1].bias, jnp.sum(2 * expected, 0), rtol=1e-4
    )
    ensemble = jax.vmap(lambda key: nn.MLP([8, 2], features_in=3).init(key))(
        jr.split(getkey(), 4)
    )
    assert jax.vmap(lambda m: m(x))(ensemble).shape == (4, 5, 2)
    assert all(leaf.dtype == jnp.result_type(float) for leaf in jax.tree.leaves(model))


def test_state_is_returned(getkey):
    class Average(nn.Module):
        count: nn.State
        total: nn.State

        def __init__(self):
            self.count, self.total = jnp.array(0), jnp.array(0.0)

        def __call__(self, x):
            new = self.replace(count=self.count + x.size, total=self.total + x.sum())
            return new.total / new.count.astype(new.total.dtype), new

    step = jax.jit(lambda model, x: model(x))
    model, xs = Average(), jr.normal(getkey(), (4, 3, 2))
    for x in xs:
        mean, model = step(model, x)
    np.testing.assert_allclose(mean, np.mean(xs), rtol=1e-4, atol=1e-6)
    assert int(model.count) == 24
    with pytest.raises(TypeError, match="no field 'cuont'; the fields are count, to"):
        model.replace(cuont=1)
    with pytest.raises(AttributeError):
        model.count = 3


@pytest.mark.one_precision
def test_modes():
    layers = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5), nn.BatchNorm(3)).init(0)
    model = nn.Residual(nn.Sequential(layers, nn.Lambda(jnp.tanh)))
    assert model.training and not model.frozen
    inner = model.eval().module.layers[0].layers[1]
    assert not inner.training and model.eval().train().module.training
    frozen = nn.at(model, lambda m: m.module.layers[0].layers[0]).apply(
        lambda m: m.freeze()
    )
    kept = {".module.layers[0].layers[2].scale", ".module.layers[0].layers[2].bias"}
    assert paths(nn.trainable(frozen)) == kept
    assert paths(nn.trainable(frozen.unfreeze())) == paths(
        nn.filter(model, nn.Parameter)
    )
    assert jax.tree.leaves(nn.trainable(model.freeze())) == []
    # Frozen dropout and batch normalisation are deterministic in training mode.
    y, same = layers.freeze()(jnp.ones((2, 2)))
    np.testing.assert_array_equal(same.layers[2].mean, layers.layers[2].mean)

    class Wrapper(nn.Module):
        dropout: eqx.nn.Dropout

    assert Wrapper(eqx.nn.Dropout(0.5)).eval().dropout.inference


@pytest.mark.one_precision
def test_optimizer_follows_optax(getkey):
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5)).init(getkey())
    params = nn.filter(model, nn.Parameter)
    tx = optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(1e-2))
    optimizer = nn.Optimizer(tx)
    with pytest.raises(ValueError, match="init\\(params\\) first"):
        optimizer.update(params, params)
    optimizer = optimizer.init(params)
    arrays = {"k": model.layers[0].kernel, "b": model.layers[0].bias}
    state = tx.init(arrays)
    step = jax.jit(lambda o, g, p: o.update(g, p))
    for scale in (1.0, -2.0, 0.5):
        grads = jax.tree.map(lambda p, s=scale: s * jnp.cos(p), params)
        # A model may stand for its parameters: the rest is kept.
        new, after = step(optimizer, grads, params)
        model, _ = step(optimizer, grads, nn.merge(model, params))
        directions = jax.tree.map(lambda p, s=scale: s * jnp.cos(p), arrays)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = tx.update(directions, state, arrays)
        arrays = optax.apply_updates(arrays, updates)
        params, optimizer = new, after
        np.testing.assert_allclose(params.layers[0].kernel, arrays["k"], rtol=1e-5)
        np.testing.assert_allclose(model.layers[0].bias, arrays["b"], rtol=1e-5)
    updates, _ = optimizer.update(grads, params, apply_updates=False)
    assert abs(updates.layers[0].kernel).max() < 0.05
    assert len(jax.tree.leaves(nn.filter(optimizer, nn.OptState))) == 5


@pytest.mark.one_precision
@pytest.mark.parametrize(
    "run,error,words",
    [
        (lambda o, p: nn.Optimizer("adam"), TypeError, "optax"),
        (lambda o, p: o.init({"n": 3}), ValueError, "no floating-point"),
        (lambda o, p: o.update({"v": p["w"]}, p), ValueError, "same leaves"),
        (lambda o, p: o.update({"w": p["w"][:1]}, p), ValueError, r"\(1,\), params"),
        (
            lambda o, p: o.update({"v": p["w"]}, {"v": p["w"]}),
            ValueError,
            "not those that init",
        ),
    ],
)
def test_optimizer_bad_input(run, error, words):
    params = {"w": jnp.ones(2)}
    with pytest.raises(error, match=words):
        run(nn.Optimizer(optax.adam(0.1)).init(params), params)


def _declare(annotations, base=nn.Module, **values):
    return lambda: type("Made", (base,), {"__annotations__": annotations, **values})


@pytest.mark.one_precision
@pytest.mark.parametrize(
    "make,words",
    [
        (_declare({"a": nn.Parameter | nn.State}), "one kind.*Parameter, State"),
        (_declare({"a": dict[nn.Parameter, int]}), "keys of a dictionary"),
        (_declare({"a": "nn.Paramter"}), "Made.a: the annotation 'nn.Paramter'"),
        (_declare({"train": nn.Parameter}), "name is taken"),
        (_declare({"w": nn.State}, base=Affine), "declares .* as Parameter, Made as"),
        (lambda: nn.Parameter(), "is a kind"),  # pyright: ignore
        (lambda: _declare({"a": nn.Parameter})()("relu"), "Made.a .*Parameter.* str"),
        (lambda: _declare({"a": nn.Parameter})()(jnp.sin), "Made.a .*Parameter"),
        (lambda: _declare({"a": Array})()(jnp.ones(1)), "Made.a holds .*names no kind"),
        (lambda: _declare({"a": nn.Static})()(jnp.ones(1)), "nn.Hashable"),
        (lambda: _declare({"a": list})()([Affine(1, 1)]), "names no module"),
        (lambda: _declare({"a": set})()({1}), "must be hashable"),
        (lambda: _declare({"a": list[nn.Module]})()([jnp.sin]), "nn.Lambda"),
        (lambda: nn.Initializer(3), "function of a key"),  # pyright: ignore
        (lambda: nn.Initializer(lambda: 3), "must take a key"),
    ],
)
def test_bad_declarations(make, words):
    with pytest.raises(TypeError, match=words):
        make()


@pytest.mark.one_precision
def test_errors_name_the_layer():
    class Block(nn.Module):
        parts: dict[str, nn.Module]

        def __call__(self, x):
            return self.parts["b"](self.parts["a"](x))

    model = nn.Sequential(
        nn.Linear(2, 3), Block({"a": nn.Linear(3, 4), "b": nn.Linear(5, 1)})
    ).init(0)
    words = r"Linear at model.layers\[1\].parts\['b'\]: .*5\), got \((1, )?4,?\)"
    for call in (model, jax.jit(lambda x: model(x)), jax.vmap(model)):
        with pytest.raises(nn.LayerError, match=words):
            call(jnp.ones((1, 2)))
    with pytest.raises(nn.LayerError, match="floating-point input, got int"):
        model(jnp.ones((1, 2), int))


@pytest.mark.one_precision
def test_hashable_statics_compile_once():
    class Lookup(nn.Module):
        table: nn.Static

        def __call__(self, i):
            return jnp.asarray(self.table.value)[i]

    traced = []

    @jax.jit
    def call(model, i):
        traced.append(i)
        return model(i)

    model = Lookup(nn.Hashable(np.arange(3.0)))
    assert call(model, 1) == call(model, 1) == 1 and len(traced) == 1
    assert call(Lookup(nn.Hashable(np.ones(3))), 2) == 1 and len(traced) == 2


@pytest.mark.one_precision
def test_surgery():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)).init(0)
    other = nn.Linear(3, 1).init(1)
    new = nn.at(model, lambda m: m.layers[1]).set(other)
    assert new.layers[1].kernel is other.kernel and new.layers[0] is not other
    assert nn.at(model, lambda m: m.layers[0].bias).get() is model.layers[0].bias
    params = nn.filter(model, nn.Parameter, lambda i: i.name == "bias")
    filled = nn.at(params, lambda m: m.layers[0].kernel).set(jnp.ones((2, 3)))
    assert filled.layers[0].kernel.shape == (2, 3)
    both = nn.at(model, lambda m: (m.layers[0].bias, m.layers[1].bias))
    assert both.set((jnp.ones(3), jnp.ones(1))).layers[1].bias == 1
    assert model.layers[1].bias == 0


@pytest.mark.one_precision
def test_summary_and_table(monkeypatch):
    model = nn.Sequential(
        nn.Linear(4), nn.BatchNorm(), nn.Dropout(0.1), nn.Sequential(nn.Linear(2))
    )
    before = nn.tabulate(model)
    assert "not initialised" in before
    x = jnp.ones((8, 3))
    model = model.init(0, x)
    model = nn.at(model, lambda m: m.layers[0]).apply(lambda m: m.freeze())
    rows = json.loads(json.dumps(nn.summary(model, x)))
    assert [row["path"] for row in rows] == [
        "",
        ".layers[0]",
        ".layers[1]",
        ".layers[2]",
        ".layers[3]",
        ".layers[3].layers[0]",
    ]
    total = rows[0]["kinds"]
    assert total["Parameter"] == {"count": 16 + 8 + 10, "bytes": 4 * 34}
    assert total["BatchStat"] == {"count": 8, "bytes": 32}
    assert total["Rng"] == {"count": 1, "bytes": 8}
    assert rows[1]["frozen"] and rows[1]["outputs"] == "f32[8,4]"
    assert [leaf["shape"] for leaf in rows[5]["leaves"]] == [[4, 2], [2]]
    table = model.tabulate(x, width=120)
    for words in ("Linear (frozen)", "f32[8,3]", "kernel: f32[3,4]", "136 B", "total"):
        assert words in table
    assert ".layers[3].layers[0]" not in nn.tabulate(model, depth=1, width=120)
    assert "weight" in nn.tabulate(eqx.nn.Linear(2, 3, key=jr.key(0)), jnp.ones(2))
    monkeypatch.setitem(__import__("sys").modules, "rich", None)
    with pytest.raises(ImportError, match=r"fixproj\[nn\]"):
        nn.tabulate(model)


@pytest.mark.parametrize("backend", ["equinox", "orbax"])
@pytest.mark.slow_in_x64
def test_save_and_load(backend, tmp_path):
    model = everything()
    assert model.layers[0].w.dtype == jnp.result_type(float)
    path = tmp_path / "model"
    nn.save(path, nn.map(jnp.ones_like, model, nn.Parameter), backend=backend)
    nn.save(path, model, info={"epoch": 3}, backend=backend)
    like = nn.map(jnp.zeros_like, everything(), lambda i: i.kind is not nn.Rng)
    again = nn.load(path, like)
    assert jr.key_data(again.subscripted).tolist() == [0, 0]
    for part in (nn.Parameter, nn.BatchStat, nn.Cache):
        a, b = nn.filter(again, part), nn.filter(model, part)
        jax.tree.map(np.testing.assert_array_equal, a, b)
    assert nn.load_info(path) == {"epoch": 3}
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    other = nn.at(like, lambda m: m.own).set(jnp.ones(6))
    with pytest.raises(ValueError, match=r"has .own float\d\d\[5\], expected .own"):
        nn.load(path, other)
    with pytest.raises(ValueError, match="Remove it or choose another path"):
        nn.save(path, model, backend="orbax" if backend == "equinox" else "equinox")


@pytest.mark.one_precision
@pytest.mark.parametrize("backend", ["equinox", "orbax"])
def test_every_kind_of_leaf_is_saved(backend, tmp_path):
    """Also what JAX has besides arrays of floats: numbers, empty ones, short floats."""
    tree = {
        "empty": jnp.zeros((0, 3)),
        "half": jnp.arange(3, dtype=jnp.bfloat16) / 3,
        "number": 0.1,
        "whole": 7,
        "yes": True,
        "keys": jr.split(jr.key(3), 2),
        "numpy": np.arange(4, dtype=np.int8),
        "name": "left alone",
        "nothing": None,
    }
    nn.save(tmp_path / "tree", tree, backend=backend)
    like = {
        **jax.tree.map(
            lambda x: x if isinstance(x, str) else 0 * x, tree | {"keys": 0}
        ),
        "keys": jr.split(jr.key(0), 2),
        "yes": False,
    }
    again = nn.load(tmp_path / "tree", like)
    assert jr.key_data(again.pop("keys")).tolist() == (
        jr.key_data(tree.pop("keys")).tolist()
    )
    assert again.pop("name") == tree.pop("name")
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(tree), strict=True):
        assert type(a) is type(b) and np.asarray(a).dtype == np.asarray(b).dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.one_precision
def test_what_nn_save_did_not_write(tmp_path, monkeypatch):
    model = nn.Linear(1, 1).init(0)
    (tmp_path / "text").write_text("nothing")
    (tmp_path / "folder").mkdir()
    for name, kind in (("text", "file"), ("folder", "directory")):
        with pytest.raises(ValueError, match=f"not a {kind} that nn.save wrote"):
            nn.load_info(tmp_path / name)
        with pytest.raises(ValueError, match=f"not a {kind} that nn.save wrote"):
            nn.load(tmp_path / name, model)
    with pytest.raises(FileNotFoundError):
        nn.load(tmp_path / "none", model)
    with pytest.raises(ValueError, match="'equinox' or 'orbax', got 'zip'"):
        nn.save(tmp_path / "x", model, backend="zip")
    monkeypatch.setitem(__import__("sys").modules, "orbax.checkpoint", None)
    with pytest.raises(ImportError, match=r"fixproj\[nn\]"):
        nn.save(tmp_path / "x", model, backend="orbax")


@pytest.mark.one_precision
@pytest.mark.slow
def test_modules_in_orbax_itself(tmp_path):
    import orbax.checkpoint as ocp

    with ocp.CheckpointManager(tmp_path / "own") as manager:
        manager.save(3, args=ocp.args.StandardSave({"a": jnp.ones(2)}))
    with pytest.raises(ValueError, match="not a directory that nn.save wrote"):
        nn.save(tmp_path / "own", nn.Linear(1, 1).init(0), backend="orbax")
    assert (tmp_path / "own" / "3").is_dir()
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm(2)).init(0)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "model", model)
        checkpointer.wait_until_finished()
        like = jax.tree.map(jnp.zeros_like, model)
        again = checkpointer.restore(tmp_path / "model", like)
    assert jax.tree.structure(again) == jax.tree.structure(model)
    jax.tree.map(np.testing.assert_array_equal, again, model)


@pytest.mark.one_precision
def test_pickle_and_repr():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm(2)).init(0)
    again = pickle.loads(pickle.dumps(model))
    jax.tree.map(np.testing.assert_array_equal, again, model)
    assert "kernel=f32[3,2]" in repr(model) and "_mode" not in repr(model)


@pytest.mark.one_precision
def test_trace_and_trainers_see_plain_equinox_modules(getkey):
    from ..models import rings

    data = rings(getkey())
    model = nn.MLP([16, 2], features_in=2).init(getkey())
    names = [node.name for node in nn.trace(model, data[0]).nodes]
    assert names == ["affine", "max", "affine"]
    for trainer in (nn.Projections(), nn.Gradient(optax.adam(2e-2))):
        history = nn.fit(model, trainer, data, epochs=15, progress=False)
        assert history.metrics["accuracy"][-1] > 0.9
        assert isinstance(history.model, nn.MLP)


@pytest.mark.one_precision
def test_the_migration_page_names_tests_that_exist():
    root = pathlib.Path(__file__).parents[3]
    page = (root / "docs" / "migrating-from-treex.md").read_text()
    table = page[page.index("## Treex's tests") :]
    files = {p.stem: p.read_text() for p in (root / "tests" / "nn").rglob("test_*.py")}
    found = 0
    for covered in (line.split("|")[2] for line in table.splitlines() if "|" in line):
        text = ""
        for name in re.findall(r"`(\w+)`", covered):
            if name.startswith("test_"):
                text = files[name]
            elif text:
                found += 1
                assert f"def test_{name}(" in text, name
    assert found > 25
