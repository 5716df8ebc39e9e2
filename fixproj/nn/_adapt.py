"""Models of other libraries, and models with state, as trainers take them.

What is trained becomes the `params` of a pair `(fn, params)`; what is not, running
statistics and random keys and frozen parameters, is held by `fn`. In training,
`fn.step` gives the output and `fn` with the new state; calling it is evaluation.
"""

import abc
import inspect
import sys
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.random as jr
from jaxtyping import Array, PyTree

from fixproj.nn._module import Module, call, merge, partition
from fixproj.nn._module._filter import is_trainable


class AbstractApply(eqx.Module):
    """The function of a pair whose model has more than what is trained."""

    @abc.abstractmethod
    def __call__(self, params: PyTree, x: Array) -> Array:
        """The output in evaluation mode."""

    @abc.abstractmethod
    def step(self, params: PyTree, x: Array) -> tuple[Array, "AbstractApply"]:
        """The output in training mode, and the function with the new state."""


def adapt(model: PyTree) -> tuple[PyTree, Callable[[PyTree], PyTree]]:
    """A model as the trainers take it, and the way back.

    Args:
        model: anything that `nn.fit` accepts.

    Returns:
        The model as a callable pytree or a pair, and a function that makes of such a
        thing a model of the kind that was given.
    """
    if isinstance(model, Module):
        params, rest = partition(model, is_trainable)
        if jax.tree.leaves(rest):
            return (_ModuleApply(rest), params), lambda pair: merge(
                pair[0].rest, pair[1]
            )
    # What was never imported cannot have made the model.
    linen, nnx = sys.modules.get("flax.linen"), sys.modules.get("flax.nnx")
    if linen and type(model) is tuple and isinstance(model[0], linen.Module):
        return _adapt_linen(model)
    if nnx and isinstance(model, nnx.Module):
        graph, params, rest = nnx.split(model, nnx.Param, ...)
        pair = (_NNXApply(rest, graph), params)
        return pair, lambda pair: nnx.merge(graph, pair[1], pair[0].rest)
    return model, lambda model: model


def step_of(model: PyTree) -> Callable | None:
    """The training call of an adapted model with state; None of other models."""
    if type(model) is tuple and isinstance(model[0], AbstractApply):
        return model[0].step
    return None


class _InTraining(eqx.Module):
    fn: AbstractApply

    def __call__(self, params, x):
        return self.fn.step(params, x)[0]


def in_training(model: PyTree) -> PyTree:
    """An adapted model whose call is that of training; of others, the model itself.

    Args:
        model: what `adapt` returned.

    Returns:
        A model with the same trainable leaves. Its calls forget the new state, for
        which see `with_new_state`.
    """
    return model if step_of(model) is None else (_InTraining(model[0]), model[1])


def with_new_state(model: PyTree, x: Array) -> PyTree:
    """An adapted model after a call in training, its parameters as they were.

    Args:
        model: what `adapt` returned.
        x: a batch.

    Returns:
        The model with its new running statistics and keys.
    """
    step = step_of(model)
    return model if step is None else (step(model[1], x)[1], model[1])


class _ModuleApply(AbstractApply):
    rest: Any

    def __call__(self, params, x):
        return call(merge(self.rest, params).eval(), x)[0]

    def step(self, params, x):
        model = merge(self.rest, params)
        y, new = call(model.train(), x)
        # The structure is the given one: `train` was for this call.
        model = jax.tree.unflatten(jax.tree.structure(model), jax.tree.leaves(new))
        return y, _ModuleApply(partition(model, is_trainable)[1])


class _NNXApply(AbstractApply):
    rest: Any
    graph: Any = eqx.field(static=True)

    def __call__(self, params, x):
        from flax import nnx

        model = nnx.merge(self.graph, params, self.rest)
        model.eval()
        return model(x)

    def step(self, params, x):
        from flax import nnx

        # A copy, as the module changes what it is merged from in place.
        rest = jax.tree.map(lambda leaf: leaf, self.rest)
        model = nnx.merge(self.graph, params, rest)
        model.train()
        y = model(x)
        _, _, rest = nnx.split(model, nnx.Param, ...)
        return y, _NNXApply(rest, self.graph)


class _LinenApply(AbstractApply):
    rest: dict[str, Any]
    key: Array
    module: Any = eqx.field(static=True)

    def __call__(self, params, x):
        flags = _flags(self.module, False)
        return self.module.apply({"params": params, **self.rest}, x, **flags)

    def step(self, params, x):
        key, after = jr.split(self.key)
        y, new = self.module.apply(
            {"params": params, **self.rest},
            x,
            rngs={"dropout": key},
            mutable=list(self.rest),
            **_flags(self.module, True),
        )
        return y, _LinenApply({**self.rest, **new}, after, self.module)


def _adapt_linen(model):
    module, variables = model
    bare = "params" not in variables
    variables = {"params": variables} if bare else dict(variables)
    params = variables.pop("params")

    def back(pair):
        fn, params = pair
        return module, (params if bare else {"params": params, **fn.rest})

    return (_LinenApply(variables, jr.key(0), module), params), back


def _flags(module, training):
    """The argument by which a linen module is told whether it is in training."""
    known = inspect.signature(type(module).__call__).parameters
    flags = {"train": training, "training": training, "deterministic": not training}
    return {name: value for name, value in flags.items() if name in known}
