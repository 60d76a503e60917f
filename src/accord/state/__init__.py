"""Modules that remember: learnable scale, queue, momentum encoder, prototype bank.

All state lies in parameters and buffers, so that ``state_dict`` holds everything; all processes of a
distributed run hold the same state.
"""

from accord.state.base import FullPrecisionState
from accord.state.momentum import MomentumEncoder
from accord.state.prototypes import PrototypeBank
from accord.state.queue import FeatureQueue
from accord.state.scale import LogitScale

__all__ = ["FeatureQueue", "FullPrecisionState", "LogitScale", "MomentumEncoder", "PrototypeBank"]
