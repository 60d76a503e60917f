"""TCL: Vision-Language Pre-Training with Triple Contrastive Learning (Yang et al., CVPR 2022).

Aligning images with texts does not keep similar images together, nor similar texts. TCL adds to cross-modal alignment
(CMA) a contrast within each modality (IMC) and one of each summary with the tokens of its own row (LMI), all against a
momentum model and its queues. A fusion encoder reads pairs closely: it tells right ones from hard wrong ones (ITM),
names hidden words (MLM), and in use re-ranks what a search found.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from accord import config as settings
from accord.data.augmenting.views import STRONG_COLOURS, View
from accord.data.loading.features import Features
from accord.encoders.base import Encoder
from accord.encoders.fusion import FusionEncoder, TokenHead, gather_sequences, score_pairs, token_table
from accord.encoders.residual import has_dropout, residual_dropout
from accord.encoders.tokenizer import SpecialTokens
from accord.errors import ConfigError
from accord.functional import (
    contrastive_logits,
    distill_targets,
    distilled_cross_entropy,
    gather_features,
    gather_tokens,
    grid_pool,
    local_global_nce,
    matching_pairs,
    mlm_mask,
    own_rows,
    queue_info_nce,
    rows_elsewhere,
    targets_from_ids,
    warmup_cosine_at,
    world_size,
)
from accord.methods.abilities import Ability, Rescores
from accord.methods.base import Batch, DataInfo, Group, Paired, Step
from accord.state import FeatureQueue, MomentumParts, Temperature

TEXT_DROPOUT = 0.1  # that of BERT
Parts = Mapping[str, Any]  # name -> encoder, projections, fusion encoder or word head, of the model or of its teacher


class TclConfig(settings.Config):
    """Settings of :class:`Tcl`; defaults from the paper's pre-training on four million pairs and its released code.

    They are meant for pretrained encoders and 30 epochs. With thousands of pairs take a momentum of 0.99, since 0.995
    averages over two hundred steps, and one or two layers of fusion.
    """

    dim: int = Field(256, ge=1, description="size of the shared embedding space")
    temperature: float = Field(0.07, ge=0.001, le=0.5, description="initial softmax temperature")
    learn_temperature: bool = Field(True, description="train the temperature, as it is and not as a logarithm")
    min_temperature: float = Field(
        0.01, ge=0.001, le=0.5, description="lower clamp of the temperature after each step (paper: 0.001)"
    )
    temperature_lr: float = Field(
        0.01, ge=0, description="its learning rate over that of the rest: 1 in the paper, where the rest has 1e-4"
    )
    queue_size: int = Field(65536, ge=1, description="momentum features kept per modality, at most a tenth of the rows")
    momentum: float = Field(0.995, ge=0, le=1, description="EMA factor of the momentum model")
    alpha: float = Field(0.4, ge=0, le=1, description="the teacher's share of the targets, from 0 over the first epoch")
    cma_weight: float = Field(1.0, ge=0, description="weight of cross-modal alignment in the weighted mean L_align")
    imc_weight: float = Field(1.0, ge=0, description="weight of the contrast within a modality in it")
    lmi_weight: float = Field(1.0, ge=0, description="weight of local mutual information in it")
    itm_weight: float = Field(1.0, ge=0, description="weight of image-text matching; 0 leaves re-ranking out")
    mlm_weight: float = Field(1.0, ge=0, description="weight of masked language modelling; 0 leaves it out")
    same_row: bool = Field(False, description="all keys of the same row are positives (the paper's fine-tuning)")
    grid: int = Field(4, ge=1, description="side of the grid that image tokens are averaged to, 16 local features")
    text_dropout: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="dropout before each block of the text encoder, for model and teacher alike: what two views are to "
        "pictures; none: 0.1, unless the encoder drops something itself",
    )
    mask_share: float = Field(0.15, gt=0, lt=1, description="share of the words that are hidden")
    fusion_depth: int = Field(6, ge=1, description="layers of the fusion encoder")
    fusion_heads: int | None = Field(None, ge=1, description="its attention heads; None for one per 64 dimensions")
    crop_scale: tuple[float, float] = Field((0.2, 1.0), description="area range of both views' crops")
    flip: float = Field(0.5, ge=0, le=1, description="probability of mirroring; 0 where captions say left and right")
    colour: bool = Field(True, description="colour jitter, greyscale and blur; off where captions name colours")
    rand_augment: tuple[int, float] | None = Field(
        (2, 0.7), description="number of further random operations and their strength in (0, 1]; None for none"
    )

    @model_validator(mode="after")
    def _something_aligns(self) -> Self:
        if not self.cma_weight + self.imc_weight + self.lmi_weight:
            raise ValueError("cma_weight, imc_weight and lmi_weight are all 0: one of them should be greater")
        return self


class Tcl(Paired, Rescores):
    """TCL over any image and text encoder that gives a vector and tokens of the same width.

    The paper's teacher moves before each forward pass; here it moves after each step, which is the same sequence, as it
    starts equal. It drops out what the model does. Frozen encoders are shared with the teacher instead of copied.

    Batch keys: ``image_views`` [x1, x2], ``text (B, L)``, ``text_mask (B, L)``, ``index (B,)``; ``image`` alone stands
    for both views.

    Example:
        >>> from accord.encoders import build_encoder
        >>> words = ["a red ball", "a blue cup"]
        >>> towers = {"image": build_encoder("image", "tiny_vit"),
        ...           "text": build_encoder("text", {"name": "tiny_text", "pool": "mean"}, texts=words)}
        >>> tcl = Tcl({"dim": 32, "fusion_depth": 1}, towers, DataInfo(rows=64))
        >>> ids, mask = towers["text"].input.tokenizer(words)
        >>> views = list(torch.randn(2, 2, 3, 64, 64))
        >>> batch = {"image": views[0], "image_views": views, "text": ids, "text_mask": mask, "index": torch.arange(2)}
        >>> sorted(tcl.loss(batch, Step()))  # doctest: +NORMALIZE_WHITESPACE
        ['cma_image', 'cma_text', 'imc_image', 'imc_text', 'itm', 'lmi_image', 'lmi_text', 'mlm', 'temperature',
         'total']
        >>> tokens = tcl.token_features(batch)
        >>> tcl.rescore(tokens["text"], tokens["image"], "text").shape  # texts × images
        torch.Size([2, 2])
    """

    name: ClassVar[str] = "tcl"
    sizes_suffice: ClassVar[tuple[str, ...]] = ("image",)
    Config: ClassVar[type[settings.Config]] = TclConfig
    needs: Mapping[str, frozenset[str]] = {
        "image": frozenset({"pooled", "tokens"}),
        "text": frozenset({"pooled", "tokens"}),
    }
    training_only: ClassVar[tuple[str, ...]] = ("momentum.", "queues.")
    rescores_in_logits: ClassVar[bool] = True
    config: TclConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        cfg, image, text = self.config, encoders["image"], encoders["text"]
        self.special: SpecialTokens = getattr(getattr(text.input, "tokenizer", None), "special", SpecialTokens())
        self._check(encoders)
        self.projections = nn.ModuleDict({name: nn.Linear(encoders[name].dim, cfg.dim) for name in self.needs})
        if cfg.itm_weight or cfg.mlm_weight:
            self.fusion = FusionEncoder(text.dim, cfg.fusion_depth, cfg.fusion_heads, image.dim)
        if cfg.itm_weight:
            self.matching = nn.Linear(text.dim, 2)
        if cfg.mlm_weight:
            size = text.input.tokenizer.vocabulary  # type: ignore[union-attr]
            self.words = TokenHead(text.dim, size, tied=token_table(text, size) is not None)
        dropout = 0.0 if has_dropout(text) else TEXT_DROPOUT
        self.text_dropout: float = dropout if cfg.text_dropout is None else cfg.text_dropout
        self.temperature = Temperature(cfg.temperature, min(cfg.min_temperature, cfg.temperature), 0.5)
        self.temperature.requires_grad_(cfg.learn_temperature)
        self.momentum = MomentumParts(self._online(), cfg.momentum, buffers=True)
        # Keys are as many steps old as the queue is long, while the teacher is an average over few of them; and a queue
        # longer than the data would hold every row several times, each time as a negative of itself.
        size = min(cfg.queue_size, max(1, data.rows // 10))
        self.queues = nn.ModuleDict({name: FeatureQueue(size, cfg.dim) for name in self.needs})

    def _check(self, encoders: Mapping[str, Encoder]) -> None:
        for name in self.needs:
            vector, token = encoders[name].dim, encoders[name].token_dim
            if vector != token:
                raise ConfigError(
                    f"method {self.name} projects tokens as it projects the vector, but those of the {name} encoder "
                    f"have {token} and {vector} dimensions: choose another {name} encoder"
                )
        if self.config.mlm_weight and self.special.mask is None:
            raise ConfigError(
                f"method {self.name} hides words behind a mask token, and the text encoder's tokenizer has none: "
                "choose another text encoder, or set mlm_weight = 0"
            )

    @property
    def views(self) -> tuple[View, ...]:
        """Two views of the same kind: one for the model, one for its teacher."""
        cfg = self.config
        colours = STRONG_COLOURS if cfg.colour else {}
        view = View(scale=cfg.crop_scale, flip=cfg.flip, rand_augment=cfg.rand_augment, **colours)
        return (view, view)

    def group(self, name: str) -> Group:
        """The temperature has a learning rate of its own.

        AdamW moves it by about the learning rate, whatever its size: at 2e-3 it crosses its range in forty steps.
        """
        return Group("temperature" if name.startswith("temperature.") else "")

    def lr_factor(self, group: str, step: Step, warmup: int) -> float:
        """The common schedule, scaled."""
        return warmup_cosine_at(step.index, warmup, step.total, base=self.config.temperature_lr)

    def _online(self) -> dict[str, Any]:
        """The parts that the teacher has too."""
        parts = {"projections": self.projections, **dict(self.encoders.items())}
        return {**parts, "fusion": self.fusion, "words": self.words} if self.config.mlm_weight else parts

    def _slow(self) -> dict[str, Any]:
        """The teacher's parts."""
        return self.momentum.among(self._online())

    # --- one step ---

    def towers(self, batch: Batch) -> dict[str, Tensor]:
        """The embeddings ``(B, D)`` of x1 and the text, and with ``_pooled``, ``_tokens``, ``_mask`` their features."""
        return self._run(self._online(), batch, view=0)

    def objective(self, towers: dict[str, Tensor], batch: Batch, step: Step) -> dict[str, Tensor]:
        """``L_align + L_itm + L_mlm``, each with its weight; the teacher's features are enqueued at the end."""
        cfg, alpha = self.config, self._alpha(step, len(towers["text"]))
        with torch.no_grad():
            slow = self._run(self._slow(), self._read_once(towers, batch), view=-1)
        terms = self.align(towers, slow, batch, alpha)
        weight = {"cma": cfg.cma_weight, "imc": cfg.imc_weight, "lmi": cfg.lmi_weight}
        total = torch.stack([weight[name[:3]] * term for name, term in terms.items()]).sum() / (
            2 * sum(weight.values())
        )
        draws = step.generator(self.device)
        if cfg.itm_weight:
            terms["itm"] = self._matching_loss(towers, slow, batch, draws)
            total = total + cfg.itm_weight * terms["itm"]
        if cfg.mlm_weight:
            terms["mlm"] = self._language_loss(towers, slow, batch["text"], alpha, draws)
            total = total + cfg.mlm_weight * terms["mlm"]
        if self.training:
            for name in self.needs:
                self._queue(name).enqueue(slow[name], batch.get("index"))
        terms["temperature"] = self.temperature()
        return {**{name: term.detach() for name, term in terms.items()}, "total": total}

    def align(
        self, towers: dict[str, Tensor], slow: dict[str, Tensor], batch: Batch, alpha: float
    ) -> dict[str, Tensor]:
        """The contrastive terms, named after the modality of the query; those of weight 0 are left out."""
        cfg, tau, terms = self.config, self.temperature(), {}
        queues = {name: _with_elsewhere(slow[name], self._queue(name).features) for name in self.needs}
        hard = None
        if cfg.same_row:
            ids = _with_elsewhere(batch["index"], self._queue("text").ids)
            hard = targets_from_ids(batch["index"], torch.cat([batch["index"], ids]))  # (B, B + Q)
        for own, other in (("image", "text"), ("text", "image")):
            queue, key_queue = queues[own], queues[other]
            if cfg.cma_weight:
                targets = distill_targets(slow[own], torch.cat([slow[other], key_queue]), tau, alpha, hard)
                terms[f"cma_{own}"] = queue_info_nce(towers[own], slow[other], key_queue, tau, targets)
            if cfg.imc_weight:
                terms[f"imc_{own}"] = queue_info_nce(towers[own], slow[own], queue, tau, hard)
            if cfg.lmi_weight:
                local, mask = gather_tokens(*self._local_features(own, slow, batch), with_grad=False)
                mine = own_rows(len(towers[own]))
                terms[f"lmi_{own}"] = local_global_nce(local, towers[own], tau, mask, own=mine) * world_size()
        return terms

    def after_step(self, step: Step) -> None:
        """Clamp the temperature; the teacher follows."""
        self.temperature.clamp_()
        self.momentum.follow(self._online())

    # --- its parts ---

    def _run(self, parts: Parts, batch: Batch, view: int) -> dict[str, Tensor]:
        towers = {}
        for name in self.needs:
            if name in batch:
                raw = batch["image_views"][view] if name == "image" and "image_views" in batch else batch[name]
                features = self._read(parts, name, raw, batch.get(f"{name}_mask"))
                towers[name] = _unit(parts["projections"][name](features.pooled))
                towers[f"{name}_pooled"] = features.pooled
                towers[f"{name}_tokens"], towers[f"{name}_mask"] = features.sequence()
        return towers

    def _read(self, parts: Parts, name: str, x: Any, mask: Tensor | None) -> Features:
        """What an encoder makes of its input, with the dropout of texts where it is in training."""
        with residual_dropout(parts[name], self.text_dropout if name == "text" else 0.0):
            features: Features = parts[name](x, mask)
        return features

    def _read_once(self, towers: dict[str, Tensor], batch: Batch) -> Batch:
        """The batch for the teacher: a frozen text encoder would make the same features of the text again."""
        return batch if "text" in self.momentum.followed else {**batch, "text": _features(towers, "text")}

    @torch.no_grad()
    def _local_features(self, name: str, slow: dict[str, Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
        """The teacher's tokens in the shared space ``(B, n, D)``, averaged over a grid for an image; and their mask.

        A start token is the summary of its text (BERT) or knows nothing of it (CLIP), so it is no local feature.
        """
        local = _unit(self._slow()["projections"][name](slow[f"{name}_tokens"]))
        if name == "image":
            side = math.isqrt(local.shape[1])
            cells = grid_pool(local, min(self.config.grid, side), uneven=True)
            return cells, torch.ones(cells.shape[:2], dtype=torch.bool, device=cells.device)
        start = self.special.start if isinstance(batch["text"], Tensor) else None
        return local, slow["text_mask"] if start is None else slow["text_mask"] & (batch["text"] != start)

    def _alpha(self, step: Step, rows: int) -> float:
        """The teacher's share, linear over the first epoch: before that it means nothing."""
        steps = max(1, self.data.rows // (rows * world_size()))
        return self.config.alpha * (1.0 if step.epoch else min(1.0, step.index / steps))

    def _matching_loss(
        self, towers: dict[str, Tensor], slow: dict[str, Tensor], batch: Batch, draws: torch.Generator
    ) -> Tensor:
        """ITM: the B pairs, each text with a hard wrong image, and each image with a hard wrong text.

        Wrong ones are drawn from the rows of all processes, of which each judges the pairs of its own.
        """
        scale, own = 1 / self.temperature().detach(), own_rows(len(towers["text"]))
        fast, taught = (
            {name: gather_features(side[name].detach(), with_grad=False) for name in self.needs}
            for side in (towers, slow)
        )
        same = torch.arange(len(fast["text"]), device=self.device)
        if self.config.same_row:
            ids = gather_features(batch["index"], with_grad=False)
            same = ids[:, None] == ids
        to_image, to_text = (
            contrastive_logits(fast[query], taught[name], scale)
            for query, name in (("text", "image"), ("image", "text"))
        )
        pairs = matching_pairs(to_image, to_text, same, 0.0, draws)  # (3·W·B,) each
        texts, images, together = (side.view(3, -1)[:, own].flatten() for side in pairs)
        everywhere = {name: gather_sequences(_features(towers, name)) for name in self.needs}
        logits = self._match(everywhere["text"].select(texts), everywhere["image"].select(images))
        return F.cross_entropy(logits, together)

    def _match(self, text: Features, image: Features) -> Tensor:
        """Logits ``(P, 2)`` of no and yes."""
        return self.matching(self.fusion(text, image)[:, 0]).float()

    def _language_loss(
        self, towers: dict[str, Tensor], slow: dict[str, Tensor], ids: Tensor, alpha: float, draws: torch.Generator
    ) -> Tensor:
        """MLM: hidden words, named with the image's help; the teacher sees the other view of it."""
        free, size = towers["text_mask"] & ~self.special.among(ids), len(self.words.bias)
        assert self.special.mask is not None  # see _check
        every, open_ = gather_tokens(ids[..., None], free, with_grad=False)
        found = mlm_mask(
            every[..., 0], ~open_, size, self.config.mask_share, mask_id=self.special.mask, generator=draws
        )
        hidden, labels = (x[own_rows(len(ids)), : ids.shape[1]] for x in found)
        chosen, everywhere = labels >= 0, (found[1] >= 0).sum().clamp(min=1)

        def named(parts: Parts, image: Features) -> Tensor:
            fused = parts["fusion"](self._read(parts, "text", hidden, towers["text_mask"]), image)
            return parts["words"](fused[chosen], token_table(parts["text"], size))  # (M, V)

        with torch.no_grad():
            teacher = named(self._slow(), _features(slow, "image"))
        learner = named(self._online(), _features(towers, "image"))
        loss = distilled_cross_entropy(learner, labels[chosen], teacher, alpha)
        return loss * len(teacher) * world_size() / everywhere

    def _queue(self, name: str) -> FeatureQueue:
        return self.queues[name]  # type: ignore[return-value]

    # --- use ---

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """Unit-norm embeddings of the modalities in the batch."""
        towers = self.towers(batch)
        return {name: towers[name] for name in self.needs if name in towers}

    @property
    def lacks(self) -> frozenset[type[Ability]]:  # type: ignore[override]
        """The second stage, where there is no matching head."""
        return frozenset() if self.config.itm_weight else frozenset({Rescores})

    def token_features(self, batch: Batch) -> dict[str, Features]:
        """The tokens that the fusion encoder reads."""
        towers = self.towers(batch)
        return {
            name: Features(towers[name], towers[f"{name}_tokens"], towers[f"{name}_mask"])
            for name in self.needs
            if name in towers
        }

    def rescore(self, query: Features, candidates: Features, modality: str) -> Tensor:
        """Log-odds that a pair matches; the fusion encoder reads every pair."""
        text, image = (query, candidates) if modality == "text" else (candidates, query)
        odds = score_pairs(lambda *pairs: self._match(*pairs).diff(dim=1)[:, 0], text, image)
        return odds if modality == "text" else odds.T


def _with_elsewhere(own: Tensor, queue: Tensor) -> Tensor:
    """The queue, behind what the other processes have in this step: W processes see the keys of one large batch."""
    return queue if world_size() == 1 else torch.cat([rows_elsewhere(own), queue])


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x.float(), dim=-1)


def _features(towers: Mapping[str, Tensor], name: str) -> Features:
    return Features(towers[f"{name}_pooled"], towers[f"{name}_tokens"], towers[f"{name}_mask"])
