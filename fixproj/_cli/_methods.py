"""The methods that the command knows: a name, and how to make the trainer.

Trainers are looked up in `fixproj.nn` when they are asked for, so that a build without
one of them can still run the others.
"""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import optax

import fixproj
from fixproj import nn
from fixproj.nn import AbstractTrainer


Options = dict[str, Any]


class MethodError(ValueError):
    """There is no such method, or it does not take what it was given."""


@dataclasses.dataclass(frozen=True)
class Method:
    """How to train by one method.

    Attributes:
        summary: one line for the list of methods.
        make: makes the trainer from a loss, a learning rate or None, and options.
        needs: the name in `fixproj.nn` that has to be there.
        whole: whether it takes all data at once, and one epoch is its training.
    """

    summary: str
    make: Callable[[str, float | None, Options], AbstractTrainer]
    needs: str
    whole: bool = False

    @property
    def available(self) -> bool:
        """Whether this build has it."""
        return hasattr(nn, self.needs)


def _optimiser(name: str, rate: float) -> Method:
    def make(loss, learning_rate, options):
        options = dict(options)
        transformation = _call(
            f"optax.{name}", getattr(optax, name), learning_rate or rate, **options
        )
        return nn.Gradient(transformation, loss)

    return Method(
        f"Backpropagation with optax.{name} (rate {rate:g}).", make, "Gradient"
    )


def _projections(outer: bool):
    def make(loss, learning_rate, options):
        options = {"loss": loss, **options}
        if outer:
            options["outer"] = optax.adam(learning_rate or 3e-3)
        elif learning_rate is not None:
            raise MethodError(
                "projections has no learning rate; its steps are set by -o "
                "parameter_weight=NUMBER. projections-adam has one."
            )
        return _call("nn.Projections", nn.Projections, **options)

    return make


def _neurons(name: str, parameter: str | None = None) -> Method:
    """A feasibility method on the constraints of single neurons, as PJAX has it."""

    def make(loss, learning_rate, options):
        if learning_rate is not None:
            raise MethodError(f"{name} has no learning rate.")
        options = {"loss": loss, **options}
        own: Options = {}
        if parameter is not None and parameter in options:
            own[parameter] = options.pop(parameter)
        method = _call(f"fixproj.{name}", getattr(fixproj, name), **own)
        return _call("nn.Projections", nn.Projections, "neuron", method, **options)

    more = "" if parameter is None else f", {parameter}=NUMBER"
    return Method(f"{name} on single neurons (sweeps=50{more}).", make, "Projections")


def _mgd(loss, learning_rate, options):
    rate = learning_rate or 1e-2
    chosen = {"loss": loss, "perturb": "nodes", "scheme": "forward", "probes": 7}
    return _call("nn.MGD", nn.MGD, optax.adam(rate), **(chosen | options))


def _zorb(loss, learning_rate, options):
    if learning_rate is not None:
        raise MethodError("zorb has no learning rate.")
    return _call("nn.ZORB", nn.ZORB, **({"loss": loss} | options))


def _call(what: str, factory: Callable, *args: Any, **options: Any) -> Any:
    known = inspect.signature(factory).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in known.values()):
        for name in options:
            if name not in known:
                raise MethodError(
                    f"{what} has no option {name!r}; it has {', '.join(known)}."
                )
    return factory(*args, **options)


METHODS: dict[str, Method] = {
    "projections": Method(
        "Projections onto the graphs of the layers.", _projections(False), "Projections"
    ),
    "projections-adam": Method(
        "Projections whose displacements are fed to Adam.",
        _projections(True),
        "Projections",
    ),
    "ap": _neurons("AlternatingProjections"),
    "cp": _neurons("CyclicProjections"),
    "dm": _neurons("DifferenceMap", "beta"),
    "dr": _neurons("DouglasRachford", "relaxation"),
    "mgd": Method(
        "Multiplexed gradient descent, of nodes unless -o perturb=weights.", _mgd, "MGD"
    ),
    "zorb": Method("Least squares, layer by layer; one epoch.", _zorb, "ZORB", True),
    "adam": _optimiser("adam", 3e-3),
    "adamw": _optimiser("adamw", 3e-3),
    "adagrad": _optimiser("adagrad", 1e-2),
    "lion": _optimiser("lion", 1e-4),
    "nadam": _optimiser("nadam", 3e-3),
    "rmsprop": _optimiser("rmsprop", 1e-3),
    "sgd": _optimiser("sgd", 1e-1),
}


def method_named(name: str) -> Method:
    """The method of that name.

    Raises:
        MethodError: if there is none, or this build lacks its trainer.
    """
    if name not in METHODS:
        raise MethodError(f"No method {name!r}; there are {', '.join(METHODS)}.")
    method = METHODS[name]
    if not method.available:
        there = ", ".join(known for known, m in METHODS.items() if m.available)
        raise MethodError(
            f"The method {name} needs fixproj.nn.{method.needs}, which this build "
            f"does not have. It has {there}."
        )
    return method
