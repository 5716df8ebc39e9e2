"""Networks: tracing any JAX model, and trainers that share one protocol."""

from fixproj.nn import _mgd as mgd  # noqa: F401
from fixproj.nn._evaluate import evaluate as evaluate
from fixproj.nn._fit import fit as fit
from fixproj.nn._graph import (
    Trace as Trace,
    UnsupportedPrimitiveError as UnsupportedPrimitiveError,
    register_projection as register_projection,
    trace as trace,
)
from fixproj.nn._history import (
    History as History,
    NonFiniteUpdateError as NonFiniteUpdateError,
)
from fixproj.nn._mgd import mgd_value_and_grad as mgd_value_and_grad
from fixproj.nn._trainers import (
    MGD as MGD,
    AbstractTrainer as AbstractTrainer,
    Gradient as Gradient,
    Projections as Projections,
)
