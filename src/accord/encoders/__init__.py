"""Encoders: one input of one modality goes in, :class:`Features` come out.

:func:`build_encoder` makes any of them from a name or a dict; timm, transformers and PyG are imported by the
encoder that needs them, and PyTorch by the first of the names below.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accord.encoders.base import Encoder, Features, Freeze, Stream
    from accord.encoders.build import build_encoder

_PLACES = {"Encoder": "base", "Features": "base", "Freeze": "base", "Stream": "base", "build_encoder": "build"}

__all__ = ["Encoder", "Features", "Freeze", "Stream", "build_encoder"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
