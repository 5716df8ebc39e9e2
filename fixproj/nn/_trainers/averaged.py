"""Exponential averages of the weights that a trainer visits.

    average <- d average + (1 - d) weights,   d = min(decay, (1 + t) / (10 + t))

Polyak and Juditsky (1992), Acceleration of stochastic approximation by averaging, in
the form with a fixed horizon of 1 / (1 - decay) minibatches. The first steps count
less.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from fixproj._check import check_between
from fixproj.nn._graph import split
from fixproj.nn._trainers._loss import AbstractLoss
from fixproj.nn._trainers._trainer import AbstractTrainer


class _State(eqx.Module):
    arrays: PyTree  # of the model that is being trained
    inner: PyTree
    count: Int[Array, ""]


class Averaged(AbstractTrainer):
    """Any trainer, whose model is the average of those it visits.

    Training goes on from the last weights, as without averaging; what `nn.fit`
    evaluates and returns has the averaged ones. What a model holds besides its
    parameters, such as running statistics, is the last.

    Args:
        trainer: any trainer that works by minibatches.
        decay: the weight of the past, between 0 and 1.

    Raises:
        TypeError: if `trainer` is none.
        ValueError: if `decay` is not between 0 and 1.

    Examples:
        >>> import optax
        >>> from fixproj import nn
        >>> trainer = nn.Averaged(nn.Projections(outer=optax.adam(3e-3)), decay=0.99)
    """

    trainer: AbstractTrainer
    decay: float
    objective: AbstractLoss

    def __init__(self, trainer: AbstractTrainer, decay: float = 0.99):
        if not isinstance(trainer, AbstractTrainer):
            raise TypeError(
                f"Averaged: `trainer` must be a trainer, got {type(trainer).__name__}."
            )
        check_between("Averaged", "decay", decay, 0, 1)
        self.trainer, self.decay, self.objective = trainer, decay, trainer.objective

    def init(self, model: PyTree) -> PyTree:
        """The weights to go on from, and the trainer's state."""
        arrays = eqx.filter(model, eqx.is_array)
        return _State(arrays, self.trainer.init(model), jnp.zeros((), jnp.int32))

    def start(self, model: PyTree, x: Array, y: Array) -> PyTree:
        """As `init`, for minibatches like this; see `AbstractTrainer.start`."""
        arrays = eqx.filter(model, eqx.is_array)
        inner = self.trainer.start(model, x, y)
        return _State(arrays, inner, jnp.zeros((), jnp.int32))

    def update(
        self, model: PyTree, state: PyTree, x: Array, y: Array
    ) -> tuple[PyTree, PyTree, dict[str, Any]]:
        """One step of the trainer, and of the average; see `AbstractTrainer.update`."""
        last = eqx.combine(state.arrays, model)
        last, inner, info = self.trainer.update(last, state.inner, x, y)
        new, _, rebuild = split(last)
        old = split(model)[0]

        def mix(a, b):
            t = state.count.astype(b.dtype)
            keep = jnp.minimum(jnp.asarray(self.decay, b.dtype), (1 + t) / (10 + t))
            return keep * a + (1 - keep) * b

        average = rebuild([mix(a, b) for a, b in zip(old, new, strict=True)])
        arrays = eqx.filter(last, eqx.is_array)
        return average, _State(arrays, inner, state.count + 1), info
