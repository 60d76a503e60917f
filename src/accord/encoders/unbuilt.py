"""An encoder of a finished run that is not built, since what is asked of the model does not run it.

A search by words needs no network for pictures, whose library alone takes longer to import than the search.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Never

from torch import nn

from accord.encoders.base import Encoder
from accord.errors import ConfigError


def sizes_of(encoder: Encoder) -> dict[str, Any]:
    """What a method may ask of an encoder that is not built, as JSON takes it."""
    return {"dim": encoder.dim, "token_dim": encoder.token_dim, "gives": sorted(encoder.gives)}


class Unbuilt(nn.Module):
    """Stands in a method for the encoder of a modality of its ``sizes_suffice``; no :class:`Encoder`.

    These are the modalities of whose encoders a method asks no more than ``dim``, ``token_dim`` and ``gives``, to be
    built and to embed others.

    Args:
        modality: what the encoder reads.
        sizes: of :func:`sizes_of`.

    Example:
        >>> Unbuilt("image", {"dim": 320, "token_dim": 320, "gives": ["pooled"]}).dim
        320
    """

    def __init__(self, modality: str, sizes: Mapping[str, Any]) -> None:
        super().__init__()
        self.modality = modality
        self.dim, self.token_dim = int(sizes["dim"]), int(sizes["token_dim"])
        self.gives = frozenset(sizes["gives"])

    def forward(self, *_: Any, **__: Any) -> Never:
        """There is nothing to run.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"the {self.modality} encoder was left out when the model was loaded: load the whole model")
