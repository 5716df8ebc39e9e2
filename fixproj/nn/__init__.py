"""Networks: tracing any JAX model, and trainers that share one protocol."""

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
from fixproj.nn._trainers import (
    AbstractTrainer as AbstractTrainer,
    Gradient as Gradient,
    Projections as Projections,
)
from fixproj.nn._zorb import (
    ZORB as ZORB,
    Activation as Activation,
    Network as Network,
    ReferenceZORB as ReferenceZORB,
    parse_network as parse_network,
)


_ESTIMATORS = ("ZORBClassifier", "ZORBRegressor")


def __getattr__(name):
    # scikit-learn is needed, and imported, only where they are used.
    if name in _ESTIMATORS:
        try:
            from fixproj.nn._zorb import _estimators
        except ModuleNotFoundError as error:
            if error.name is None or error.name.split(".")[0] != "sklearn":
                raise
            raise ImportError(
                f"nn.{name} needs scikit-learn: pip install 'fixproj[nn]'"
            ) from error
        return getattr(_estimators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_ESTIMATORS])
