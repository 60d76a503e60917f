"""Encoders that were trained elsewhere, compared as they are: a bundle's joint space, or pooled vectors alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from accord import config as settings
from accord.encoders.base import Encoder
from accord.errors import ConfigError
from accord.methods.abilities import Embeds
from accord.methods.base import Batch, DataInfo, Method, Stage

if TYPE_CHECKING:
    from accord.encoders.bundles import Bundle


class JointSpaceConfig(settings.Config):
    """Settings of :class:`JointSpace`; a bundle brings all of them."""

    modalities: tuple[str, ...] = Field(("image", "text"), min_length=1, description="what is embedded")
    projected: tuple[str, ...] = Field((), description="those of them whose vectors are projected into the space")
    dim: int | None = Field(None, ge=1, description="size of the space; none takes that of the encoders")
    scale: float = Field(100.0, gt=0, description="factor on cosines that makes them logits")
    bias: float | None = Field(None, description="what is added then, for a model trained with a sigmoid")
    templates: tuple[str, ...] = Field(("{}",), min_length=1, description="how class names are written")


class JointSpace(Method, Embeds):
    """Encoders with a space that they share, and nothing to train.

    Batch keys: those of its modalities, such as ``image (B, 3, H, W)``, ``text (B, L)`` and ``text_mask (B, L)``.

    Raises:
        ConfigError: an encoder's vectors are not of the size of the space, and nothing projects them.

    Example:
        >>> import torch
        >>> from accord.encoders import build_encoder
        >>> space = JointSpace({"modalities": ["image"]}, {"image": build_encoder("image", "tiny_vit")}, DataInfo())
        >>> space.stages, space.embed({"image": torch.zeros(1, 3, 64, 64)})["image"].shape
        ((), torch.Size([1, 128]))
    """

    name: ClassVar[str] = "bundle"
    Config: ClassVar[type[settings.Config]] = JointSpaceConfig
    needs: Mapping[str, frozenset[str]] = {"image": frozenset({"pooled"}), "text": frozenset({"pooled"})}
    config: JointSpaceConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        projected = [name for name in self.needs if name in self.config.projected]
        plain = [name for name in self.needs if name not in projected]
        dim = self.config.dim or encoders[(plain or projected)[0]].dim
        for name in plain:
            if encoders[name].dim != dim:
                raise ConfigError(
                    f"method {self.name}: the {name} encoder gives {encoders[name].dim} numbers, the space has {dim}: "
                    "choose encoders of one size, or start from a bundle with --bundle clip:FOLDER"
                )
        self.projections = nn.ModuleDict({name: nn.Linear(encoders[name].dim, dim, bias=False) for name in projected})
        self.requires_grad_(False)

    @classmethod
    def wants(cls, config: Any) -> Mapping[str, frozenset[str]]:
        """Pooled vectors of the modalities chosen."""
        return {name: frozenset({"pooled"}) for name in config.modalities}

    @classmethod
    def settings_from(cls, bundle: Bundle) -> dict[str, Any]:
        """All of them."""
        return {
            "modalities": tuple(bundle.encoders),
            "projected": tuple(bundle.projections),
            "dim": bundle.dim,
            "scale": bundle.logit_scale,
            "bias": bundle.logit_bias,
            "templates": bundle.templates,
        }

    @property
    def stages(self) -> tuple[Stage, ...]:
        """None."""
        return ()

    @property
    def templates(self) -> tuple[str, ...]:
        """How class names are written where the user does not say."""
        return self.config.templates

    @property
    def cosine_scale(self) -> float:
        """Factor on cosines that makes them logits."""
        return self.config.scale

    @property
    def cosine_bias(self) -> float | None:
        """What is added to the logit of a pair before the sigmoid; None where classes are weighed by a softmax."""
        return self.config.bias

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """Unit-norm embeddings of the modalities in the batch."""
        return {name: F.normalize(vectors, dim=-1) for name, vectors in self.vectors(batch).items()}

    def vectors(self, batch: Batch) -> dict[str, Tensor]:
        """The same before they are made unit norm."""
        found = {}
        for name, encoder in self.encoders.items():
            if name in batch:
                pooled = encoder(batch[name], batch.get(f"{name}_mask")).pooled  # (B, W)
                vector = self.projections[name](pooled) if name in self.projections else pooled
                found[name] = vector.float()  # (B, D)
        return found
