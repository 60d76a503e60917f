"""CrossVideoMAE: Self-Supervised Image-Video Representation Learning with Masked Autoencoders (2025, arXiv 2502.07811).

A masked autoencoder of clips is trained beside one of pictures, which sees frames of the same clips. What both make of
the few tokens that they are shown is drawn together: a clip and its augmented version (intra), a clip and its frames
(cross), as wholes and slot by slot. Neither code nor tables are public: the autoencoder is that of Feichtenhofer et al.
2022, the contrast that of CrossPoint (Afham et al. 2022), and what neither settles is a setting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from accord import config as settings
from accord.data.augmenting.pixels import normalise
from accord.data.augmenting.views import View
from accord.data.modalities.image import image_input
from accord.encoders.base import Encoder
from accord.encoders.heads import MLPHead
from accord.encoders.heads.masked import MaskedDecoder, Shown, as_clips, show, values_of
from accord.encoders.masked import MaskedViT, stretched
from accord.errors import ConfigError
from accord.functional import (
    cross_modal_prototype_loss,
    gather_features,
    nt_xent,
    own_rows,
    slot_nt_xent,
    slot_pool,
    world_size,
)
from accord.methods.abilities import Embeds, Filled, FillsIn
from accord.methods.base import Batch, DataInfo, Group, Method, Sampling, Step
from accord.methods.programme import Repeated


class CrossVideoMaeConfig(settings.Config):
    """Settings of :class:`CrossVideoMae`; what the paper's summaries do not say is as in the works it is made of."""

    branches: Literal["both", "video", "image"] = Field(
        "both", description="clips with their frames, clips alone, or pictures alone (which makes an image branch)"
    )
    video_ratio: float = Field(0.95, gt=0, lt=1, description="share of a clip's tokens that are hidden")
    image_ratio: float = Field(0.9, gt=0, lt=1, description="share of a picture's")
    masking: Literal["random", "tube"] = Field(
        "random", description="hide tokens anywhere, or the same places in every slot of time"
    )
    stills: int = Field(4, ge=1, description="frames of a clip for the image branch, evenly spaced, one a slot at most")
    repeats: int = Field(
        1, ge=1, description="how often a row stands in its batch, each time read and cut anew; 2 to 4 in such works"
    )
    temperature: float = Field(0.1, gt=0, description="divides the cosines of all contrast")
    hidden: int = Field(512, ge=1, description="hidden width of the projectors")
    dim: int = Field(256, ge=1, description="their output")
    decoder_width: int = Field(512, ge=1, description="width of the decoders")
    decoder_depth: int = Field(8, ge=1, description="blocks of the decoders")
    decoder_heads: int = Field(16, ge=1, description="attention heads of the decoders; divide their width")
    predict_frames: int | None = Field(None, ge=1, description="frames of a clip that are filled in; None for all")
    standardise: bool = Field(True, description="targets of mean 0 and variance 1 a token; false on plain backgrounds")
    reconstruction: float = Field(1.0, ge=0, description="weight of filling in what is hidden")
    intra_video: float = Field(1.0, ge=0, description="weight of a clip against its augmented version")
    intra_frame: float = Field(1.0, ge=0, description="weight of its frames against their augmented versions")
    cross_video: float = Field(1.0, ge=0, description="weight of clips against frames, as wholes")
    cross_frame: float = Field(1.0, ge=0, description="weight of slots of clips against the frames in them")
    distillation: float = Field(0.0, ge=0, description="weight of the squared distance of slots from their frames")
    normalise_prototypes: bool = Field(False, description="bring both views to unit norm before their mean")
    freeze_image: bool = Field(False, description="take the image branch as it is, which then has no decoder")
    image_lr: float = Field(0.1, gt=0, description="learning rate of a pretrained image branch over that of the rest")
    crop_scale: tuple[float, float] = Field((0.5, 1.0), description="area range of the augmented version's crop")
    flip: float = Field(0.5, ge=0, le=1, description="probability of mirroring it; 0 where left and right differ")
    colour: bool = Field(True, description="jitter of its colours")

    @model_validator(mode="after")
    def _heads_divide(self) -> CrossVideoMaeConfig:
        if self.decoder_width % self.decoder_heads:
            raise ValueError(f"decoder_heads = {self.decoder_heads} must divide decoder_width = {self.decoder_width}")
        return self

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those of the branches, the one that is embedded first."""
        return {"both": ("video", "image"), "video": ("video",), "image": ("image",)}[self.branches]


class CrossVideoMae(Method, Embeds, FillsIn):
    """CrossVideoMAE over the encoders ``video_mae`` and ``image_mae``.

    A finished model embeds clips by the mean of all tokens of the video branch. Its decoder is kept for
    :meth:`fill_in`; projectors and the decoder of the frames are not.

    Batch keys: ``video_views`` [V, V'] of ``(B, T, 3, H, W)``, ``video_mask (B, T)``; with ``branches=image``
    ``image_views`` of ``(B, 3, H, W)``; with ``repeats`` ``index (B,)``.

    Example:
        >>> from accord.encoders import build_encoder
        >>> small = {"size": 16, "width": 16, "depth": 1, "heads": 2}
        >>> towers = {name: build_encoder(name, {"name": f"{name}_mae", **small}) for name in ("video", "image")}
        >>> ratios = {"video_ratio": 0.75, "image_ratio": 0.5}
        >>> method = CrossVideoMae({**ratios, "decoder_width": 16, "decoder_depth": 1}, towers, DataInfo())
        >>> views = list(torch.randn(2, 3, 8, 3, 16, 16))
        >>> sorted(method.loss({"video_views": views}, Step()))[:4]
        ['cross_frame', 'cross_video', 'intra_frame', 'intra_video']
    """

    name: ClassVar[str] = "cross_video_mae"
    Config: ClassVar[type[settings.Config]] = CrossVideoMaeConfig
    needs: Mapping[str, frozenset[str]] = {name: frozenset({"pooled", "visible"}) for name in ("video", "image")}
    training_only: ClassVar[tuple[str, ...]] = ("projectors.", "still_decoder.")
    config: CrossVideoMaeConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        cfg, self.main = self.config, self.config.modalities[0]
        if encoders[self.main].frozen:
            raise ConfigError(f"method {self.name} teaches the {self.main} encoder: --freeze {self.main}=none")
        if cfg.freeze_image and cfg.branches == "both":
            encoders["image"].freeze("all")
        self.decoder = self._decoder(self._tower(self.main))
        stills = self._tower("image") if cfg.branches == "both" else None
        self.still_decoder = None if stills is None or stills.frozen else self._decoder(stills)
        sizes = {part: (self._tower(part.split("_")[0]).dim, cfg.dim, cfg.hidden) for part in self._projected()}
        self.projectors = nn.ModuleDict({part: MLPHead(*size) for part, size in sizes.items()})
        if stills is not None and cfg.distillation and stills.dim != self._tower("video").dim:
            raise ConfigError(f"method {self.name}: distillation needs encoders of one width")

    def _projected(self) -> list[str]:
        """What is projected: each branch as a whole, and its slots or frames, where a loss asks for it."""
        cfg, both = self.config, self.config.branches == "both"
        cross = cfg.cross_video > 0 and both
        own = {"video": cfg.intra_video > 0 or cross, "image": cfg.intra_frame > 0 or cross}
        wholes = [name for name in self.needs if own[name]]
        return wholes + (["video_slots", "image_frames"] if both and cfg.cross_frame > 0 else [])

    @classmethod
    def wants(cls, config: Any) -> Mapping[str, frozenset[str]]:
        """The encoders of the branches."""
        return {name: cls.needs[name] for name in config.modalities}

    @classmethod
    def reads(cls, config: Any) -> tuple[str, ...]:
        """Clips alone: the pictures are frames of them."""
        return config.modalities[:1]

    @classmethod
    def default_encoders(cls, config: Any) -> Mapping[str, Mapping[str, Any]]:
        """Small ViTs to train; an image branch with weights is trained on, unless it is to be frozen."""
        held = {"image": "all" if config.freeze_image and config.branches == "both" else "none"}
        return {name: {"name": f"{name}_mae", "freeze": held.get(name, "none")} for name in config.modalities}

    @classmethod
    def default_training(cls, config: Any) -> Mapping[str, Any]:
        """The optimiser of masked autoencoders."""
        return {"betas": (0.9, 0.95), "weight_decay": 0.05, "warmup": 0.1}

    @property
    def embeds(self) -> tuple[str, ...]:
        """Clips; the frames of the image branch lie in another space."""
        return (self.main,)

    @property
    def views(self) -> tuple[View, ...]:
        """The clip as it is, and one crop, mirroring and jitter of all its frames."""
        cfg = self.config
        jitter: dict[str, Any] = {"jitter": (0.4, 0.4, 0.4, 0.1), "jitter_p": 0.8} if cfg.colour else {}
        return View(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0), View(scale=cfg.crop_scale, flip=cfg.flip, **jitter)

    @property
    def sampling(self) -> Sampling | None:
        """Several copies of a row in its batch, where the settings say so."""
        return Repeated(self.config.repeats) if self.config.repeats > 1 else None

    def group(self, name: str) -> Group:
        """A pretrained image branch is tuned more slowly."""
        tuned = name.startswith("encoders.image.") and self.main == "video" and self._tower("image").pretrained
        return Group(lr_scale=self.config.image_lr) if tuned else Group()

    # --- training ---

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """All terms of the sum, each before its weight."""
        draws = step.generator(self.device)
        shown = {
            name: [self._show(name, view, draws) for view in views] for name, views in self._pictures(batch).items()
        }
        copies = gather_features(batch["index"], with_grad=False) if self.config.repeats > 1 else None
        terms = self._contrast(shown, copies)
        for name, parts in shown.items():
            errors = [error for one in parts if (error := one.error(self.config.standardise)) is not None]
            if errors:
                terms[f"reconstruction_{name}"] = torch.stack(errors).sum()
        weights = self.config.model_dump()
        total = sum(weights.get(term, self.config.reconstruction) * value for term, value in terms.items())
        return {"total": total, **{term: value.detach() for term, value in terms.items()}}

    def _pictures(self, batch: Batch) -> dict[str, list[Tensor]]:
        """Branch -> its two views: clips ``(B, T, 3, H, W)`` and the frames ``(B·F, 3, h, w)`` chosen of them."""
        if self.main == "image":
            return {"image": list(batch["image_views"])}
        clips = [self._whole(view, batch.get("video_mask")) for view in batch["video_views"]]
        if self.config.branches == "video":
            return {"video": clips}
        first = self._slots() * self._tower("video").tubelet  # the first frame of each chosen slot
        return {"video": clips, "image": [self._as_stills(clip[:, first]) for clip in clips]}

    def _whole(self, clips: Tensor, mask: Tensor | None) -> Tensor:
        """Clips of as many frames as the encoder takes."""
        tower = self._tower("video")
        return stretched(clips, mask, tower.grid[0] * tower.tubelet)

    def _slots(self) -> Tensor:
        """Which slots of time ``(F,)`` the image branch sees, evenly spaced."""
        slots, count = self._tower("video").grid[0], self.config.stills
        return torch.arange(min(count, slots), device=self.device) * slots // min(count, slots)

    def _as_stills(self, frames: Tensor) -> Tensor:
        """Frames ``(B, F, 3, H, W)`` of clips as the image encoder is fed, ``(B·F, 3, h, w)``."""
        had, wanted = (image_input(self._tower(name).input) for name in ("video", "image"))
        pictures = frames.flatten(0, 1)
        if (had.mean, had.std) != (wanted.mean, wanted.std):
            pictures = normalise(255 * _in_unit_range(pictures, had), wanted)
        if had.size == wanted.size:
            return pictures
        return F.interpolate(pictures, (wanted.size, wanted.size), mode="bilinear", antialias=True)

    def _show(self, name: str, view: Tensor, draws: torch.Generator) -> Shown:
        """:func:`show` with noise that is drawn for the rows of all processes."""
        cfg, tower, rows = self.config, self._tower(name), len(view)
        tubes = tower.grid[0] if cfg.masking == "tube" else 1
        noise = torch.rand(world_size() * rows, tower.length // tubes, generator=draws, device=view.device)
        decoder = self.decoder if name == self.main else self.still_decoder
        ratio, predicted = (cfg.video_ratio, cfg.predict_frames) if name == "video" else (cfg.image_ratio, None)
        return show(tower, decoder, view, noise[own_rows(rows)], ratio, tubes=tubes, predicted=predicted)

    def _contrast(self, shown: Mapping[str, list[Shown]], copies: Tensor | None) -> dict[str, Tensor]:
        """The contrastive terms whose weight is not 0, over all processes; copies of a row are not compared."""
        cfg, terms = self.config, {}
        wholes = {name: self._wholes(name, parts) for name, parts in shown.items() if name in self.projectors}
        for term, name in (("intra_video", "video"), ("intra_frame", "image")):
            if getattr(cfg, term) and name in wholes:
                first, second = wholes[name]
                terms[term] = nt_xent(first, second, cfg.temperature, copies=copies)
        if cfg.cross_video and len(wholes) == 2:
            views = wholes["video"], wholes["image"]
            terms["cross_video"] = cross_modal_prototype_loss(
                *views, cfg.temperature, normalize=cfg.normalise_prototypes, copies=copies
            )
        if len(shown) == 2 and (cfg.cross_frame or cfg.distillation):
            terms |= self._slot_terms(shown, copies)
        return terms

    def _wholes(self, name: str, parts: list[Shown]) -> list[Tensor]:
        """The projections ``(W·B, D)`` of both views; of frames that of their mean."""
        count = len(self._slots()) if self.config.branches == "both" and name == "image" else 1
        pooled = [one.pooled.unflatten(0, (-1, count)).mean(dim=1) for one in parts]
        return [gather_features(self.projectors[name](one), with_grad=True) for one in pooled]

    def _slot_terms(self, shown: Mapping[str, list[Shown]], copies: Tensor | None = None) -> dict[str, Tensor]:
        """Slots of clips against the frames in them; a slot of which nothing was shown does not count."""
        cfg, terms, chosen = self.config, {}, self._slots()
        stills = [one.pooled.unflatten(0, (-1, len(chosen))) for one in shown["image"]]  # (B, F, D)
        slots, valid = zip(*(self._chosen(one, chosen) for one in shown["video"]), strict=True)
        if cfg.cross_frame:
            video = [self._project("video_slots", one) for one in slots]
            image = [self._project("image_frames", one) for one in stills]
            if cfg.normalise_prototypes:
                video, image = ([F.normalize(one, dim=-1) for one in side] for side in (video, image))
            means = _mean_where(video, valid), torch.stack(image).mean(dim=0)
            x, y = (gather_features(one, with_grad=True) for one in means)
            there = gather_features(torch.stack(valid).any(dim=0).byte(), with_grad=False).bool()
            terms["cross_frame"] = slot_nt_xent(x, y, cfg.temperature, there, copies=copies)
        if cfg.distillation:
            away = [(one - still.detach()).square().mean(dim=2) for one, still in zip(slots, stills, strict=True)]
            parts = [_shared_mean(one, real) for one, real in zip(away, valid, strict=True)]
            terms["distillation"] = torch.stack(parts).sum()
        return terms

    def _chosen(self, one: Shown, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """The means ``(B, F, D)`` of chosen slots, and whether something of each was shown.

        An empty one stands for its whole clip, which does no harm to the statistics of batch norm.
        """
        tower = self._tower("video")
        pooled, there = slot_pool(one.tokens, one.keep, tower.grid[0], tower.length)
        return torch.where(there[..., None], pooled, one.pooled[:, None])[:, chosen], there[:, chosen]

    def _project(self, part: str, values: Tensor) -> Tensor:
        """``(B, S, D)`` through a projector, whose batch norm sees all slots."""
        return self.projectors[part](values.flatten(0, 1)).unflatten(0, values.shape[:2])

    # --- use ---

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """The mean of all tokens of the main branch, unit norm."""
        features = self.encoders[self.main](batch[self.main], batch.get(f"{self.main}_mask"))
        return {self.main: F.normalize(features.pooled.float(), dim=1)}

    @torch.no_grad()
    def fill_in(self, batch: Batch, seed: int = 0) -> Filled:
        """As training hides and fills in, by the main branch."""
        tower, view = self._tower(self.main), batch[self.main]
        view = self._whole(view, batch.get("video_mask")) if self.main == "video" else view
        shown = self._show(self.main, view, torch.Generator(view.device).manual_seed(seed))
        spec = image_input(tower.input)
        seen, made = (as_clips(tower, one) for one in (shown.target, shown.filled(self.config.standardise)))
        hidden = as_clips(tower, shown.hidden[..., None].expand_as(shown.target))[:, :, 0] > 0
        seen, made = (_in_unit_range(one, spec).clamp(0, 1) for one in (seen, made))
        return Filled(seen, hidden, made)

    def _tower(self, name: str) -> MaskedViT:
        """The encoder of a branch."""
        tower = self.encoders[name]
        assert isinstance(tower, MaskedViT)  # as `needs` asks for its stream
        return tower

    def _decoder(self, tower: MaskedViT) -> MaskedDecoder:
        """A decoder for a branch."""
        cfg = self.config
        values = values_of(tower, cfg.predict_frames if tower.modality == "video" else None)
        return MaskedDecoder(tower.dim, values, tower.grid, cfg.decoder_width, cfg.decoder_depth, cfg.decoder_heads)


def _shared_mean(values: Tensor, real: Tensor) -> Tensor:
    """The sum ``(B, S)`` of what is real, over how much is on average in a process."""
    count = gather_features(real.float(), with_grad=False).sum() / world_size()
    return (values * real).sum() / count.clamp(min=1)


def _mean_where(values: Sequence[Tensor], valid: Sequence[Tensor]) -> Tensor:
    """The mean ``(B, S, D)`` of those that count; of all where none does."""
    weight = torch.stack(list(valid)).to(values[0])  # (V, B, S)
    weight = torch.where(weight.sum(dim=0) > 0, weight, torch.ones_like(weight))[..., None]
    return (torch.stack(list(values)) * weight).sum(dim=0) / weight.sum(dim=0)


def _in_unit_range(pictures: Tensor, spec: Any) -> Tensor:
    """Undo the normalisation of ``(..., 3, H, W)``."""
    mean, std = (torch.tensor(one, device=pictures.device)[:, None, None] for one in (spec.mean, spec.std))
    return pictures * std + mean
