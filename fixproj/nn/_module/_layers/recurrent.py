"""Recurrent cells, and their scan over time."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fixproj.nn._module._errors import LayerError
from fixproj.nn._module._initializer import Initializer
from fixproj.nn._module._kinds import Parameter
from fixproj.nn._module._layers._shapes import check_input, default_float, in_and_out
from fixproj.nn._module._layers.linear import Linear
from fixproj.nn._module._module import Module


class AbstractCell(Module):
    """One step in time: `carry, y = cell(carry, x)`."""

    @abc.abstractmethod
    def __call__(self, carry: Any, x: Float[Array, "... in"]) -> tuple[Any, Array]:
        """The carry after the step, and the output."""

    @abc.abstractmethod
    def initial_carry(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        """Zeros to start from, for a batch of that shape."""


class RNNCell(AbstractCell):
    """h' = tanh(x W + h U + b), as `flax.linen.SimpleCell`.

    Args:
        features: `hidden`, with the input's size inferred; or `features_in, hidden`.

    Raises:
        TypeError: if there are not one or two positive sizes.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> cell = nn.RNNCell(3, 4).init(0)
        >>> h, y = cell(cell.initial_carry((8,)), jnp.ones((8, 3)))
        >>> y.shape
        (8, 4)
    """

    from_input: Linear
    from_hidden: Linear
    features: int

    def __init__(self, *features: int):
        _, self.features = in_and_out("RNNCell", features)
        self.from_input = Linear(*features)
        self.from_hidden = Linear(
            self.features,
            self.features,
            use_bias=False,
            kernel_init=jax.nn.initializers.orthogonal(),
        )

    def __call__(self, carry, x):
        """See `AbstractCell`."""
        h = jnp.tanh(self.from_input(x) + self.from_hidden(carry))
        return h, h

    def initial_carry(self, shape, dtype=None):
        """See `AbstractCell`."""
        return jnp.zeros((*shape, self.features), dtype or default_float())


class GRUCell(AbstractCell):
    """A gated recurrent unit: `equinox.nn.GRUCell` on batches.

    Args:
        features: `hidden`, with the input's size inferred; or `features_in, hidden`.

    Raises:
        TypeError: if there are not one or two positive sizes.

    References:
        Cho et al., 2014, as in `flax.linen.GRUCell`.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> cell = nn.GRUCell(3, 4).init(0)
        >>> h, y = cell(cell.initial_carry((8,)), jnp.ones((8, 3)))
        >>> y.shape
        (8, 4)
    """

    cell: Parameter
    features: int

    def __init__(self, *features: int):
        self.cell, self.features = _wrapped("GRUCell", eqx.nn.GRUCell, features)

    def __call__(self, carry, x):
        """See `AbstractCell`."""
        check_input(self, x, self.cell.input_size)
        h = _on_batch(lambda x, h: self.cell(x, h), x, carry)
        return h, h

    def initial_carry(self, shape, dtype=None):
        """See `AbstractCell`."""
        return jnp.zeros((*shape, self.features), dtype or default_float())


class LSTMCell(AbstractCell):
    """A long short-term memory: `equinox.nn.LSTMCell` on batches.

    The carry is `(c, h)`, as in Flax.

    Args:
        features: `hidden`, with the input's size inferred; or `features_in, hidden`.

    Raises:
        TypeError: if there are not one or two positive sizes.

    References:
        Hochreiter and Schmidhuber, 1997, as in `flax.linen.LSTMCell`.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> cell = nn.LSTMCell(3, 4).init(0)
        >>> (c, h), y = cell(cell.initial_carry((8,)), jnp.ones((8, 3)))
        >>> y.shape
        (8, 4)
    """

    cell: Parameter
    features: int

    def __init__(self, *features: int):
        self.cell, self.features = _wrapped("LSTMCell", eqx.nn.LSTMCell, features)

    def __call__(self, carry, x):
        """See `AbstractCell`."""
        check_input(self, x, self.cell.input_size)
        c, h = carry
        h, c = _on_batch(lambda x, h, c: self.cell(x, (h, c)), x, h, c)
        return (c, h), h

    def initial_carry(self, shape, dtype=None):
        """See `AbstractCell`."""
        zeros = jnp.zeros((*shape, self.features), dtype or default_float())
        return zeros, zeros


class RNN(Module):
    """A cell run over time, the second to last axis, by one scan.

    Args:
        cell: an `AbstractCell`.
        reverse: whether time runs backward; outputs stay in the input's order.
        return_carry: whether to return `(carry, ys)` instead of `ys`.

    Raises:
        TypeError: if the cell is none.

    Examples:
        >>> import jax.numpy as jnp
        >>> from fixproj import nn
        >>> x = jnp.ones((8, 20, 3))
        >>> nn.RNN(nn.LSTMCell(4)).init(0, x)(x).shape
        (8, 20, 4)
    """

    cell: Module
    reverse: bool
    return_carry: bool

    def __init__(
        self, cell: AbstractCell, *, reverse: bool = False, return_carry: bool = False
    ):
        if not isinstance(cell, AbstractCell):
            raise TypeError(
                f"RNN: cell must be a cell such as nn.LSTMCell, got "
                f"{type(cell).__name__}."
            )
        self.cell, self.reverse, self.return_carry = cell, reverse, return_carry

    def __call__(self, x: Float[Array, "... time in"], carry: Any = None) -> Any:
        """The outputs at all times.

        Args:
            x: the sequence; any number of leading axes are a batch.
            carry: to start from; zeros if None.

        Returns:
            The outputs, shape (..., time, hidden), or `(carry, outputs)`.
        """
        check_input(self, x, None, 2)
        if x.shape[-2] == 0:
            raise LayerError(f"expected at least one step, got {x.shape}.", self)
        cell: Any = self.cell
        if carry is None:
            carry = cell.initial_carry(x.shape[:-2], x.dtype)
        carry, ys = jax.lax.scan(
            lambda carry, x: cell(carry, x),
            carry,
            jnp.moveaxis(x, -2, 0),
            reverse=self.reverse,
        )
        ys = jnp.moveaxis(ys, 0, -2)
        return (carry, ys) if self.return_carry else ys


def _wrapped(owner, cell, features):
    size, hidden = in_and_out(owner, features)

    def make(size, key):
        return cell(size, hidden, dtype=default_float(), key=key)

    if size is not None:
        return Initializer(lambda key: make(size, key)), hidden
    return Initializer(lambda key, carry, x: make(x.shape[-1], key)), hidden


def _on_batch(fn, *arrays):
    """`fn` on vectors, mapped over the leading axes."""
    for _ in range(arrays[0].ndim - 1):
        fn = jax.vmap(fn)
    return fn(*arrays)
