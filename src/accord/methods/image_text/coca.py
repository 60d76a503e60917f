"""CoCa: Contrastive Captioners are Image-Text Foundation Models (Yu et al., TMLR 2022).

A captioner whose text decoder is cut in two. The first half reads no image: its class token is the text's vector in a
contrastive loss. The second half reads the image as well and predicts the caption's next word. One forward pass
serves both losses; the model embeds as CLIP does and writes captions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from accord import config as settings
from accord.data.augmenting.views import View
from accord.encoders.base import Encoder, Features
from accord.encoders.generation import (
    NO_TARGET,
    Caption,
    CaptionFit,
    Decoding,
    caption_fit,
    check_writer,
    write_scored,
)
from accord.encoders.heads import AttentionalPooler
from accord.encoders.stages import longest_stack
from accord.encoders.transformer import CrossTransformer
from accord.errors import ConfigError
from accord.functional import ClipLoss, caption_nll, token_mean
from accord.methods.abilities import Captions
from accord.methods.base import Batch, DataInfo, Step, TwoTower
from accord.methods.duplicates import Choice, caption_ids
from accord.state import LogitScale


class CocaConfig(settings.Config):
    """Settings of :class:`Coca`; defaults from the paper, and from open_clip's training code where it says nothing."""

    dim: int = Field(512, ge=1, description="size of the shared embedding space")
    caption_weight: float = Field(2.0, ge=0, description="weight of the captioning loss")
    contrastive_weight: float = Field(1.0, ge=0, description="weight of the contrastive loss")
    pooler: Literal["cascade", "parallel", "shared"] = Field(
        "cascade",
        description="cascade: the contrastive pooler reads the generative one's output; parallel: both read the image "
        "tokens; shared: one pooler, whose first query is the contrastive one",
    )
    queries: int = Field(256, ge=1, description="queries of the generative pooler: the image tokens the decoder reads")
    pooler_heads: int = Field(8, ge=1, description="attention heads of the poolers")
    decoder_depth: int | None = Field(
        None, ge=1, description="layers of the multimodal half; None for as many as the text encoder, as in the paper"
    )
    decoder_heads: int | None = Field(None, ge=1, description="its attention heads; None for one per 64 dimensions")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of each target spread over the vocabulary")
    global_token_mean: bool = Field(True, description="captioning is one mean over the tokens of all processes")
    temperature: float = Field(0.07, gt=0, description="initial softmax temperature; the logit scale starts at 1/T")
    max_logit_scale: float = Field(100.0, gt=1, description="upper clamp of the logit scale after each step")
    local_loss: bool = Field(True, description="each process scores its own rows only: O(bB) memory, same gradient")
    gather_with_grad: bool = Field(True, description="gradient flows through gathered features (needed for local_loss)")
    crop_scale: tuple[float, float] = Field((0.9, 1.0), description="area range of the training crop")
    duplicates: Choice = Field(
        "negatives",
        description="what rows of a batch with the same caption are to each other; dropped: contrast leaves one",
    )


class Coca(TwoTower, Captions):
    """CoCa over any image encoder with tokens and any causal text encoder.

    Batch keys: ``image (B, 3, H, W)``, ``text (B, L)``, ``text_mask (B, L)``. The class token of the text encoder
    (``tiny_text`` with ``pool="class"``) sees the whole caption; no word sees it, so the decoder goes on with them.

    Example:
        >>> from accord.encoders import build_encoder
        >>> words = ["a red ball", "a blue cup"]
        >>> towers = {"image": build_encoder("image", "tiny_vit"),
        ...           "text": build_encoder("text", {"name": "tiny_text", "pool": "class"}, texts=words)}
        >>> coca = Coca({"dim": 32, "queries": 8}, towers, DataInfo())
        >>> ids, mask = towers["text"].input.tokenizer(words)
        >>> size = towers["image"].input.size
        >>> batch = {"image": torch.randn(2, 3, size, size), "text": ids, "text_mask": mask}
        >>> sorted(coca.loss(batch, Step()))
        ['captioning', 'contrastive', 'logit_scale', 'total']
        >>> coca.embed(batch)["text"].shape, len(coca.eval().caption(batch, Decoding(method="greedy")))
        (torch.Size([2, 32]), 2)
    """

    name: ClassVar[str] = "coca"
    sizes_suffice: ClassVar[tuple[str, ...]] = ("image",)
    Config: ClassVar[type[settings.Config]] = CocaConfig
    needs: Mapping[str, frozenset[str]] = {
        "image": frozenset({"tokens"}),
        "text": frozenset({"pooled", "tokens"}),
    }
    config: CocaConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        image, text = encoders["image"], encoders["text"]
        self.tokenizer = check_writer(text, self.name)
        self._build_poolers(image.token_dim, text.dim)
        self._build_decoder(text)
        self.projections = nn.ModuleDict()
        for modality in self.needs:
            self.projections[modality] = nn.Linear(text.dim, self.config.dim, bias=False)
            nn.init.normal_(self.projections[modality].weight, std=text.dim**-0.5)  # type: ignore[arg-type]
        self.logit_scale = LogitScale(1 / self.config.temperature, self.config.max_logit_scale)
        self.contrast = ClipLoss(self.config.local_loss, self.config.gather_with_grad)

    def _build_poolers(self, image: int, width: int) -> None:
        config = self.config
        if width % config.pooler_heads:
            raise ConfigError(f"pooler_heads = {config.pooler_heads}: must divide the text encoder's width, {width}")
        if config.pooler == "shared" and config.queries < 2:
            raise ConfigError("queries = 1: the shared pooler needs one query for contrast and one for captions")
        self.generative = AttentionalPooler(width, image, config.queries, config.pooler_heads)
        if config.pooler == "shared":
            self.pooled_norm = nn.LayerNorm(width)
        else:
            context = width if config.pooler == "cascade" else image
            self.contrastive = AttentionalPooler(width, context, 1, config.pooler_heads)

    def _build_decoder(self, text: Encoder) -> None:
        width = text.dim
        depth = self.config.decoder_depth or len(longest_stack(text))
        heads = self.config.decoder_heads or max(1, width // 64)
        if width % heads:
            raise ConfigError(f"decoder_heads = {heads}: must divide the text encoder's width, {width}; set another")
        self.decoder = CrossTransformer(width, depth, heads, context_dim=width, causal=True)
        self.decoder_norm = nn.LayerNorm(width)
        self.vocabulary = nn.Linear(width, len(self.tokenizer.tokens), bias=False)
        nn.init.normal_(self.vocabulary.weight, std=width**-0.5)

    @classmethod
    def default_encoders(cls, config: Any) -> Mapping[str, Mapping[str, Any]]:
        """A causal text encoder with a class token, trained from scratch: the usual one reads both ways."""
        return {"text": {"name": "tiny_text", "options": {"pool": "class"}}}

    @property
    def views(self) -> tuple[View, ...]:
        """One mild crop, never mirrored: a caption may say where things are."""
        return (View(scale=self.config.crop_scale, flip=0.0),)

    # --- training: both losses from one pass ---

    def towers(self, batch: Batch) -> dict[str, Tensor]:
        """``image (B, D)`` and ``text (B, D)`` of unit norm, and ``caption (B,)``, summed over the tokens."""
        memory, summary = self.look(batch)
        text = self.read(batch)
        ids = batch["text"].masked_fill(~_real(batch), NO_TARGET)
        nll = caption_nll(self.logits(text, memory), ids, NO_TARGET, label_smoothing=self.config.label_smoothing)
        return {
            "image": self._project("image", summary),
            "text": self._project("text", text.pooled),
            "caption": nll.sum(dim=1),
        }

    def objective(self, towers: dict[str, Tensor], batch: Batch, step: Step) -> dict[str, Tensor]:
        """``λ_cap L_cap + λ_con L_con``; captioning is one mean over all tokens, contrast goes over all pairs."""
        tokens = _real(batch)[:, 1:].sum()
        captioning = token_mean(towers["caption"].sum(), tokens, across_processes=self.config.global_token_mean)
        scale, choice = self.logit_scale(), self.config.duplicates
        same = () if choice == "negatives" else (caption_ids(batch), choice)
        contrastive = self.contrast(towers["image"], towers["text"], scale, *same)
        return {
            "total": self.config.caption_weight * captioning + self.config.contrastive_weight * contrastive,
            "captioning": captioning.detach(),
            "contrastive": contrastive.detach(),
            "logit_scale": scale.detach(),
        }

    def look(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The image as the decoder reads it, ``(B, n, w)``, and as one vector ``(B, w)``."""
        image = self.encoders["image"](batch["image"], batch.get("image_mask"))
        memory = self.generative(image.tokens, image.mask)  # (B, n, w)
        if self.config.pooler == "shared":
            memory = self.pooled_norm(memory)
            return memory[:, 1:], memory[:, 0]
        cascade = self.config.pooler == "cascade"
        summary = self.contrastive(memory) if cascade else self.contrastive(image.tokens, image.mask)
        return memory, summary.squeeze(1)

    def read(self, batch: Batch) -> Features:
        """The unimodal half: ``tokens (B, L, w)`` of the words and ``pooled (B, w)``; it knows of no image."""
        return self.encoders["text"](batch["text"], batch.get("text_mask"))

    def logits(self, text: Features, memory: Tensor) -> Tensor:
        """The multimodal half: logits ``(B, L, V)`` of the token after each, in float32."""
        assert text.tokens is not None  # the base class has checked what the encoder gives
        tokens = self.decoder(text.tokens, memory, text.mask)
        return self.vocabulary(self.decoder_norm(tokens)).float()

    def _project(self, modality: str, vectors: Tensor) -> Tensor:
        return F.normalize(self.projections[modality](vectors).float(), dim=-1)

    def after_step(self, step: Step) -> None:
        """Clamp the logit scale."""
        self.logit_scale.clamp_()

    # --- use ---

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """Unit-norm embeddings of the modalities in the batch."""
        embeddings = {}
        if "image" in batch:
            embeddings["image"] = self._project("image", self.look(batch)[1])
        if "text" in batch:
            embeddings["text"] = self._project("text", self.read(batch).pooled)
        return embeddings

    @torch.inference_mode()
    def caption(self, batch: Batch, decoding: Decoding) -> list[Caption]:
        """A caption for each image of the batch, with its score; texts in the batch are not looked at."""
        memory, _ = self.look(batch)

        def step(ids: Tensor, row: Tensor) -> Tensor:
            return self.logits(self.read({"text": ids}), memory[row])[:, -1]

        def logits(ids: Tensor, mask: Tensor) -> Tensor:
            return self.logits(self.read({"text": ids, "text_mask": mask}), memory)

        return write_scored(step, len(memory), self.tokenizer, decoding, memory.device, logits)

    @torch.inference_mode()
    def read_captions(self, batch: Batch) -> CaptionFit:
        """How well each caption of the batch is predicted from its image, token by token."""
        logits = self.logits(self.read(batch), self.look(batch)[0])
        return caption_fit(logits, batch["text"], _real(batch))

    @torch.inference_mode()
    def caption_likelihood(self, batch: Batch, ids: Tensor, mask: Tensor) -> Tensor:
        """Mean log-likelihood ``(B, C)`` per token of each candidate text ``(C, L)`` as the caption of each image.

        The unimodal half reads every candidate once, whatever the number of images.
        """
        memory, _ = self.look(batch)
        text = self.read({"text": ids, "text_mask": mask})
        assert text.tokens is not None
        targets = ids.masked_fill(~mask, NO_TARGET)
        scores = []
        for image in memory:
            nll = caption_nll(self.logits(text, image.expand(len(ids), -1, -1)), targets, NO_TARGET)  # (C, L)
            scores.append(-nll.sum(dim=1) / mask[:, 1:].sum(dim=1).clamp(min=1))
        return torch.stack(scores)


def _real(batch: Batch) -> Tensor:
    """True on real tokens ``(B, L)``."""
    mask = batch.get("text_mask")
    return torch.ones_like(batch["text"], dtype=torch.bool) if mask is None else mask
