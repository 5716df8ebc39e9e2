"""Training by the gradient of the loss: the method to compare with."""

from typing import Any

import equinox as eqx
import jax
import optax
from jaxtyping import Array, PyTree

from fixproj.nn._adapt import step_of
from fixproj.nn._graph import batched, split
from fixproj.nn._trainers._loss import AbstractLoss, loss_named
from fixproj.nn._trainers._optimiser import check_optimiser, descend
from fixproj.nn._trainers._trainer import AbstractTrainer


class Gradient(AbstractTrainer):
    """Backpropagation with an optax optimiser.

    Args:
        optimiser: an optax gradient transformation.
        loss: "cross_entropy" (integer or one-hot labels) or "squared".
        label_smoothing: of the cross-entropy, the share of each label that is spread
            evenly over all classes, in [0, 1).

    Raises:
        ValueError: if the loss is not known, or `label_smoothing` not in its range.
        TypeError: if the optimiser is not an optax transformation.

    Examples:
        >>> import optax
        >>> from fixproj import nn
        >>> trainer = nn.Gradient(optax.adam(1e-3))
    """

    optimiser: optax.GradientTransformation
    objective: AbstractLoss

    def __init__(
        self,
        optimiser: optax.GradientTransformation,
        loss: str = "cross_entropy",
        *,
        label_smoothing: float = 0.0,
    ):
        check_optimiser("optimiser", optimiser)
        self.optimiser = optimiser
        self.objective = loss_named(loss, label_smoothing)

    def init(self, model: PyTree) -> PyTree:
        """The optimiser's state; see `AbstractTrainer.init`."""
        return self.optimiser.init(split(model).leaves)

    def update(
        self, model: PyTree, state: PyTree, x: Array, y: Array
    ) -> tuple[PyTree, PyTree, dict[str, Any]]:
        """One gradient step; see `AbstractTrainer.update`."""
        leaves, _, rebuild = split(model)
        call = batched(model, x)
        stateful = step_of(model) is not None

        def objective(leaves):
            new, after = rebuild(leaves), None
            if stateful:
                outputs, after = new[0].step(new[1], x)
            else:
                outputs = call(new, x)
            return self.objective.mean(outputs, y), (
                outputs,
                eqx.filter(after, eqx.is_array),
            )

        grads, (outputs, after) = jax.grad(objective, has_aux=True)(leaves)
        leaves, state = descend(self.optimiser, grads, state, leaves)
        model = rebuild(leaves)
        if stateful:
            model = (eqx.combine(after, model[0]), model[1])
        return model, state, self.objective.metrics(outputs, y)
