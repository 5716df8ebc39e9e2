"""Methods for games on games with known equilibria."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import fixproj as fp
from fixproj import competitive as comp


def _quadratic(x, y, matrix):
    return x @ matrix @ y + 0.5 * jnp.vdot(x, x) - jnp.vdot(y, y) + x[0] - y[1]


def _equilibrium(matrix):
    """From the linear system of the two gradients."""
    m, n = matrix.shape
    system = np.block([[np.eye(m), matrix], [-matrix.T, 2 * np.eye(n)]])
    right = np.zeros(m + n)
    right[0], right[m + 1] = -1, -1
    solution = np.linalg.solve(system, right)
    return solution[:m], solution[m:]


MATRIX = np.array([[1.4, 0.3, 0.8], [0.5, 1.9, 0.2]])
METHODS = [
    comp.ImplicitEuler(),
    comp.CGD(),
    comp.CGA(0.2, 0.1, order="alternating"),
    comp.PCGD(),
    comp.SimultaneousGradient(),
    comp.AlternatingGradient(),
    comp.Extragradient(),
    comp.OptimisticGradient(),
    comp.ConsensusGradient(step=0.05),
    comp.SymplecticGradient(),
    comp.Lookahead(),
]


@pytest.mark.one_precision
@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_quadratic_game_and_its_derivative(method):
    with jax.enable_x64(True):

        def solve(matrix):
            problem = comp.MinMax(_quadratic, jnp.ones(2), jnp.ones(3), matrix)
            return fp.solve(problem, method).value

        matrix = jnp.asarray(MATRIX)
        direction = jnp.asarray(np.linspace(-1, 1, 6).reshape(2, 3))
        (x, y), (dx, dy) = jax.jit(lambda m, d: jax.jvp(solve, (m,), (d,)))(
            matrix, direction
        )
        np.testing.assert_allclose(x, _equilibrium(MATRIX)[0], atol=1e-6)
        np.testing.assert_allclose(y, _equilibrium(MATRIX)[1], atol=1e-6)
        h = 1e-6
        ends = [_equilibrium(MATRIX + s * h * np.asarray(direction)) for s in (1, -1)]
        np.testing.assert_allclose(dx, (ends[0][0] - ends[1][0]) / (2 * h), atol=1e-6)
        np.testing.assert_allclose(dy, (ends[0][1] - ends[1][1]) / (2 * h), atol=1e-6)


def test_default_on_bilinear_and_on_convex_concave(getkey):
    matrix = jr.normal(getkey(), (3, 3)) + 2 * jnp.eye(3)
    bilinear = comp.MinMax(
        lambda x, y, a: x @ a @ y + jnp.sum(x) - 2 * y[0],
        jnp.ones(3),
        jnp.ones(3),
        matrix,
    )
    x, y = fp.solve(bilinear).value
    a = np.asarray(matrix, np.float64)
    np.testing.assert_allclose(y, np.linalg.solve(a, -np.ones(3)), atol=1e-3)
    expected = np.linalg.solve(a.T, np.array([2.0, 0, 0]))
    np.testing.assert_allclose(x, expected, atol=1e-3)


@pytest.mark.slow_in_x64
def test_dirac_gan():
    # Mescheder, Geiger & Nowozin (2018), example 1: the equilibrium is the origin.
    problem = comp.MinMax(lambda x, y, args: -jax.nn.softplus(-x * y), 1.0, 1.0)
    for method in (None, comp.ConsensusGradient(step=0.2), comp.CGD(1.0)):
        x, y = fp.solve(problem, method).value
        np.testing.assert_allclose([x, y], 0, atol=1e-3)


@pytest.mark.one_precision
@pytest.mark.parametrize("step", [0.1, 0.8, 3.0])
def test_bilinear_step_sizes(step):
    """The table of Schaefer & Anandkumar (2019), section 3: f = x y."""
    with jax.enable_x64(True):
        problem = comp.MinMax(lambda x, y, args: x * y, 0.5, 0.5)

        def after(method, moves=100):
            map_ = method.make_map(problem)
            z = jax.lax.fori_loop(0, moves, lambda _, z: map_.apply(z), map_.init())
            return float(fp.two_norm(z.players))

        start = np.sqrt(0.5)
        # Rates from the eigenvalues of the 2 x 2 maps by hand.
        gda = start * (1 + step**2) ** 50
        np.testing.assert_allclose(after(comp.SimultaneousGradient(step)), gda)
        cgd = start * (1 + step**2) ** -50
        np.testing.assert_allclose(after(comp.CGD(step)), cgd)
        eg = start * ((1 - step**2) ** 2 + step**2) ** 50
        np.testing.assert_allclose(after(comp.Extragradient(step)), eg)
        optimistic = after(comp.OptimisticGradient(step))
        assert (optimistic < start) == (step < 0.5)


@pytest.mark.slow_in_x64
def test_orders_of_solving_agree(getkey):
    matrix = jr.uniform(getkey(), (2, 3)) + jnp.eye(2, 3)
    # The game of fax's tests; `+ y y` there is concave for neither.
    game = comp.MinMax(
        lambda x, y, a: x[0] @ a @ jnp.concatenate(y) + jnp.sum(y[1] ** 2),
        (jr.uniform(getkey(), (2,)),),
        (jr.uniform(getkey(), (1,)), jr.uniform(getkey(), (2,))),
        matrix,
    )

    def moved(order, moves=2):
        method = comp.CGA(0.1, 0.5, order=order)
        z = method.make_map(game).init()
        for _ in range(moves):
            z = method.make_map(game).apply(z)
        return np.concatenate([np.ravel(x) for x in jax.tree.leaves(z.players)])

    reference = moved("simultaneous")
    for order in ("xy", "yx"):
        np.testing.assert_allclose(moved(order), reference, rtol=1e-4, atol=1e-5)
    # An application of "alternating" is two moves.
    np.testing.assert_allclose(moved("alternating", 1), reference, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.one_precision
def test_iterative_inner_solves_agree_with_dense():
    import lineax as lx

    with jax.enable_x64(True):
        matrix = jnp.asarray(MATRIX)
        problem = comp.MinMax(_quadratic, jnp.ones(2), jnp.ones(3), matrix)

        def move(method):
            map_ = method.make_map(problem)
            return np.concatenate(map_.apply(map_.init()).players)

        pairs = [
            (comp.CGD(0.3), comp.CGD(0.3, lx.CG(1e-12, 1e-12))),
            (comp.PCGD(0.3), comp.PCGD(0.3, lx.GMRES(1e-12, 1e-12))),
            (comp.CGD(0.3), comp.PCGD(0.3)),
            (comp.ACGD(0.3), comp.ACGD(0.3, linear_solver=lx.CG(1e-12, 1e-12))),
        ]
        for one, other in pairs:
            np.testing.assert_allclose(move(one), move(other), atol=1e-9)
        # Against the formula with dense matrices.
        x, y = np.ones(2), np.ones(3)
        gx, gy = MATRIX @ y + x + [1, 0], -(MATRIX.T @ x - 2 * y - [0, 1, 0])
        system = np.block([[np.eye(2), 0.3 * MATRIX], [-0.3 * MATRIX.T, np.eye(3)]])
        step = np.linalg.solve(system, -0.3 * np.concatenate([gx, gy]))
        expected = np.ones(5) + step
        np.testing.assert_allclose(move(comp.CGD(0.3)), expected, atol=1e-12)


@pytest.mark.slow
@pytest.mark.one_precision
def test_game_of_fax_in_no_more_steps():
    """fax's `CGATest`: x'Ay + y'y, whose x ascends and y descends, by steps of 0.1."""
    with jax.enable_x64(True):
        rng, step = np.random.default_rng(0), 0.1
        a = rng.uniform(0.1, 1, (2, 3)) + np.eye(2, 3)
        x0, y0 = rng.uniform(size=2), rng.uniform(size=3)
        # What fax iterates, and its rule to stop, with a dense solve.
        system = np.block([[np.eye(2), -step * a], [step * a.T, np.eye(3)]])
        z, change, expected = np.concatenate([x0, y0]), np.inf, 0
        while change >= 1e-8:
            x, y = z[:2], z[2:]
            right = step * np.concatenate([a @ y, -a.T @ x - 2 * y])
            move = np.linalg.solve(system, right)
            z, change, expected = z + move, np.linalg.norm(move), expected + 1
        problem = comp.MinMax(
            lambda x, y, a: -(x @ a @ y + y @ y), *map(jnp.asarray, (x0, y0, a))
        )
        for order in ("simultaneous", "alternating", "xy", "yx"):
            method = comp.CGA(step, order=order)
            solution = fp.solve(problem, method, rtol=0.0, atol=1e-8, norm=fp.two_norm)
            for part in solution.value:
                np.testing.assert_allclose(part, 0, atol=1e-6)
            assert int(solution.stats["num_steps"]) <= expected + 2
        # The default needs no step size, and fewer moves.
        solution = fp.solve(problem)
        assert int(solution.stats["num_steps"]) < expected / 5


@pytest.mark.one_precision
def test_matrix_free_moves_agree_with_the_formula():
    """More unknowns than are solved for densely: conjugate gradients, warm started."""
    with jax.enable_x64(True):
        n, step = 300, 0.7
        rng = np.random.default_rng(1)
        a = rng.normal(size=(n, n)) / np.sqrt(n)
        x, y = rng.normal(size=n), rng.normal(size=n)
        problem = comp.MinMax(
            lambda x, y, a: x @ a @ y + x @ x / 2, *map(jnp.asarray, (x, y, a))
        )
        system = np.block([[np.eye(n), step * a], [-step * a.T, np.eye(n)]])
        exact = lambda x, y: np.linalg.solve(
            system, -step * np.concatenate([a @ y + x, -a.T @ x])
        )
        # Inner solves are to 2% in CGD and CGA, and to eps^(1/4) in GMRES.
        for method, tolerance in (
            (comp.CGD(step), 0.02),
            (comp.CGA(step, order="yx"), 0.02),
            (comp.PCGD(step), 1e-3),
        ):
            map_ = method.make_map(problem)
            z = map_.init()
            apply = eqx.filter_jit(lambda map_, z: map_.apply(z))
            for _ in range(6):
                before = [np.asarray(p) for p in z.players]
                z = apply(map_, z)
                expected = exact(*before)
                found = np.concatenate(z.players) - np.concatenate(before)
                error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
                assert error <= tolerance


def test_players_who_maximise():
    profit = lambda i: lambda q, cost: q[i] * (10.0 - sum(q) - cost)
    losses = [profit(0), lambda q, cost: -profit(1)(q, cost)]
    game = comp.Game(losses, (0.0, 0.0), 1.0, maximise=[0])
    np.testing.assert_allclose(fp.solve(game, comp.PCGD()).value, 3.0, atol=1e-3)


@pytest.mark.slow_in_x64
def test_cournot_of_three_and_its_leader():
    profit = lambda i: lambda q, cost: -q[i] * (10.0 - sum(q) - cost)
    three = comp.Game([profit(i) for i in range(3)], (0.0, 0.0, 0.0), 1.0)
    for method in (None, comp.PCGD()):
        np.testing.assert_allclose(fp.solve(three, method).value, 2.25, atol=1e-3)
    # Leader and follower: 9 / 2 and 9 / 4 (von Stackelberg, 1934).
    two = comp.Game([profit(0), profit(1)], (1.0, 1.0), 1.0)
    found = fp.solve(two, comp.Stackelberg()).value
    np.testing.assert_allclose(found, [4.5, 2.25], atol=1e-3)
    # LOLA players produce more than Cournot's 3: 9 (1 - a) / (3 - 4 a), by hand.
    found = fp.solve(two, comp.LOLA(lookahead=0.3)).value
    np.testing.assert_allclose(found, 9 * 0.7 / (3 - 4 * 0.3), atol=1e-3)


def test_mirror_descent_against_linear_programming():
    import scipy.optimize

    payoff = np.array([[3.0, -1.0, 0.0], [-2.0, 2.0, 1.0], [1.0, 0.5, 2.5]])
    problem = comp.MinMax(
        lambda x, y, a: x @ a @ y,
        jnp.full(3, 1 / 3),
        jnp.full(3, 1 / 3),
        jnp.asarray(payoff),
    )
    solution = fp.solve(problem, comp.CompetitiveMirrorDescent(), rtol=1e-5, atol=1e-5)
    x, y = solution.value
    # min v subject to payoff' x <= v, x in the simplex.
    program = scipy.optimize.linprog(
        [0, 0, 0, 1],
        np.column_stack([payoff.T, -np.ones(3)]),
        np.zeros(3),
        [[1, 1, 1, 0]],
        [1],
        [(0, None)] * 3 + [(None, None)],
    )
    value = program.fun
    assert np.max(payoff.T @ np.asarray(x)) <= value + 5e-3
    assert np.min(payoff @ np.asarray(y)) >= value - 5e-3
    np.testing.assert_allclose([x.sum(), y.sum()], 1, atol=1e-5)


@pytest.mark.one_precision
def test_optax_and_stochastic_losses():
    def loss(sign):
        def fn(players, key):
            x, y = players
            noise = 0.1 * jr.normal(key)
            return sign * ((x + noise) * y + 0.5 * x**2 - 0.5 * y**2)

        return fn

    losses, start = [loss(1), loss(-1)], (1.0, 1.0)
    method = comp.SimultaneousGradient(step=1.0)
    iteration = comp.Optax(optax.adam(1e-2))

    @jax.jit
    def train(key):
        game = comp.Game(losses, start, key)
        z = method.make_map(game).init()

        def step(carry, key):
            z, state = carry
            fz = method.make_map(comp.Game(losses, start, key)).apply(z)
            return iteration.step(z, fz, state), None

        (z, _), _ = jax.lax.scan(step, (z, iteration.init(z)), jr.split(key, 2000))
        return z.players

    np.testing.assert_allclose(train(jr.key(0)), 0, atol=0.1)


@pytest.mark.slow
@pytest.mark.one_precision
def test_policy_optimisation_of_fax():
    """fax's `test_omd`: a policy from a model that is learnt through its plan."""
    with jax.enable_x64(True):
        transition = jnp.array([[[0.7, 0.3], [0.2, 0.8]], [[0.99, 0.01], [0.99, 0.01]]])
        reward = jnp.array([[-0.45, -0.1], [0.5, 0.5]])
        temperature, discount = 1e-2, 0.9

        def objective(z, args):
            policy = jax.nn.softmax(z[0] / temperature, axis=1)
            p = jnp.einsum("ast,sa->st", transition, policy)
            r = jnp.einsum("sa,sa->s", reward, policy)
            return -jnp.mean(jnp.linalg.solve(jnp.eye(2) - discount * p, r))

        def bellman(z, args):
            q, (logits, reward_hat) = z
            p = jax.nn.softmax(logits / temperature, axis=-1)
            v = temperature * jax.nn.logsumexp(q / temperature, axis=1)
            return reward_hat + discount * jnp.einsum("ast,t->sa", p, v) - q

        zero = jnp.zeros_like(reward)
        start = (zero, (jnp.zeros_like(transition), zero))
        problem = fp.Constrained(objective, start, eq=bellman)
        solution = fp.solve(problem, throw=False, max_steps=2000)
        np.testing.assert_allclose(-objective(solution.value, None), 1.0272727, 1e-6)
        np.testing.assert_allclose(bellman(solution.value, None), 0, atol=1e-6)


_loss = lambda players, args: players[0] ** 2
BAD = {
    "count": (lambda: comp.Game([_loss], (1.0, 2.0)), ValueError, "1 losses and 2"),
    "players": (lambda: comp.Game([_loss], 1.0), TypeError, "`y0` must be a tuple"),  # pyright: ignore[reportArgumentType]
    "loss": (lambda: comp.Game([3], (1.0,)), TypeError, r"`losses\[0\]` must be a"),  # pyright: ignore[reportArgumentType]
    "maximise": (
        lambda: comp.Game([_loss], (1.0,), maximise=[1]),
        ValueError,
        "`maximise` must hold indices of players, from 0 to 0",
    ),
    "nan": (
        lambda: fp.solve(comp.MinMax(lambda x, y, a: x * y, jnp.nan, 1.0)),
        ValueError,
        r"`x0.* has an entry that is NaN",
    ),
    "two": (
        lambda: fp.solve(comp.Game([_loss] * 3, (1.0,) * 3), comp.CGD()),
        ValueError,
        "CGD is for two players, got 3",
    ),
    "shape": (
        lambda: fp.solve(comp.MinMax(lambda x, y, a: x, jnp.ones(2), 1.0)),
        ValueError,
        "MinMax: `f` must return a scalar",
    ),
    "step": (lambda: comp.CGD(step=0.0), ValueError, "CGD: `step` must be > 0"),
    "order": (lambda: comp.CGA(order="both"), ValueError, "CGA: `order` must be"),  # pyright: ignore[reportArgumentType]
    "method": (
        lambda: fp.solve(comp.MinMax(lambda x, y, a: x, 1.0, 1.0), fp.SQP()),
        TypeError,
        "does not apply to a MinMax",
    ),
}


@pytest.mark.one_precision
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_an_error_that_names_it(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()
