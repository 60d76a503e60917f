"""Encoders: one input of one modality goes in, :class:`Features` come out.

:func:`build_encoder` makes any of them from a name or a dict; timm, transformers and PyG are imported by the
encoder that needs them.
"""

from accord.encoders.base import Encoder, Features, Freeze
from accord.encoders.build import build_encoder

__all__ = ["Encoder", "Features", "Freeze", "build_encoder"]
