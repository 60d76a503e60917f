"""A small method with everything that a resumed run could get wrong: dropout, a queue, prototypes, three stages."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import datasets
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accord.config import Config
from accord.data.columns import Columns
from accord.data.corpus import Corpus
from accord.data.inputs import TextInput
from accord.data.loading.features import Features
from accord.encoders.base import Encoder
from accord.functional.distributed import gather_features, rank
from accord.methods.base import Batch, DataInfo, Loader, Stage, Step, TwoTower

WORDS = ["red", "green", "blue", "cat", "dog", "fish", "sun", "moon", "star", "tree"]
CLASSES = ("colour", "animal", "sky")


class BagOfLetters:
    """Word -> a small number, at most eight words."""

    def __call__(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        ids = torch.zeros(len(texts), 8, dtype=torch.int64)
        for row, text in enumerate(texts):
            for column, word in enumerate(text.split()[:8]):
                ids[row, column] = 1 + sum(map(ord, word)) % 63
        return ids, ids > 0


class BagEncoder(Encoder):
    """Mean of word vectors."""

    modality = "text"

    def __init__(self, dim: int = 16, dropout: float = 0.1) -> None:
        super().__init__()
        self.dim, self.input, self.calls = dim, TextInput(BagOfLetters()), 0
        self.table, self.drop = nn.Embedding(64, dim), nn.Dropout(dropout)

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        self.calls += 1
        mask = torch.ones_like(x, dtype=torch.bool) if mask is None else mask
        pooled = (self.table(x) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        return Features(self.drop(pooled))

    def blocks(self) -> list[nn.Module]:
        return [self.table]

    def spec(self) -> dict[str, Any]:
        return {"bag": self.dim}


class ToyConfig(Config):
    """Settings of the toy."""

    queue: int = 32
    dropout: float = 0.1
    poison: int = -1  # the optimiser step whose instance loss is not a number
    remember: bool = True  # use queue and prototypes


class Toy(TwoTower):
    """Classes of texts, an instance loss with a queue, and prototypes made before each epoch."""

    name = "toy"
    Config = ToyConfig
    needs: Mapping[str, frozenset[str]] = {"text": frozenset({"pooled"})}

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        width, classes = encoders["text"].dim, len(data.classes)
        self.projector = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Dropout(self.config.dropout), nn.Linear(width, 8)
        )
        self.classifier = nn.Linear(width, classes)
        self.logit_scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("queue", F.normalize(torch.randn(self.config.queue, 8), dim=1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))
        self.register_buffer("prototypes", torch.zeros(classes, 8))
        self.calls: list[tuple[Any, ...]] = []

    stages = (
        Stage("warm", epochs=2, freeze_epochs=1),
        Stage("main", lr_scale=0.5),
        Stage("tune", epochs=1, train=("classifier",)),
    )

    def towers(self, batch: Batch) -> dict[str, Tensor]:
        h = self.encoders["text"](batch["text"], batch.get("text_mask")).pooled
        return {"h": h, "z": F.normalize(self.projector(h), dim=1)}

    def objective(self, towers: dict[str, Tensor], batch: Batch, step: Step) -> dict[str, Tensor]:
        h, z = towers["h"], towers["z"]
        terms = {"ce": F.cross_entropy(self.classifier(h), batch["label"])}
        if self.config.remember:
            gathered = gather_features(z, with_grad=True)
            keys = torch.cat([gathered, self.queue])
            own = rank() * len(z) + torch.arange(len(z))
            terms["inst"] = F.cross_entropy(self.logit_scale.exp() * z @ keys.T, own)
            self._enqueue(gathered.detach())
        if self.config.remember and step.stage == "main":
            terms["proto"] = F.cross_entropy(z @ self.prototypes.T / 0.1, batch["label"])
        if step.index == self.config.poison:
            terms["inst"] = terms["inst"] * float("nan")
        return {"total": torch.stack(list(terms.values())).sum(), **terms}

    @torch.no_grad()
    def _enqueue(self, z: Tensor) -> None:
        self.queue[(self.pointer + torch.arange(len(z))) % len(self.queue)] = z.to(self.queue)
        self.pointer.add_(len(z)).remainder_(len(self.queue))

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        return {"text": self.towers(batch)["z"]}

    def before_stage(self, stage: Stage, loader: Loader) -> None:
        self.calls.append(("before_stage", stage.name, sum(len(batch["index"]) for batch in loader)))

    @torch.no_grad()
    def before_epoch(self, step: Step, loader: Loader) -> None:
        self.calls.append(("before_epoch", step.stage, step.epoch, self.encoders["text"].frozen))
        self.prototypes.zero_()
        for batch in loader:
            self.prototypes.index_add_(0, batch["label"], self.towers(batch)["z"])
        self.prototypes.copy_(F.normalize(self.prototypes + 0.01 * torch.randn_like(self.prototypes), dim=1))

    @torch.no_grad()
    def after_step(self, step: Step) -> None:
        self.logit_scale.clamp_(0, 4.6)

    def after_stage(self, stage: Stage, loader: Loader) -> None:
        self.calls.append(("after_stage", stage.name))


def toy_corpus(rows: int = 160) -> Corpus:
    """Sentences of four words whose class is most often visible."""
    draw = random.Random(0)
    labels = [draw.randrange(3) for _ in range(rows)]
    texts = [" ".join(draw.choices(WORDS[3 * label : 3 * label + 4], k=4)) for label in labels]
    return Corpus(
        name="toy",
        rows=datasets.Dataset.from_dict({"text": texts, "label": labels}),
        columns=Columns(text=("text",), label="label"),
        ids=np.arange(rows),
        classes=CLASSES,
        labels=np.array(labels),
    )


def toy(config: dict[str, Any] | None = None, *, dropout: float = 0.1, dim: int = 16) -> Toy:
    """The toy, always with the same weights."""
    torch.manual_seed(0)
    encoder = BagEncoder(dim, dropout)
    return Toy({"dropout": dropout, **(config or {})}, {"text": encoder}, DataInfo(rows=160, classes=CLASSES))
