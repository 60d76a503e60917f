"""SigLIP as transformers has it: attention pools the patches, the text is read at its last place, padding or not.

Its text head has a bias, so it is part of the tower: both towers give vectors of the common space. It was trained with
a sigmoid: a pair has a probability of its own, whatever it is compared with.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from accord.encoders.base import Encoder
from accord.encoders.bundles.base import Bundle
from accord.encoders.bundles.folder import random_model, read_model, specs_in
from accord.encoders.bundles.towers import ImageTower, ImageTowerConfig, TextTower, TextTowerConfig, TowerConfig
from accord.encoders.weights import Found

TYPE = "siglip"  # in the folder's config.json
TEMPLATES = ("This is a photo of {}.",)


class SiglipImageTower(ImageTower):
    """SigLIP's image tower; the pooled vector is that of the attention head."""

    def read(self, pictures: Tensor) -> tuple[Tensor, Tensor | None]:
        """There is no class token: all last hidden states are patches."""
        out = self.model(pixel_values=pictures)
        return out.pooler_output, out.last_hidden_state


class SiglipTextTower(TextTower):
    """SigLIP's text tower, which was trained on texts padded to full length without a mask, and reads them so."""

    @property
    def token_dim(self) -> int:
        """Width of a word, before the head."""
        return int(self.model.config.hidden_size)

    def read(self, ids: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Texts are filled up to full length; the words are those of the ids alone."""
        out = self.model(input_ids=self.filled(ids, mask))
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
        dim=int(known["image"]["dim"]),
        logit_scale=math.exp(model.logit_scale.item()),
        logit_bias=model.logit_bias.item(),
        templates=TEMPLATES,
        origin=found.origin,
    )


def specs(name: str, found: Found) -> dict[str, dict[str, Any]]:
    """Modality -> what rebuilds its tower."""
    known = specs_in(name, found, TYPE)
    sizes = {"image": known["image"]["config"]["hidden_size"], "text": known["text"]["config"]["projection_size"]}
    return {modality: {**spec, "dim": sizes[modality]} for modality, spec in known.items()}


def tower(settings: TowerConfig) -> Encoder:
    """A tower with random weights."""
    if isinstance(settings, ImageTowerConfig):
        return SiglipImageTower(random_model("SiglipVisionModel", settings.config, "vision_model"), settings)
    assert isinstance(settings, TextTowerConfig)  # there are two
    return SiglipTextTower(random_model("SiglipTextModel", settings.config, "text_model"), settings)
