"""Constraints of whole networks: PJAX's iterates without its copies, and any method."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import fixproj as fp
from fixproj import nn
from fixproj.nn._graph import _neuron
from fixproj.nn._graph._trace import trace_at
from fixproj.projections import Bilinear

from .models import eqx_mlp, rings


pytestmark = pytest.mark.slow_in_x64

SIZES, CLASSES, BATCH = (6, 5, 4), 3, 7


def _forward(params, x, skip):
    seen = []
    for w, b in params[:-1]:
        x = jax.nn.relu(x @ w + b[None])
        seen.append(x)
    return (jnp.concatenate(seen, axis=-1) if skip else x) @ params[-1]


def _setting(getkey, skip):
    params = [
        (jr.normal(getkey(), (i, o)), 0.1 * jr.normal(getkey(), (o,)))
        for i, o in zip(SIZES, SIZES[1:], strict=False)
    ]
    width = sum(SIZES[1:]) if skip else SIZES[-1]
    params.append(jr.normal(getkey(), (width, CLASSES)))
    x, y = jr.normal(getkey(), (BATCH, SIZES[0])), jnp.arange(BATCH) % CLASSES
    return (lambda p, x: _forward(p, x, skip)), params, x, y


# The same constraints with every copy written out, (batch, outputs, inputs), in PJAX's
# numerics: Newton from 0 on the scalar equation, means of the users' means.


def _dot(x, w, y):
    def residual(t, p, q, y):
        return ((1 + t**2) * p + t * q) / (1 - t**2) ** 2 - y + t

    p = jnp.sum(x * w, axis=-1)
    q = jnp.sum(x * x, axis=-1) + jnp.sum(w * w, axis=-1)
    slope = jnp.vectorize(jax.grad(residual))
    t = jnp.zeros_like(p)
    for _ in range(10):
        t = t - residual(t, p, q, y) / slope(t, p, q, y)
    t = t[..., None]
    return (x + t * w) / (1 - t**2), (w + t * x) / (1 - t**2)


def _relu(b, s, y):
    total, n = b + s, 2
    flat, slope = total / n, (y - total) / (n + 1)
    first = jnp.where(total < 0, y**2, y**2 + n * flat**2)
    move_first = jnp.where(total < 0, 0, -flat)
    second = jnp.where(y == 0, y**2 + n * flat**2, (n + 1) * slope**2)
    move_second = jnp.where(jnp.maximum(0, y - slope) == 0, -flat, slope)
    move = jnp.where(first < second, move_first, move_second)
    return b + move, s + move


def _towards(labels, logits):
    """PJAX's steps for the cross-entropy."""
    point = logits
    for _ in range(10):
        point = logits + 5 * (labels - jax.nn.softmax(point))
    return point


def _spread(x, w):
    shape = (x.shape[0], w.shape[1], x.shape[1])
    return jnp.broadcast_to(x[:, None], shape), jnp.broadcast_to(w.T[None], shape)


def _with_copies(params, x, y, skip, steps):
    """Alternating projections with all copies; returns the parameters."""
    weights = [w for w, _ in params[:-1]] + [params[-1]]
    biases = [b for _, b in params[:-1]]
    labels = jax.nn.one_hot(y, CLASSES, dtype=x.dtype)
    h, dots, relus = x, [], []
    seen = []
    for w, b in zip(weights, biases, strict=False):
        dots.append(_spread(h, w))
        s = h @ w
        relus.append((jnp.broadcast_to(b[None], s.shape), s))
        h = jax.nn.relu(s + b[None])
        seen.append(h)
    last = jnp.concatenate(seen, axis=-1) if skip else h
    dots.append(_spread(last, weights[-1]))
    logits = last @ weights[-1]

    def step(carry, _):
        weights, biases, dots, relus, logits = carry
        point = _towards(labels, logits)
        weights = [jnp.mean(w, axis=0).T for _, w in dots]
        asked = [jnp.mean(copies, axis=1) for copies, _ in dots]
        wanted = [asked[k + 1] for k in range(len(relus))]
        if skip:
            split = jnp.split(asked[-1], np.cumsum(SIZES[1:-1]), axis=1)
            wanted = [
                (w + part) / 2 for w, part in zip(wanted[:-1], split[:-1], strict=True)
            ] + [split[-1]]
        relus = [_relu(b, s, t) for (b, s), t in zip(relus, wanted, strict=True)]
        hidden = [jax.nn.relu(b + s) for b, s in relus]
        last = jnp.concatenate(hidden, axis=-1) if skip else hidden[-1]
        inputs = [x, *hidden[:-1], last]
        dots = [_spread(h, w) for h, w in zip(inputs, weights, strict=True)]
        biases = [jnp.mean(b, axis=0) for b, _ in relus]
        targets = [s for _, s in relus] + [point]
        dots = [_dot(*d, t) for d, t in zip(dots, targets, strict=True)]
        products = [jnp.sum(a * w, axis=-1) for a, w in dots]
        relus = [
            (jnp.broadcast_to(b[None], s.shape), s)
            for b, s in zip(biases, products, strict=False)
        ]
        logits = products[-1]
        return (weights, biases, dots, relus, logits), None

    carry = (weights, biases, dots, relus, logits)
    weights, biases, *_ = jax.lax.scan(step, carry, length=steps)[0]
    return [*zip(weights, biases, strict=False), weights[-1]]


@pytest.mark.parametrize("skip", [False, True])
def test_alternating_projections_equal_those_with_all_copies(getkey, skip):
    fn, params, x, y = _setting(getkey, skip)
    steps = 12
    problem = nn.TrainingProblem(
        (fn, params),
        x,
        y,
        "cross_entropy",
        granularity="neuron",
        numerics="pjax",
    )
    step = fp.AlternatingProjections().make_map(problem).apply
    z, _ = jax.lax.scan(lambda z, _: (step(z), None), problem.y0, length=steps)
    found = problem.model(z)[1]
    # One program for each: operation by operation this takes minutes.
    expected = jax.jit(_with_copies, static_argnums=(3, 4))(params, x, y, skip, steps)
    tolerance = 1e-11 if x.dtype == jnp.float64 else 1e-5
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance)
    moved = [
        float(jnp.max(jnp.abs(a - b)))
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(params), strict=True)
    ]
    assert min(moved) > 1e-4


# A network of two convolutions with every copy of every patch and kernel written out.


def _convolutions(params, x):
    (first, bias), second = params
    numbers = ("NCH", "OIH", "NCH")
    h = jax.lax.conv_general_dilated(x, first, (1,), [(1, 1)], None, None, numbers)
    h = jax.nn.relu(h + bias[None, :, None])
    h = jax.lax.conv_general_dilated(h, second, (2,), [(0, 0)], None, None, numbers)
    return h.reshape(len(x), -1)


def _patches_of(h, index, pad):
    h = jnp.pad(h, ((0, 0), (0, 0), (pad, pad)))[:, :, index]
    return h.swapaxes(1, 2).reshape(-1, h.shape[1] * index.shape[1])


def _mean_of_patches(asked, index, shape):
    """The mean of all entries of patches that are copies of an entry, no padding."""
    asked = asked.reshape(shape[0], len(index), shape[1], -1).swapaxes(1, 2)
    total = jnp.zeros(shape, asked.dtype).at[:, :, index].add(asked)
    return total / jnp.zeros(shape, asked.dtype).at[:, :, index].add(1)


def _convolutions_with_copies(params, x, y, steps):
    (first, bias), second = params
    batch, classes = len(x), 4
    one = np.arange(5)[:, None] + np.arange(3)
    two = 2 * np.arange(2)[:, None] + np.arange(3)
    labels = jax.nn.one_hot(y, classes, dtype=x.dtype)
    columns = lambda w: w.reshape(len(w), -1).T
    rows = lambda h: h.swapaxes(1, 2).reshape(-1, h.shape[1])
    images = lambda r, n: r.reshape(batch, n, -1).swapaxes(1, 2)
    kernels = columns(first), columns(second)
    spread = lambda h, k1, k2: (
        _spread(_patches_of(x, one, 1), k1),
        _spread(_patches_of(h, two, 0), k2),
    )
    s = images(_patches_of(x, one, 1) @ kernels[0], 5)
    relu = (jnp.broadcast_to(bias[None, :, None], s.shape), s)
    h = jax.nn.relu(s + bias[None, :, None])
    dots = spread(h, *kernels)
    logits = images(_patches_of(h, two, 0) @ kernels[1], 2).reshape(batch, -1)

    def step(carry, _):
        _, _, dots, relu, logits = carry
        point = _towards(labels, logits)
        kernels = [jnp.mean(w, axis=0).T for _, w in dots]
        wanted = _mean_of_patches(jnp.mean(dots[1][0], axis=1), two, relu[1].shape)
        relu = _relu(*relu, wanted)
        bias = jnp.mean(relu[0], axis=(0, 2))
        dots = spread(jax.nn.relu(relu[0] + relu[1]), *kernels)
        asked = point.reshape(batch, -1, 2)
        dots = [
            _dot(*d, t) for d, t in zip(dots, (rows(relu[1]), rows(asked)), strict=True)
        ]
        products = [jnp.sum(a * w, axis=-1) for a, w in dots]
        s = images(products[0], 5)
        relu = (jnp.broadcast_to(bias[None, :, None], s.shape), s)
        logits = images(products[1], 2).reshape(batch, -1)
        return (kernels, bias, dots, relu, logits), None

    carry = (list(kernels), bias, list(dots), relu, logits)
    (k1, k2), bias, *_ = jax.lax.scan(step, carry, length=steps)[0]
    return [k1.T.reshape(first.shape), bias, k2.T.reshape(second.shape)]


def test_convolutions_as_neurons_equal_those_with_all_copies(getkey):
    first, bias = jr.normal(getkey(), (3, 2, 3)), 0.1 * jr.normal(getkey(), (3,))
    params = ((first, bias), jr.normal(getkey(), (2, 3, 3)))
    x, y = jr.normal(getkey(), (6, 2, 5)), jnp.arange(6) % 4
    trainer = nn.Projections("neuron", numerics="pjax", sweeps=8)
    model, _, _ = eqx.filter_jit(trainer.update)((_convolutions, params), None, x, y)
    expected = jax.jit(_convolutions_with_copies, static_argnums=3)(params, x, y, 8)
    tolerance = 1e-11 if x.dtype == jnp.float64 else 1e-5
    for a, b, c in zip(
        jax.tree.leaves(model[1]), expected, jax.tree.leaves(params), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=tolerance)
        assert float(jnp.max(jnp.abs(a - c))) > 1e-4


@pytest.mark.one_precision
@pytest.mark.parametrize("groups,layout", [(1, "NCHW"), (2, "NHWC")])
def test_a_convolution_is_a_product_of_patches(getkey, groups, layout):
    """Strides, odd padding, dilations of both, groups, and another order of axes."""
    shape = {"N": 3, "C": 4, "H": 6, "W": 5}
    x = jr.normal(getkey(), tuple(shape[axis] for axis in layout))
    w = jr.normal(getkey(), (4, 4 // groups, 3, 2))

    def model(w, x):
        return jax.lax.conv_general_dilated(
            x,
            w,
            (2, 1),
            [(1, 2), (0, 1)],
            (1, 2),
            (2, 1),
            (layout, "OIHW", layout),
            feature_group_count=groups,
        ).reshape(len(x), -1)

    graph = trace_at((model, w), x, "neuron")
    assert [node.name for node in graph.nodes] == ["dot_general"]
    found = graph.evaluate([w], x)[graph.output]
    np.testing.assert_allclose(found, model(w, x), rtol=1e-4, atol=1e-5)


@pytest.mark.one_precision
def test_a_state_is_kept_between_minibatches(getkey):
    """The second minibatch starts where Douglas-Rachford's variable stood.

    The first matrix is used twice: copies that may differ are what is remembered.
    """

    def forward(p, x):
        return jax.nn.relu(jax.nn.relu(x @ p[0]) @ p[0]) @ p[1]

    model = (forward, [jr.normal(getkey(), (3, 3)), jr.normal(getkey(), (3, 4))])
    xs, y = jr.normal(getkey(), (2, 6, 3)), jnp.arange(6) % 3
    method = fp.DouglasRachford()
    trainer = nn.Projections(method=method, sweeps=4, keep_state=True)
    update = eqx.filter_jit(trainer.update)
    state = trainer.start(model, xs[0], y)
    assert all(not jnp.any(leaf) for leaf in jax.tree.leaves(state.offsets))
    middle, state, _ = update(model, state, xs[0], y)
    forgotten, _, _ = update(middle, trainer.start(middle, xs[1], y), xs[1], y)
    found, state, _ = update(middle, state, xs[1], y)

    def steps(z, x):
        problem = nn.TrainingProblem(
            model,
            x,
            y,
            "cross_entropy",
            activation_weight=trainer.metric.activation,
            parameter_weight=trainer.metric.parameter,
        )
        steps = method.make_map(problem)
        z = problem.y0 if z is None else {**problem.y0, **z}
        for _ in range(4):
            z = steps.apply(z)
        return z, steps.readout(z)

    z, answer = steps(None, xs[0])
    middle = nn.TrainingProblem((model[0], answer["parameters"]), xs[1], y).y0
    inputs = {}
    for number, copies in middle["inputs"].items():
        # Of this network's nodes, products have (activation, matrix) as copies.
        w = z["inputs"][number][-1]
        lasting = w.shape in [(3, 3), (3, 4)]
        inputs[number] = (*copies[:-1], w if lasting else copies[-1])
    z = {"parameters": z["parameters"], "inputs": inputs}
    _, answer = steps(z, xs[1])
    for a, b in zip(found[1], answer["parameters"], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert float(jnp.max(jnp.abs(found[1][0] - forgotten[1][0]))) > 1e-3


@pytest.mark.one_precision
def test_a_kept_state_in_fit(getkey):
    x, y = rings(getkey(), 64)
    trainer = nn.Projections(
        "neuron", fp.DouglasRachford(), sweeps=20, keep_state=True, loss="margin"
    )
    model = eqx_mlp(getkey(), (2, 16, 2))
    history = nn.fit(model, trainer, (x, y), epochs=6, batch_size=32, progress=False)
    assert history.metrics["accuracy"][-1] > 0.6
    with pytest.raises(ValueError, match="keep_state needs a method"):
        nn.Projections(keep_state=True)


@pytest.mark.slow
def test_exact_copies_are_nearest_points(getkey):
    """Every pair of copies against `projections.Bilinear`, also from unequal copies."""
    x, w = jr.normal(getkey(), (1, 4, 6)), jr.normal(getkey(), (1, 6, 3))
    scalars = [jr.normal(getkey(), (1, 4, 3)) for _ in range(4)]
    copies = _neuron.Copies(x, w, *scalars)
    wanted = 3 * jr.normal(getkey(), (1, 4, 3))

    def all_of(c):
        left = (
            c.ll[..., None] * x[:, :, None]
            + c.lr[..., None] * w.swapaxes(1, 2)[:, None]
        )
        right = (
            c.rl[..., None] * x[:, :, None]
            + c.rr[..., None] * w.swapaxes(1, 2)[:, None]
        )
        return left, right

    moved = _neuron.project(copies, x, w, wanted, (True, True), 1.0, None)
    left, right, value = Bilinear().project((*all_of(copies), wanted))
    found = all_of(moved)
    np.testing.assert_allclose(found[0], left, atol=2e-4)
    np.testing.assert_allclose(found[1], right, atol=2e-4)
    np.testing.assert_allclose(_neuron.value(moved, x, w), value, atol=1e-3)
    np.testing.assert_allclose(
        _neuron.mean_left(moved, x, w), jnp.mean(left, axis=2), atol=2e-4
    )
    np.testing.assert_allclose(
        _neuron.mean_right(moved, x, w).swapaxes(1, 2), jnp.mean(right, 1), atol=2e-4
    )
    # With x fixed the set is affine in (w, y).
    still = _neuron.agreeing_matrices(x, w)
    moved = _neuron.project(still, x, w, wanted, (False, True), 1.0, None)
    gap = wanted - jnp.matmul(x, w)
    t = gap / (1 + jnp.sum(x**2, axis=2, keepdims=True))
    np.testing.assert_allclose(moved.rl, t, rtol=1e-4, atol=1e-6)


METHODS = {
    "alternating": (fp.AlternatingProjections(), "two"),
    "douglas_rachford": (fp.DouglasRachford(), "two"),
    "difference_map": (fp.DifferenceMap(), "two"),
    "rrr": (fp.RRR(), "two"),
    "cyclic": (fp.CyclicProjections(), "levels"),
    "cyclic_douglas_rachford": (fp.CyclicDouglasRachford(), "levels"),
}


# Compiling is what these take; each method and granularity is in at least one.
CASES = [
    ("alternating", "layer"),
    ("douglas_rachford", "neuron"),
    *(
        pytest.param(name, granularity, marks=pytest.mark.slow)
        for name in METHODS
        for granularity in ("layer", "neuron")
        if (name, granularity)
        not in (("alternating", "layer"), ("douglas_rachford", "neuron"))
    ),
]


@pytest.mark.one_precision
@pytest.mark.parametrize("name,granularity", CASES)
def test_any_method_solves_it(getkey, name, granularity):
    method, split = METHODS[name]
    x, y = rings(getkey(), 48)
    model = eqx_mlp(getkey(), (2, 24, 2))
    problem = nn.TrainingProblem(model, x, y, granularity=granularity, split=split)
    solution = fp.solve(problem, method, max_steps=300, throw=False)
    accuracy = nn.evaluate(problem.model(solution.value), (x, y))["accuracy"]
    assert accuracy > max(0.8, nn.evaluate(model, (x, y))["accuracy"])


@pytest.mark.one_precision
def test_an_iteration_accelerates_it_and_a_solution_is_a_fixed_point(getkey):
    """One linear layer: the constraints have a common point, which is found."""
    x = jr.normal(getkey(), (6, 8))
    y = jnp.arange(6) % 3
    model = (lambda p, x: x @ p, 0.1 * jr.normal(getkey(), (8, 3)))
    problem = nn.TrainingProblem(model, x, y, parameter_weight=1.0)
    solution = fp.solve(problem, fp.AlternatingProjections(), fp.Anderson())
    assert bool(solution.result == fp.RESULTS.successful)
    outputs = x @ problem.model(solution.value)[1]
    own = jnp.take_along_axis(outputs, y[:, None], axis=1)
    others = jnp.where(jax.nn.one_hot(y, 3) > 0, -jnp.inf, outputs)
    assert float(jnp.min(own - jnp.max(others, 1, keepdims=True))) > 1 - 1e-2


@pytest.mark.one_precision
def test_identities_make_two_colours(getkey):
    """A skip over one product is an odd circle."""
    block = lambda h: h + jax.nn.relu(h)
    model = eqx.nn.Sequential(
        [
            eqx.nn.Linear(2, 8, key=getkey()),
            eqx.nn.Lambda(block),
            eqx.nn.Linear(8, 2, key=getkey()),
        ]
    )
    x, y = rings(getkey(), 16)
    problem = nn.TrainingProblem(model, x, y)
    constraints = problem.sets[0].constraints
    names = [node.name for node in constraints.trace.nodes]
    assert "identity" in names
    first, second = constraints.two_sets()
    for members in (first, second):
        for node in members:
            assert not set(constraints.parents.get(node, ())) & set(members)
    assert set(first) | set(second) == set(constraints.nodes)


@pytest.mark.one_precision
def test_memory_does_not_hold_the_copies(getkey):
    """No array of a step has batch x inputs x outputs entries, nor the whole step."""
    model = (
        lambda p, x: jax.nn.relu(x @ p[0]) @ p[1],
        [jr.normal(getkey(), (64, 96)), jr.normal(getkey(), (96, 10))],
    )
    x, y = jr.normal(getkey(), (80, 64)), jnp.zeros(80, int)
    trainer = nn.Projections("neuron", sweeps=3)
    compiled = eqx.filter_jit(trainer.update).lower(model, None, x, y).compile()
    memory = compiled.compiled.memory_analysis()
    assert memory.temp_size_in_bytes < 4 * 64 * 96 * 80 / 2


@pytest.mark.one_precision
@pytest.mark.parametrize(
    "options,words",
    [
        ({"granularity": "weight"}, "granularity.*'layer', 'neuron'"),
        ({"split": "three"}, "split"),
        ({"numerics": "pjax"}, "granularity='neuron'"),
        ({"loss": "l3"}, "loss must be"),
        ({"loss_step": -1.0}, "loss_step"),
        ({"parameter_weight": 0.0}, "parameter_weight"),
    ],
)
def test_bad_options(getkey, options, words):
    x, y = rings(getkey(), 8)
    with pytest.raises(ValueError, match=words):
        nn.TrainingProblem(eqx_mlp(getkey(), (2, 4, 2)), x, y, **options)


@pytest.mark.one_precision
def test_labels_of_another_shape(getkey):
    x, _ = rings(getkey(), 8)
    with pytest.raises(ValueError, match=r"\(8, 2\)"):
        nn.TrainingProblem(eqx_mlp(getkey(), (2, 4, 2)), x, jnp.ones((8, 3)))
