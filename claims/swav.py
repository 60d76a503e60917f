"""SwAV on single 8×8 digits: equal partition, its smoothness, small crops, a queue; SimCLR and DeepCluster-v2 beside.

1. Equal partition prevents collapse: with a softmax over the same scores as target the loss falls further, few
   prototypes are used and a probe is less accurate.
2. Smoothness matters: at the paper's temperature training should start with ε = 0.03 and hardly with 0.05.
3. Small crops beside two large ones should give better features after the same number of steps. It could fail because a
   small crop of a digit shows hardly anything.
4. At a batch of 16 a queue should help. At one of 128, which holds more rows than there are prototypes, it should not
   matter.
5. SwAV should be more accurate than SimCLR, each at its best settings, at a batch of 128 and of 16; and as accurate as
   DeepCluster-v2, whose targets come from k-means before every epoch.

The encoder is a small convolutional network, the accuracy that of a probe on its vectors with ten labels of each digit,
the mean over ten draws of them. The floor is the untrained encoder, the ceiling one that was trained by all labels.

    accord claims tune swav && accord claims run swav
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from shared.digits import WORDS, Digits, tuning_digits
from shared.encoders import ConvDigits
from shared.probes import FEW, more_accurate, ten_label_accuracy
from shared.views import as_pictures, view_of
from torch import Tensor

from accord.claims import Arm, Claim, Measured, Question, Scale, Tuning
from accord.functional import warmup_cosine_at
from accord.methods import DataInfo, Method, Step
from accord.methods.base import Batch
from accord.methods.image.deepcluster import DeepClusterV2
from accord.methods.image.swav import Swav
from accord.methods.multimodal.multiview import MultiView
from accord.methods.noisy.baselines import CrossEntropy

EPOCHS, BATCH, LR, WARMUP = 15, 128, 1e-3, 0.05
SMALL_BATCH = {"batch": 16, "epochs": 4}
LARGE, SMALL = (0.5, 1.0), (0.25, 0.5)  # areas of crops
PROTOTYPES = 60
USED = "prototypes used"
HEAD: dict[str, Any] = {"dim": 32, "hidden": 64, "prototypes": PROTOTYPES, "small_crops": 0, "temperature": 0.2}
SWAV: dict[str, Any] = {**HEAD, "sinkhorn_eps": 0.03}
CLUSTERS: dict[str, Any] = {**HEAD, "heads": 2}
SIMCLR: dict[str, Any] = {"objective": "nt_xent", "views": 2, "dim": 32, "temperature": 0.2}


class Unbalanced(Swav):
    """SwAV whose targets are a softmax over the scores, without equal partition."""

    def _assigned(self, scores: Sequence[Tensor]) -> list[Tensor]:
        return [(each.detach() / self.config.sinkhorn_eps).softmax(dim=1) for each in scores]


class Views:
    """The rows of training in random order as batches of views, as a method's hooks see them, too.

    Args:
        digits: the rows.
        batch: rows of a batch; the rows of an incomplete one wait for the next epoch.
        crops: areas of the views.
    """

    def __init__(self, digits: Digits, batch: int, crops: Sequence[tuple[float, float]]) -> None:
        self.pictures, self.labels = as_pictures(digits), torch.from_numpy(digits.labels)
        self.batch, self.crops = batch, crops

    def __len__(self) -> int:
        return len(self.pictures) // self.batch

    def __iter__(self) -> Iterator[Batch]:
        for rows in torch.randperm(len(self.pictures)).split(self.batch)[: len(self)]:
            views = [view_of(self.pictures[rows], area) for area in self.crops]
            yield {"image": views[0], "image_views": views, "label": self.labels[rows], "index": rows}

    def episode(self) -> Iterator[Batch]:
        """Batches as those to come."""
        return iter(self)

    def texts(self) -> list[list[str]]:
        """There are none."""
        return []


def outcome(
    seed: int,
    kind: type[Method],
    config: Mapping[str, Any],
    *,
    epochs: int = EPOCHS,
    batch: int = BATCH,
    settings: Mapping[str, Any] | None = None,
    share: float = 0.0,
    quick: bool = False,
) -> Measured:
    """Train an encoder by a method and measure it: an arm of the claim."""
    train, test = tuning_digits(seed, share)
    torch.manual_seed(seed)
    facts = DataInfo(rows=len(train.labels), classes=WORDS)
    method = kind({**config, **(settings or {})}, {"image": ConvDigits()}, facts)
    crops = [LARGE, LARGE, *[SMALL] * config.get("small_crops", 0)]
    rows, passes = Views(train, batch, crops), min(epochs, 1) if quick else epochs
    fitted(method, rows, passes)
    return Measured(measure(method.eval(), train, test, quick), passes * len(rows), passes)


def fitted(method: Method, rows: Views, epochs: int) -> None:
    """Train in place, with Adam and the usual schedule."""
    optimizer = torch.optim.Adam(method.parameters(), lr=LR)
    total = epochs * len(rows)
    for epoch in range(epochs):
        method.before_epoch(Step(epoch=epoch, index=epoch * len(rows), total=total, epochs=epochs), rows)
        method.train()
        for number, batch in enumerate(rows):
            step = Step(epoch=epoch, index=epoch * len(rows) + number, total=total, epochs=epochs)
            optimizer.param_groups[0]["lr"] = warmup_cosine_at(step.index, round(WARMUP * total), total, base=LR)
            optimizer.zero_grad()
            method.loss(batch, step)["total"].backward()
            method.after_backward(step)
            optimizer.step()
            method.after_step(step)


@torch.inference_mode()
def measure(method: Any, train: Digits, test: Digits, quick: bool) -> dict[str, float]:
    """Accuracy of probes with few labels, and how many prototypes held-out digits are assigned to."""
    known, asked = (method.embed({"image": as_pictures(digits)})["image"] for digits in (train, test))
    found = {FEW: ten_label_accuracy(known, asked, train, test, quick)}
    if isinstance(method, Swav):
        found[USED] = float(method.assign({"image": as_pictures(test)}).unique().numel())
    return found


def arm(kind: type[Method], config: Mapping[str, Any], *, note: str = "", **options: Any) -> Arm:
    """An arm; ``search`` and ``settings_of`` are the arm's, what else is given is how long it is trained."""
    own = {name: options.pop(name) for name in ("search", "settings_of") if name in options}
    return Arm(function=partial(outcome, kind=kind, config=config, **options), note=note, **own)


BALANCE = {"temperature": [0.1, 0.2, 0.3], "sinkhorn_eps": [0.02, 0.03, 0.05]}
ALONE = {"temperature": [0.1, 0.2, 0.5, 1.0]}
QUEUE = {"queue": 256, "queue_starts": 2}
SAME = "both have the settings that were chosen for the baseline"

CLAIM = Claim(
    slug="swav",
    kind_of_data="real",
    paper="Predicting balanced cluster assignments of other views learns features as good as contrast, in small "
    "batches too, and better ones with small crops beside the large ones.",
    arms={
        "SwAV": arm(Swav, SWAV, search=BALANCE, note="two crops"),
        "softmax targets": arm(Unbalanced, SWAV, search=BALANCE, note="the same without equal partition"),
        "ε 0.05, T 0.1": arm(Swav, {**SWAV, "sinkhorn_eps": 0.05, "temperature": 0.1}, note="the paper's values"),
        "ε 0.03, T 0.1": arm(Swav, {**SWAV, "temperature": 0.1}),
        "small crops": arm(Swav, {**SWAV, "small_crops": 2}, settings_of="SwAV", note="two large ones and two small"),
        "queue": arm(Swav, {**SWAV, **QUEUE}, settings_of="SwAV"),
        "DeepCluster-v2": arm(DeepClusterV2, CLUSTERS, search=ALONE),
        "SimCLR": arm(MultiView, SIMCLR, search=ALONE),
        "SwAV, batch 16": arm(Swav, SWAV, search=BALANCE, **SMALL_BATCH),
        "queue, batch 16": arm(Swav, {**SWAV, **QUEUE}, settings_of="SwAV, batch 16", **SMALL_BATCH),
        "SimCLR, batch 16": arm(MultiView, SIMCLR, search=ALONE, **SMALL_BATCH),
        "untrained": arm(Swav, SWAV, epochs=0, note="random weights"),
        "by labels": arm(CrossEntropy, {}, note="cross-entropy on all labels"),
    },
    seeds=8,
    scales={FEW: Scale("untrained", "by labels"), USED: Scale(1.0, float(PROTOTYPES))},
    tune=Tuning(trials=4, seeds=(100, 101), metric=FEW),
    questions=[
        more_accurate(
            "equal partition",
            "A probe is more accurate with equal partition than with a softmax over the same scores.",
            "SwAV",
            "softmax targets",
        ),
        Question(
            "prototypes used",
            "More prototypes are used with equal partition.",
            "SwAV",
            "softmax targets",
            USED,
            unit="of 60",
            smallest=3.0,
            because="a twentieth of the prototypes",
        ),
        more_accurate(
            "smoothness",
            "ε 0.03 is more accurate than ε 0.05 at the paper's temperature of 0.1.",
            "ε 0.03, T 0.1",
            "ε 0.05, T 0.1",
        ),
        more_accurate(
            "small crops",
            "Two small crops more give better features after the same number of steps.",
            "small crops",
            "SwAV",
            unequal_trials=SAME,
        ),
        more_accurate(
            "queue",
            "At a batch of 16 a queue of 256 gives better features.",
            "queue, batch 16",
            "SwAV, batch 16",
            unequal_trials=SAME,
        ),
        more_accurate(
            "queue, large batch",
            "At a batch of 128, more rows than prototypes, the queue does not matter.",
            "queue",
            "SwAV",
            expects="equivalent",
            unequal_trials=SAME,
        ),
        more_accurate(
            "against SimCLR",
            "SwAV is more accurate than SimCLR after the same number of steps, each at its best settings.",
            "SwAV",
            "SimCLR",
        ),
        more_accurate(
            "against SimCLR, batch 16",
            "With a queue SwAV is more accurate than SimCLR at a batch of 16.",
            "queue, batch 16",
            "SimCLR, batch 16",
            unequal_trials="the queue's arm has the settings that were chosen without it, in as many trials",
        ),
        more_accurate(
            "against DeepCluster-v2",
            "Balanced assignment within a batch is as good as k-means over all rows before every epoch.",
            "SwAV",
            "DeepCluster-v2",
            expects="equivalent",
        ),
    ],
    tuning="What ε and T are named was not tuned. Network, views, rate and length are the same for all arms.",
)
