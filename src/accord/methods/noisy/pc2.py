"""PC²: Pseudo-Classification Based Pseudo-Captioning for Noisy Correspondence Learning (Duan et al., ACM MM 2024).

Pictures with captions, of which an unknown share belongs to other pictures. Two networks divide the rows for each
other by their losses into clean and mismatched ones (NCR, Huang et al. 2021), and a doubtful pair has a smaller margin.
A classifier without class names is a second signal: a picture has to be put where its caption puts itself, one whose
class wavers from epoch to epoch is doubtful, and a mismatched picture borrows the caption of the clean one that is
classified most alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from accord import config as settings
from accord.data.augmenting.views import View
from accord.data.loading.features import Features
from accord.encoders.base import Encoder
from accord.encoders.fusion import gather_sequences
from accord.functional import (
    assign_pseudo_captions,
    gather_features,
    gmm_clean_probability,
    prediction_oscillation,
    pseudo_classification_loss,
    rectify_labels,
    soft_margin,
    triplet_ranking_loss,
)
from accord.methods.abilities import Ability, JudgesRows, Rescores, Verdicts
from accord.methods.base import Batch, DataInfo, Loader, Method, Optimiser, Sampling, Stage, Step
from accord.methods.noisy.dividing import BORROWING, CLEAN, NETWORKS, Division, Turn, losses_among_others, turn_of
from accord.methods.noisy.pair_network import PairNetwork, apart, second_encoder, side_by_side
from accord.state import FeatureBank


class Pc2Config(settings.Config):
    """Settings of :class:`Pc2`; defaults from the paper and its released code."""

    similarity: Literal["sgr", "cosine"] = Field(
        "sgr",
        description="sgr reasons over regions and words of every pair; cosine compares pooled vectors, far cheaper",
    )
    dim: int = Field(1024, ge=1, description="width of the projected tokens, or of the pooled vectors")
    sim_dim: int = Field(256, ge=1, description="sgr: width of a node of the graph")
    reasoning: int = Field(3, ge=1, description="sgr: rounds of reasoning")
    smooth: float = Field(9.0, gt=0, description="sgr: how sharply words attend to regions")
    dropout: float = Field(0.4, ge=0, lt=1, description="sgr: dropout in the pooling of regions and words")
    margin: float = Field(0.2, gt=0, description="alpha: margin of a pair that is surely right")
    margin_shape: Literal["exponential", "linear", "sin"] = Field(
        "exponential", description="how the margin rises with the label of a pair, from 0 to alpha"
    )
    classification: bool = Field(
        True, description="the classifier without names, and with it the second sign of a wrong pair; off as in NCR"
    )
    classes: int = Field(128, ge=2, description="classes of that classifier")
    hidden: int = Field(256, ge=1, description="width of its hidden layer")
    entropy_weight: float = Field(10.0, ge=0, description="lambda: weight of the entropy that keeps all classes in use")
    entropy: Literal["marginal", "per_sample"] = Field(
        "marginal", description="of the batch's mean prediction; per_sample is the released code's"
    )
    captions: bool = Field(True, description="mismatched pictures borrow captions from captions_epoch on")
    caption_floor: float = Field(
        0.5, ge=0, le=1, description="cosine of two predictions below which a borrowed caption has no margin"
    )
    clean_threshold: float = Field(0.5, ge=0, le=1, description="probability above which a pair counts as clean")
    warmup_epochs: int = Field(5, ge=1, description="epochs on all pairs with the mean triplet loss (10 on web pages)")
    epochs: int = Field(50, ge=1, description="epochs on divided rows")
    captions_epoch: int = Field(25, ge=0, description="epoch of these from which captions are borrowed")
    lr_epochs: int = Field(30, ge=1, description="epochs after which the learning rate falls to a tenth, every time")
    crop_scale: tuple[float, float] = Field((0.9, 1.0), description="area range of the training crop")

    @model_validator(mode="after")
    def _captions_by_classes(self) -> Self:
        if self.captions and not self.classification:
            raise ValueError("captions are borrowed by predictions of the classifier: set captions = false as well")
        return self


class Pc2(Method, Rescores, JudgesRows):
    """PC² over any image and text encoder: those that give tokens for ``sgr``, any for ``cosine``.

    Both networks have projections, similarity and classifier of their own. A frozen encoder is shared; of one that is
    trained the second network has a copy (``second_encoders``), whose random weights are drawn anew and whose
    pretrained ones are the same. The networks take turns: an epoch has as many steps as each needs for all rows.

    The paper's code keeps predictions of the warm-up until captions are borrowed, under keys that are then mixed up.
    Here the bank is keyed by the row and also refreshed whenever rows are divided, so that a prediction is always
    compared with one of the epoch before.

    Search by cosine uses the unit vectors of both networks side by side, whose cosine is the mean of both (with
    ``sgr`` those of pictures and captions as wholes); the second stage is the mean similarity, which is the paper's.

    Batch keys: ``image (B, 3, H, W)``, ``text (B, L)``, ``text_mask (B, L)``, ``index (B,)``; where captions are
    borrowed, clean rows at even places and those that borrow at odd ones.

    Example:
        >>> from accord.encoders import build_encoder
        >>> words = ["a red ball", "a blue cup"]
        >>> towers = {"image": build_encoder("image", "tiny_vit"),
        ...           "text": build_encoder("text", "tiny_text", texts=words)}
        >>> pc2 = Pc2({"dim": 16, "sim_dim": 8, "classes": 4}, towers, DataInfo(rows=2))
        >>> ids, mask = towers["text"].input.tokenizer(words)
        >>> batch = {"image": torch.randn(2, 3, 64, 64), "text": ids, "text_mask": mask, "index": torch.arange(2)}
        >>> sorted(pc2.loss(batch, Step("warmup", optimiser="first")))
        ['classify', 'entropy', 'total', 'triplet']
        >>> read = pc2.token_features(batch)
        >>> pc2.rescore(read["text"], read["image"], "text").shape  # texts × images
        torch.Size([2, 2])
    """

    name: ClassVar[str] = "pc2"
    Config: ClassVar[type[settings.Config]] = Pc2Config
    needs: Mapping[str, frozenset[str]] = {"image": frozenset({"tokens"}), "text": frozenset({"tokens"})}
    training_only: ClassVar[tuple[str, ...]] = ("division.", "banks.")
    config: Pc2Config
    probability: Tensor
    judged: Tensor

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        cfg, rows = self.config, max(1, data.rows)
        classes = cfg.classes * cfg.classification
        own = {name: encoders[name] for name in self.needs}
        head: dict[str, Any] = {
            "sim_dim": cfg.sim_dim,
            "steps": cfg.reasoning,
            "smooth": cfg.smooth,
            "dropout": cfg.dropout,
        }
        head |= {"classes": classes, "hidden": cfg.hidden}
        self.networks = nn.ModuleDict({name: PairNetwork(own, cfg.dim, cfg.similarity, **head) for name in NETWORKS})
        self.second_encoders = nn.ModuleDict(
            {name: second_encoder(encoder) for name, encoder in own.items() if not encoder.frozen}
        )
        self.division = Division(rows)
        self.banks = nn.ModuleList(FeatureBank(rows, classes) for _ in NETWORKS if classes)
        self.register_buffer("probability", torch.ones(2, rows))
        self.register_buffer("judged", torch.zeros((), dtype=torch.bool))

    @classmethod
    def wants(cls, config: Any) -> Mapping[str, frozenset[str]]:
        """Tokens to reason over, or vectors to compare."""
        return dict.fromkeys(cls.needs, frozenset({"tokens" if config.similarity == "sgr" else "pooled"}))

    @classmethod
    def default_training(cls, config: Any) -> Mapping[str, Any]:
        """The paper's: Adam at 2e-4 without warm-up of the rate, gradients clipped."""
        adam = {"optimizer": "adam", "lr": 2e-4, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}
        return {**adam, "warmup": 0.0, "grad_clip": 2.0}

    @property
    def views(self) -> tuple[View, ...]:
        """A mild crop."""
        return (View(scale=self.config.crop_scale, flip=0.0),)

    # --- the programme ---

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Warm-up on all pairs, then training on divided rows; each stage has new optimisers, one for each network."""
        cfg = self.config
        drops = tuple(epoch / cfg.epochs for epoch in range(cfg.lr_epochs, cfg.epochs, cfg.lr_epochs))
        falling = {"schedule": "step", "milestones": drops} if drops else {"schedule": "constant"}
        return (
            Stage("warmup", cfg.warmup_epochs, optimisers=_movers(schedule="constant"), partial=True),
            Stage("divided", cfg.epochs, optimisers=_movers(**falling), partial=True),
        )

    @property
    def sampling(self) -> Sampling:
        """Rows for the one network and the other, see :class:`accord.methods.noisy.dividing.Divided`."""
        return self.division.sampling()

    def active(self, step: Step) -> bool:
        """The network whose turn it is."""
        return step.optimiser == NETWORKS[self._turn(step).network]

    def before_epoch(self, step: Step, loader: Loader) -> None:
        """Before each epoch on divided rows: divide them."""
        if step.stage == "divided":
            self.divide(step, loader)
        self.division.begin(step.index, step.total // step.epochs, self._borrowing(step))

    @torch.no_grad()
    def divide(self, step: Step, loader: Loader) -> None:
        """Each network judges all rows, by their losses and by how much their predictions changed."""
        training, draws = self.training, step.generator(torch.device("cpu"))
        self.eval()
        for number in range(len(NETWORKS)):
            losses, predictions = self._measured(number, loader, draws)
            labels = self.probability[number] = gmm_clean_probability(losses)
            if predictions is not None:
                bank = self._bank(number)
                steady = gmm_clean_probability(prediction_oscillation(bank.features, predictions))
                labels = rectify_labels(labels, steady, steady > 0.5)
                bank.update(torch.arange(len(predictions), device=self.device), predictions)
            self.division.judge(number, self.probability[number], labels, self.config.clean_threshold)
        self.judged.fill_(True)
        self.train(training)

    def _measured(self, number: int, loader: Loader, draws: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """The loss ``(N,)`` of each pair among others, and the prediction ``(N, C)`` of its picture."""
        network, predictions = self._network(number), []
        read: dict[str, list[Features]] = {name: [] for name in self.needs}
        for batch in loader:
            here = self._read(number, batch)
            for name, features in here.items():
                read[name].append(features.to("cpu"))
            if self.config.classification:
                predictions.append(network.predict("image", here["image"]))
        sides, margin = (read["image"], read["text"]), self.config.margin
        losses = losses_among_others(network.similarity, *sides, margin, draws, self.device)
        return losses, torch.cat(predictions) if predictions else None

    # --- one step ---

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """The terms of the network ``step.optimiser``; see :meth:`paired` and :meth:`borrowed`."""
        number = NETWORKS.index(step.optimiser)
        if self._turn(step).borrows:
            return self.borrowed(number, batch)
        return self.paired(number, batch, warm=step.stage == "warmup")

    def paired(self, number: int, batch: Batch, *, warm: bool) -> dict[str, Tensor]:
        """On rows that count as clean: ``L_tri + L_pc``, over the rows of all processes.

        Mean triplets with the full margin in the warm-up, later the hardest with the margin that each pair deserves.
        """
        cfg, network = self.config, self._network(number)
        read, index = self._read(number, batch), gather_features(batch["index"], with_grad=False)
        sims = self._all_similarities(number, read["image"], gather_sequences(read["text"]))
        twice = (index[:, None] == index).fill_diagonal_(False)
        sims = sims.masked_fill(twice, -math.inf)  # a row that stands in the batch twice is no mismatch of itself
        margin = cfg.margin if warm else self._margin(self.division.labels_for(number, index))
        total = triplet_ranking_loss(sims, margin, "mean" if warm else "hard")
        terms = {"triplet": total.detach()}
        if cfg.classification:
            logits = {
                name: gather_features(network.classify(name, features), with_grad=True)
                for name, features in read.items()
            }
            guess = pseudo_classification_loss(logits["image"], logits["text"], cfg.entropy_weight, cfg.entropy)
            total = total + guess.pop("total")
            terms |= {name: term.detach() for name, term in guess.items()}
            if warm:
                self._bank(number).update(batch["index"], network.predict("image", read["image"]))
        return {**terms, "total": total}

    def borrowed(self, number: int, batch: Batch) -> dict[str, Tensor]:
        """On mismatched pictures with the captions of the clean rows that are classified most alike: ``L_tri`` alone.

        Clean rows of all processes lend theirs; the gradient reaches the encoder that read them.
        """
        network, mask = self._network(number), batch.get("text_mask")
        lending, asking = (
            network.read("image", self._encode(number, "image", _some(batch["image"], rows)))
            for rows in (CLEAN, BORROWING)
        )
        text = self._encode(number, "text", _some(batch["text"], CLEAN), None if mask is None else mask[CLEAN])
        lent = gather_sequences(network.read("text", text))
        predicted = [network.predict("image", features) for features in (lending, asking)]
        clean, unsure = (gather_features(each, with_grad=False) for each in predicted)
        chosen, label = assign_pseudo_captions(unsure, clean, self.config.caption_floor)
        sims = self._all_similarities(number, asking, lent.select(chosen))
        total = triplet_ranking_loss(sims, self._margin(label))
        for rows, odds in zip((CLEAN, BORROWING), predicted, strict=True):
            self._bank(number).update(batch["index"][rows], odds)
        return {"total": total, "borrowed": total.detach(), "fit": label.mean()}

    def _all_similarities(self, number: int, image: Features, text: Features) -> Tensor:
        """``(B, B)`` over all processes, each of which compares its own pictures."""
        return gather_features(self._network(number).similarity(image, text), with_grad=True)

    def _margin(self, label: Tensor) -> Tensor:
        return soft_margin(label, self.config.margin, self.config.margin_shape)

    # --- use ---

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """The unit vectors of both networks side by side, ``(B, 2 dim)``, of unit norm."""
        return {name: features.pooled for name, features in self.token_features(batch).items()}

    @property
    def lacks(self) -> frozenset[type[Ability]]:  # type: ignore[override]
        """The second stage, where similarity is a cosine: it would be the first."""
        return frozenset() if self.config.similarity == "sgr" else frozenset({Rescores})

    def token_features(self, batch: Batch) -> dict[str, Features]:
        """Embedding and tokens of both networks side by side."""
        first, second = (self._read(number, batch) for number in range(len(NETWORKS)))
        return {name: side_by_side(first[name], second[name]) for name in first}

    def rescore(self, query: Features, candidates: Features, modality: str) -> Tensor:
        """The mean similarity of both networks."""
        image, text = (query, candidates) if modality == "image" else (candidates, query)
        pairs = zip(apart(image), apart(text), strict=True)
        scores = torch.stack([self._network(number).similarity(*pair) for number, pair in enumerate(pairs)])
        mean = scores.mean(dim=0)  # pictures × captions
        return mean if modality == "image" else mean.T

    def verdicts(self) -> Verdicts | None:
        """What both networks thought when rows were last divided: the mean probability that a pair is clean."""
        if not self.judged:
            return None
        score = self.probability.mean(dim=0)
        return Verdicts(kept=score > self.config.clean_threshold, score=score)

    # --- parts ---

    def _turn(self, step: Step) -> Turn:
        return turn_of(step.index, self._borrowing(step))

    def _borrowing(self, step: Step) -> bool:
        return self.config.captions and step.stage == "divided" and step.epoch >= self.config.captions_epoch

    def _network(self, number: int) -> PairNetwork:
        return cast(PairNetwork, self.networks[NETWORKS[number]])

    def _bank(self, number: int) -> FeatureBank:
        return cast(FeatureBank, self.banks[number])

    def _encode(self, number: int, name: str, x: Any, mask: Tensor | None = None) -> Features:
        """What an encoder makes of its input: that of the network, or the one that both share."""
        own = number and name in self.second_encoders
        return cast(Features, (self.second_encoders if own else self.encoders)[name](x, mask))

    def _read(self, number: int, batch: Batch) -> dict[str, Features]:
        """What a network reads of the modalities in the batch."""
        return {
            name: self._network(number).read(name, self._encode(number, name, batch[name], batch.get(f"{name}_mask")))
            for name in self.needs
            if name in batch
        }


def _movers(**schedule: Any) -> tuple[Optimiser, ...]:
    """An optimiser for each network and its own encoders."""
    parts = {"first": ("networks.first.", "encoders."), "second": ("networks.second.", "second_encoders.")}
    return tuple(Optimiser(name, parts[name], **schedule) for name in NETWORKS)


def _some(x: Any, rows: slice) -> Any:
    """Some rows of raw input or features."""
    return x.select(rows) if isinstance(x, Features) else x[rows]
