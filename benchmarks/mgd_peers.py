"""Other ways to train on costs, with the protocol of `nn.fit`'s trainers.

- `Tutorial`: two costs per update, signs from one key, plain gradient descent;
- `ForwardGradient`: the directional derivative along a normal direction, times it
  (Baydin et al., "Gradients without backpropagation", 2022);
- `OpenES`: evolution strategies (Salimans et al., "Evolution strategies as a scalable
  alternative to reinforcement learning", 2017): evosax's class where evosax is
  installed, else its formula, g = sum_k F_k (e_k - e_-k) / (n s) with antithetic pairs
  and costs centred by their mean.

optax has no SPSA (0.2.8); weight perturbation by Rademacher signs is SPSA.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jax.flatten_util import ravel_pytree


try:
    from evosax.algorithms import Open_ES  # pyright: ignore[reportMissingImports]
except ImportError:
    Open_ES = None


@dataclasses.dataclass(frozen=True)
class Tutorial:
    """The tutorial's update; `step(params, key, x, y)` makes it."""

    step: Callable[..., Any]
    seed: int = 0

    def init(self, params):
        """A key."""
        return jr.key(self.seed)

    def update(self, params, state, x, y):
        """One update."""
        key, after = jr.split(state)
        return self.step(params, key, x, y), after


@dataclasses.dataclass(frozen=True)
class ForwardGradient:
    """One forward derivative along one direction."""

    loss: Callable[..., Any]
    optimiser: optax.GradientTransformation
    seed: int = 0

    def init(self, params):
        """A key and the optimiser's state."""
        return jr.key(self.seed), self.optimiser.init(params)

    def update(self, params, state, x, y):
        """One update."""
        (key, inner), (flat, unravel) = state, ravel_pytree(params)
        key, after = jr.split(key)
        direction = unravel(jr.normal(key, flat.shape, flat.dtype))
        _, slope = jax.jvp(lambda p: self.loss(p, x, y), (params,), (direction,))
        gradient = jax.tree.map(lambda d: slope * d, direction)
        updates, inner = self.optimiser.update(gradient, inner, params)
        return optax.apply_updates(params, updates), (after, inner)


@dataclasses.dataclass(frozen=True)
class OpenES:
    """A population around the mean; every member is one forward pass."""

    loss: Callable[..., Any]
    optimiser: optax.GradientTransformation
    population: int = 8
    deviation: float = 1e-2
    seed: int = 0

    def init(self, params):
        """A key, and the strategy's state."""
        if Open_ES is None:
            return jr.key(self.seed), self.optimiser.init(params)
        strategy = self._strategy(params)
        key, after = jr.split(jr.key(self.seed))
        state = strategy.init(key, params, strategy.default_params)
        return after, state

    def update(self, params, state, x, y):
        """One generation."""
        (key, inner), (flat, unravel) = state, ravel_pytree(params)
        key, after = jr.split(key)
        cost = jax.vmap(lambda member: self.loss(member, x, y))
        if Open_ES is not None:
            strategy = self._strategy(params)
            rules = strategy.default_params
            members, inner = strategy.ask(key, inner, rules)
            inner, _ = strategy.tell(key, members, cost(members), inner, rules)
            return unravel(inner.mean), (after, inner)
        half = jr.normal(key, (self.population // 2, flat.size), flat.dtype)
        steps = jnp.concatenate([half, -half])
        members = jax.vmap(unravel)(flat[None] + self.deviation * steps)
        costs = cost(members)
        scale = self.population * self.deviation
        gradient = (costs - jnp.mean(costs)) @ steps / scale
        updates, inner = self.optimiser.update(unravel(gradient), inner, params)
        return optax.apply_updates(params, updates), (after, inner)

    def _strategy(self, params):
        from evosax.core.fitness_shaping import (  # pyright: ignore[reportMissingImports]
            identity_fitness_shaping_fn,
        )

        return Open_ES(  # pyright: ignore[reportOptionalCall]
            population_size=self.population,
            solution=params,
            optimizer=self.optimiser,
            std_schedule=optax.constant_schedule(self.deviation),
            fitness_shaping_fn=identity_fitness_shaping_fn,
        )
