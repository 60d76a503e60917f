"""Modules that remember: learnable scale, queue, momentum encoder, prototype bank, feature statistics.

All state lies in parameters and buffers, so that ``state_dict`` holds everything; all processes of a
distributed run hold the same state.
"""

from accord.state.base import FullPrecisionState
from accord.state.momentum import MomentumEncoder
from accord.state.prototypes import PrototypeBank
from accord.state.queue import FeatureQueue
from accord.state.scale import LogitScale
from accord.state.standardise import FeatureStandardiser

__all__ = [
    "FeatureQueue",
    "FeatureStandardiser",
    "FullPrecisionState",
    "LogitScale",
    "MomentumEncoder",
    "PrototypeBank",
]
