"""SigLIP as transformers has it: attention pools the patches, the text is read at its last place, padding or not.

Its text head has a bias, so it is part of the tower: both towers give vectors of the common space. It was trained with
a sigmoid: a pair has a probability of its own, whatever it is compared with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from accord.encoders.base import Encoder
from accord.encoders.bundles.base import Bundle
from accord.encoders.bundles.towers import (
    ImageTower,
    ImageTowerConfig,
    TextTower,
    TextTowerConfig,
    random_tower,
    read_model,
    specs_in,
)
from accord.encoders.tokenizer import JsonTokenizer
from accord.encoders.weights import Found

TYPE = "siglip"  # in the folder's config.json
TEMPLATES = ("This is a photo of {}.",)


class SiglipImageTower(ImageTower):
    """SigLIP's image tower; the pooled vector is that of the attention head."""

    library = "SiglipVisionModel"

    def patches(self, hidden: Tensor) -> Tensor:
        """All of them: there is no class token."""
        return hidden


class SiglipTextTower(TextTower):
    """SigLIP's text tower, which was trained on texts padded to full length without a mask, and reads them so."""

    library = "SiglipTextModel"

    def __init__(self, model: Any, config: TextTowerConfig) -> None:
        super().__init__(model, config)
        self.dim = int(model.config.projection_size)
        self.filler = JsonTokenizer(config.tokenizer).filler

    @property
    def token_dim(self) -> int:
        """Width of a token, before the head."""
        return int(self.model.config.hidden_size)

    def read(self, ids: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Texts are filled up to full length; the tokens are those of the ids alone."""
        ids = ids if mask is None else ids.masked_fill(~mask, self.filler)
        full = F.pad(ids, (0, self.config.length - ids.shape[1]), value=self.filler)  # (B, length)
        out = self.model(input_ids=full)
        return out.pooler_output, out.last_hidden_state[:, : ids.shape[1]]


def read(name: str, found: Found) -> Bundle:
    """The bundle in a folder."""
    model, known = read_model(name, found, TYPE), specs(name, found)
    return Bundle(
        name=name,
        encoders={
            "image": SiglipImageTower(model.vision_model, ImageTowerConfig.parse(known["image"])),
            "text": SiglipTextTower(model.text_model, TextTowerConfig.parse(known["text"])),
        },
        projections={},
        dim=int(model.config.vision_config.hidden_size),
        logit_scale=math.exp(model.logit_scale.item()),
        logit_bias=model.logit_bias.item(),
        templates=TEMPLATES,
        origin=found.origin,
    )


def specs(name: str, found: Found) -> dict[str, dict[str, Any]]:
    """Modality -> what rebuilds its tower."""
    return specs_in(name, found, TYPE)


def tower(modality: str, spec: Mapping[str, Any]) -> Encoder:
    """A tower with random weights."""
    return random_tower(modality, spec, SiglipImageTower, SiglipTextTower)
