"""CiCo: Domain-Aware Sign Language Retrieval via Cross-Lingual Contrastive Learning (Cheng et al., CVPR 2023).

A sign video and a sentence are both language: windows of the one mean words of the other, in another order. A pair is
scored by soft alignments in both directions, every window with the words and every word with the windows, and each
score enters a symmetric InfoNCE. Windows are encoded by a frozen network of signs and its copy that was adapted to
these data (:mod:`accord.methods.video.sign_windows`), or come as features; a tower reads them in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from accord import config as settings
from accord.data.augmenting.text_views import TextView
from accord.data.augmenting.views import View
from accord.data.inputs import SequenceInput, VideoInput
from accord.data.loading.features import Features
from accord.encoders.base import Encoder
from accord.encoders.bundles import Bundle
from accord.encoders.clip_blocks import clip_blocks
from accord.encoders.heads import StepTower
from accord.encoders.pooling import masked_mean
from accord.encoders.transformer import ActivationName
from accord.encoders.windows import WindowEncoder
from accord.errors import ConfigError
from accord.functional import (
    contrastive_loss,
    cross_lingual_loss,
    gather_tokens,
    own_rows,
    soft_alignment,
    soft_alignment_pair,
    token_alignment,
    world_size,
)
from accord.methods.abilities import Rescores, TimesWords, WordTimes
from accord.methods.base import Batch, DataInfo, Loader, Method, OneOfEach, Sampling, Stage, Step, TwoTower
from accord.state import LogitScale

Tokens = tuple[Tensor, Tensor]  # (B, N, D) unit norm, (B, N) which are real


class CicoConfig(settings.Config):
    """Settings of :class:`Cico`; defaults from the paper's code, but for the tower, which fits two cores.

    The paper's tower has a width of 768, 12 blocks and 12 heads, as the image tower of the CLIP that it starts from.
    """

    modality: Literal["sequence", "video"] = Field("sequence", description="what is matched with texts")
    dim: int = Field(512, ge=1, description="size of the space that tokens are compared in")
    width: int = Field(256, ge=1, description="width of the tower over the windows; a multiple of heads")
    depth: int = Field(2, ge=1, description="its blocks")
    heads: int = Field(4, ge=1, description="its attention heads")
    activation: ActivationName = Field("gelu", description="inside its MLPs; that of CLIP is quick_gelu")
    alignment_temperature: float = Field(0.07, gt=0, description="of the softmax over a token's partners")
    mask_inner: bool = Field(True, description="leave padding out of that softmax (released code: false)")
    mix: float = Field(0.5, ge=0, le=1, description="share of the direction from windows to words in loss and score")
    swap: float = Field(0.5, ge=0, le=1, description="probability that words change places where words ask windows")
    temperature: float = Field(0.01, gt=0, description="initial softmax temperature; the logit scale starts at 1/T")
    max_logit_scale: float = Field(100.0, gt=1, description="upper clamp of the logit scale after each step")
    one_of_each: bool = Field(True, description="of rows with the same text a round of training draws one")


class Cico(TwoTower, Rescores, TimesWords):
    """CiCo over any encoder of windows, steps or frames and any text encoder that gives tokens.

    Batch keys: ``sequence (B, T, F)`` and ``sequence_mask (B, T)``, or ``video (B, T, 3, H, W)`` and ``video_mask``;
    ``text (B, L)``, ``text_mask (B, L)``; ``text_views`` one pair of these, with words that changed places.

    Example:
        >>> from accord.encoders import build_encoder
        >>> texts = ["red fish", "blue cup"]
        >>> towers = {"sequence": build_encoder("sequence", {"name": "steps", "features": 6}),
        ...           "text": build_encoder("text", "tiny_text", texts=texts)}
        >>> cico = Cico({"width": 16, "dim": 8, "swap": 0}, towers, DataInfo())
        >>> ids, mask = towers["text"].input.tokenizer(texts)
        >>> batch = {"sequence": torch.randn(2, 9, 6), "text": ids, "text_mask": mask}
        >>> sorted(cico.loss(batch, Step()))
        ['contrastive', 'logit_scale', 'total']
        >>> tokens = cico.token_features(batch)
        >>> cico.rescore(tokens["text"], tokens["sequence"], "text").shape  # texts × sequences
        torch.Size([2, 2])
    """

    name: ClassVar[str] = "cico"
    Config: ClassVar[type[settings.Config]] = CicoConfig
    training_only: ClassVar[tuple[str, ...]] = ("sentences",)
    config: CicoConfig
    sentences: Tensor

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        cfg, steps = self.config, encoders[self.config.modality]
        if cfg.width % cfg.heads:
            raise ConfigError(f"method {self.name}: heads = {cfg.heads} must divide width = {cfg.width}")
        sizes = (cfg.width, cfg.depth, cfg.heads, cfg.activation)
        self.tower = StepTower(steps.token_dim, cfg.dim, _most_tokens(steps), *sizes)
        self.projections = nn.ModuleDict({"text": nn.Linear(encoders["text"].token_dim, cfg.dim, bias=False)})
        self.logit_scale = LogitScale(1 / cfg.temperature, cfg.max_logit_scale)
        self.register_buffer("sentences", torch.arange(data.rows))  # which text each row has

    @classmethod
    def wants(cls, config: Any) -> Mapping[str, frozenset[str]]:
        """Tokens of both sides."""
        return {config.modality: frozenset({"tokens"}), "text": frozenset({"tokens"})}

    @classmethod
    def default_encoders(cls, config: Any) -> Mapping[str, Mapping[str, Any]]:
        """Features as they are, or the frames of clips."""
        return {"sequence": {"name": "steps"}} if config.modality == "sequence" else {}

    @classmethod
    def settings_from(cls, bundle: Bundle) -> dict[str, Any]:
        """The size of the space, and those of the tower over windows, which is a CLIP's image tower."""
        blocks = clip_blocks(bundle.encoders.get("image"))
        sizes = ("width", "depth", "heads", "activation") if blocks else ()
        return super().settings_from(bundle) | {name: getattr(blocks, name) for name in sizes}

    def start_from(self, bundle: Bundle) -> tuple[str, ...]:
        """What fits, and for the tower the blocks, norms and projection of a CLIP's image tower."""
        taken, blocks = super().start_from(bundle), clip_blocks(bundle.encoders.get("image"))
        if blocks is None or not blocks.lend(self.tower.transformer):
            return taken
        for norm, name in ((self.tower.norm, "ln_pre"), (self.tower.last_norm, "ln_post")):
            norm.load_state_dict({part: blocks.state[f"{name}.{part}"] for part in ("weight", "bias")})
        matrix = bundle.projections["image"]
        if self.tower.leave.weight.shape != matrix.shape:
            return *taken, "tower of windows"
        self.tower.leave.load_state_dict({"weight": matrix})
        return *taken, "tower of windows", "its projection"

    @classmethod
    def settings_from_space(cls, space: Method) -> dict[str, Any]:
        """What its encoder of windows reads.

        Raises:
            ConfigError: it has none.
        """
        for modality in ("sequence", "video"):
            if isinstance(dict(space.encoders.items()).get(modality), WindowEncoder):
                return {"modality": modality}
        raise ConfigError(
            f"method {cls.name} takes the encoder of windows of a trained model, and {space.name} has none: name a run "
            "of sign_windows"
        )

    def take_space(self, space: Method) -> None:
        """Keep that encoder, and its adapted copy, as they are."""
        encoder = dict(self.encoders.items())[self.config.modality]
        assert isinstance(encoder, Encoder)
        encoder.freeze("all")

    @property
    def views(self) -> tuple[View, ...]:
        """Of clips one mild crop of all frames, never mirrored: hands differ."""
        crop = View(scale=(0.8, 1.0), flip=0.0, jitter=(0.2, 0.2, 0.2, 0.0), jitter_p=0.8)
        return (crop,) if self.config.modality == "video" else ()

    @property
    def text_views(self) -> tuple[TextView, ...]:
        """The caption, sometimes with words that changed places."""
        return (TextView(caption="same", swap=self.config.swap),) if self.config.swap else ()

    # --- training ---

    def before_stage(self, stage: Stage, loader: Loader) -> None:
        """Find the rows that have the same text."""
        numbers: dict[tuple[str, ...], int] = {}
        same = [numbers.setdefault(tuple(captions), len(numbers)) for captions in loader.texts()]
        self.sentences.copy_(torch.tensor(same))

    @property
    def sampling(self) -> Sampling | None:
        """Of a sentence with several videos, one at a time."""
        several = self.config.one_of_each and len(self.sentences.unique()) < len(self.sentences)
        return OneOfEach(self.sentences) if several else None

    def towers(self, batch: Batch) -> dict[str, Tensor]:
        """For each modality its embedding ``(B, D)``, ``_tokens (B, N, D)`` of unit norm and ``_mask (B, N)``."""
        found = {name: self._tokens(name, batch) for name in self.needs if name in batch}
        towers: dict[str, Tensor] = {}
        for name, (tokens, mask) in found.items():
            towers |= {name: F.normalize(masked_mean(tokens, mask), dim=-1)}
            towers |= {f"{name}_tokens": tokens, f"{name}_mask": mask}
        if "text_views" in batch:
            changed, mask = self._words(*batch["text_views"][0])
            towers |= {"changed_tokens": changed, "changed_mask": mask}
        return towers

    def objective(self, towers: dict[str, Tensor], batch: Batch, step: Step) -> dict[str, Tensor]:
        """Windows ask the words as they stand, changed words ask the windows; both ways round, over all processes."""
        steps, text = self._held(towers, self.config.modality), self._held(towers, "text")
        changed = self._held(towers, "changed") if "changed_tokens" in towers else text
        scale, mix = self.logit_scale(), self.config.mix
        if world_size() == 1:
            there, back = self._align(steps, text), self._align(changed, steps).T
            loss = cross_lingual_loss(scale * there, scale * back, mix)
        else:
            loss = mix * self._shared(steps, text, scale) + (1 - mix) * self._shared(changed, steps, scale)
        return {"total": loss, "contrastive": loss.detach(), "logit_scale": scale.detach()}

    def after_step(self, step: Step) -> None:
        """Clamp the logit scale."""
        self.logit_scale.clamp_()

    def _shared(self, query: Tokens, key: Tokens, scale: Tensor) -> Tensor:
        """The symmetric loss of one direction: own queries among all keys, own keys among all queries."""
        queries, keys = gather_tokens(*query, with_grad=True), gather_tokens(*key, with_grad=True)
        every = torch.eye(len(queries[0]), dtype=torch.bool, device=scale.device)
        pair = every[own_rows(len(query[0]))]  # (b, W b)
        rows = contrastive_loss(scale * self._align(query, keys), pair)
        columns = contrastive_loss(scale * self._align(queries, key), pair.T, direction="columns")
        return (rows + columns) / 2

    def _align(self, query: Tokens, key: Tokens) -> Tensor:
        """Similarity ``(A, B)`` in the direction of the query."""
        cfg = self.config
        masks = (query[1], key[1])
        return soft_alignment(
            query[0], key[0], *masks, temperature=cfg.alignment_temperature, mask_inner=cfg.mask_inner
        )

    # --- use ---

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """The direction of the mean token of each row, for the first stage of a search."""
        towers = self.towers(batch)
        return {name: towers[name] for name in self.needs if name in towers}

    def token_features(self, batch: Batch) -> dict[str, Features]:
        """The tokens that pairs are scored by."""
        towers = self.towers(batch)
        return {name: Features(towers[name], *self._held(towers, name)) for name in self.needs if name in towers}

    def rescore(self, query: Features, candidates: Features, modality: str) -> Tensor:
        """The mix of both alignments, the same whoever asks."""
        cfg = self.config
        (asked, asked_mask), (found, found_mask) = query.sequence(), candidates.sequence()
        there, back = soft_alignment_pair(
            asked,
            found,
            asked_mask,
            found_mask,
            temperature=cfg.alignment_temperature,
            mask_inner=cfg.mask_inner,
        )
        mix = 1 - cfg.mix if modality == "text" else cfg.mix
        return mix * there + (1 - mix) * back

    def word_times(self, batch: Batch) -> WordTimes:
        """Cosine of each word with each window, and how much it attends to it."""
        features = self._read(batch)
        (steps, real), (words, mask) = self._windows(features), self._words(batch["text"], batch.get("text_mask"))
        hidden = ~(mask[:, :, None] & real[:, None])
        cosines = torch.bmm(words, steps.mT).masked_fill(hidden, 0.0)
        weights = token_alignment(words, steps, real, self.config.alignment_temperature).masked_fill(hidden, 0.0)
        times = features.stream().times
        seconds = torch.arange(steps.shape[1], device=steps.device).expand(real.shape) if times is None else times
        return WordTimes(cosines, weights, seconds.float(), real)

    def _tokens(self, name: str, batch: Batch) -> Tokens:
        return (
            self._words(batch["text"], batch.get("text_mask")) if name == "text" else self._windows(self._read(batch))
        )

    def _windows(self, features: Features) -> Tokens:
        steps, real = features.sequence()
        return F.normalize(self.tower(steps, real).float(), dim=-1), real

    def _words(self, ids: Any, mask: Tensor | None) -> Tokens:
        words, real = self.encoders["text"](ids, mask).sequence()
        return F.normalize(self.projections["text"](words).float(), dim=-1), real

    def _read(self, batch: Batch) -> Features:
        name = self.config.modality
        return self.encoders[name](batch[name], batch.get(f"{name}_mask"), times=batch.get(f"{name}_times"))

    def _held(self, towers: Mapping[str, Tensor], name: str) -> Tokens:
        return towers[f"{name}_tokens"], towers[f"{name}_mask"]


def _most_tokens(encoder: Encoder) -> int:
    """How many tokens an encoder of steps gives at most."""
    if isinstance(encoder, WindowEncoder):
        return encoder.config.tokens
    if isinstance(encoder.input, SequenceInput):
        return encoder.input.length
    assert isinstance(encoder.input, VideoInput)  # what reads clips
    return encoder.input.frames
