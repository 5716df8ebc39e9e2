"""The losses a trainer knows by name: value, and the displacement of their prox."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from fixproj.projections._cross_entropy import (
    CrossEntropy,
    cross_entropy_displacement,
    label_distribution,
)
from fixproj.projections._precision import at_least_single


class AbstractLoss(eqx.Module):
    """A sum over examples of a function of the model's output and the label."""

    @abc.abstractmethod
    def mean(self, outputs: Array, y: Array) -> Float[Array, ""]:
        """The loss of one example, on average."""

    @abc.abstractmethod
    def displacement(
        self, outputs: Array, y: Array, step: float | Array
    ) -> Float[Array, "..."]:
        """prox(outputs) - outputs, for `step` times the sum over examples."""

    @abc.abstractmethod
    def metrics(self, outputs: Array, y: Array) -> dict[str, Array]:
        """The mean loss, and the accuracy where labels are classes."""


class CrossEntropyLoss(AbstractLoss):
    """Softmax cross-entropy against integer or one-hot labels."""

    def mean(self, outputs, y):
        """The mean over all rows of logits."""
        return CrossEntropy(y)(outputs) / max(1, outputs.size // outputs.shape[-1])

    def displacement(self, outputs, y, step):
        """See `AbstractLoss`."""
        work = at_least_single(outputs.dtype)
        targets = label_distribution(y, outputs.shape, work)
        step = jnp.asarray(step, work)
        moved = cross_entropy_displacement(outputs.astype(work), targets, step)
        return moved.astype(outputs.dtype)

    def metrics(self, outputs, y):
        """See `AbstractLoss`."""
        return {"loss": self.mean(outputs, y), "accuracy": _accuracy(outputs, y)}


class SquaredLoss(AbstractLoss):
    """Half the squared distance to the targets; integer labels stand for one-hot."""

    def mean(self, outputs, y):
        """The mean over the batch of half the squared distance of an example."""
        difference = outputs - _targets(outputs, y)
        return jnp.sum(difference**2) / (2 * max(1, outputs.shape[0]))

    def displacement(self, outputs, y, step):
        """The prox is the weighted mean of outputs and targets."""
        share = jnp.asarray(step / (1 + step), outputs.dtype)
        return share * (_targets(outputs, y) - outputs)

    def metrics(self, outputs, y):
        """See `AbstractLoss`."""
        found = {"loss": self.mean(outputs, y)}
        if _is_classes(outputs, y):
            found["accuracy"] = _accuracy(outputs, y)
        return found


_LOSSES: dict[str, AbstractLoss] = {
    "cross_entropy": CrossEntropyLoss(),
    "squared": SquaredLoss(),
}


def loss_named(name: str) -> AbstractLoss:
    """The loss of that name.

    Raises:
        ValueError: if there is none; lists the names.
    """
    if not isinstance(name, str) or name not in _LOSSES:
        known = ", ".join(repr(known) for known in _LOSSES)
        raise ValueError(f"loss must be one of {known}; got {name!r}.")
    return _LOSSES[name]


def _is_classes(outputs, y) -> bool:
    return jnp.issubdtype(y.dtype, jnp.integer) and y.shape == outputs.shape[:-1]


def _targets(outputs, y):
    if _is_classes(outputs, y):
        return label_distribution(y, outputs.shape, outputs.dtype)
    if y.shape != outputs.shape:
        raise ValueError(
            "The targets of the squared loss must have the shape of the model's "
            f"output, {outputs.shape}, or be integer classes of shape "
            f"{outputs.shape[:-1]}; got {y.dtype.name} of shape {y.shape}."
        )
    return y.astype(outputs.dtype)


def _accuracy(outputs, y):
    classes = y if _is_classes(outputs, y) else jnp.argmax(y, axis=-1)
    hits = jnp.argmax(outputs, axis=-1).astype(classes.dtype) == classes
    return jnp.mean(hits, dtype=jnp.float32).astype(outputs.dtype)
