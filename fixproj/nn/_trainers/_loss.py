"""The losses a trainer knows by name: value, and the displacement of their prox."""

import abc
import numbers

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
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
    def slope(self, outputs: Array, y: Array) -> Float[Array, "..."]:
        """A derivative (or subgradient) of the sum over examples."""

    @abc.abstractmethod
    def metrics(self, outputs: Array, y: Array) -> dict[str, Array]:
        """The mean loss, and the accuracy where labels are classes."""


class CrossEntropyLoss(AbstractLoss):
    """Softmax cross-entropy against integer or one-hot labels.

    `smoothing` is the share of each label that is spread evenly over all classes
    (Szegedy et al., "Rethinking the inception architecture", 2016, section 7).
    """

    smoothing: float = eqx.field(static=True, default=0.0)

    def mean(self, outputs, y):
        """The mean over all rows of logits."""
        loss = CrossEntropy(self._targets(outputs, y, outputs.dtype))(outputs)
        return loss / max(1, outputs.size // outputs.shape[-1])

    def displacement(self, outputs, y, step):
        """See `AbstractLoss`."""
        work = at_least_single(outputs.dtype)
        targets = self._targets(outputs, y, work)
        step = jnp.asarray(step, work)
        moved = cross_entropy_displacement(outputs.astype(work), targets, step)
        return moved.astype(outputs.dtype)

    def slope(self, outputs, y):
        """The softmax minus the distribution of the labels."""
        targets = self._targets(outputs, y, outputs.dtype)
        return jax.nn.softmax(outputs, axis=-1) - targets

    def metrics(self, outputs, y):
        """See `AbstractLoss`."""
        return {"loss": self.mean(outputs, y), "accuracy": _accuracy(outputs, y)}

    def _targets(self, outputs, y, dtype):
        targets = label_distribution(y, outputs.shape, dtype)
        if not self.smoothing:
            return targets
        return optax.smooth_labels(targets, self.smoothing).astype(dtype)


class SquaredLoss(AbstractLoss):
    """Half the squared distance to the targets; integer labels stand for one-hot."""

    def mean(self, outputs, y):
        """The mean over the batch of half the squared distance of an example."""
        difference = outputs - _targets(outputs, y)
        return jnp.sum(difference**2) / (2 * max(1, outputs.shape[0]))

    def displacement(self, outputs, y, step):
        """The prox is the weighted mean of outputs and targets."""
        return _share(step, outputs.dtype) * (_targets(outputs, y) - outputs)

    def slope(self, outputs, y):
        """Outputs minus targets."""
        return outputs - _targets(outputs, y)

    def metrics(self, outputs, y):
        """See `AbstractLoss`."""
        found = {"loss": self.mean(outputs, y)}
        if _is_classes(outputs, y):
            found["accuracy"] = _accuracy(outputs, y)
        return found


class HingeLoss(AbstractLoss):
    """Sum over classes of max(0, 1 - s z), s = 1 for the label, -1 elsewhere."""

    def mean(self, outputs, y):
        """The mean over rows."""
        lack = 1 - _signs(outputs, y) * outputs
        return jnp.sum(jnp.maximum(lack, 0)) / _rows(outputs)

    def displacement(self, outputs, y, step):
        """Every entry rises towards 1 by at most `step`, in its own direction."""
        signs = _signs(outputs, y)
        lack = jnp.maximum(1 - signs * outputs, 0)
        return signs * jnp.minimum(lack, jnp.asarray(step, outputs.dtype))

    def slope(self, outputs, y):
        """See `AbstractLoss`."""
        signs = _signs(outputs, y)
        return jnp.where(signs * outputs < 1, -signs, 0)

    def metrics(self, outputs, y):
        """See `AbstractLoss`."""
        return {"loss": self.mean(outputs, y), "accuracy": _accuracy(outputs, y)}


class MarginLoss(AbstractLoss):
    """Half the squared distance to {the label's output exceeds the others by a margin}.

    The prox moves the output towards its projection onto that set, by the fraction
    step / (1 + step). A margin of 0 is the set of outputs of the right class.
    """

    margin: float = 1.0

    def mean(self, outputs, y):
        """The mean over rows."""
        return jnp.sum(self._to_set(outputs, y) ** 2) / (2 * _rows(outputs))

    def displacement(self, outputs, y, step):
        """See `AbstractLoss`."""
        return _share(step, outputs.dtype) * self._to_set(outputs, y)

    def slope(self, outputs, y):
        """See `AbstractLoss`."""
        return -self._to_set(outputs, y)

    def metrics(self, outputs, y):
        """See `AbstractLoss`."""
        return {"loss": self.mean(outputs, y), "accuracy": _accuracy(outputs, y)}

    def _to_set(self, outputs, y):
        # The label rises to t = z + u, the others sink to at most t - margin, where u
        # solves u = sum_k max(excess_k - u, 0): its right side over the j largest
        # excesses is a line, and the solution is the largest of the j intersections.
        label = _signs(outputs, y) > 0
        own = jnp.sum(jnp.where(label, outputs, 0), axis=-1, keepdims=True)
        excess = jnp.where(label, -jnp.inf, outputs - own + self.margin)
        ordered = jnp.sort(excess, axis=-1, descending=True)[..., :-1]
        count = jnp.arange(1, outputs.shape[-1], dtype=outputs.dtype)
        means = jnp.cumsum(ordered, axis=-1) / (1 + count).reshape(
            (1,) * (outputs.ndim - 1) + (-1,)
        )
        rise = jnp.maximum(jnp.max(means, axis=-1, keepdims=True, initial=0), 0)
        return jnp.where(label, rise, -jnp.maximum(excess - rise, 0))


_LOSSES: dict[str, AbstractLoss] = {
    "cross_entropy": CrossEntropyLoss(),
    "exact_class": MarginLoss(0.0),
    "hinge": HingeLoss(),
    "margin": MarginLoss(),
    "squared": SquaredLoss(),
}


def loss_named(name: str, label_smoothing: float = 0.0) -> AbstractLoss:
    """The loss of that name, the cross-entropy with smoothed labels if asked.

    Raises:
        ValueError: if there is none; lists the names. If `label_smoothing` is not in
            [0, 1), or asked of another loss than the cross-entropy.
    """
    if not isinstance(name, str) or name not in _LOSSES:
        known = ", ".join(repr(known) for known in _LOSSES)
        raise ValueError(f"loss must be one of {known}; got {name!r}.")
    if not isinstance(label_smoothing, numbers.Real) or not 0 <= label_smoothing < 1:
        raise ValueError(
            f"label_smoothing must be a number in [0, 1), got {label_smoothing!r}."
        )
    if not label_smoothing:
        return _LOSSES[name]
    if name != "cross_entropy":
        raise ValueError(
            f"label_smoothing is for the loss 'cross_entropy'; got {name!r}."
        )
    return CrossEntropyLoss(float(label_smoothing))


def _share(step, dtype):
    """Step / (1 + step), also of an infinite step, the projection."""
    return jnp.asarray(1 / (1 + 1 / step), dtype)


def _rows(outputs) -> int:
    return max(1, outputs.size // max(1, outputs.shape[-1]))


def _signs(outputs, y):
    targets = label_distribution(y, outputs.shape, outputs.dtype)
    return jnp.where(targets > 0.5, 1, -1).astype(outputs.dtype)


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
