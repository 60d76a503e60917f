"""MV-InfoNCE and MV-DHEL against the pairwise losses, on single 8×8 digits.

1. Dimensionality: MV-DHEL, whose uniformity is inside each view, should fill more dimensions than MV-InfoNCE and
   NT-Xent over pairs at the same temperature, and more with four views than with two. It could fail because 32
   dimensions are many for ten digits.
2. Four views should be better than two after the same number of steps, for each of the losses, and after the same
   number of pictures, which is half the steps. It could fail because digits have little to augment.
3. MV-DHEL, and MV-InfoNCE, should be more accurate than NT-Xent over pairs, each at its best temperature. With two
   views there is one pair, so that MV-InfoNCE should give as much as NT-Xent.

The encoder is a small convolutional network. Views are crops of half of the area or more, turned a little, with other
contrast and noise. The rank is that of the projections of held-out digits; the accuracy is that of a probe on the
encoder's vectors with ten labels of each digit, the mean over ten draws of them. The ceiling is an encoder that was
trained by labels.

    accord claims tune multiview_infonce && accord claims run multiview_infonce
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from shared.digits import Digits, tuning_digits
from shared.encoders import ConvDigits
from shared.probes import FEW, more_accurate, ten_label_accuracy
from shared.views import as_pictures, view_of
from torch import Tensor

from accord.claims import Arm, Claim, Measured, Question, Scale, Tuning
from accord.functional import effective_rank, supcon, warmup_cosine_at
from accord.methods import DataInfo, Step
from accord.methods.multimodal.multiview import MultiView

EPOCHS, BATCH, LR, WARMUP, DIM = 16, 128, 1e-3, 0.05, 32
OBJECTIVES = {"MV-DHEL": "mv_dhel", "MV-InfoNCE": "mv_infonce", "pairwise": "nt_xent"}
SEARCH = {"temperature": [0.1, 0.2, 0.5, 1.0]}
RANK = "effective rank"

Loss = Callable[[MultiView, list[Tensor], Tensor], Tensor]


def outcome(
    seed: int,
    objective: str,
    views: int,
    *,
    epochs: int = EPOCHS,
    temperature: float = 0.2,
    by_labels: bool = False,
    settings: Mapping[str, float] | None = None,
    share: float = 0.0,
    quick: bool = False,
) -> Measured:
    """Train an encoder and measure it: an arm of the claim."""
    train, test = tuning_digits(seed, share)
    torch.manual_seed(seed)
    config = {"objective": objective, "views": views, "dim": DIM, "temperature": temperature, **(settings or {})}
    method = MultiView(config, {"image": ConvDigits(32)}, DataInfo(rows=len(train.labels)))
    passes = min(epochs, 1) if quick else epochs
    steps = passes * (len(train.labels) // BATCH)
    fitted(method, train, steps, labelled_loss if by_labels else method_loss)
    return Measured(measure(method.eval(), train, test, quick), steps, passes)


def fitted(method: MultiView, train: Digits, steps: int, loss: Loss) -> None:
    """Train in place, with Adam and the usual schedule."""
    pictures, labels = as_pictures(train), torch.from_numpy(train.labels)
    optimizer = torch.optim.Adam(method.parameters(), lr=LR)
    each = len(pictures) // BATCH
    for index in range(steps):
        if index % each == 0:
            batches = torch.randperm(len(pictures)).split(BATCH)
        rows = batches[index % each]
        views = [view_of(pictures[rows]) for _ in range(method.config.views)]
        optimizer.param_groups[0]["lr"] = warmup_cosine_at(index, round(WARMUP * steps), steps, base=LR)
        optimizer.zero_grad()
        loss(method, views, labels[rows]).backward()
        optimizer.step()


def method_loss(method: MultiView, views: list[Tensor], labels: Tensor) -> Tensor:
    """The method's own."""
    return method.loss({"image_views": views}, Step())["total"]


def labelled_loss(method: MultiView, views: list[Tensor], labels: Tensor) -> Tensor:
    """Supervised contrast: rows of a digit are positives of each other."""
    return supcon(torch.cat(method.project({"image_views": views})), labels.repeat(len(views)), 0.1)


@torch.inference_mode()
def measure(method: MultiView, train: Digits, test: Digits, quick: bool) -> dict[str, float]:
    """Rank of the projections, and accuracy of a probe with few labels."""
    known, asked = (method.embed({"image": as_pictures(digits)})["image"] for digits in (train, test))
    pooled: Any = method.encoders["image"](as_pictures(test)).pooled
    rank = float(effective_rank(method.heads["image"](pooled)))
    return {RANK: rank, FEW: ten_label_accuracy(known, asked, train, test, quick)}


def arms() -> Iterator[tuple[str, Arm]]:
    """Every objective with two and four views at its best temperature, and at one temperature; floor and ceiling."""
    for name, objective in OBJECTIVES.items():
        for views in (2, 4):
            yield (
                f"{name}, {views} views",
                Arm(function=partial(outcome, objective=objective, views=views), search=SEARCH),
            )
        yield (
            f"{name}, 2 views, twice the steps",
            Arm(
                function=partial(outcome, objective=objective, views=2, epochs=2 * EPOCHS),
                settings_of=f"{name}, 2 views",
                note="as many pictures as four views are",
            ),
        )
        yield f"{name}, 4 views, τ 0.2", Arm(function=partial(outcome, objective=objective, views=4))
    yield "MV-DHEL, 2 views, τ 0.2", Arm(function=partial(outcome, objective="mv_dhel", views=2))
    yield "untrained", Arm(function=partial(outcome, objective="mv_dhel", views=2, epochs=0), note="random weights")
    yield (
        "by labels",
        Arm(function=partial(outcome, objective="mv_dhel", views=2, by_labels=True), note="supervised contrast"),
    )


def rank(name: str, statement: str, method: str, baseline: str) -> Question:
    """That one has a higher rank than another."""
    return Question(
        name,
        statement,
        method,
        baseline,
        RANK,
        unit="dimensions",
        smallest=1.0,
        because="one dimension of thirty-two",
        scale=Scale(1.0, float(DIM)),
    )


CLAIM = Claim(
    slug="multiview_infonce",
    kind_of_data="real",
    paper="One loss term over all views of an instance is better than a sum over pairs; with uniformity inside each "
    "view it uses nearly all dimensions, more the more views there are, and is more accurate.",
    arms=dict(arms()),
    seeds=10,
    headline=True,
    scales={FEW: Scale("untrained", "by labels")},
    tune=Tuning(trials=4, seeds=(100, 101), metric=FEW),
    questions=[
        rank(
            "rank above MV-InfoNCE",
            "With four views MV-DHEL has a higher effective rank than MV-InfoNCE (τ 0.2).",
            "MV-DHEL, 4 views, τ 0.2",
            "MV-InfoNCE, 4 views, τ 0.2",
        ),
        rank(
            "rank above pairs",
            "With four views MV-DHEL has a higher effective rank than NT-Xent over pairs (τ 0.2).",
            "MV-DHEL, 4 views, τ 0.2",
            "pairwise, 4 views, τ 0.2",
        ),
        rank(
            "rank grows",
            "MV-DHEL's effective rank is higher with four views than with two (τ 0.2).",
            "MV-DHEL, 4 views, τ 0.2",
            "MV-DHEL, 2 views, τ 0.2",
        ),
        *(
            more_accurate(
                f"more views, {name}",
                f"Four views of {name} are more accurate than two after the same number of steps.",
                f"{name}, 4 views",
                f"{name}, 2 views",
            )
            for name in OBJECTIVES
        ),
        *(
            more_accurate(
                f"more views, equal pictures, {name}",
                f"Four views of {name} are more accurate than two after the same number of pictures.",
                f"{name}, 4 views",
                f"{name}, 2 views, twice the steps",
                equal="nothing",
                unequal_trials="with two views the temperature is that of half of the steps",
            )
            for name in OBJECTIVES
        ),
        *(
            more_accurate(
                f"accuracy, {name}",
                f"With four views {name} is more accurate than NT-Xent over pairs, each at its best temperature.",
                f"{name}, 4 views",
                "pairwise, 4 views",
            )
            for name in ("MV-DHEL", "MV-InfoNCE")
        ),
        more_accurate(
            "one pair",
            "With two views MV-InfoNCE is as accurate as NT-Xent.",
            "MV-InfoNCE, 2 views",
            "pairwise, 2 views",
            expects="equivalent",
        ),
    ],
    tuning="Where the temperature is 0.2 nothing was tuned. Network, views, rate and length are the same for all arms.",
)
