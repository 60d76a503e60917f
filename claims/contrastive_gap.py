"""The contrastive gap, on twins and on emoji.

*Twins* are two networks of the same shape with different random weights that see the same digit, one as its picture
and one by its number in a table of the same pixels: two towers, one modality. Whatever gap they are left with has
nothing to do with modalities. It could fail to appear because pairs are identical and the loss goes to nearly 0.

On emoji, frozen features of pictures and names are projected; the added terms compete with the contrast for the same
two matrices, so they could cost retrieval.

    accord claims run contrastive_gap
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch.nn.functional as F
from shared.digits import split_digits, with_texts
from shared.encoders import DigitEncoder, NumberedDigits
from shared.interest import POINT, UNMEASURED

from accord.claims import Arm, Claim, Combined, Question
from accord.data.corpus import Corpus
from accord.diagnostics import gap_metrics
from accord.encoders.base import Encoder
from accord.evaluation.retrieval import evaluate_retrieval
from accord.training.artifact import Model

SIZES = (8, 32, 128)
CUA, CUAXU = {"uniformity": 1.0, "alignment": 1.0}, {"uniformity": 1.0, "alignment": 1.0, "cross_uniformity": 1.0}
NONE = {"uniformity": 0.0, "alignment": 0.0}
DISTANCE = {
    "smallest": 0.05,
    "because": "a twentieth of the radius is not seen when both are drawn",
    "scale": UNMEASURED,
}


def twins(seed: int) -> tuple[Corpus, Corpus]:
    """Digits, each with its number as text; those of the test rows go on counting."""
    train, test = split_digits(seed)
    start = len(train.labels)
    numbers = [str(row) for row in range(start + len(test.labels))]
    return (
        with_texts("twin digits, train", train.pixels, numbers[:start]),
        with_texts("twin digits, test", test.pixels, numbers[start:]),
    )


def towers(train: Corpus, seed: int) -> Mapping[str, Encoder]:
    """Two perceptrons of equal shape and different weights."""
    pixels = np.concatenate([part.pixels for part in split_digits(seed)])
    return {"image": DigitEncoder(256), "text": NumberedDigits(pixels, 256)}


def measure(model: Model, train: Corpus, test: Corpus) -> Mapping[str, float]:
    """Gap, separability and recall of held-out pairs; gap and separability also after centring by training means."""
    sides = [model.embed_corpus(test, modality) for modality in ("image", "text")]
    centres = [model.embed_corpus(train, modality).mean(dim=0) for modality in ("image", "text")]
    gap = gap_metrics(*sides)
    recall = {metric.name: metric.value for metric in evaluate_retrieval(model, test)}
    centred = gap_metrics(*(F.normalize(side - centre) for side, centre in zip(sides, centres, strict=True)))
    return {
        "gap": gap["centroid_distance"],
        "separability": 100 * gap["linear_separability"],
        "uniformity": (gap["uniformity_x"] + gap["uniformity_y"]) / 2,
        "alignment": gap["alignment"],
        "R@1": (recall["image→text R@1"] + recall["text→image R@1"]) / 2,
        "gap, centred": centred["centroid_distance"],
        "separability, centred": 100 * centred["linear_separability"],
    }


def arm(size: int, terms: Mapping[str, float]) -> Arm:
    """Twins of one embedding size under one loss."""
    return Arm({"method.dim": size, **{f"method.gap.{name}": weight for name, weight in terms.items()}})


def emoji(terms: Mapping[str, float]) -> Arm:
    """Projections of frozen features of emoji and their names."""
    section = {"source": "pack:emoji", "columns": {"text": ["name"], "group": "concept"}, "split": {"test": 0.2}}
    return Arm(
        {
            "method.dim": 128,
            **{f"method.gap.{name}": weight for name, weight in terms.items()},
            "training": {"epochs": 20, "batch_size": 128, "lr": 1e-3},
        },
        data=section,
        encoders=lambda train, seed: {},
    )


def part(name: str, divisor: float) -> Combined:
    """The gap of an arm, divided."""
    return Combined((name,), lambda found: {"gap": found["gap"] / divisor}, note=f"1/{divisor:g} of the gap of {name}")


CLAIM = Claim(
    slug="contrastive_gap",
    kind_of_data="real",
    paper="The gap between two towers' embeddings comes from the contrastive loss and not from the modalities; terms "
    "for uniformity and alignment close it without loss of retrieval.",
    data=twins,
    encoders=towers,
    run={
        "method": {"name": "contrastive_gap", "crop_scale": [1.0, 1.0]},
        "training": {"epochs": 60, "batch_size": 64, "lr": 1e-3, "weight_decay": 0.0, "warmup": 0.0},
    },
    arms={
        **{f"clip, D={size}": arm(size, NONE) for size in SIZES},
        **{f"CUA, D={size}": arm(size, CUA) for size in SIZES[1:]},
        "CUAXU, D=32": arm(32, CUAXU),
        "third of the gap, D=32": part("clip, D=32", 3),
        "half of the gap, D=128": part("clip, D=128", 2),
        "emoji, clip": emoji(NONE),
        "emoji, CUA": emoji(CUA),
        "emoji, CUAXU": emoji(CUAXU),
        "half of the gap, emoji": part("emoji, clip", 2),
    },
    measure=measure,
    questions=[
        Question(
            "gap of twins",
            "Twins that see the same digits end in regions that a hyperplane separates: accuracy above 85 % at D = 32.",
            method="clip, D=32",
            baseline=85.0,
            metric="separability",
            **POINT,
        ),
        Question(
            "grows to 32",
            "The gap is larger at D = 32 than at D = 8.",
            method="clip, D=32",
            baseline="clip, D=8",
            metric="gap",
            unit="distance of the centroids",
            **DISTANCE,
        ),
        Question(
            "grows to 128",
            "The gap is larger at D = 128 than at D = 32.",
            method="clip, D=128",
            baseline="clip, D=32",
            metric="gap",
            unit="distance of the centroids",
            **DISTANCE,
        ),
        *(
            Question(
                f"closed by {name}",
                f"{name} leaves less than a third of the gap at D = 32.",
                method=f"{name}, D=32",
                baseline="third of the gap, D=32",
                metric="gap",
                unit="distance of the centroids",
                higher=False,
                **DISTANCE,
            )
            for name in ("CUA", "CUAXU")
        ),
        Question(
            "closed by CUA, D = 128",
            "CUA leaves less than half of the gap at D = 128.",
            method="CUA, D=128",
            baseline="half of the gap, D=128",
            metric="gap",
            unit="distance of the centroids",
            higher=False,
            **DISTANCE,
        ),
        Question(
            "retrieval of twins",
            "CUA costs twins less than one point of R@1 at D = 32.",
            method="CUA, D=32",
            baseline="clip, D=32",
            metric="R@1",
            margin=-1.0,
            **POINT,
        ),
        *(
            Question(
                f"emoji, closed by {name}",
                f"On emoji {name} leaves less than half of the gap.",
                method=f"emoji, {name}",
                baseline="half of the gap, emoji",
                metric="gap",
                unit="distance of the centroids",
                higher=False,
                **DISTANCE,
            )
            for name in ("CUA", "CUAXU")
        ),
        Question(
            "emoji, retrieval",
            "On emoji CUA costs less than one point of R@1.",
            method="emoji, CUA",
            baseline="emoji, clip",
            metric="R@1",
            margin=-1.0,
            **POINT,
        ),
        Question(
            "emoji, centring",
            "CUA leaves the modalities of emoji harder to separate than plain training and then centring each by the "
            "mean of its training rows.",
            method="emoji, CUA",
            baseline="emoji, clip",
            metric="separability",
            baseline_metric="separability, centred",
            higher=False,
            **POINT,
        ),
    ],
    tuning="Nothing was tuned: temperature 0.01 and weights of 1 as in the paper; learning rate, batch and length as "
    "in a first trial of the plain loss, the same for all arms.",
)
