"""GRAM and contrasts of cosines on the same towers, and what is measured of them: recall among tuples, and agreement.

All of them have GRAM's towers, projections, temperature and smoothing, start from the same weights and see the same
rows in the same order; what differs is the loss. A *tuple* is everything in a row but its anchor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from typing import Any, Literal

import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import Tensor

from accord.claims import Arm, Measured, Question, Scale, Tuning
from accord.evaluation.retrieval import rank_queries
from accord.functional import contrastive_loss, tuple_scores, tuple_volume, warmup_cosine_at
from accord.methods.base import DataInfo, Step
from accord.methods.multimodal.gram import Gram
from shared.triples import Rows, Tower

EPOCHS, QUICK, BATCH, LR, WARMUP = 60, 2, 128, 1e-3, 0.05
TUNE = Tuning(trials=5, seeds=(100, 101), metric="recall")
SEARCH = {"temperature": [0.05, 0.1, 0.2, 0.4, 0.8]}
TUNING = (
    "What decides a trial is the mean recall between anchor and tuple in both directions under the rule that the arm's "
    "loss has. The temperature is learnt from the chosen one. Towers, batch, rate, steps and smoothing are the same "
    "for all and were not tuned. Recall is the mean of R@1, R@5 and R@10."
)
TASKS = ("anchor to tuple", "tuple to anchor", "anchor to incomplete tuple", "other to other", "one to one")


class MeanDirection(Gram):
    """The anchor against the mean direction of each tuple, the term that GRAM may have beside its volume."""

    def _contrast(self, z: Mapping[str, Tensor], present: Mapping[str, Tensor], anchor: str) -> dict[str, Tensor]:
        cosine = direction(z[anchor], *(z[name] for name in z if name != anchor))
        return {"volume": contrastive_loss(cosine / self.temperature(), direction="both")}  # the main term's name


@dataclass(frozen=True)
class Data:
    """Rows and the networks for them.

    Args:
        rows: ``(seed) -> (training rows, test rows)``.
        hidden: units of each tower's layer; 0 for projections alone.
        dim: of the shared space.
        noise: added to training rows at every step, and to those of them that settings are chosen on.
    """

    rows: Callable[[int], tuple[Rows, Rows]]
    hidden: int
    dim: int
    noise: float = 0.0

    def parts(self, seed: int, share: float) -> tuple[Rows, Rows]:
        """Rows for training and for measuring; with a share, both are training rows."""
        train, test = self.rows(seed)
        if not share:
            return train, test
        random = torch.Generator().manual_seed(seed)
        count = len(next(iter(train.values())))
        order = torch.randperm(count, generator=random)
        held, left = order[: round(share * count)], order[round(share * count) :]
        chosen = {name: x[held] for name, x in train.items()}
        noisy = {name: x + self.noise * torch.randn(x.shape, generator=random) for name, x in chosen.items()}
        return {name: x[left] for name, x in train.items()}, noisy


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Args:
        note: one line on it.
        rule: what its loss compares by.
        settings: of GRAM.
        kind: the method.
    """

    note: str
    rule: str = "volume"
    settings: Mapping[str, Any] = field(default_factory=dict)
    kind: type[Gram] = Gram


PAIR = {"modalities": ("text", "image")}
RECIPES = {
    "GRAM": Recipe("minus the volume of anchor and tuple as logit, after anchor cosines for half of the steps"),
    "GRAM from scratch": Recipe("volumes from the first step", settings={"warm_start": 0.0}),
    "GRAM by distance": Recipe("the distance to the span in place of the volume", "distance", {"score": "distance"}),
    "GRAM, every anchor": Recipe("the mean over every modality as anchor", settings={"every_anchor": True}),
    "anchor cosines": Recipe("the anchor against each other modality", "cosines", {"warm_start": 1.0}),
    "all cosines": Recipe("each modality against each other one", "cosines", {"warm_start": 1.0, "every_anchor": True}),
    "mean direction": Recipe(
        "the anchor against the mean direction of each tuple", "direction", {"warm_start": 0.0}, MeanDirection
    ),
    "GRAM, two": Recipe("anchor and one other modality, by volume", settings=PAIR),
    "cosines, two": Recipe("the same two by their cosine", "cosines", {**PAIR, "warm_start": 1.0}),
}


def arms(data: Data) -> dict[str, Arm]:
    """An arm for each recipe, and one that is not trained."""
    found = {
        name: Arm(function=partial(outcome, data=data, recipe=recipe), search=SEARCH, note=recipe.note)
        for name, recipe in RECIPES.items()
    }
    floor = Arm(function=partial(outcome, data=data, recipe=RECIPES["GRAM"], epochs=0), note="random weights")
    return {**found, "untrained": floor}


def ceiling(data: Data, note: str) -> Arm:
    """Anchor cosines on rows that are easier: what there is to gain."""
    function = partial(outcome, data=data, recipe=RECIPES["anchor cosines"])
    return Arm(function=function, settings_of="anchor cosines", note=note)


def scales(top: str) -> dict[str, Scale]:
    """The scale of every metric, below an arm that sees easier rows, or one that contrasts what is asked about."""
    recalls = {f"{task}, {rule}": Scale("untrained", (top, "all cosines")) for task in TASKS for rule in RULES}
    return recalls | {f"mixed rows, {rule}": Scale(50.0, top) for rule in AGREEMENT}


def question(
    name: str,
    statement: str,
    method: str,
    baseline: str,
    task: str,
    rules: tuple[str, str] = ("volume", "cosines"),
    expects: Literal["better", "equivalent"] = "better",
) -> Question:
    """The method under the first rule against the baseline under the second."""
    metric, other = (f"{task}, {rule}" for rule in rules)
    smallest, because = (2.0, "less is lost by a smaller training set of a tenth") if expects == "equivalent" else POINT
    return Question(
        name, statement, method, baseline, metric, other, smallest=smallest, because=because, expects=expects
    )


POINT = (1.0, "one query more in a hundred, the least that somebody who searches would notice")


def outcome(
    seed: int,
    data: Data,
    recipe: Recipe,
    epochs: int = EPOCHS,
    settings: Mapping[str, float] | None = None,
    share: float = 0.0,
    quick: bool = False,
) -> Measured:
    """Train on one part of the rows and measure on the other: an arm of a claim."""
    train, test = data.parts(seed, share)
    passes = min(epochs, QUICK) if quick else epochs
    method = trained(seed, data, train, recipe, (settings or {}).get("temperature", 0.07), passes)
    steps = passes * (len(train[method.config.anchor]) // BATCH)
    with torch.inference_mode():
        found = measure(method.eval().embed(test))
    main = ("one to one", "one to one") if len(method.needs) == 2 else ("anchor to tuple", "tuple to anchor")
    decides = sum(found[f"{task}, {recipe.rule}"] for task in main) / 2
    return Measured({**found, "recall": decides}, steps, passes)


def trained(seed: int, data: Data, rows: Rows, recipe: Recipe, temperature: float, epochs: int = EPOCHS) -> Gram:
    """The method after training, with Adam and the usual schedule."""
    torch.manual_seed(seed)
    towers = {name: Tower(x.shape[1], data.hidden, data.noise) for name, x in rows.items()}
    settings = {"dim": data.dim, "matching_weight": 0.0, "temperature": temperature, **recipe.settings}
    method = recipe.kind(settings, towers, DataInfo())
    optimizer = torch.optim.Adam(method.parameters(), lr=LR)
    size = len(rows[method.config.anchor])
    each = size // BATCH  # steps of an epoch
    steps = epochs * each
    for index in range(steps):
        if index % each == 0:
            batches = torch.randperm(size).split(BATCH)
        batch = {name: rows[name][batches[index % each]] for name in method.needs}
        optimizer.param_groups[0]["lr"] = warmup_cosine_at(index, round(WARMUP * steps), steps, base=LR)
        optimizer.zero_grad()
        step = Step(index=index, total=steps)
        method.loss(batch, step)["total"].backward()
        optimizer.step()
        method.after_step(step)
    return method


def measure(z: Mapping[str, Tensor]) -> dict[str, float]:
    """Recall and agreement by every rule, of test rows embedded."""
    found = {}
    for rule, score in RULES.items():
        values = {"one to one": both(score(z["text"], z["image"]))}
        if len(z) > 2:
            values |= of_tuples(score, z["text"], z["image"], z["audio"])
        found |= {f"{task}, {rule}": value for task, value in values.items()}
    for rule, agreement in AGREEMENT.items() if len(z) > 2 else ():
        found[f"mixed rows, {rule}"] = told(agreement, *z.values())
    return found


def of_tuples(score: Callable[..., Tensor], text: Tensor, image: Tensor, audio: Tensor) -> dict[str, float]:
    """Recalls that three modalities have by a rule."""
    scores = score(text, image, audio)
    return {
        "anchor to tuple": recall(scores),
        "tuple to anchor": recall(scores.T),
        "anchor to incomplete tuple": recall(score(text, image, audio, present=lacking(len(text)))),
        "other to other": both(score(image, audio)),
    }


def both(scores: Tensor) -> float:
    """Mean recall of both directions."""
    return (recall(scores) + recall(scores.T)) / 2


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


def minus(rule: Literal["volume", "distance"]) -> Callable[..., Tensor]:
    """Minus GRAM's score of every anchor with every tuple."""

    def score(anchor: Tensor, *others: Tensor, present: Tensor | None = None) -> Tensor:
        return -tuple_scores(anchor, *others, score=rule, present=present)

    return score


RULES: dict[str, Callable[..., Tensor]] = {
    "volume": minus("volume"),
    "distance": minus("distance"),
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
