"""The contrastive gap, on twins, on captioned scenes and on emoji.

*Twins* are two networks of the same shape with different random weights that see the same digit, one as its picture
and one by its number in a table of the same pixels: two towers, one modality. Whatever gap they are left with has
nothing to do with modalities. It could fail to appear because pairs are identical and the loss goes to nearly 0. In a
space of eight dimensions there is little of a gap, and closing it should change nothing.

On scenes of digits both towers are trained from nothing as well, on pictures and captions; on emoji frozen features of
pictures and names are projected. The added terms compete with the contrast for the same weights, so they could cost
retrieval.

    accord claims run contrastive_gap
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch.nn.functional as F
from shared.digits import digit_scenes, split_digits, with_texts
from shared.encoders import DigitEncoder, NumberedDigits

from accord.claims import Arm, Claim, Combined, Question, Scale
from accord.data.corpus import Corpus
from accord.diagnostics import gap_metrics
from accord.encoders.base import Encoder
from accord.evaluation.retrieval import evaluate_retrieval
from accord.training.artifact import Model

SIZES = (8, 32, 128)
CUA, CUAXU = {"uniformity": 1.0, "alignment": 1.0}, {"uniformity": 1.0, "alignment": 1.0, "cross_uniformity": 1.0}
NONE = {"uniformity": 0.0, "alignment": 0.0}
SCENES = partial(digit_scenes, train=2048, test=500)


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


def emoji(terms: Mapping[str, float], *, untrained: bool = False) -> Arm:
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
        untrained=untrained,
    )


def scenes(terms: Mapping[str, float], *, untrained: bool = False) -> Arm:
    """Pictures of four digits and captions about them; both towers are trained."""
    return Arm(
        {
            "method.dim": 128,
            **{f"method.gap.{name}": weight for name, weight in terms.items()},
            "encoders": {
                "image": {"name": "tiny_vit", "options": {"size": 16, "patch": 8, "width": 64, "depth": 1, "heads": 4}},
                "text": {"name": "tiny_text", "options": {"width": 64, "depth": 1, "heads": 4, "length": 24}},
            },
            "training": {"epochs": 25, "batch_size": 64, "lr": 1e-3},
        },
        data=SCENES,
        encoders=lambda train, seed: {},
        untrained=untrained,
    )


def part(name: str, divisor: float) -> Combined:
    """The gap of an arm, divided."""
    return Combined((name,), lambda found: {"gap": found["gap"] / divisor}, note=f"1/{divisor:g} of the gap of {name}")


def closed(name: str, statement: str, method: str, baseline: str, floor: str) -> Question:
    """That terms leave less than a part of the gap."""
    return Question(
        name,
        statement,
        method=method,
        baseline=baseline,
        metric="gap",
        unit="distance of the centroids",
        higher=False,
        smallest=0.02,
        because="nearer to each other than that, neighbours of one modality are neighbours of the other",
        scale=Scale(floor, 0.0),
    )


def grows(name: str, statement: str, method: str, baseline: str) -> Question:
    """That one gap is larger than another."""
    return Question(
        name,
        statement,
        method=method,
        baseline=baseline,
        metric="gap",
        unit="distance of the centroids",
        smallest=0.05,
        because="a twentieth of the radius, a tenth of the gap that is to be explained",
        scale=Scale(0.0, "untrained twins"),
    )


def kept(name: str, statement: str, method: str, baseline: str, rows: int) -> Question:
    """That recall falls by less than a point."""
    return Question(
        name,
        statement,
        method=method,
        baseline=baseline,
        metric="R@1",
        margin=-1.0,
        smallest=0.25,
        because="one query in four hundred; the loss that is allowed is a point",
        scale=Scale(100 / rows, 100.0),
    )


CLAIM = Claim(
    slug="contrastive_gap",
    kind_of_data="real",
    paper="The gap between two towers' embeddings comes from the contrastive loss and not from the modalities; terms "
    "for uniformity and alignment close it without loss of retrieval.",
    data=twins,
    encoders=towers,
    run={
        "method": {"name": "contrastive_gap"},
        "training": {"epochs": 24, "batch_size": 64, "lr": 1e-3, "weight_decay": 0.0, "warmup": 0.0},
    },
    arms={
        **{f"clip, D={size}": arm(size, NONE) for size in SIZES},
        **{f"CUA, D={size}": arm(size, CUA) for size in SIZES},
        "CUAXU, D=32": arm(32, CUAXU),
        "untrained twins": Arm({"method.dim": 32}, untrained=True),
        "third of the gap, D=32": part("clip, D=32", 3),
        "half of the gap, D=128": part("clip, D=128", 2),
        "scenes, clip": scenes(NONE),
        "scenes, CUA": scenes(CUA),
        "scenes, CUAXU": scenes(CUAXU),
        "untrained scenes": scenes(CUA, untrained=True),
        "half of the gap, scenes": part("scenes, clip", 2),
        "emoji, clip": emoji(NONE),
        "emoji, CUA": emoji(CUA),
        "emoji, CUAXU": emoji(CUAXU),
        "untrained emoji": emoji(CUA, untrained=True),
        "half of the gap, emoji": part("emoji, clip", 2),
    },
    measure=measure,
    seeds=5,
    questions=[
        Question(
            "gap of twins",
            "Twins that see the same digits end in regions that a hyperplane separates: accuracy above 85 % at D = 32.",
            method="clip, D=32",
            baseline=85.0,
            metric="separability",
            smallest=2.0,
            because="one pair in fifty on the wrong side of the plane",
            scale=Scale(50.0, 100.0),
        ),
        grows("grows to 32", "The gap of twins is larger at D = 32 than at D = 8.", "clip, D=32", "clip, D=8"),
        grows("grows to 128", "It is larger at D = 128 than at D = 32.", "clip, D=128", "clip, D=32"),
        *(
            closed(
                f"closed by {name}",
                f"{name} leaves twins less than a third of the gap at D = 32.",
                f"{name}, D=32",
                "third of the gap, D=32",
                "untrained twins",
            )
            for name in ("CUA", "CUAXU")
        ),
        closed(
            "closed by CUA, D = 128",
            "CUA leaves twins less than half of the gap at D = 128.",
            "CUA, D=128",
            "half of the gap, D=128",
            "untrained twins",
        ),
        Question(
            "nothing to close",
            "At D = 8, where twins have hardly a gap, CUA changes their R@1 by nothing that matters.",
            method="CUA, D=8",
            baseline="clip, D=8",
            metric="R@1",
            smallest=1.0,
            because="the loss that is allowed elsewhere",
            expects="equivalent",
            scale=Scale(100 / 540, 100.0),
        ),
        kept(
            "retrieval of twins",
            "CUA costs twins less than one point of R@1 at D = 32.",
            "CUA, D=32",
            "clip, D=32",
            540,
        ),
        *(
            closed(
                f"{where}, closed by {name}",
                f"On {where} {name} leaves less than half of the gap.",
                f"{where}, {name}",
                f"half of the gap, {where}",
                f"untrained {where}",
            )
            for where in ("scenes", "emoji")
            for name in ("CUA", "CUAXU")
        ),
        kept(
            "scenes, retrieval", "On scenes CUA costs less than one point of R@1.", "scenes, CUA", "scenes, clip", 500
        ),
        kept("emoji, retrieval", "On emoji CUA costs less than one point of R@1.", "emoji, CUA", "emoji, clip", 381),
        *(
            Question(
                f"{where}, centring",
                f"CUA leaves the modalities of {where} harder to separate than plain training and then centring each "
                "by the mean of its training rows.",
                method=f"{where}, CUA",
                baseline=f"{where}, clip",
                metric="separability",
                baseline_metric="separability, centred",
                higher=False,
                smallest=2.0,
                because="one pair in fifty on the wrong side of the plane",
                scale=Scale(100.0, 50.0),
            )
            for where in ("scenes", "emoji")
        ),
    ],
    tuning="Nothing was tuned: temperature 0.01 and weights of 1 as in the paper; learning rate, batch and length are "
    "those with which the plain loss of twins comes to rest, the same for all arms.",
)
