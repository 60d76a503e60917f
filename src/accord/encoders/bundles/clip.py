"""CLIP as transformers has it: the text is read at its end token, and both towers are projected into the space."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from accord.encoders.base import Encoder, Features
from accord.encoders.bundles.base import Bundle
from accord.encoders.bundles.folder import random_model, read_model, specs_in
from accord.encoders.bundles.towers import ImageTower, ImageTowerConfig, TextTower, TextTowerConfig, TowerConfig
from accord.encoders.pooling import last_real
from accord.encoders.weights import Found

TYPE = "clip"  # in the folder's config.json
TEMPLATES = ("a photo of a {}.",)


class ClipImageTower(ImageTower):
    """CLIP's image tower; the pooled vector is that of the class token, before the projection."""

    def read(self, pictures: Tensor) -> tuple[Tensor, Tensor | None]:
        """The patches go through the LayerNorm of the class token."""
        out = self.model(pixel_values=pictures)
        return out.pooler_output, self.model.post_layernorm(out.last_hidden_state[:, 1:])

    def layer_vector(self, hidden: Tensor, features: Features) -> Tensor:
        """The class token."""
        return hidden[:, 0]


class ClipTextTower(TextTower):
    """CLIP's text tower; the pooled vector is that of the end token, before the projection."""

    def read(self, ids: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Padding comes after the end token, which does not see it."""
        out = self.model(input_ids=ids, attention_mask=None if mask is None else mask.long())
        return out.pooler_output, out.last_hidden_state

    def layer_vector(self, hidden: Tensor, features: Features) -> Tensor:
        """The end token."""
        return last_real(hidden, features.mask)


def read(name: str, found: Found) -> Bundle:
    """The bundle in a folder."""
    model, known = read_model(name, found, TYPE), specs(name, found)
    return Bundle(
        name=name,
        encoders={
            "image": ClipImageTower(model.vision_model, ImageTowerConfig.parse(known["image"])),
            "text": ClipTextTower(model.text_model, TextTowerConfig.parse(known["text"])),
        },
        projections={"image": model.visual_projection.weight.data, "text": model.text_projection.weight.data},
        dim=int(model.config.projection_dim),
        logit_scale=math.exp(model.logit_scale.item()),
        templates=TEMPLATES,
        origin=found.origin,
    )


def specs(name: str, found: Found) -> dict[str, dict[str, Any]]:
    """Modality -> what rebuilds its tower."""
    return {key: {**spec, "dim": spec["config"]["hidden_size"]} for key, spec in specs_in(name, found, TYPE).items()}


def tower(settings: TowerConfig) -> Encoder:
    """A tower with random weights."""
    if isinstance(settings, ImageTowerConfig):
        return ClipImageTower(random_model("CLIPVisionModel", settings.config, "vision_model"), settings)
    assert isinstance(settings, TextTowerConfig)  # there are two
    return ClipTextTower(random_model("CLIPTextModel", settings.config, "text_model"), settings)
