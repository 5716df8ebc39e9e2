"""The reference algorithm: Ranganathan and Lewandowski, 2020, arXiv:2011.08895.

For each layer with weights, first to last: run all data forward; carry the targets back
through the later layers, T <- (T - b) W^+ through an affine layer, f^-1 of the targets
scaled and shifted into f's range through an activation, whose output is from then on
scaled to theirs; then W = [X 1]^+ T. Pseudo-inverses by SVD, with singular values below
rcond times the largest cut off.
"""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from fixproj.nn._trainers import AbstractTrainer
from fixproj.nn._trainers._loss import AbstractLoss, loss_named
from fixproj.nn._zorb._layers import (
    AbstractAffine,
    Elementwise,
    Flatten,
    Network,
    Softmax,
)


class ReferenceZORB(AbstractTrainer):
    """The published ZORB, on all data at once.

    It needs float64 to be reliable, n x d memory, and leaves hidden layers of a rank
    of at most the number of outputs; `ZORB` and `ZORBClassifier` do not. Use it to
    reproduce published results. Model: a `Network` from `parse_network`. The range that
    sigmoid and tanh take from their targets is made part of the next layer's weights;
    of a last sigmoid or tanh it becomes a field, which `nn.fit` does not allow for.
    With `nn.fit`, `batch_size` must be that of the data and one epoch is a whole
    training. Convolutions are computed in the data's precision (published code: half).

    Args:
        rcond: relative cut-off of singular values; None: 10 max(rows, columns) eps.
        u_rcond: for the data's pseudo-inverse; None: `rcond`.
        b_rcond: for the weights', on the way back; None: `rcond`.

    Examples:
        >>> import jax
        >>> from fixproj import nn
        >>> key = jax.random.key(0)
        >>> net = nn.parse_network("Dense[8] Tanh Dense[1]", (2,), key=key)
        >>> x = jax.random.normal(jax.random.key(1), (50, 2))
        >>> y = x[:, :1] * 2 + 1
        >>> net, _, _ = nn.ReferenceZORB(rcond=1e-5).update(net, None, x, y)
    """

    u_rcond: float | None
    b_rcond: float | None
    objective: AbstractLoss

    def __init__(self, rcond=None, *, u_rcond=None, b_rcond=None):
        self.u_rcond = rcond if u_rcond is None else u_rcond
        self.b_rcond = rcond if b_rcond is None else b_rcond
        self.objective = loss_named("squared")

    def init(self, model: PyTree) -> PyTree:
        """Checks the model; there is no state."""
        _check_network(model)

    def update(
        self, model: Network, state: PyTree, x: Array, y: Array
    ) -> tuple[PyTree, PyTree, dict[str, Any]]:
        """A whole training; see `AbstractTrainer.update`."""
        _check_network(model)
        out = model(x)
        info = self.objective.metrics(out, y)
        if y.ndim < out.ndim:
            y = jax.nn.one_hot(y, out.shape[-1], dtype=out.dtype)
        layers: list[Any] = list(model.layers)
        x = x.astype(out.dtype)
        y = y.astype(out.dtype)
        for i, layer in enumerate(layers):
            if isinstance(layer, AbstractAffine):
                inputs, h = [], x
                for later in layers[i:]:
                    inputs.append(h)
                    h = later(h)
                target = y
                for j in range(len(layers) - 1, i, -1):
                    layers[j], target = self._back(layers[j], inputs[j - i], target)
                layers[i] = layer = self._solved(layer, x, target)
            x = layer(x)
        return Network(_without_ranges(layers)), state, info

    def _solved(self, layer, x, target):
        rows, target = layer.rows(x), layer.outputs(target)
        if layer.bias is None:
            weight = jnp.linalg.pinv(rows, rtol=self.u_rcond) @ target
            return eqx.tree_at(lambda at: at.weight, layer, weight)
        rows = jnp.concatenate([rows, jnp.ones_like(rows[:, :1])], axis=1)
        both = jnp.linalg.pinv(rows, rtol=self.u_rcond) @ target
        return eqx.tree_at(
            lambda at: (at.weight, at.bias), layer, (both[:-1], both[-1])
        )

    def _back(self, layer: Any, x, target):
        if isinstance(layer, AbstractAffine):
            rows = layer.outputs(target)
            if layer.bias is not None:
                rows = rows - layer.bias[None]
            inverse = jnp.linalg.pinv(layer.weight, rtol=self.b_rcond)
            return layer, layer.from_rows(x, rows @ inverse)
        if isinstance(layer, Softmax):
            highest = jnp.max(x, axis=-1, keepdims=True)
            total = jnp.sum(jnp.exp(x - highest), axis=-1, keepdims=True)
            return layer, _finite(jnp.log(target * total)) + highest
        if isinstance(layer, Flatten):
            return layer, target.reshape(x.shape)
        if isinstance(layer, Elementwise) and layer.activation.inverse is not None:
            own: Any = layer.activation
            if not (math.isfinite(own.low) and math.isfinite(own.high)):
                return layer, _finite(own.inverse(target))
            low, high = jnp.min(target), jnp.max(target)
            # In this order the largest target is exactly at the end of the range, where
            # the inverse is infinite, and not a rounding error before it.
            unit = (target - low) * (own.high - own.low) / (high - low) + own.low
            layer = Elementwise(own, low, high)
            return layer, _finite(own.inverse(unit))
        raise TypeError(_NO_INVERSE.format(_name(layer)))


_NO_INVERSE = (
    "ReferenceZORB cannot carry targets back through {}, which has no inverse; "
    "nn.ZORB can."
)


def _finite(z):
    """Logarithms of 0 and infinity as the published code has them.

    The second is taken in float32 there. Its last digits matter: targets that are equal
    or differ by rounding errors only are at the ends of a range, or nearly there.
    """
    low = math.log(float(jnp.finfo(jnp.float64).eps))
    high = float(np.log(np.finfo(np.float32).max))
    return jnp.nan_to_num(z, neginf=low, posinf=high)


def _without_ranges(layers):
    """The same function; ranges of activations moved into the next layer's weights."""
    layers = list(layers)
    layer: Any
    for i, layer in enumerate(layers):
        if not isinstance(layer, Elementwise) or layer.low is None:
            continue
        j = i + 1
        while j < len(layers) and isinstance(layers[j], Flatten):
            j += 1
        if j == len(layers) or not isinstance(layers[j], AbstractAffine):
            continue
        after: Any = layers[j]
        own = layer.activation
        if after.bias is None:
            continue
        low, high = jnp.asarray(layer.low), jnp.asarray(layer.high)
        factor = (high - low) / (own.high - own.low)
        shift = low - own.low * factor
        changed = (after.weight * factor, after.bias + shift * after.weight.sum(0))
        layers[i] = Elementwise(own)
        layers[j] = eqx.tree_at(lambda at: (at.weight, at.bias), after, changed)
    return tuple(layers)


def _name(layer):
    return layer.activation.name if isinstance(layer, Elementwise) else type(layer)


def _check_network(model):
    if not isinstance(model, Network):
        raise TypeError(
            "ReferenceZORB trains an nn.Network (see nn.parse_network), got "
            f"{type(model).__name__}; nn.ZORB trains others."
        )
    for layer in model.layers:
        known = isinstance(layer, AbstractAffine | Softmax | Flatten) or (
            isinstance(layer, Elementwise) and layer.activation.inverse is not None
        )
        if not known:
            raise TypeError(_NO_INVERSE.format(_name(layer)))
