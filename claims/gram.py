"""GRAM."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from typing import Any

import torch
from shared.triples import NOISE, Rows, Tower, digit_views, stamp_features
from sklearn.metrics import roc_auc_score
from torch import Tensor

from accord.claims import Arm, Claim, Question
from accord.evaluation.retrieval import rank_queries
from accord.functional import contrastive_loss, span_distance, tuple_volume, volume, warmup_cosine_at
from accord.methods.base import DataInfo, Step
from accord.methods.multimodal.gram import Gram

EPOCHS, BATCH, LR, WARMUP = 60, 128, 1e-3, 0.05


class Cosines(Gram):
    """GRAM's projections, temperature and smoothing under contrasts of cosines."""

    def _contrast(self, z: Mapping[str, Tensor], present: Mapping[str, Tensor], anchor: str) -> Tensor:
        losses = [
            contrastive_loss(
                cosines / self.temperature(), label_smoothing=self.config.label_smoothing, direction="both"
            )
            for cosines in self.cosines(z, anchor)
        ]
        return torch.stack(losses).mean()

    def cosines(self, z: Mapping[str, Tensor], anchor: str) -> list[Tensor]:
        """One matrix ``(B, B)`` for each contrast."""
        raise NotImplementedError


class AnchorCosines(Cosines):
    """The anchor with each of the others, the usual way."""

    def cosines(self, z: Mapping[str, Tensor], anchor: str) -> list[Tensor]:
        """One for each other modality."""
        return [z[anchor] @ z[name].T for name in z if name != anchor]


class AllCosines(Cosines):
    """Every modality with every other one."""

    def cosines(self, z: Mapping[str, Tensor], anchor: str) -> list[Tensor]:
        """One for each pair of modalities."""
        return [one @ other.T for one, other in combinations(z.values(), 2)]


class JointCosine(Cosines):
    """The anchor with tuples, as in GRAM, by their mean cosine."""

    def cosines(self, z: Mapping[str, Tensor], anchor: str) -> list[Tensor]:
        """One for all."""
        return [torch.stack([z[anchor] @ z[name].T for name in z if name != anchor]).mean(dim=0)]


@dataclass(frozen=True)
class Data:
    """Where rows come from, and the towers for them."""

    rows: Callable[[int], tuple[Rows, Rows]]
    hidden: int
    dim: int
    noise: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """What is minimised, one kind after the other for equal parts of the steps, and GRAM's settings."""

    kinds: tuple[type[Gram], ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


DATA = {
    "digits": Data(digit_views, hidden=128, dim=32, noise=NOISE),
    "stamps": Data(stamp_features, hidden=256, dim=64),
    "linear": Data(stamp_features, hidden=0, dim=64),
}
RECIPES = {
    "anchor cosines": Recipe((AnchorCosines,)),
    "all cosines": Recipe((AllCosines,)),
    "joint cosine": Recipe((JointCosine,)),
    "GRAM": Recipe((Gram,)),
    "GRAM, log": Recipe((Gram,), {"score": "logvol"}),
    "GRAM, every anchor": Recipe((Gram,), {"every_anchor": True}),
    "GRAM + cosine": Recipe((Gram,), {"cosine_weight": 1.0}),
    "GRAM after cosines": Recipe((AnchorCosines, Gram)),
}


def outcome(seed: int, data: Data, recipe: Recipe, temperature: float, quick: bool = False) -> dict[str, float]:
    """What is measured on held-out rows after training on the others."""
    train, test = data.rows(seed)
    torch.manual_seed(seed)
    method = trained(data, train, recipe, temperature, epochs=2 if quick else EPOCHS)
    with torch.inference_mode():
        return measure(method.eval().embed(test))


def trained(data: Data, rows: Rows, recipe: Recipe, temperature: float, epochs: int = EPOCHS) -> Gram:
    """Towers and projections after the same steps for every recipe."""
    towers = {name: Tower(x.shape[1], data.hidden, data.noise) for name, x in rows.items()}
    settings = {"dim": data.dim, "matching_weight": 0.0, "temperature": temperature, **recipe.settings}
    method = Gram(settings, towers, DataInfo())
    optimizer = torch.optim.Adam(method.parameters(), lr=LR)
    count = len(rows["text"])
    steps = epochs * (count // BATCH)
    for index in range(steps):
        if index % (count // BATCH) == 0:
            batches = torch.randperm(count).split(BATCH)
        chosen = batches[index % (count // BATCH)]
        method.__class__ = recipe.kinds[index * len(recipe.kinds) // steps]
        optimizer.param_groups[0]["lr"] = warmup_cosine_at(index, round(WARMUP * steps), steps, base=LR)
        optimizer.zero_grad()
        method.loss({name: x[chosen] for name, x in rows.items()}, Step())["total"].backward()
        optimizer.step()
        method.after_step(Step())
    return method


def cosines(query: Tensor, *others: Tensor, present: Tensor | None = None) -> Tensor:
    """Mean cosine of every query with the modalities of every tuple that are there."""
    there = torch.ones(len(others[0]), len(others)) if present is None else present.float()
    return sum(query @ z.T * there[:, place] for place, z in enumerate(others)) / there.sum(dim=1)


RULES: dict[str, Callable[..., Tensor]] = {
    "volume": lambda *z, present=None: -volume(*z, present=present),
    "cosines": cosines,
}


def measure(z: Mapping[str, Tensor]) -> dict[str, float]:
    """Recall in every direction, and how well whole tuples are told from mixed ones, by volumes and by cosines."""
    text, image, audio = z["text"], z["image"], z["audio"]
    incomplete = lacking(len(text))
    found = {}
    for rule, score in RULES.items():
        found[f"anchor to tuple, {rule}"] = recall(score(text, image, audio))
        found[f"tuple to anchor, {rule}"] = recall(score(text, image, audio).T)
        found[f"anchor to incomplete, {rule}"] = recall(score(text, image, audio, present=incomplete))
        found[f"two to one, {rule}"] = (recall(score(image, text, audio).T) + recall(score(audio, text, image).T)) / 2
        found[f"other to other, {rule}"] = (recall(score(image, audio)) + recall(score(audio, image))) / 2
        found[f"mixed tuples, {rule}"] = told(rule, text, image, audio)
    found["anchor to tuple, distance"] = recall(-span_distance(text, image, audio))
    found["tuple to anchor, distance"] = recall(-span_distance(text, image, audio).T)
    s = score(text, image, audio)
    s2 = RULES["volume"](text, image, audio)
    r = lambda x: 100 * float((rank_queries(x, [[i] for i in range(len(x))]).rank == 1).mean())
    found["R1 t>ia v"] = r(s2)
    found["R1 ia>t v"] = r(s2.T)
    found["R1 t>ia c"] = r(s)
    found["R1 ia>t c"] = r(s.T)
    return found


def recall(scores: Tensor) -> float:
    """Mean of R@1, R@5 and R@10 in percent; row i is the one right answer to query i."""
    ranks = rank_queries(scores, [[row] for row in range(len(scores))]).rank
    return 100 * sum(float((ranks <= k).mean()) for k in (1, 5, 10)) / 3


def lacking(rows: int) -> Tensor:
    """``(N, 2)`` False for the second modality of a third of the tuples and for the third one of another third."""
    part = torch.randperm(rows, generator=torch.Generator().manual_seed(0)) % 3
    return torch.stack([part != 0, part != 1], dim=1)


def told(rule: str, *z: Tensor) -> float:
    """Area under the ROC curve, in percent, of tuples against those with one member of another tuple."""
    areas = []
    for place in range(len(z)):
        mixed = [x.roll(1, dims=0) if place == other else x for other, x in enumerate(z)]
        scores = torch.cat([agreement(rule, *z), agreement(rule, *mixed)])
        areas.append(roc_auc_score([1] * len(z[0]) + [0] * len(z[0]), scores))
    return 100 * sum(areas) / len(areas)


def agreement(rule: str, *z: Tensor) -> Tensor:
    """How well the members of each tuple agree ``(N,)``."""
    if rule == "volume":
        return -tuple_volume(*z)
    return torch.stack([(one * other).sum(dim=1) for one, other in combinations(z, 2)]).mean(dim=0)
