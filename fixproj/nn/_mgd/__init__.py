"""Multiplexed gradient descent: gradients from perturbations of a cost alone."""

from fixproj.nn._mgd._device import (
    Device as Device,
    DeviceWarning as DeviceWarning,
)
from fixproj.nn._mgd._epsilon import (
    LostPerturbationWarning as LostPerturbationWarning,
)
from fixproj.nn._mgd._families import (
    AbstractPerturbation as AbstractPerturbation,
    Gaussian as Gaussian,
    Orthogonal as Orthogonal,
    Rademacher as Rademacher,
    Sequential as Sequential,
    Sinusoidal as Sinusoidal,
    Walsh as Walsh,
)
from fixproj.nn._mgd._noise import (
    AbstractNoise as AbstractNoise,
    AmplitudeError as AmplitudeError,
    CostNoise as CostNoise,
    Defects as Defects,
    QuantisedUpdates as QuantisedUpdates,
    UpdateNoise as UpdateNoise,
)
from fixproj.nn._mgd._value_and_grad import mgd_value_and_grad as mgd_value_and_grad
