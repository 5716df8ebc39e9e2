"""`Optimizer`: an optax transformation together with its state, as one pytree."""

from typing import Any, Self

import equinox as eqx
import jax
import jax.tree_util as jtu
import optax
from jaxtyping import PyTree

from fixproj.nn._module._kinds import OptState
from fixproj.nn._module._module import Module
from fixproj.nn._module._nothing import Nothing, is_nothing


class _Slot(Module):
    """Gives the optimiser's state its kind."""

    state: OptState


class Optimizer(eqx.Module):
    """An optax transformation that carries its state.

    Args:
        tx: an optax gradient transformation. It is part of the structure: make it
            once, or what is compiled with it is compiled again.

    Raises:
        TypeError: if `tx` is no optax transformation.

    Examples:
        >>> import jax, jax.numpy as jnp, optax
        >>> from fixproj import nn
        >>> model = nn.Linear(2, 1).init(0)
        >>> optimizer = nn.Optimizer(optax.sgd(0.1)).init(model)
        >>> grads = jax.grad(lambda m: m(jnp.ones((1, 2))).sum())(model)
        >>> model, optimizer = optimizer.update(grads, model)
        >>> float(model.bias[0])
        -0.10000000149011612
    """

    slot: _Slot
    tx: optax.GradientTransformation = eqx.field(static=True)

    def __init__(self, tx: optax.GradientTransformation):
        if not (hasattr(tx, "init") and hasattr(tx, "update")):
            raise TypeError(
                "Optimizer: tx must be an optax gradient transformation such as "
                f"optax.adam(1e-3), got {type(tx).__name__}."
            )
        self.tx = tx
        self.slot = _Slot(Nothing)

    @property
    def state(self) -> PyTree:
        """The transformation's state; `nn.Nothing` before `init`."""
        return self.slot.state

    def init(self, params: PyTree) -> Self:
        """The optimiser with the state for these parameters.

        Args:
            params: any pytree; its floating-point arrays are what is optimised.

        Returns:
            A new optimiser.

        Raises:
            ValueError: if it has no floating-point array.
        """
        arrays = _inexact(params)
        if not arrays:
            raise ValueError("Optimizer.init: params has no floating-point array.")
        return self._with(self.tx.init(arrays))

    def update(
        self, grads: PyTree, params: PyTree, *, apply_updates: bool = True
    ) -> tuple[PyTree, Self]:
        """One step.

        Args:
            grads: gradients, a tree with the leaves of `params`. Where it has
                `nn.Nothing`, None, or no floating-point array, nothing is changed.
            params: what `init` was given, or a model that has it.
            apply_updates: False to get the updates instead of the new parameters.

        Returns:
            The new parameters and the new optimiser.

        Raises:
            ValueError: if `init` was not called, or the leaves are others than its.
        """
        if is_nothing(self.state):
            raise ValueError("Optimizer.update: call optimizer.init(params) first.")
        directions, arrays = _inexact(grads), _inexact(params)
        # A model may be given where its parameters were optimised.
        arrays = {path: arrays[path] for path in directions if path in arrays}
        if set(arrays) != set(directions) or not directions:
            missing = next((p for p in directions if p not in arrays), "")
            raise ValueError(
                "Optimizer.update: grads and params must have the same leaves; "
                f"grads has {missing or 'none'}, which params has not."
            )
        for path, array in arrays.items():
            if directions[path].shape != array.shape:
                raise ValueError(
                    f"Optimizer.update: at {path} grads has shape "
                    f"{directions[path].shape}, params {array.shape}."
                )
        # optax counts in integers and mixes them with floats.
        with jax.numpy_dtype_promotion("standard"):
            try:
                updates, state = self.tx.update(directions, self.state, arrays)
            except ValueError as error:
                raise ValueError(
                    "Optimizer.update: the leaves are not those that init was given: "
                    f"{error}"
                ) from error
            new = optax.apply_updates(arrays, updates) if apply_updates else updates

        def put(path, leaf):
            return new.get(jtu.keystr(path), leaf)  # pyright: ignore

        return jtu.tree_map_with_path(put, params), self._with(state)

    def _with(self, state):
        return eqx.tree_at(lambda o: o.slot, self, _Slot(state))


def _inexact(tree) -> dict[str, Any]:
    """The floating-point leaves by path."""
    flat, _ = jtu.tree_flatten_with_path(tree)
    return {jtu.keystr(path): leaf for path, leaf in flat if eqx.is_inexact_array(leaf)}
