"""ILA: Implicit Temporal Modeling with Learnable Alignment for Video Recognition (Tu et al., ICCV 2023).

For neighbouring frames it is enough to know roughly where in each the thing is that the two have in common: the encoder
``alignment`` points there in every block, and here the contents of the windows around the points are drawn together.
Classes are texts as in X-CLIP, or rows of a matrix (the release for Something-Something, where names say little).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from accord import config as settings
from accord.data.augmenting.views import View
from accord.data.loading.features import Features, Stream
from accord.encoders.alignment import AlignmentEncoder
from accord.encoders.base import Encoder
from accord.functional.distributed import gather_features
from accord.functional.schedule import delta_schedule
from accord.methods.abilities import Ability, Rescores
from accord.methods.base import Batch, DataInfo, Group, Loader, Step
from accord.methods.video.recognition import NEW, ClipRecognition, RecognitionConfig

MESSAGE, TEMPORAL, MERGING = "message", "temporal", "merging"  # groups of parameters of the release


class IlaConfig(RecognitionConfig):
    """Settings of :class:`Ila`; defaults from the paper and its reference training code."""

    head: Literal["names", "linear"] = Field(
        "names", description="names: cosine with the classes' names; linear: a matrix on the normalised vector"
    )
    dropout: float = Field(0.5, ge=0, lt=1, description="linear: share of the vector that is dropped in training")
    alignment_weight: float = Field(1.0, ge=0, description="weight of the alignment loss, summed over the blocks")
    halving_epoch: int = Field(30, ge=0, description="from which epoch on the neighbours of a point move closer to it")
    message_lr: float = Field(62.5, gt=0, description="learning rate of the alignment over that of CLIP's weights")
    temporal_lr: float = Field(10.0, gt=0, description="likewise of the layers that give back what was aligned")
    merging_lr: float = Field(50.0, gt=0, description="likewise of the transformer over frames")
    flip: float = Field(0.0, ge=0, le=1, description="probability of mirroring; 0 where left and right differ")
    erase: float = Field(0.25, ge=0, le=1, description="probability that a box of a clip is blanked out")


class Ila(ClipRecognition):
    """ILA over an encoder that aligns neighbouring frames and, where classes are named, any text encoder.

    Batch keys: ``video (B, T, 3, H, W)``, ``video_mask (B, T)``, ``label (B,)`` or ``(B, C)``.

    Example:
        >>> from accord.encoders import build_encoder
        >>> tower = {"name": "alignment", "size": 16, "patch": 4, "width": 64, "depth": 1, "hidden": 16}
        >>> from accord.methods.base import DataInfo
        >>> names = ("moves left", "moves right")
        >>> ila = Ila({"head": "linear"}, {"video": build_encoder("video", tower)}, DataInfo(classes=names))
        >>> ila.classify({"video": torch.zeros(3, 4, 3, 16, 16)}).shape
        torch.Size([3, 2])
    """

    name: ClassVar[str] = "ila"
    tower: ClassVar[str] = "alignment"
    rates: ClassVar[Mapping[str, str]] = {
        **{NEW: "new_lr", MESSAGE: "message_lr"},
        **{TEMPORAL: "temporal_lr", MERGING: "merging_lr"},
    }
    Config: ClassVar[type[settings.Config]] = IlaConfig
    needs: Mapping[str, frozenset[str]] = {"video": frozenset({"pooled", "alignment", "windows"})}
    config: IlaConfig
    lacks: frozenset[type[Ability]] = frozenset()

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        if self.config.head == "linear":
            self.lacks = frozenset({Rescores})
            dim = encoders["video"].dim
            self.head = nn.Sequential(nn.LayerNorm(dim), nn.Dropout(self.config.dropout))
            self.head.append(nn.Linear(dim, len(data.classes)))

    @classmethod
    def wants(cls, config: Any) -> Mapping[str, frozenset[str]]:
        """The alignment of an encoder of clips; patches and texts where classes are named."""
        named = ClipRecognition.needs
        return cls.needs if config.head == "linear" else {**named, "video": named["video"] | cls.needs["video"]}

    @classmethod
    def default_encoders(cls, config: Any) -> Mapping[str, Mapping[str, Any]]:
        """As elsewhere; CLIP's weights stay as they are, also where it is the only encoder."""
        return {"video": {**super().default_encoders(config)["video"], "freeze": "auto"}}

    @property
    def views(self) -> tuple[View, ...]:
        """As in X-CLIP, with a box blanked out in some clips."""
        return tuple(replace(view, erase=self.config.erase) for view in super().views)

    # --- training ---

    def before_epoch(self, step: Step, loader: Loader) -> None:
        """Windows are looked at less far around their points in late epochs."""
        self.aligned_by.look_around(delta_schedule(step.epoch, self.config.halving_epoch))

    def fit_of(self, clips: Features, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy, and how far apart the windows of each pair of frames are, over the pairs of all processes."""
        terms = super().fit_of(clips, batch)
        stream = clips.stream("alignment")
        away, real = gather_features(stream.values, with_grad=True), gather_features(stream.real(), with_grad=False)
        alignment = away.sum() / real.sum().clamp_min(1)  # the mean over pairs, summed over blocks
        terms["total"] = terms["total"] + self.config.alignment_weight * alignment
        return terms | {"alignment": alignment.detach(), "window similarity": self._sameness(clips.stream("windows"))}

    @torch.no_grad()
    def _sameness(self, windows: Stream) -> Tensor:
        """The mean cosine of what the windows of different clips show: 1 where the loss was met by showing nothing."""
        shown = F.normalize(gather_features(windows.values, with_grad=False).float(), dim=-1)  # (B, L, C)
        rows = len(shown)
        together = torch.einsum("blc,dlc->lbd", shown, shown).sum(dim=(1, 2)) - shown.square().sum(dim=(0, 2))
        return together.mean() / max(1, rows * (rows - 1))

    def new_group(self, name: str) -> Group:
        """Those of the release, whose decays are 10, 1 and 3 times the configured one."""
        if ".message_" in name:
            return Group(MESSAGE, decay_scale=10.0)
        if ".temporal_" in name:
            return Group(TEMPORAL)
        return Group(MERGING, decay_scale=3.0) if name.startswith("mit.") else Group(NEW)

    @property
    def aligned_by(self) -> AlignmentEncoder:
        """The encoder of clips."""
        encoder = self.encoders["video"]
        assert isinstance(encoder, AlignmentEncoder)  # it gives alignment
        return encoder

    # --- use ---

    def _clips(self, clips: Features) -> Features:
        """As elsewhere; with a matrix the vector as it is."""
        return super()._clips(clips) if self.config.head == "names" else Features(clips.pooled)

    def logits(self, clips: Features) -> Tensor:
        """Of the names of the classes, or of the matrix."""
        if self.config.head == "names":
            return super().logits(clips)
        vectors = F.normalize(clips.pooled.float(), dim=1)
        with torch.autocast(vectors.device.type, enabled=False):
            logits: Tensor = self.head(vectors)
        return logits
