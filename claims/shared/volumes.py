"""GRAM and contrasts of cosines on the same towers, and what is measured of them: recall among tuples, and agreement.

All of them have GRAM's towers, projections, temperature and smoothing, start from the same weights and see the same
rows in the same order; what differs is the loss. A *tuple* is everything in a row but its anchor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor

from accord.claims import Arm, Measured, Question
from accord.evaluation.retrieval import rank_queries
from accord.functional import contrastive_loss, span_distance, tuple_volume, volume, warmup_cosine_at
from accord.methods.base import DataInfo, Step
from accord.methods.multimodal.gram import Gram
from shared.interest import POINT
from shared.triples import Rows, Tower

EPOCHS, QUICK, BATCH, LR, WARMUP = 60, 2, 128, 1e-3, 0.05
GRID = (0.05, 0.1, 0.2, 0.4, 0.8)  # first temperatures that were tried for every arm
TUNING = (
    f"The first temperature of each arm is the best of {', '.join(map(str, GRID))} on seeds 100 to 102, by the mean "
    "recall between anchor and tuple in both directions under the rule that its loss has (volume for all with GRAM in "
    "them); it is learnt from there. Towers, batch, steps and smoothing are the same for all. Recall is the mean of "
    "R@1, R@5 and R@10."
)


class Cosines(Gram):
    """GRAM with contrasts of cosines in the place of its own."""

    def _contrast(self, z: Mapping[str, Tensor], present: Mapping[str, Tensor], anchor: str) -> dict[str, Tensor]:
        smoothing = self.config.label_smoothing
        logits = torch.stack(self.cosines(z, anchor)) / self.temperature()  # (contrasts, B, B)
        losses = [contrastive_loss(each, label_smoothing=smoothing, direction="both") for each in logits]
        return {"volume": torch.stack(losses).mean()}  # the term that GRAM's volume has

    def cosines(self, z: Mapping[str, Tensor], anchor: str) -> list[Tensor]:
        """A matrix ``(B, B)`` for each contrast."""
        raise NotImplementedError


class AnchorCosines(Cosines):
    """The usual way: the anchor against each of the others."""

    def cosines(self, z: Mapping[str, Tensor], anchor: str) -> list[Tensor]:
        """One for each modality but the anchor."""
        return [z[anchor] @ z[name].T for name in z if name != anchor]


class AllCosines(Cosines):
    """Every modality against every other one."""

    def cosines(self, z: Mapping[str, Tensor], anchor: str) -> list[Tensor]:
        """One for each pair of modalities."""
        return [one @ other.T for one, other in combinations(z.values(), 2)]


class JointCosine(Cosines):
    """The anchor against whole tuples, as in GRAM, but by the mean cosine."""

    def cosines(self, z: Mapping[str, Tensor], anchor: str) -> list[Tensor]:
        """A single one."""
        return [mean_cosine(z[anchor], *(z[name] for name in z if name != anchor))]


class MeanDirection(Gram):
    """The anchor against the mean direction of each tuple, the term that GRAM may have beside its volume."""

    def _contrast(self, z: Mapping[str, Tensor], present: Mapping[str, Tensor], anchor: str) -> dict[str, Tensor]:
        cosine = direction(z[anchor], *(z[name] for name in z if name != anchor))
        return {"volume": contrastive_loss(cosine / self.temperature(), direction="both")}


@dataclass(frozen=True)
class Data:
    """Rows and the networks for them.

    Args:
        rows: ``(seed) -> (training rows, test rows)``.
        hidden: units of each tower's layer; 0 for projections alone.
        dim: of the shared space.
        noise: added to training rows at every step.
    """

    rows: Callable[[int], tuple[Rows, Rows]]
    hidden: int
    dim: int
    noise: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Args:
        note: one line on it.
        kinds: the methods, each for an equal part of the steps, one after the other.
        settings: of GRAM.
    """

    note: str
    kinds: tuple[type[Gram], ...] = (Gram,)
    settings: Mapping[str, Any] = field(default_factory=dict)


RECIPES = {
    "GRAM": Recipe("minus the volume of anchor and tuple as logit"),
    "GRAM, every anchor": Recipe("the mean over every modality as anchor", settings={"every_anchor": True}),
    "GRAM and cosine": Recipe(
        "and InfoNCE of the anchor with the mean direction of the others", settings={"cosine_weight": 1.0}
    ),
    "GRAM after cosines": Recipe("anchor cosines for half of the steps", (AnchorCosines, Gram)),
    "anchor cosines": Recipe("the anchor against each other modality", (AnchorCosines,)),
    "all cosines": Recipe("each modality against each other one", (AllCosines,)),
    "joint cosine": Recipe("the anchor against tuples, by the mean cosine", (JointCosine,)),
    "mean direction": Recipe("the anchor against the mean direction of each tuple", (MeanDirection,)),
}


def arms(data: Data, temperatures: Mapping[str, float], suffix: str = "", epochs: int = EPOCHS) -> dict[str, Arm]:
    """An arm for each recipe that has a temperature."""
    return {
        name + suffix: Arm(
            function=partial(outcome, data=data, recipe=RECIPES[name], temperature=temperature, epochs=epochs),
            note=RECIPES[name].note,
        )
        for name, temperature in temperatures.items()
    }


def question(
    name: str, statement: str, method: str, baseline: str, task: str, rules: tuple[str, str] = ("volume", "cosines")
) -> Question:
    """The method under the first rule against the baseline under the second."""
    metric, other = (f"{task}, {rule}" for rule in rules)
    return Question(name, statement, method, baseline, metric, other, **POINT)


def outcome(seed: int, data: Data, recipe: Recipe, temperature: float, epochs: int, quick: bool = False) -> Measured:
    """Train on one part of the rows and measure on the other: an arm of a claim."""
    train, test = data.rows(seed)
    passes = QUICK if quick else epochs
    method = trained(seed, data, train, recipe, temperature, passes)
    steps = passes * (len(train[method.config.anchor]) // BATCH)
    with torch.inference_mode():
        return Measured(measure(method.eval().embed(test)), steps, passes)


def trained(seed: int, data: Data, rows: Rows, recipe: Recipe, temperature: float, epochs: int = EPOCHS) -> Gram:
    """The method after training, with Adam and the usual schedule."""
    torch.manual_seed(seed)
    towers = {name: Tower(x.shape[1], data.hidden, data.noise) for name, x in rows.items()}
    settings = {"dim": data.dim, "matching_weight": 0.0, "temperature": temperature, **recipe.settings}
    method = Gram(settings, towers, DataInfo())
    optimizer = torch.optim.Adam(method.parameters(), lr=LR)
    size = len(rows[method.config.anchor])
    each = size // BATCH  # steps of an epoch
    steps = epochs * each
    for index in range(steps):
        if index % each == 0:
            batches = torch.randperm(size).split(BATCH)
        method.__class__ = recipe.kinds[index * len(recipe.kinds) // steps]
        batch = {name: x[batches[index % each]] for name, x in rows.items()}
        optimizer.param_groups[0]["lr"] = warmup_cosine_at(index, round(WARMUP * steps), steps, base=LR)
        optimizer.zero_grad()
        method.loss(batch, Step())["total"].backward()
        optimizer.step()
        method.after_step(Step())
    return method


def measure(z: Mapping[str, Tensor]) -> dict[str, float]:
    """Recall and agreement by every rule, of test rows embedded."""
    text, image, audio = z["text"], z["image"], z["audio"]
    some = lacking(len(text))
    found = {}
    for rule, score in RULES.items():
        values = {
            "anchor to tuple": recall(score(text, image, audio)),
            "tuple to anchor": recall(score(text, image, audio).T),
            "anchor to incomplete tuple": recall(score(text, image, audio, present=some)),
            "two to the third": (recall(score(image, text, audio).T) + recall(score(audio, text, image).T)) / 2,
            "other to other": (recall(score(image, audio)) + recall(score(audio, image))) / 2,
        }
        found |= {f"{task}, {rule}": value for task, value in values.items()}
    for rule, agreement in AGREEMENT.items():
        found[f"mixed rows, {rule}"] = told(agreement, text, image, audio)
    return found


def mean_cosine(anchor: Tensor, *others: Tensor, present: Tensor | None = None) -> Tensor:
    """Mean cosine ``(B1, B2)`` of every anchor with what is there of every tuple."""
    total, number = _sum(others, present)
    return anchor @ (total / number).T


def direction(anchor: Tensor, *others: Tensor, present: Tensor | None = None) -> Tensor:
    """Cosine ``(B1, B2)`` of every anchor with the mean direction of what is there of every tuple."""
    return anchor @ F.normalize(_sum(others, present)[0], dim=1).T


def _sum(others: tuple[Tensor, ...], present: Tensor | None) -> tuple[Tensor, Tensor]:
    """What is there of every tuple, added up ``(B, D)``, and how much it is ``(B, 1)``."""
    stacked = torch.stack(others, dim=1)  # (B, k, D)
    there = stacked.new_ones(stacked.shape[:2]) if present is None else present.to(stacked)
    return torch.einsum("bkd,bk->bd", stacked, there), there.sum(dim=1, keepdim=True)


def minus_volume(anchor: Tensor, *others: Tensor, present: Tensor | None = None) -> Tensor:
    """Minus the volume of every anchor with every tuple."""
    return -volume(anchor, *others, present=present)


def minus_distance(anchor: Tensor, *others: Tensor, present: Tensor | None = None) -> Tensor:
    """Minus the distance of every anchor to the span of every tuple."""
    return -span_distance(anchor, *others, present=present)


RULES: dict[str, Callable[..., Tensor]] = {
    "volume": minus_volume,
    "distance": minus_distance,
    "cosines": mean_cosine,
    "direction": direction,
}


def recall(scores: Tensor) -> float:
    """Mean of R@1, R@5 and R@10 in percent; row i is the one right answer to query i.

    >>> recall(torch.eye(3))
    100.0
    """
    ranks = rank_queries(scores, [[row] for row in range(len(scores))]).rank
    return 100 * sum(float((ranks <= k).mean()) for k in (1, 5, 10)) / 3


def lacking(rows: int) -> Tensor:
    """``(N, 2)`` False for the first member of a third of the tuples and for the second one of another third."""
    part = torch.randperm(rows, generator=torch.Generator().manual_seed(0)) % 3
    return torch.stack([part != 0, part != 1], dim=1)


def told(agreement: Callable[..., Tensor], *z: Tensor) -> float:
    """How well rows are told from rows with one member of another: the area under the ROC curve in percent."""
    areas = []
    for place in range(len(z)):
        mixed = [x.roll(1, dims=0) if place == other else x for other, x in enumerate(z)]
        scores = torch.cat([agreement(*z), agreement(*mixed)])
        areas.append(roc_auc_score([1] * len(z[0]) + [0] * len(z[0]), scores))
    return 100 * sum(areas) / len(areas)


def small_volume(*z: Tensor) -> Tensor:
    """Minus the volume of each row ``(N,)``."""
    return -tuple_volume(*z)


def alike(*z: Tensor) -> Tensor:
    """Mean cosine of the pairs within each row ``(N,)``."""
    return torch.stack([(one * other).sum(dim=1) for one, other in combinations(z, 2)]).mean(dim=0)


AGREEMENT: dict[str, Callable[..., Tensor]] = {"volume": small_volume, "cosines": alike}
