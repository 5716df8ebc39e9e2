"""Modules whose leaves have kinds, and the layers made of them."""

from fixproj.nn._module import (
    losses as losses,
    metrics as metrics,
    regularisers as regularisers,
)
from fixproj.nn._module._at import at as at
from fixproj.nn._module._errors import LayerError as LayerError
from fixproj.nn._module._filter import (
    FieldInfo as FieldInfo,
    field_infos as field_infos,
    filter as filter,
    map as map,
    merge as merge,
    partition as partition,
    trainable as trainable,
)
from fixproj.nn._module._hashable import Hashable as Hashable
from fixproj.nn._module._initializer import Initializer as Initializer
from fixproj.nn._module._kinds import (
    BatchStat as BatchStat,
    Cache as Cache,
    Kind as Kind,
    MetricState as MetricState,
    OptState as OptState,
    Parameter as Parameter,
    Rng as Rng,
    State as State,
    Static as Static,
)
from fixproj.nn._module._layers.attention import (
    MultiHeadAttention as MultiHeadAttention,
)
from fixproj.nn._module._layers.containers import (
    MLP as MLP,
    Flatten as Flatten,
    Lambda as Lambda,
    Residual as Residual,
    Sequential as Sequential,
    SkipConcat as SkipConcat,
)
from fixproj.nn._module._layers.conv import (
    AvgPool as AvgPool,
    Conv as Conv,
    ConvTranspose as ConvTranspose,
    MaxPool as MaxPool,
)
from fixproj.nn._module._layers.dropout import Dropout as Dropout
from fixproj.nn._module._layers.implicit import (
    DEQ as DEQ,
    ProjectionLayer as ProjectionLayer,
)
from fixproj.nn._module._layers.linear import Embedding as Embedding, Linear as Linear
from fixproj.nn._module._layers.norm import (
    BatchNorm as BatchNorm,
    GroupNorm as GroupNorm,
    LayerNorm as LayerNorm,
    RMSNorm as RMSNorm,
)
from fixproj.nn._module._layers.quantize import Quantize as Quantize, Sign as Sign
from fixproj.nn._module._layers.recurrent import (
    RNN as RNN,
    AbstractCell as AbstractCell,
    GRUCell as GRUCell,
    LSTMCell as LSTMCell,
    RNNCell as RNNCell,
)
from fixproj.nn._module._module import Module as Module
from fixproj.nn._module._nothing import Nothing as Nothing
from fixproj.nn._module._optimizer import Optimizer as Optimizer
from fixproj.nn._module._save import (
    load as load,
    load_info as load_info,
    save as save,
)
from fixproj.nn._module._stateful import call as call
from fixproj.nn._module._tabulate import summary as summary, tabulate as tabulate
