"""Modules that remember: scale, queue, bank, momentum encoder, prototypes, clusters, centre, feature statistics.

All state lies in parameters and buffers, so that ``state_dict`` holds everything; all processes of a
distributed run hold the same state.
"""

from accord.state.bank import FeatureBank
from accord.state.base import FullPrecisionState
from accord.state.center import Center
from accord.state.clusters import TranslatedClusters
from accord.state.momentum import MomentumEncoder, MomentumParts, ema_blend
from accord.state.prototypes import PrototypeBank, Prototypes
from accord.state.queue import FeatureQueue
from accord.state.scale import LogitScale, Temperature
from accord.state.standardise import FeatureStandardiser

__all__ = [
    "Center",
    "FeatureBank",
    "FeatureQueue",
    "FeatureStandardiser",
    "FullPrecisionState",
    "LogitScale",
    "MomentumEncoder",
    "MomentumParts",
    "PrototypeBank",
    "Prototypes",
    "Temperature",
    "TranslatedClusters",
    "ema_blend",
]
