"""GPC on single 8×8 digits: the number of classes from a wrong guess, and what prototypes add to contrast.

Five of the ten digits are old classes, half of whose rows have labels.

1. On principal components, without training: from 6, 14, 20 or 30 clusters, splits and merges should end nearer to the
   ten classes than they began, and where they begin should hardly matter. It fails if the number stays where it began,
   or runs away.
2. Clusters with the number found from 30 should match the classes better than k-means with 30, and lose less than three
   points against k-means with the true ten.
3. The scatter that is expected inside a class decides the number. Taken from the labelled classes instead of the
   paper's 0.005, it should lead nearer to ten in 32 dimensions as well as in 16. It could fail, since classes of digits
   are no Gaussians.
4. With training: the contrast with prototypes should raise the accuracy on new classes, after as many steps, with the
   settings of each arm searched for alike. Accuracy is that of semi-supervised k-means with ten clusters on test rows.

The floors are a guess that is kept, one cluster for all, and an untrained encoder; the ceilings the true number, the
true class means, and an encoder that was trained with all labels.

    accord claims tune gpc_gcd && accord claims run gpc_gcd
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from shared.digits import WORDS, Digits, tuning_digits
from shared.encoders import ConvDigits
from shared.views import as_pictures, view_of
from sklearn.datasets import load_digits
from torch import Tensor

from accord.claims import Arm, Claim, Measured, Question, Scale, Tuning
from accord.evaluation.discovery import gcd_accuracy
from accord.functional import (
    assign_to_nearest,
    class_means,
    discover_classes,
    principal_components,
    semi_supervised_kmeans,
    warmup_cosine_at,
)
from accord.methods import DataInfo, Step
from accord.methods.base import Batch
from accord.methods.noisy.gpc_gcd import GpcGcd

TRUE, OLD = 10, 5
STARTS = (6, 14, 20, 30)
PAPER = 0.005
SPREAD = float(np.std(STARTS))  # of a number that stays where it began
ALL, NEW = "accuracy", "accuracy, new classes"
RANGE, WRONG = "spread of the number", "mean error of the number"


# --- without training -------------------------------------------------------------------------------------------------


def digits(seed: int, dim: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Unit-norm components ``(N, dim)``, true labels, given labels (-1 for none), and which rows are of old classes."""
    pixels, target = (torch.from_numpy(each) for each in load_digits(return_X_y=True))
    rng = torch.Generator().manual_seed(seed)
    old = torch.isin(target, torch.randperm(TRUE, generator=rng)[:OLD])
    given = target.where(old & (torch.rand(len(target), generator=rng) < 0.5), -1)
    return F.normalize(principal_components(pixels.float(), dim), dim=1), target, given, old


def split_and_merged(seed: int, dim: int = 16, spread: float | None = PAPER, quick: bool = False) -> dict[str, float]:
    """Splits and merges from several numbers of clusters: what they end at."""
    x, target, given, old = digits(seed, dim)
    numbers, accuracy = {}, 0.0
    for start in STARTS:
        how: dict[str, Any] = {"sweeps": 1, "restarts": 1} if quick else {"sweeps": 20}
        found = discover_classes(x, given, start=start, dim=None, spread=spread, seed=seed, **how)
        numbers[start] = found.classes
        accuracy = accuracy_of(found.assigned, target, given, old)["all"]  # that from the last start counts
    errors = {f"error from {start}": float(abs(number - TRUE)) for start, number in numbers.items()}
    return {
        **errors,
        RANGE: float(np.std(list(numbers.values()))),
        WRONG: float(np.mean(list(errors.values()))),
        ALL: accuracy,
    }


def k_means(seed: int, clusters: int, dim: int = 16, quick: bool = False) -> dict[str, float]:
    """Semi-supervised k-means with a number of clusters that stays."""
    x, target, given, old = digits(seed, dim)
    there = given >= 0
    y = given[there].unique(return_inverse=True)[1]
    found = semi_supervised_kmeans(x[~there], x[there], y, clusters, n_init=1 if quick else 10, seed=seed)[1]
    assigned = torch.empty_like(target)
    assigned[there], assigned[~there] = found[: len(y)], found[len(y) :]
    return {ALL: accuracy_of(assigned, target, given, old)["all"]}


def true_means(seed: int, dim: int = 16) -> dict[str, float]:
    """Each row at the nearest mean of all true classes."""
    x, target, given, old = digits(seed, dim)
    nearest = assign_to_nearest(x, class_means(x, target, TRUE)[0])[0]
    return {ALL: accuracy_of(nearest, target, given, old)["all"]}


def accuracy_of(assigned: Tensor, target: Tensor, given: Tensor, old: Tensor) -> dict[str, float]:
    """Accuracy in percent on the rows without given label."""
    left = given < 0
    found = gcd_accuracy(target[left].numpy(), assigned[left].numpy(), old[left].numpy())
    return {part: 100 * value for part, value in found.items()}


# --- with training ----------------------------------------------------------------------------------------------------

EPOCHS, BATCH, LR, WARMUP = 30, 128, 1e-3, 0.05
GPC: dict[str, Any] = {
    "dim": 32,
    "hidden": 128,
    "bottleneck": 64,
    "temperature": 0.2,
    "components": 16,
    "start_classes": 20,
    "restarts": 3,
}
CONTRAST_ONLY = {**GPC, "prototype_weight": 0.0}


class Rows:
    """The training rows: in order for the method's hooks, and drawn for its steps.

    Args:
        digits: the rows.
        labels: ``(N,)`` given labels, -1 for none.
    """

    def __init__(self, digits: Digits, labels: Tensor) -> None:
        self.pictures, self.labels = as_pictures(digits), labels

    def __len__(self) -> int:
        return len(self.pictures) // BATCH

    def __iter__(self) -> Iterator[Batch]:
        for rows in torch.arange(len(self.pictures)).split(512):
            yield {"image": self.pictures[rows], "label": self.labels[rows], "index": rows}

    def episode(self) -> Iterator[Batch]:
        """The steps of an epoch, rows with and without label equally often."""
        there = self.labels >= 0
        chance = torch.where(there, 1 / there.sum().clamp(min=1), 1 / (~there).sum().clamp(min=1))
        for rows in torch.multinomial(chance, len(self) * BATCH, replacement=True).split(BATCH):
            views = [view_of(self.pictures[rows]), view_of(self.pictures[rows])]
            yield {"image_views": views, "label": self.labels[rows], "index": rows}

    def texts(self) -> list[list[str]]:
        """There are none."""
        return []


def trained(
    seed: int,
    config: Mapping[str, Any],
    *,
    epochs: int = EPOCHS,
    everything: bool = False,
    settings: Mapping[str, Any] | None = None,
    share: float = 0.0,
    quick: bool = False,
) -> Measured:
    """Train an encoder on rows half of whose labels of 0 to 4 are given, or all labels, and measure it."""
    train, test = tuning_digits(seed, share)
    truth, generator = torch.from_numpy(train.labels), torch.Generator().manual_seed(seed)
    given = (truth < OLD) & (torch.rand(len(truth), generator=generator) < 0.5)
    labels = truth if everything else truth.where(given, -1)
    torch.manual_seed(seed)
    counts = torch.bincount(labels[labels >= 0], minlength=TRUE)
    facts = DataInfo(rows=len(truth), classes=WORDS, label_counts=tuple(counts.tolist()))
    gpc = GpcGcd({**config, **(settings or {})}, {"image": ConvDigits()}, facts)
    rows, passes = Rows(train, labels), min(epochs, 1) if quick else epochs
    fitted(gpc, rows, passes)
    return Measured({NEW: new_accuracy(gpc.eval(), train, given, test)}, passes * len(rows), passes)


def fitted(method: GpcGcd, rows: Rows, epochs: int) -> None:
    """Train in place, with Adam and the usual schedule."""
    optimizer = torch.optim.Adam(method.parameters(), lr=LR)
    total = epochs * len(rows)
    for epoch in range(epochs):
        method.before_epoch(Step(epoch=epoch, index=epoch * len(rows), total=total, epochs=epochs), rows)
        method.train()
        for number, batch in enumerate(rows.episode()):
            step = Step(epoch=epoch, index=epoch * len(rows) + number, total=total, epochs=epochs)
            optimizer.param_groups[0]["lr"] = warmup_cosine_at(step.index, round(WARMUP * total), total, base=LR)
            optimizer.zero_grad()
            method.loss(batch, step)["total"].backward()
            optimizer.step()


@torch.no_grad()
def new_accuracy(method: GpcGcd, train: Digits, given: Tensor, test: Digits) -> float:
    """Accuracy in percent of k-means with ten clusters on the test rows of 5 to 9, beside labelled rows of 0 to 4."""
    known, asked = (method.embed({"image": as_pictures(digits)})["image"] for digits in (train, test))
    labels = torch.from_numpy(train.labels)[given]
    found = semi_supervised_kmeans(asked, known[given], labels, TRUE)[1][len(labels) :]
    return 100 * gcd_accuracy(test.labels, found.numpy(), test.labels < OLD)["new"]


def arm(config: Mapping[str, Any], *, note: str = "", search: Mapping[str, Any] | None = None, **options: Any) -> Arm:
    """A trained arm."""
    return Arm(function=partial(trained, config=config, **options), search=search or {}, note=note)


CONTRAST = {"temperature": [0.1, 0.2, 0.5, 1.0], "supervised": [0.35, 0.5]}
PULL = {"prototype_temperature": [0.1, 0.2, 0.5, 1.0], "prototype_weight": [0.3, 1.0]}


def nearer(start: int) -> Question:
    """That the number found from a start is nearer to the true one."""
    distance = float(abs(start - TRUE))
    return Question(
        f"number from {start}",
        f"From {start} clusters splits and merges end nearer to the ten classes than they began.",
        "splits and merges",
        distance,
        f"error from {start}",
        unit="classes",
        higher=False,
        smallest=1.0,
        because="a class more or less",
        equal="nothing",
        scale=Scale(distance, 0.0),
    )


def better_number(dim: int, method: str, baseline: str) -> Question:
    """That the scatter of the labelled classes gives a better number."""
    return Question(
        f"expected scatter, {dim} dimensions",
        f"With the scatter of the labelled classes the number is nearer to ten in {dim} dimensions than with 0.005.",
        method,
        baseline,
        WRONG,
        unit="classes",
        higher=False,
        smallest=1.0,
        because="a class more or less",
        equal="nothing",
        scale=Scale(float(np.mean([abs(start - TRUE) for start in STARTS])), 0.0),
    )


POINTS: dict[str, Any] = {"smallest": 2.0, "because": "two points are a tenth of a class"}

CLAIM = Claim(
    slug="gpc_gcd",
    kind_of_data="real",
    paper="Clusters that split and merge by their marginal likelihood find the number of classes, of which some are "
    "labelled, and their prototypes make features that tell new classes apart.",
    arms={
        "splits and merges": Arm(function=split_and_merged, note="16 components, expected scatter 0.005"),
        "scatter of the labels": Arm(function=partial(split_and_merged, spread=None), note="16 components"),
        "splits and merges, 32": Arm(function=partial(split_and_merged, dim=32), note="32 components, 0.005"),
        "scatter of the labels, 32": Arm(function=partial(split_and_merged, dim=32, spread=None)),
        "k-means, 30": Arm(function=partial(k_means, clusters=30), note="with 30 clusters"),
        "k-means, 10": Arm(function=partial(k_means, clusters=TRUE), note="with the true number"),
        "true means": Arm(function=true_means, note="what there is to gain: the means of the true classes"),
        "contrast": arm(CONTRAST_ONLY, search=CONTRAST, note="of views and of labels"),
        "prototypes": arm(GPC, search=CONTRAST | PULL, note="and with the prototypes of all clusters"),
        "untrained": arm(GPC, epochs=0, note="random weights"),
        "all labels": arm(CONTRAST_ONLY, everything=True, note="contrast with the labels of all rows"),
    },
    seeds=tuple(range(200, 208)),  # the prior was chosen on digits of the first ones
    scales={ALL: Scale(10.0, "true means"), NEW: Scale("untrained", "all labels")},
    tune=Tuning(trials=6, seeds=(300, 301), metric=NEW),
    questions=[
        *map(nearer, STARTS),
        Question(
            "spread of the number",
            "Where the search begins matters less than half as much as it would if the number stayed.",
            "splits and merges",
            SPREAD,
            RANGE,
            unit="classes",
            higher=False,
            margin=SPREAD / 2,
            smallest=1.0,
            because="a class more or less",
            equal="nothing",
            scale=Scale(SPREAD, 0.0),
        ),
        Question(
            "against k-means",
            "With the number found from 30, rows are clustered more accurately than by k-means with 30.",
            "splits and merges",
            "k-means, 30",
            ALL,
            equal="nothing",
            **POINTS,
        ),
        Question(
            "against the true number",
            "With the number found from 30, less than three points are lost against k-means with ten.",
            "splits and merges",
            "k-means, 10",
            ALL,
            margin=-3.0,
            equal="nothing",
            **POINTS,
        ),
        better_number(16, "scatter of the labels", "splits and merges"),
        better_number(32, "scatter of the labels, 32", "splits and merges, 32"),
        Question(
            "prototypes",
            "Contrast with prototypes raises the accuracy on new classes after the same number of steps.",
            "prototypes",
            "contrast",
            NEW,
            **POINTS,
        ),
    ],
    tuning="Network, crops, rate and length are the same for all trained arms.",
)
