"""Networks: tracing any JAX model, and trainers that share one protocol."""

from fixproj.nn import _mgd as mgd  # noqa: F401
from fixproj.nn._callbacks import EarlyStopping as EarlyStopping
from fixproj.nn._checkpoint import Checkpoint as Checkpoint
from fixproj.nn._evaluate import evaluate as evaluate
from fixproj.nn._fit import fit as fit
from fixproj.nn._graph import (
    Trace as Trace,
    UnsupportedPrimitiveError as UnsupportedPrimitiveError,
    plot_graph as plot_graph,
    register_projection as register_projection,
    trace as trace,
)
from fixproj.nn._history import (
    History as History,
    NonFiniteUpdateError as NonFiniteUpdateError,
)
from fixproj.nn._mgd import mgd_value_and_grad as mgd_value_and_grad
from fixproj.nn._module import (
    DEQ as DEQ,
    MLP as MLP,
    RNN as RNN,
    AbstractCell as AbstractCell,
    AvgPool as AvgPool,
    BatchNorm as BatchNorm,
    BatchStat as BatchStat,
    Cache as Cache,
    Conv as Conv,
    ConvTranspose as ConvTranspose,
    Dropout as Dropout,
    Embedding as Embedding,
    FieldInfo as FieldInfo,
    Flatten as Flatten,
    GroupNorm as GroupNorm,
    GRUCell as GRUCell,
    Hashable as Hashable,
    Initializer as Initializer,
    Kind as Kind,
    Lambda as Lambda,
    LayerError as LayerError,
    LayerNorm as LayerNorm,
    Linear as Linear,
    LSTMCell as LSTMCell,
    MaxPool as MaxPool,
    MetricState as MetricState,
    Module as Module,
    MultiHeadAttention as MultiHeadAttention,
    Nothing as Nothing,
    Optimizer as Optimizer,
    OptState as OptState,
    Parameter as Parameter,
    ProjectionLayer as ProjectionLayer,
    Quantize as Quantize,
    Residual as Residual,
    RMSNorm as RMSNorm,
    Rng as Rng,
    RNNCell as RNNCell,
    Sequential as Sequential,
    Sign as Sign,
    SkipConcat as SkipConcat,
    State as State,
    Static as Static,
    at as at,
    call as call,
    field_infos as field_infos,
    filter as filter,
    load as load,
    load_info as load_info,
    losses as losses,
    map as map,
    merge as merge,
    metrics as metrics,
    partition as partition,
    regularisers as regularisers,
    save as save,
    summary as summary,
    tabulate as tabulate,
    trainable as trainable,
)
from fixproj.nn._trainers import (
    MGD as MGD,
    AbstractTrainer as AbstractTrainer,
    Averaged as Averaged,
    Gradient as Gradient,
    LayerParallel as LayerParallel,
    Projections as Projections,
)
from fixproj.nn._trainers.training_problem import TrainingProblem as TrainingProblem
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
