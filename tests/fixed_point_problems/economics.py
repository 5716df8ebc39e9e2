"""Prices, savings and Markov decisions."""

import functools

import jax.numpy as jnp
import numpy as np

from ._problem import Problem, cast, to_numpy
from ._random import StableRandom, normal_quantile


def _economy():
    random = StableRandom()
    endowments = random(10, 5, quantile=lambda u: np.exp(normal_quantile(u)))
    return endowments, random(10, 5)


def _exchange_map(y, args):
    endowments, tastes = args
    wealth = y @ endowments / jnp.sum(tastes, axis=0)
    price = tastes @ wealth / jnp.sum(endowments, axis=1)
    return price / price[0]


def _exchange_make(dtype):
    return _exchange_map, *cast((np.ones(10), _economy()), dtype)


def _exchange_solution(dtype):
    """Without the numeraire the map is linear: its Perron vector, scaled."""
    endowments, tastes = _economy()
    matrix = (tastes / tastes.sum(0)) @ endowments.T / endowments.sum(1)[:, None]
    values, vectors = np.linalg.eig(matrix)
    price = np.real(vectors[:, np.argmax(np.real(values))])
    return to_numpy(price / price[0], dtype)


_BUDGETS = np.concatenate([0.015 * np.arange(67), np.linspace(1.05, 3.0, 40)])
_FRACTIONS = np.linspace(0.0, 1.0, 201)
_DISCOUNT, _POWER, _SHOCKS = 0.95, 0.2, 31


@functools.cache
def _savings():
    """Where next period's budgets fall on the grid, and the shocks."""
    spending = _BUDGETS[:, None] * _FRACTIONS
    # A budget beyond the grid counts as its last point.
    ahead = np.minimum(_BUDGETS[:, None] - spending + 1.0, _BUDGETS[-1])
    left = np.clip(np.searchsorted(_BUDGETS, ahead, side="right") - 1, 0, 105)
    share = (ahead - _BUDGETS[left]) / (_BUDGETS[left + 1] - _BUDGETS[left])
    shocks = np.exp(normal_quantile((np.arange(_SHOCKS) + 0.5) / _SHOCKS))
    return left.astype(np.int32), share, spending**_POWER, shocks


def _savings_map(y, args):
    left, share, utility, shocks = args
    ahead = _DISCOUNT * ((1 - share) * y[left] + share * y[left + 1])
    value = shocks[:, None, None] * utility[None] + ahead[None]
    return jnp.mean(jnp.max(value, axis=2), axis=0)


def _savings_make(dtype):
    return _savings_map, *cast((np.sqrt(_BUDGETS), _savings()), dtype)


def _savings_solution(dtype):
    """Howard's policy iteration: a dense linear system for each policy."""
    left, share, utility, shocks = _savings()
    rows, value = np.arange(107)[None, :], np.sqrt(_BUDGETS)
    for _ in range(100):
        ahead = _DISCOUNT * ((1 - share) * value[left] + share * value[left + 1])
        best = np.argmax(shocks[:, None, None] * utility + ahead, axis=2)
        matrix, reward = np.eye(107), np.mean(shocks[:, None] * utility[rows, best], 0)
        index, part = left[rows, best], share[rows, best]
        for shock in range(_SHOCKS):
            np.subtract.at(
                matrix, (rows[0], index[shock]), _DISCOUNT * (1 - part[shock]) / _SHOCKS
            )
            np.subtract.at(
                matrix, (rows[0], index[shock] + 1), _DISCOUNT * part[shock] / _SHOCKS
            )
        new = np.linalg.solve(matrix, reward)
        if np.max(np.abs(new - value)) < 1e-12:
            break
        value = new
    return to_numpy(value, dtype)


_STATES, _ACTIONS, _BRANCHES, _GAMMA = 200, 4, 3, 0.99


@functools.cache
def _decisions():
    rng = np.random.default_rng(7)
    shape = (_STATES, _ACTIONS, _BRANCHES)
    # Successors lie near their state, so that values must travel through the chain.
    successor = (
        np.arange(_STATES)[:, None, None] + rng.integers(-3, 4, shape)
    ) % _STATES
    probability = rng.dirichlet(np.ones(_BRANCHES), shape[:2])
    reward = rng.normal(size=shape[:2]) * (rng.random(shape[:2]) < 0.1)
    return successor.astype(np.int32), probability, reward


def _value_map(y, args):
    successor, probability, reward = args
    action_value = reward + _GAMMA * jnp.sum(probability * y[successor], axis=2)
    return jnp.max(action_value, axis=1)


def _value_make(dtype):
    return _value_map, *cast((np.zeros(_STATES), _decisions()), dtype)


def _value_solution(dtype):
    """Howard's policy iteration: a dense linear system for each policy."""
    successor, probability, reward = _decisions()
    rows, value = np.arange(_STATES), np.zeros(_STATES)
    for _ in range(100):
        best = np.argmax(reward + _GAMMA * np.sum(probability * value[successor], 2), 1)
        matrix = np.eye(_STATES)
        for branch in range(_BRANCHES):
            column = successor[rows, best, branch]
            np.subtract.at(
                matrix, (rows, column), _GAMMA * probability[rows, best, branch]
            )
        new = np.linalg.solve(matrix, reward[rows, best])
        if np.max(np.abs(new - value)) < 1e-12:
            break
        value = new
    return to_numpy(value, dtype)


PROBLEMS = [
    Problem(
        name="exchange_economy",
        make=_exchange_make,
        size=10,
        picard_steps_hint=8,
        tuned_on=False,
        reference="Pure exchange economy, 5 households, 10 goods, first good is the "
        "numeraire: FixedPointAcceleration.jl section 4.1, data (StableRandom) of "
        "FixedPointTestProblems.jl",
        tolerance32=2e-06,
        solution=_exchange_solution,
        accuracy=1e-06,
        accuracy32=2e-05,
        domain="prices with a positive value of the first good's demand",
    ),
    Problem(
        name="consumption_smoothing",
        make=_savings_make,
        size=107,
        picard_steps_hint=371,
        tuned_on=False,
        reference="FixedPointAcceleration.jl section 4.4 on its grid, with linear "
        "interpolation, 201 spending levels and 31 equally likely shocks in place of "
        "its spline, optimiser and adaptive quadrature",
        tolerance32=0.0002,
        solution=_savings_solution,
        accuracy=2e-06,
        accuracy32=0.005,
        smooth=False,
    ),
    Problem(
        name="value_iteration",
        make=_value_make,
        size=_STATES,
        picard_steps_hint=1844,
        tuned_on=False,
        reference="Value iteration (Bellman 1957) on a Garnet-type Markov decision "
        "process "
        "with local successors, discount 0.99, seed 7",
        tolerance32=0.0005,
        solution=_value_solution,
        accuracy=1e-05,
        accuracy32=0.05,
        smooth=False,
    ),
]
