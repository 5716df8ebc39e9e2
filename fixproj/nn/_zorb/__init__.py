"""Training by least squares alone, layer by layer."""

from fixproj.nn._zorb._activations import Activation as Activation
from fixproj.nn._zorb._layers import Network as Network
from fixproj.nn._zorb._parse import parse_network as parse_network
from fixproj.nn._zorb._reference import ReferenceZORB as ReferenceZORB
from fixproj.nn._zorb._trainer import ZORB as ZORB
