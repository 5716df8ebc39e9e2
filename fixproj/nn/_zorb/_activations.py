"""Activation functions, and how a wanted output becomes a wanted input.

`pull` carries a displacement e of the output to one of the input by projecting
(z, h + e) onto the tangent of the graph h = f(z): d = g e / (1 + g^2), g = f'(z). A
saturated unit is not asked to move. `inverse` maps targets in the range exactly: what
the reference algorithm uses.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array


_LEAK = 0.01
_INSIDE = 1e-3


@dataclasses.dataclass(frozen=True)
class Activation:
    """A function of one number with what ZORB needs to know of it.

    Args:
        name: how messages and network strings call it.
        function: maps arrays elementwise.
        slope: of the input and the output. Without it, `pull` goes by the inverse; with
            neither it passes displacements on unchanged, which is what functions
            without a useful derivative need.
        inverse: a right inverse on the range, or None.
        low: the infimum of the range.
        high: the supremum.
        homogeneous: whether f(c z) = c f(z), or f(c z) = f(z), for c > 0.
        target: of the input, the output and a displacement of the output: the
            displacement of the input that is wanted, instead of the projection.
    """

    name: str
    function: Callable[[Array], Array]
    slope: Callable[[Array, Array], Array] | None = None
    inverse: Callable[[Array], Array] | None = None
    low: float = -float("inf")
    high: float = float("inf")
    homogeneous: bool = False
    target: Callable[[Array, Array, Array], Array] | None = None

    def __call__(self, z):
        """The output."""
        return self.function(z)

    def pull(self, z, out, displacement):
        """The displacement of the input that a displacement of the output asks for."""
        if self.target is not None:
            return self.target(z, out, displacement)
        if self.slope is None:
            return (
                displacement if self.inverse is None else self._back(out, displacement)
            )
        slope = self.slope(z, out)
        return displacement * slope / (1 + slope * slope)

    def _back(self, out, displacement):
        """By the inverse, of outputs that stay inside the range."""
        assert self.inverse is not None
        bounds = [b for b in (self.low, self.high) if math.isfinite(b)]
        margin = _INSIDE * (self.high - self.low if len(bounds) == 2 else 1.0)
        low, high = (
            jnp.asarray(bound, out.dtype)
            for bound in (self.low + margin, self.high - margin)
        )
        wanted, now = (
            self.inverse(jnp.clip(h, low, high)) for h in (out + displacement, out)
        )
        return wanted - now


def _step(z, out):
    return (z > 0).astype(z.dtype)


def _smooth(name, function):
    derivative = jax.vmap(jax.grad(function))

    def slope(z, out):
        return derivative(z.reshape(-1)).reshape(z.shape)

    return Activation(name, function, slope)


# What models may have beyond those that the estimators and network strings offer.
SMOOTH = {
    function: _smooth(function.__name__, function)
    for function in (jax.nn.elu, jax.nn.gelu, jax.nn.silu, jax.nn.softplus)
}
ACTIVATIONS = {
    a.name: a
    for a in (
        Activation("identity", lambda z: z, None, lambda t: t, homogeneous=True),
        Activation(
            "leaky_relu",
            lambda z: jax.nn.leaky_relu(z, _LEAK),
            lambda z, out: jnp.where(z > 0, jnp.ones_like(z), jnp.full_like(z, _LEAK)),
            lambda t: jnp.where(t > 0, t, t / _LEAK),
            homogeneous=True,
        ),
        Activation("relu", jax.nn.relu, _step, jax.nn.relu, low=0.0, homogeneous=True),
        Activation(
            "sigmoid",
            jax.nn.sigmoid,
            lambda z, out: out * (1 - out),
            lambda t: jnp.log(t / (1 - t)),
            low=0.0,
            high=1.0,
        ),
        Activation("sign", jnp.sign, None, None, low=-1.0, high=1.0, homogeneous=True),
        Activation(
            "tanh", jnp.tanh, lambda z, out: 1 - out * out, jnp.arctanh, -1.0, 1.0
        ),
    )
}
