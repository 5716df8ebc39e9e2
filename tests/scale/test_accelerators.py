"""What can be known of accelerators without one: every program lowers for them.

LAPACK is on no accelerator, Python callbacks stall one, and a program that is compiled
anew at every call is slow anywhere.
"""

import gc
import resource

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import fixproj as fp
from fixproj import competitive, nn, projections as proj


pytestmark = pytest.mark.one_precision
X = jnp.linspace(0.5, 1.5, 4)


def _feasibility(method):
    sets = [proj.Box(-1.0, 1.0), proj.Hyperplane(jnp.ones(4), 0.5), proj.L2Ball(2.0)]

    def solve(b):
        problem = fp.Feasibility(sets, b)
        return fp.solve(problem, method, max_steps=20, throw=False).value

    return solve


def _composite(method, smooth=True):
    def solve(b):
        fit = (lambda x, args: 0.5 * jnp.sum((x - b) ** 2)) if smooth else None
        prox = proj.L1(0.1) if smooth else proj.SquaredL2(1.0)
        linear = None if smooth else (jnp.diff(jnp.eye(4), axis=0), proj.L1(0.1))
        problem = fp.Composite(fit, prox, linear, y0=b)
        return fp.solve(problem, method, max_steps=20, throw=False).value

    return solve


def _davis_yin(b):
    fit = lambda x, args: 0.5 * jnp.sum((x - b) ** 2)
    problem = fp.Composite(fit, proj.L1(0.1), (None, proj.Box(0.0, 1.0)), y0=b)
    return fp.solve(problem, fp.DavisYin(), max_steps=20, throw=False).value


def _program(method):
    def solve(b):
        problem = fp.QuadraticProgram(jnp.eye(4), b, jnp.ones((1, 4)), b[:1], b[1:2])
        return fp.solve(problem, method, max_steps=20, throw=False).value

    return solve


def _conic(b):
    a = jnp.concatenate([-jnp.eye(4), jnp.ones((1, 4))])
    cone = [(proj.NonNegative(), 4), (proj.SecondOrderCone(), 1)]
    problem = fp.ConicProgram(jnp.eye(4), b, a, jnp.append(0 * b, 1.0), cone)
    return fp.solve(problem, max_steps=20, throw=False).value


# Made here, because what is made of traced numbers is checked by a callback.
ROUND = [proj.Box(-1.0, 1.0), proj.L2Ball(1.0), proj.Halfspace(jnp.ones(4), 0.5)]


def _nearest(b):
    return fp.nearest_point(ROUND, b, throw=False).value


def _constrained(method):
    def solve(b):
        problem = fp.Constrained(
            lambda x, args: jnp.sum((x - args) ** 2),
            b,
            eq=lambda x, args: jnp.sum(x**2) - 4.0,
            args=b,
        )
        return fp.solve(problem, method, max_steps=5, throw=False).value

    return solve


def _game(method):
    def solve(b):
        f = lambda x, y, args: (
            jnp.vdot(x, y) + 0.1 * jnp.sum(x**2) - 0.1 * jnp.sum(y**2)
        )
        problem = competitive.MinMax(f, b, b)
        return fp.solve(problem, method, max_steps=5, throw=False).value

    return solve


def _gradient(adjoint):
    def gradient(b):
        def loss(b):
            problem = fp.FixedPoint(lambda y, a: 0.5 * jnp.cos(y) + a, b, b)
            return jnp.sum(fp.solve(problem, adjoint=adjoint, throw=False).value)

        return jax.grad(loss)(b)

    return gradient


def _update(trainer):
    def update(b):
        model = eqx.nn.MLP(4, 2, 3, 1, key=jr.key(0))
        x, y = jnp.stack([b, 2 * b]), jnp.array([0, 1])
        model, _, _ = trainer.update(model, trainer.init(model), x, y)
        return jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))

    return update


FEASIBILITY = [
    fp.AlternatingProjections(),
    fp.CyclicProjections(),
    fp.CyclicProjections(jr.key(0)),
    fp.AveragedProjections(extrapolate=True),
    fp.Dykstra(),
    fp.DouglasRachford(),
    fp.CyclicDouglasRachford(),
    fp.PeacemanRachford(),
    fp.DifferenceMap(),
    fp.RRR(),
    fp.RAAR(),
    fp.Haugazeau(),
]
GAMES = [
    competitive.CGD(),
    competitive.ACGD(),
    competitive.PCGD(),
    competitive.CGA(),
    competitive.SymplecticGradient(),
    competitive.ConsensusGradient(),
    competitive.Extragradient(),
    competitive.OptimisticGradient(),
    competitive.Lookahead(),
    competitive.LOLA(),
    competitive.Stackelberg(),
    competitive.SimultaneousGradient(),
    competitive.AlternatingGradient(),
]
BATCH = jnp.ones((2, 4)), jnp.array([0, 1])
PROGRAMS = {
    **{f"{m!r:.40}": _feasibility(m) for m in FEASIBILITY},
    "ForwardBackward": _composite(fp.ForwardBackward()),
    "DavisYin": _davis_yin,
    "ADMM": _composite(fp.ADMM(), smooth=False),
    "PDHG": _composite(fp.PDHG(), smooth=False),
    "OperatorSplitting": _program(fp.OperatorSplitting()),
    "InteriorPoint": _program(fp.InteriorPoint()),
    "SQP": _constrained(fp.SQP()),
    "ImplicitEuler": _game(None),
    **{type(m).__name__: _game(m) for m in GAMES},
    "AugmentedLagrangian": _constrained(fp.AugmentedLagrangian()),
    "LagrangianCGA": _constrained(competitive.LagrangianCGA()),
    "ConicProgram": _conic,
    "InteriorPointProjection": _nearest,
    "CondatVu": _composite(fp.CondatVu(), smooth=False),
    "LinearizedADMM": _composite(fp.LinearizedADMM(), smooth=False),
    "Implicit": _gradient(fp.implicit.Implicit()),
    "TwoPhase": _gradient(fp.implicit.TwoPhase()),
    "Projections": _update(nn.Projections()),
    "Projections with Adam": _update(nn.Projections(outer=optax.adam(1e-3))),
    "LayerParallel": _update(nn.LayerParallel(BATCH, optax.adam(1e-3))),
    "MGD": _update(nn.MGD()),
    "Gradient": _update(nn.Gradient(optax.adam(1e-3))),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_lowers_for_accelerators(name):
    exported = jax.export.export(jax.jit(PROGRAMS[name]), platforms=["cuda", "tpu"])(
        jax.ShapeDtypeStruct((4,), jnp.float32)
    )
    text = exported.mlir_module()
    assert "stablehlo" in text
    assert "lapack" not in text and "callback" not in text


def test_nothing_moves_between_host_and_device():
    """A compiled solve takes and gives device arrays only."""
    solve = jax.jit(_feasibility(fp.DouglasRachford()))
    b = jax.device_put(X)
    expected = solve(b)
    with jax.transfer_guard("disallow"):
        found = solve(b)
        jax.block_until_ready(found)
    np.testing.assert_array_equal(found, expected)


def test_new_numbers_are_not_traced_again():
    traced = []

    def fn(y, args):
        traced.append(None)
        return 0.5 * jnp.cos(y) + args

    @jax.jit
    def solve(b):
        return fp.solve(fp.FixedPoint(fn, b, b), rtol=1e-4).value

    solve(X)
    first = len(traced)
    for k in range(1, 5):
        solve(X + k)
    assert len(traced) == first
    # Nor is anything where no `jit` is around it.
    for k in range(5):
        start = len(traced)
        fp.solve(fp.FixedPoint(fn, X + k, X + k), rtol=1e-4, max_steps=100 + k)
        if k > 1:
            assert len(traced) == start


@pytest.mark.slow
def test_a_thousand_solves_leave_nothing_behind():
    method = fp.DouglasRachford()
    sets = lambda k: [proj.Box(-1.0, 1.0), proj.Hyperplane(jnp.ones(4), k)]
    solve = lambda k: fp.solve(fp.Feasibility(sets(k), X + k), method).value

    def arrays():
        gc.collect()
        return len(jax.live_arrays())

    for k in range(20):
        solve(0.001 * k)
    before, memory = arrays(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for k in range(1000):
        solve(0.001 * k)
    assert arrays() <= before
    # Kilobytes; 1000 leaked programs would be hundreds of megabytes.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 30_000
