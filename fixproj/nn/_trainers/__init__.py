"""Ways to train a model that share one protocol, `init` and `update`."""

from fixproj.nn._trainers._loss import (
    AbstractLoss as AbstractLoss,
    loss_named as loss_named,
)
from fixproj.nn._trainers._trainer import AbstractTrainer as AbstractTrainer
from fixproj.nn._trainers.averaged import Averaged as Averaged
from fixproj.nn._trainers.gradient import Gradient as Gradient
from fixproj.nn._trainers.layer_parallel import LayerParallel as LayerParallel
from fixproj.nn._trainers.mgd import MGD as MGD
from fixproj.nn._trainers.projections import Projections as Projections
