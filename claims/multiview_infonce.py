"""MV-InfoNCE and MV-DHEL against the pairwise losses, on single 8×8 digits.

1. Dimensionality: MV-DHEL, whose uniformity is inside each view, should fill more dimensions than MV-InfoNCE and
   NT-Xent over pairs, and more with four views than with two. It could fail because 32 dimensions are many for ten
   digits.
2. Four views should be better than two after the same number of steps, for any of the losses. It could fail because
   digits have little to augment.
3. MV-DHEL should be more accurate than pairwise NT-Xent at the paper's temperature of 0.5. At 0.2 it need not.

The encoder is a small ResNet on 16×16 pictures; the rank is that of the projections of held-out digits, the accuracy
that of a probe on the encoder's vectors, with ten labels of each digit.

    accord claims run multiview_infonce
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from shared.digits import labelled_digits
from shared.interest import POINT
from shared.probes import few_label_accuracy

from accord.claims import Arm, Claim, Question
from accord.data.corpus import Corpus
from accord.data.loading.loader import eval_loader
from accord.evaluation.linear_probe import fit_probe
from accord.functional import effective_rank
from accord.training.artifact import Model

OBJECTIVES = {"MV-DHEL": "mv_dhel", "MV-InfoNCE": "mv_infonce", "pairwise": "nt_xent"}
RANK, FEW, ALL = "effective rank", "accuracy, 10 labels each", "accuracy, all labels"


def measure(model: Model, train: Corpus, test: Corpus) -> Mapping[str, float]:
    """Rank of the projections, and accuracy of a probe with few labels and with all."""
    known, asked = (model.embed_corpus(corpus, "image") for corpus in (train, test))
    right = fit_probe(known, train.labels, 10, strengths=(10.0,)).logits(asked).argmax(dim=1).numpy() == test.labels
    accuracy = {FEW: few_label_accuracy(model, train, test), ALL: 100 * float(right.mean())}
    return {RANK: projected_rank(model, test), **accuracy}


@torch.inference_mode()
def projected_rank(model: Model, corpus: Corpus) -> float:
    """Effective rank of the projections of a corpus."""
    method: Any = model.method
    batches = eval_loader(corpus, model.inputs, batch_size=128, modalities=("image",))
    return float(
        effective_rank(torch.cat([method.heads["image"](method._pooled("image", batch)) for batch in batches]))
    )


def arms() -> Iterator[tuple[str, Arm]]:
    """Every objective with two and four views, at two temperatures."""
    for name, objective in OBJECTIVES.items():
        for views in (2, 4):
            for temperature in (0.2, 0.5):
                changes = {"method.objective": objective, "method.views": views, "method.temperature": temperature}
                yield f"{name}, {views} views, τ {temperature}", Arm(changes)


def question(name: str, statement: str, method: str, baseline: str, metric: str) -> Question:
    """A question about arms with the same number of steps."""
    unit = "" if metric == RANK else "points"
    return Question(name, statement, method=method, baseline=baseline, metric=metric, unit=unit, **POINT)


CLAIM = Claim(
    slug="multiview_infonce",
    kind_of_data="real",
    paper="One loss term over all views of an instance is better than a sum over pairs; with uniformity inside each "
    "view it uses nearly all dimensions, more the more views there are, and is more accurate.",
    data=labelled_digits,
    run={
        "method": {
            "name": "multiview_infonce",
            "dim": 32,
            "crop_scale": [0.5, 1.0],
            "flip": 0.0,
            "colour": 0.5,
            "blur": 0.2,
        },
        "encoders": {"image": {"name": "tiny_resnet", "options": {"size": 16, "width": 64}}},
        "training": {"epochs": 25, "batch_size": 128, "lr": 1e-3, "accelerator": "cpu"},
    },
    arms=dict(arms()),
    measure=measure,
    questions=[
        question(
            "rank above MV-InfoNCE",
            "With four views MV-DHEL has the higher effective rank (τ 0.2).",
            "MV-DHEL, 4 views, τ 0.2",
            "MV-InfoNCE, 4 views, τ 0.2",
            RANK,
        ),
        question(
            "rank above pairs",
            "With four views MV-DHEL has a higher effective rank than NT-Xent over pairs (τ 0.2).",
            "MV-DHEL, 4 views, τ 0.2",
            "pairwise, 4 views, τ 0.2",
            RANK,
        ),
        question(
            "rank grows",
            "MV-DHEL's effective rank is higher with four views than with two (τ 0.2).",
            "MV-DHEL, 4 views, τ 0.2",
            "MV-DHEL, 2 views, τ 0.2",
            RANK,
        ),
        *(
            question(
                f"more views, {name}",
                f"Four views of {name} are more accurate than two after the same number of steps (τ 0.5).",
                f"{name}, 4 views, τ 0.5",
                f"{name}, 2 views, τ 0.5",
                FEW,
            )
            for name in OBJECTIVES
        ),
        *(
            question(
                f"accuracy, τ {temperature}",
                f"With four views MV-DHEL is more accurate than NT-Xent over pairs at τ {temperature}.",
                f"MV-DHEL, 4 views, τ {temperature}",
                f"pairwise, 4 views, τ {temperature}",
                FEW,
            )
            for temperature in (0.5, 0.2)
        ),
    ],
    tuning="Nothing was tuned; both temperatures are reported.",
)
