"""Imperfections of hardware, as transforms that are put together in a list.

Each acts at one stage of a step and gets a key: the parameters that the device realises
("parameters"), the perturbation that it applies ("perturbation"), the cost that is
measured ("cost"), or the update that is written ("update"). The estimator knows of none
of them, as an experimenter would not.

References:
    McCaughan et al., "Multiplexed gradient descent", APL Machine Learning 1, 026118,
    2023, section III.C.
"""

import abc
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from fixproj._check import check_between, is_traced


Stage = Literal["parameters", "perturbation", "cost", "update"]
STAGES = ("parameters", "perturbation", "cost", "update")


class AbstractNoise(eqx.Module):
    """One imperfection.

    Attributes:
        stage: where it acts.
    """

    stage: eqx.AbstractClassVar[Stage]

    @abc.abstractmethod
    def __call__(self, key: Array, values: list[Array]) -> list[Array]:
        """The imperfect values.

        Args:
            key: anew for every use.
            values: one real array per leaf; a single scalar for a cost.
        """


class CostNoise(AbstractNoise):
    """Gaussian noise on every measurement of the cost.

    Args:
        deviation: its standard deviation, in units of the cost.
    """

    stage: ClassVar[Stage] = "cost"
    deviation: float | Float[Array, ""]

    def __check_init__(self):
        _check_deviation("CostNoise", self.deviation)

    def __call__(self, key, values):
        """See `AbstractNoise`."""
        return _plus_normal(key, values, self.deviation)


class UpdateNoise(AbstractNoise):
    """Gaussian noise on every parameter at every update.

    Args:
        deviation: its standard deviation, in units of the parameters.
    """

    stage: ClassVar[Stage] = "update"
    deviation: float | Float[Array, ""]

    def __check_init__(self):
        _check_deviation("UpdateNoise", self.deviation)

    def __call__(self, key, values):
        """See `AbstractNoise`."""
        return _plus_normal(key, values, self.deviation)


class AmplitudeError(AbstractNoise):
    """Perturbations whose amplitude is wrong by a random factor for every parameter.

    Args:
        deviation: relative standard deviation.
        seed: None for a new error at every step; a number for errors that are fixed,
            as those of perturbation lines on a chip.
    """

    stage: ClassVar[Stage] = "perturbation"
    deviation: float | Float[Array, ""]
    seed: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        _check_deviation("AmplitudeError", self.deviation)

    def __call__(self, key, values):
        """See `AbstractNoise`."""
        key = key if self.seed is None else jr.key(self.seed)
        gains = _normals(key, values)
        return [
            v * (1 + _as(self.deviation, v) * g)
            for v, g in zip(values, gains, strict=True)
        ]


class Defects(AbstractNoise):
    """A device whose parameters differ from what is written to it, for good.

    The device realises gain * value + offset, with a gain and an offset for every
    parameter that are drawn once from the seed.

    Args:
        gain: standard deviation of the gains around 1.
        offset: standard deviation of the offsets around 0.
        seed: which device it is.
    """

    stage: ClassVar[Stage] = "parameters"
    gain: float | Float[Array, ""] = 0.1
    offset: float | Float[Array, ""] = 0.0
    seed: int = eqx.field(static=True, default=0)

    def __check_init__(self):
        _check_deviation("Defects", self.gain, "gain")
        _check_deviation("Defects", self.offset, "offset")

    def __call__(self, key, values):
        """See `AbstractNoise`."""
        of_gains, of_offsets = jr.split(jr.key(self.seed))
        return [
            (1 + _as(self.gain, v) * g) * v + _as(self.offset, v) * o
            for v, g, o in zip(
                values,
                _normals(of_gains, values),
                _normals(of_offsets, values),
                strict=True,
            )
        ]


class QuantisedUpdates(AbstractNoise):
    """Updates that are multiples of a step.

    Args:
        step: the step.
        stochastic: round at random so that the mean is kept; otherwise to the nearest,
            which loses every update below half a step.
    """

    stage: ClassVar[Stage] = "update"
    step: float | Float[Array, ""]
    stochastic: bool = eqx.field(static=True, default=True)

    def __check_init__(self):
        check_between("QuantisedUpdates", "step", self.step, 0.0)

    def __call__(self, key, values):
        """See `AbstractNoise`."""
        out = []
        for i, value in enumerate(values):
            step = _as(self.step, value)
            ratio = value / step
            if self.stochastic:
                draw = jr.uniform(jr.fold_in(key, i), value.shape, jnp.float32)
                out.append(jnp.floor(ratio + draw.astype(value.dtype)) * step)
            else:
                out.append(jnp.round(ratio) * step)
        return out


def check_noise(noise: Any) -> tuple[AbstractNoise, ...]:
    """The transforms as a tuple.

    Raises:
        TypeError: if one is not an `AbstractNoise`.
    """
    noise = (noise,) if isinstance(noise, AbstractNoise) else tuple(noise)
    for one in noise:
        if not isinstance(one, AbstractNoise):
            raise TypeError(
                "noise must be a sequence of nn.mgd.AbstractNoise such as "
                f"nn.mgd.CostNoise(0.01); got {type(one).__name__}."
            )
    return noise


def apply_noise(
    noise: Sequence[AbstractNoise], stage: Stage, key: Array, values: list[Array]
) -> list[Array]:
    """Everything that acts at a stage, in the order of the list."""
    for i, one in enumerate(noise):
        if one.stage == stage:
            values = one(jr.fold_in(key, i), values)
    return values


def has_stage(noise: Sequence[AbstractNoise], stage: Stage) -> bool:
    """Whether anything acts at a stage."""
    return any(one.stage == stage for one in noise)


def _plus_normal(key, values, deviation):
    draws = _normals(key, values)
    return [v + _as(deviation, v) * n for v, n in zip(values, draws, strict=True)]


def _normals(key, values):
    return [
        jr.normal(jr.fold_in(key, i), v.shape, jnp.float32).astype(v.dtype)
        for i, v in enumerate(values)
    ]


def _as(value, like):
    return jax.lax.stop_gradient(jnp.asarray(value, like.dtype))


def _check_deviation(owner, value, name="deviation"):
    if is_traced(value) or (isinstance(value, int | float) and value == 0):
        return
    check_between(owner, name, value, 0.0)
