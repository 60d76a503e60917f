"""The sign encoder of CiCo (Cheng et al., CVPR 2023): a classifier of windows, and its adaptation to other data.

Trained on sequences of single signs with labels it knows nothing of the data that it is wanted for. Given those, by
``space``, it labels the windows that it is sure of, unites and suppresses near ones, and a copy of it is fine-tuned on
these pseudo-labels. What both make of a window is then mixed (:mod:`accord.encoders.windows`).
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from accord import config as settings
from accord.data.loading.features import Features
from accord.encoders.base import Encoder
from accord.encoders.windows import WindowEncoder
from accord.errors import ConfigError, DataError
from accord.functional import Segment, gather_features, own_rows, temporal_pseudo_labels, world_size
from accord.methods.abilities import Ability, Classifies, Embeds
from accord.methods.base import Batch, DataInfo, Loader, Method, Optimiser, Stage, Step

ADAPT = "adapt"


class SignWindowsConfig(settings.Config):
    """Settings of :class:`SignWindows`; defaults of adaptation from the paper's code."""

    adapt: bool = Field(False, description="adapt the run that is the space, by pseudo-labels; else learn by labels")
    signs: tuple[str, ...] = Field((), description="names of its signs, which it says itself")
    threshold: float = Field(0.6, ge=0, lt=1, description="probability above which a window is labelled")
    merge: int = Field(3, ge=0, description="steps within which a window joins a segment")
    suppress: int = Field(24, ge=0, description="steps within which a window opens no other segment of its sign")
    segments: int = Field(32, ge=1, description="segments of a row that are learnt from, the most confident first")
    adapt_epochs: int = Field(15, ge=1, description="epochs of adaptation")
    adapt_lr: float = Field(1e-2, gt=0, description="learning rate of adaptation, by SGD with momentum 0.9")


class SignWindows(Method, Embeds, Classifies):
    """A linear classifier on windows of sequences, trained by labels, or adapted without any.

    Batch keys: ``sequence (B, T, F)``, ``sequence_mask (B, T)``, ``label (B,)``; ``index (B,)`` in adaptation.

    Raises:
        ConfigError: there are no classes, or several a row, or nothing to adapt.

    Example:
        >>> from accord.encoders import build_encoder
        >>> poses = {"name": "windows:tiny_sequence", "of": {"features": 6, "width": 16}}
        >>> facts = DataInfo(classes=("hello", "thanks"))
        >>> signs = SignWindows({}, {"sequence": build_encoder("sequence", poses)}, facts)
        >>> signs.classify({"sequence": torch.zeros(3, 20, 6)}).shape
        torch.Size([3, 2])
    """

    name: ClassVar[str] = "sign_windows"
    learns_labels: ClassVar[bool] = True
    training_only: ClassVar[tuple[str, ...]] = ("segments",)
    Config: ClassVar[type[settings.Config]] = SignWindowsConfig
    needs: Mapping[str, frozenset[str]] = {"sequence": frozenset({"pooled", "tokens"})}
    config: SignWindowsConfig
    segments: Tensor

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        encoder, cfg = encoders["sequence"], self.config
        if cfg.adapt != bool(cfg.signs):
            raise ConfigError(
                f"method {self.name}: adapt = {cfg.adapt} with {len(cfg.signs)} signs; to adapt a run of it to other "
                "data, set method.adapt to true and name the run as space"
            )
        signs = cfg.signs or data.classes
        if len(signs) < 2 or (data.multi_label and not cfg.adapt):
            found = "several a row" if data.multi_label else f"those of {len(signs)}"
            raise ConfigError(f"method {self.name} needs one label a row, of at least 2 classes, got {found}")
        if cfg.suppress < cfg.merge:
            raise ConfigError(f"method {self.name}: suppress = {cfg.suppress}: expected at least merge = {cfg.merge}")
        self.classifier = nn.Linear(encoder.dim, len(signs))
        if cfg.adapt:
            assert isinstance(encoder, WindowEncoder)  # as settings_from_space has it
            if encoder.aware is None:
                encoder.adapt()
            self.classifier.requires_grad_(False)
            self.aware_classifier = deepcopy(self.classifier).requires_grad_(True)
            # label, first step, and the step after the last of each segment of a row; -1 where there are fewer
            self.register_buffer("segments", torch.full((data.rows, cfg.segments, 3), -1))

    @property
    def lacks(self) -> frozenset[type[Ability]]:  # type: ignore[override]
        """Once adapted it has the signs of other data, which are not the classes of these."""
        return frozenset({Classifies}) if self.config.adapt else frozenset()

    @classmethod
    def default_encoders(cls, config: Any) -> Mapping[str, Mapping[str, Any]]:
        """Windows of poses or features through a small transformer."""
        return {"sequence": {"name": "windows:tiny_sequence"}}

    @classmethod
    def learns_from_labels(cls, config: Any) -> bool:
        """Unless it adapts."""
        return not config.adapt

    @classmethod
    def settings_from_space(cls, space: Method) -> dict[str, Any]:
        """The signs of the classifier that is adapted.

        Raises:
            ConfigError: it is no such classifier, or looks at no windows.
        """
        able = isinstance(space, SignWindows) and isinstance(space.encoders["sequence"], WindowEncoder)
        if not able:
            raise ConfigError(
                f"method {cls.name} adapts a run of {cls.name} with an encoder of windows, got {space.name}: train "
                "that first, on sequences with labels"
            )
        assert isinstance(space, SignWindows)
        return {"signs": list(space.config.signs or space.data.classes)}

    def take_space(self, space: Method) -> None:
        """Its classifier, to label windows by, and as the start of what is adapted."""
        assert isinstance(space, SignWindows)
        for head in (self.classifier, self.aware_classifier):
            head.load_state_dict(space.classifier.state_dict())

    # --- training ---

    @property
    def stages(self) -> tuple[Stage, ...]:
        """By labels as usual; else the copy and its classifier alone, by SGD at a constant rate."""
        if not self.config.adapt:
            return (Stage(),)
        sgd = Optimiser(
            kind="sgd", lr=self.config.adapt_lr, momentum=0.9, weight_decay=0.0, schedule="constant", warmup=0.0
        )
        trained = ("encoders.sequence.aware.", "aware_classifier.")
        return (Stage(ADAPT, epochs=self.config.adapt_epochs, train=trained, optimisers=(sgd,)),)

    @torch.no_grad()
    def before_stage(self, stage: Stage, loader: Loader) -> None:
        """Label what the classifier is sure of.

        Raises:
            DataError: it is sure of nothing.
        """
        if not self.config.adapt:
            return
        self.segments.fill_(-1)
        for batch in loader:
            for row, found in zip(batch["index"].tolist(), self.pseudo_labels(batch), strict=True):
                for place, segment in enumerate(found[: self.config.segments]):
                    self.segments[row, place] = self.segments.new_tensor([segment.label, segment.start, segment.end])
        if not bool((self.segments[..., 0] >= 0).any()):
            raise DataError(
                f"no window of the training rows has a sign with more than {self.config.threshold:.0%} probability: "
                "lower method.threshold, or train the classifier for longer or on signs more like these"
            )

    @torch.no_grad()
    def pseudo_labels(self, batch: Batch) -> list[list[Segment]]:
        """The segments of each row that the classifier is sure of, by all windows of the rows."""
        cfg, windows = self.config, self._windows
        x, mask = batch["sequence"], batch.get("sequence_mask")
        starts, real = windows.starts(x, mask, every=True)
        seen, inside = windows.cut(x, mask, starts)
        shares = self.classifier(windows.of(seen[real], inside[real]).pooled).float().softmax(dim=1)
        rows = zip(shares.split(real.sum(dim=1).tolist()), starts, real, strict=True)
        return [
            temporal_pseudo_labels(own, first[there], windows.config.window, cfg.threshold, cfg.merge, cfg.suppress)
            for own, first, there in rows
        ]

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Cross-entropy of every window of a row, or of a window from each segment that was labelled."""
        return self._adaptation(batch, step) if self.config.adapt else self._by_labels(batch)

    def _by_labels(self, batch: Batch) -> dict[str, Tensor]:
        tokens, mask = self._features(batch).sequence()
        logits, label = self.classifier(tokens).float(), batch["label"][:, None].expand(tokens.shape[:2])
        each = F.cross_entropy(logits.flatten(0, 1), label.flatten(), reduction="none").view_as(label) * mask
        return {"total": (each.sum(dim=1) / mask.sum(dim=1)).mean()}

    def _adaptation(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        windows, x = self._windows, batch["sequence"]
        label, start, end = self.segments[batch["index"]].unbind(dim=2)  # (B, S) each
        drawn = torch.rand(len(x) * world_size(), label.shape[1], generator=step.generator(x.device), device=x.device)
        room = (end - start - windows.config.window).clamp(min=0)
        first = start.clamp(min=0) + (drawn[own_rows(len(x))] * (room + 1)).long()
        seen, inside = windows.cut(x, batch.get("sequence_mask"), first)
        chosen = label >= 0
        chosen[:, 0] = True  # so that there is something to compute, which counts where it has a label
        assert windows.aware is not None
        logits = self.aware_classifier(windows.aware(seen[chosen], inside[chosen]).pooled).float()
        total = F.cross_entropy(logits, label[chosen], ignore_index=-1, reduction="sum")
        count = gather_features((label >= 0).sum()[None], with_grad=False).sum() / world_size()
        return {"total": total / count.clamp(min=1), "segments": count}

    # --- use ---

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """The direction of the mean of a row's windows."""
        return {"sequence": F.normalize(self._features(batch).pooled.float(), dim=-1)}

    def classify(self, batch: Batch) -> Tensor:
        """Class logits ``(B, C)`` of the mean of a row's windows."""
        return self.classifier(self._features(batch).pooled).float()

    @property
    def _windows(self) -> WindowEncoder:
        encoder = self.encoders["sequence"]
        assert isinstance(encoder, WindowEncoder)
        return encoder

    def _features(self, batch: Batch) -> Features:
        return self.encoders["sequence"](batch["sequence"], batch.get("sequence_mask"))
