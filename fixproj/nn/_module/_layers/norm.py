"""Normalisations over the last axis, as in Flax."""

from typing import Any, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fixproj.nn._module._calls import is_watched
from fixproj.nn._module._errors import LayerError
from fixproj.nn._module._initializer import Initializer
from fixproj.nn._module._kinds import BatchStat, Parameter
from fixproj.nn._module._layers._shapes import (
    check_input,
    check_size,
    default_float,
    trailing,
)
from fixproj.nn._module._module import Module


def _filled(features, value, used=True):
    """A vector of ones or zeros, of inferred length where features is None."""
    if not used:
        return None
    if features is None:
        return Initializer(
            lambda key, x: jnp.full((x.shape[-1],), value, default_float())
        )
    return jnp.full((features,), value, default_float())


def _affine(y, scale, bias):
    if scale is not None:
        y = y * trailing(scale, y.ndim)
    return y if bias is None else y + trailing(bias, y.ndim)


class BatchNorm(Module):
    """Normalises each feature over all other axes; keeps running statistics.

    In training, `y = (x - mean) / sqrt(var + epsilon) * scale + bias` with the batch's
    statistics, and the running ones move towards them; in evaluation mode, or frozen,
    with the running ones. Returns `(y, layer)` in either mode.

    Args:
        features: length of the last axis; inferred by `init(key, x)` if None.
        momentum: share of the running statistics that stays.
        epsilon: added to the variance.
        use_scale: whether there is a scale.
        use_bias: whether there is a bias.
        axis_name: of a mapped axis to take the statistics over as well.

    References:
        Ioffe and Szegedy, "Batch normalization", 2015.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> layer = nn.BatchNorm(2, momentum=0.5)
        >>> y, layer = layer(jnp.array([[0.0, 1.0], [2.0, 1.0]]))
        >>> layer.mean
        Array([0.5, 0.5], dtype=float32)
    """

    scale: Parameter
    bias: Parameter
    mean: BatchStat
    var: BatchStat
    momentum: float
    epsilon: float
    axis_name: Any

    def __init__(
        self,
        features: int | None = None,
        *,
        momentum: float = 0.99,
        epsilon: float = 1e-5,
        use_scale: bool = True,
        use_bias: bool = True,
        axis_name: Any = None,
    ):
        if features is not None:
            check_size("BatchNorm", "features", features)
        if not 0 <= momentum <= 1:
            raise ValueError(
                f"BatchNorm: momentum must be between 0 and 1, got {momentum}."
            )
        self.momentum, self.epsilon, self.axis_name = momentum, epsilon, axis_name
        self.scale = _filled(features, 1, use_scale)
        self.bias = _filled(features, 0, use_bias)
        self.mean, self.var = _filled(features, 0), _filled(features, 1)

    def __call__(
        self, x: Float[Array, "... features"]
    ) -> tuple[Float[Array, "... features"], Self]:
        """The normalised array and the layer with new running statistics."""
        check_input(self, x, self.mean.shape[0], 1)
        if not self.training or self.frozen:
            return self._normalise(x, self.mean, self.var), self
        if x.ndim < 2 and self.axis_name is None:
            raise LayerError(
                f"in training mode it needs a batch, got shape {x.shape}.", self
            )
        work = jnp.promote_types(x.dtype, jnp.float32)
        axes = tuple(range(x.ndim - 1))
        mean = jnp.mean(x, axes, dtype=work)
        square = jnp.mean(jax.lax.square(x.astype(work)), axes)
        # `init` and `tabulate` run outside of the mapped axis, for the shapes only.
        if self.axis_name is not None and not is_watched():
            mean, square = jax.lax.pmean((mean, square), self.axis_name)
        var = jnp.maximum(square - jax.lax.square(mean), 0)

        def move(old, new):
            moved = self.momentum * old + (1 - self.momentum) * new.astype(old.dtype)
            return jax.lax.stop_gradient(moved)

        new = self.replace(mean=move(self.mean, mean), var=move(self.var, var))
        return self._normalise(x, mean, var), new

    def _normalise(self, x, mean, var):
        work = jnp.promote_types(x.dtype, jnp.float32)
        mean, var = mean.astype(work), var.astype(work)
        y = (x.astype(work) - trailing(mean, x.ndim)) * trailing(
            jax.lax.rsqrt(var + self.epsilon), x.ndim
        )
        return _affine(y.astype(x.dtype), self.scale, self.bias)


class LayerNorm(Module):
    """Normalises the last axis to mean 0 and variance 1.

    Args:
        features: length of the last axis; inferred by `init(key, x)` if None.
        epsilon: added to the variance.
        use_scale: whether there is a scale.
        use_bias: whether there is a bias.

    References:
        Ba, Kiros and Hinton, "Layer normalization", 2016.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> nn.LayerNorm(2)(jnp.array([1.0, 3.0])).round(3)
        Array([-1.,  1.], dtype=float32)
    """

    scale: Parameter
    bias: Parameter
    features: int | None
    epsilon: float

    def __init__(
        self,
        features: int | None = None,
        *,
        epsilon: float = 1e-6,
        use_scale: bool = True,
        use_bias: bool = True,
    ):
        if features is not None:
            check_size("LayerNorm", "features", features)
        self.features, self.epsilon = features, epsilon
        self.scale = _filled(features, 1, use_scale)
        self.bias = _filled(features, 0, use_bias)

    def __call__(self, x: Float[Array, "... features"]) -> Float[Array, "... features"]:
        """The normalised array."""
        check_input(self, x, _length(self))
        y = jax.nn.standardize(x, axis=-1, epsilon=self.epsilon)
        return _affine(y, self.scale, self.bias)


class RMSNorm(Module):
    """Divides by the root mean square of the last axis.

    Args:
        features: length of the last axis; inferred by `init(key, x)` if None.
        epsilon: added to the mean square.
        use_scale: whether there is a scale.

    References:
        Zhang and Sennrich, "Root mean square layer normalization", 2019.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> nn.RMSNorm(2)(jnp.array([3.0, 3.0])).round(3)
        Array([1., 1.], dtype=float32)
    """

    scale: Parameter
    features: int | None
    epsilon: float

    def __init__(
        self,
        features: int | None = None,
        *,
        epsilon: float = 1e-6,
        use_scale: bool = True,
    ):
        if features is not None:
            check_size("RMSNorm", "features", features)
        self.features, self.epsilon = features, epsilon
        self.scale = _filled(features, 1, use_scale)

    def __call__(self, x: Float[Array, "... features"]) -> Float[Array, "... features"]:
        """The normalised array."""
        check_input(self, x, _length(self))
        square = jnp.mean(jax.lax.square(x), axis=-1, keepdims=True)
        return _affine(x * jax.lax.rsqrt(square + self.epsilon), self.scale, None)


class GroupNorm(Module):
    """Normalises groups of features over themselves and all axes but the first.

    Args:
        groups: number of groups.
        features: length of the last axis; inferred by `init(key, x)` if None.
        group_size: features per group; instead of `groups`.
        epsilon: added to the variance.
        use_scale: whether there is a scale.
        use_bias: whether there is a bias.

    Raises:
        ValueError: if both or neither of `groups` and `group_size` is given, or they
            do not divide the features.

    References:
        Wu and He, "Group normalization", 2018.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> nn.GroupNorm(2, 4)(jnp.array([[1.0, 3.0, 2.0, 6.0]])).round(3)
        Array([[-1.,  1., -1.,  1.]], dtype=float32)
    """

    scale: Parameter
    bias: Parameter
    features: int | None
    groups: int | None
    group_size: int | None
    epsilon: float

    def __init__(
        self,
        groups: int | None = None,
        features: int | None = None,
        *,
        group_size: int | None = None,
        epsilon: float = 1e-6,
        use_scale: bool = True,
        use_bias: bool = True,
    ):
        if (groups is None) == (group_size is None):
            raise ValueError("GroupNorm: give one of groups and group_size.")
        check_size("GroupNorm", "groups or group_size", groups or group_size)
        self.groups, self.group_size = groups, group_size
        self.features, self.epsilon = features, epsilon
        if features is not None:
            check_size("GroupNorm", "features", features)
            _group_count(self, features)
        self.scale = _filled(features, 1, use_scale)
        self.bias = _filled(features, 0, use_bias)

    def __call__(
        self, x: Float[Array, "batch ... features"]
    ) -> Float[Array, "batch ... features"]:
        """The normalised array; the first axis is the batch."""
        check_input(self, x, _length(self), 2)
        groups = _group_count(self, x.shape[-1])
        split = x.reshape((*x.shape[:-1], groups, x.shape[-1] // groups))
        axes = (*range(1, x.ndim - 1), x.ndim)
        y = jax.nn.standardize(split, axis=axes, epsilon=self.epsilon)
        return _affine(y.reshape(x.shape), self.scale, self.bias)


def _group_count(layer, features):
    groups = layer.groups or features // layer.group_size
    if (
        groups == 0
        or features % groups
        or (layer.group_size and groups * layer.group_size != features)
    ):
        raise ValueError(
            f"GroupNorm: {layer.groups or features / layer.group_size:g} groups do not "
            f"divide {features} features."
        )
    return groups


def _length(layer):
    for vector in (layer.scale, getattr(layer, "bias", None)):
        if vector is not None:
            return vector.shape[0]
    return layer.features
