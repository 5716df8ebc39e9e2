"""The protocol that `nn.fit` runs."""

import abc
from typing import Any

import equinox as eqx
from jaxtyping import Array, PyTree

from fixproj.nn._trainers._loss import AbstractLoss


class AbstractTrainer(eqx.Module):
    """A rule that improves a model by one minibatch at a time.

    A trainer is frozen and holds hyperparameters only; what changes is the model and
    the state, which `update` returns anew. Both methods can be called under
    `equinox.filter_jit`.
    """

    objective: eqx.AbstractVar[AbstractLoss]

    @abc.abstractmethod
    def init(self, model: PyTree) -> PyTree:
        """The state before the first minibatch.

        Args:
            model: the model that will be trained.

        Returns:
            A pytree of arrays.
        """

    def start(self, model: PyTree, x: Array, y: Array) -> PyTree:
        """The state before the first minibatch, given one of the shapes to come.

        What `nn.fit` begins with. By default `init(model)`; a trainer whose state has
        shapes of the model's activations makes it here.

        Args:
            model: the model that will be trained.
            x: a batch of inputs; only shape and dtype are read.
            y: its labels, likewise.

        Returns:
            A pytree of arrays.
        """
        return self.init(model)

    @abc.abstractmethod
    def update(
        self, model: PyTree, state: PyTree, x: Array, y: Array
    ) -> tuple[PyTree, PyTree, dict[str, Any]]:
        """One step on one minibatch.

        Args:
            model: a callable pytree or a pair `(fn, params)`.
            state: from `init` or the last `update`.
            x: a batch of inputs.
            y: their labels, as the trainer's loss takes them.

        Returns:
            The new model, the new state, and scalars about the minibatch: at least
            "loss", its mean before the step, and for classes "accuracy".
        """
