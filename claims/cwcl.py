"""CWCL against locked tuning, on digits with phrases and on emoji: where its weights help.

A frozen encoder gives 16 principal components of real digits; a text encoder of a word table and one hidden layer
learns from pairs what its 60 synonyms mean. Without labels it has to find out that six words are one thing, and the
frozen similarities could tell it. Raw components have positive cosines throughout, as the features of real encoders
do; centred ones have not. All arms sum the two directions.

Contrast pushes apart what is one thing only where a batch holds it more than once, and has to have the time to do it.
Batches of 512 rows hold every digit fifty times, batches of 64 six times; short training has 60 steps instead of 150.
With 150 pairs most synonyms occur once or twice. Where every digit has a single word there is nothing to find out, and
after short training the weights should change nothing. The ceiling is the accuracy that the frozen
space has when classes are the means of their training pictures.

On emoji the locked side is EfficientNet-Lite0 and the trained one a small head on frozen MiniLM features.

    accord claims tune cwcl && accord claims run cwcl
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from shared.digits import split_digits
from shared.words import PhraseEncoder, PrincipalDigits, class_phrases, described_digits, words_of_each

from accord.claims import Arm, Claim, Combined, Question, Scale, Tuning
from accord.data.corpus import Corpus
from accord.encoders.base import Encoder
from accord.evaluation.retrieval import evaluate_retrieval
from accord.evaluation.zero_shot import evaluate_zero_shot
from accord.training.artifact import Model

PHRASES = 30  # sets of one phrase per class
KERNELS = {"LiT": "none", "affine": "affine", "exp": "exp"}
FEW = partial(described_digits, pairs=150)
ONE_WORD = partial(described_digits, synonyms=1)
RATES = [1e-3, 3e-3, 1e-2]


def towers(train: Corpus, seed: int) -> Mapping[str, Encoder]:
    """The frozen components, and the phrases' encoder."""
    return {"image": PrincipalDigits(split_digits(seed)[0].pixels), "text": PhraseEncoder()}


def measure(model: Model, train: Corpus, test: Corpus) -> Mapping[str, float]:
    """Accuracy by one phrase per class, what is kept of the structure, and recall; and accuracy by pictures."""
    pictures, labels = model.embed_corpus(test, "image"), torch.as_tensor(test.labels)
    known, own = model.embed_corpus(train, "image"), torch.as_tensor(train.labels)
    taught = torch.stack([F.normalize(known[own == label].mean(dim=0), dim=0) for label in range(len(train.classes))])
    found = {
        "taught": accuracy(pictures, taught.nan_to_num(), labels),
        "R@1": instance_recall(model, test),
    }
    if model.config["data"]["source"] == "pack:emoji":
        return found | {"accuracy": next(m.value for m in evaluate_zero_shot(model, test) if m.name == "top-1")}
    words = words_of_each(train)
    sets = [model.embed(texts=class_phrases(number, words)) for number in range(PHRASES)]
    return found | {
        "accuracy": float(np.mean([accuracy(pictures, classes, labels) for classes in sets])),
        "rank correlation": rank_correlation(taught, torch.stack(sets).mean(dim=0)),
    }


def accuracy(pictures: torch.Tensor, classes: torch.Tensor, labels: torch.Tensor) -> float:
    """In percent, by the nearest class."""
    return 100 * ((pictures @ classes.T).argmax(dim=1) == labels).float().mean().item()


def instance_recall(model: Model, test: Corpus) -> float:
    """Mean R@1 of both directions."""
    values = {metric.name: metric.value for metric in evaluate_retrieval(model, test)}
    return (values["image→text R@1"] + values["text→image R@1"]) / 2


def rank_correlation(one: torch.Tensor, other: torch.Tensor) -> float:
    """Spearman's ρ between the similarities of all pairs of classes on two sides."""
    pairs = np.triu_indices(len(one), 1)
    sides = [(unit @ unit.T).numpy()[pairs] for unit in (F.normalize(side, dim=1) for side in (one, other))]
    return float(spearmanr(*sides).statistic)


def arms() -> Iterator[tuple[str, Arm]]:
    """Every kernel in large and small batches, for long and shortly, raw, on few pairs, on one word; and on emoji."""
    for kernel, name in KERNELS.items():
        yield f"{kernel}, large batches", digits(name, 512, 75)
        yield f"{kernel}, short", digits(name, 512, 30)
        yield f"{kernel}, small batches", digits(name, 64, 8)
        yield f"{kernel}, raw", digits(name, 512, 75, {"method.centre": "none"})
        few = digits(name, 64, 75)
        yield f"{kernel}, few pairs", Arm(few.changes, data=FEW, search=few.search)
        if kernel != "exp":
            one = digits(name, 512, 30)
            yield f"{kernel}, one word", Arm(one.changes, data=ONE_WORD, search=one.search)
        yield f"{kernel}, emoji", emoji(name)
    for where in ("large batches", "raw", "emoji"):
        yield (
            f"taught, {where}",
            Combined((f"LiT, {where}",), taught, note="classes are the means of their training pictures"),
        )


def taught(found: Mapping[str, float]) -> dict[str, float]:
    """What the frozen space can give."""
    return {"accuracy": found["taught"]}


def digits(kernel: str, batch: int, epochs: int, changes: Mapping[str, str] | None = None) -> Arm:
    """Digits with one phrase each; two steps an epoch in large batches, nineteen in small ones."""
    settings = {"method.kernel": kernel, "training.batch_size": batch, "training.epochs": epochs, **(changes or {})}
    return Arm(settings, search={"training.lr": RATES})


def emoji(kernel: str) -> Arm:
    """A head on frozen features of the names, towards frozen features of the pictures."""
    section = {"source": "pack:emoji", "columns": {"text": ["name"], "group": "concept"}, "split": {"test": 0.2}}
    return Arm(
        {
            "method.kernel": kernel,
            "method.head": "mlp",
            "encoders": {"text": {"name": "minilm", "freeze": "all"}},
            "training": {"epochs": 60, "batch_size": 512, "lr": 1e-3},
        },
        data=section,
        encoders=lambda train, seed: {},
    )


def weights(
    kernel: str, where: str, words: str, floor: float, top: str, expects: Literal["better", "equivalent"] = "better"
) -> Question:
    """What a kernel does to classification, against locked tuning."""
    says = "better" if expects == "better" else "as well"
    than = "than" if expects == "better" else "as"
    return Question(
        f"{kernel}, {where}",
        f"{words} {says} under {kernel} weights {than} under locked tuning.",
        method=f"{kernel}, {where}",
        baseline=f"LiT, {where}",
        metric="accuracy",
        expects=expects,
        smallest=1.0,
        because="a fifth of the smallest gain that the paper reports",
        scale=Scale(floor, f"taught, {top}"),
    )


CLASSIFIED = {
    "large batches": "In batches of 512, one phrase per class tells held-out digits apart",
    "short": "After 60 steps in batches of 512, one phrase per class tells held-out digits apart",
    "small batches": "In batches of 64, one phrase per class tells held-out digits apart",
    "raw": "In batches of 512 and without centring, one phrase per class tells held-out digits apart",
    "few pairs": "With 150 pairs, one phrase per class tells held-out digits apart",
}

CLAIM = Claim(
    slug="cwcl",
    kind_of_data="composed",
    paper="Weights from the frozen encoder's own similarities pass its structure on, so that zero-shot classification "
    "is 5 to 8 points better than with locked tuning.",
    data=described_digits,
    encoders=towers,
    run={
        "method": {"name": "cwcl", "crop_scale": [1.0, 1.0], "centre": "both"},
        "training": {"weight_decay": 0.0, "warmup": 0.0},
    },
    arms=dict(arms()),
    measure=measure,
    seeds=10,
    headline=True,
    tune=Tuning(trials=3, seeds=(100, 101), metric="accuracy", share=0.15),
    questions=[
        *(
            weights(kernel, where, words, 10.0, "raw" if where == "raw" else "large batches")
            for where, words in CLASSIFIED.items()
            for kernel in ("affine", "exp")
        ),
        weights(
            "affine",
            "one word",
            "Where every digit has one word, one phrase per class tells held-out digits apart",
            10.0,
            "large batches",
            "equivalent",
        ),
        *(
            weights(kernel, "emoji", "The names of 98 subcategories tell held-out emoji apart", 100 / 98, "emoji")
            for kernel in ("affine", "exp")
        ),
        *(
            Question(
                f"structure, {kernel}",
                f"In batches of 512, {kernel} weights keep more of the order of the classes' similarities than locked "
                "tuning does.",
                method=f"{kernel}, large batches",
                baseline="LiT, large batches",
                metric="rank correlation",
                unit="Spearman's ρ",
                smallest=0.05,
                because="one pair of classes in twenty changes its place",
                scale=Scale(0.0, 1.0),
            )
            for kernel in ("affine", "exp")
        ),
        Question(
            "recall",
            "On emoji, affine weights cost less than 10 points of R@1.",
            method="affine, emoji",
            baseline="LiT, emoji",
            metric="R@1",
            margin=-10.0,
            smallest=1.0,
            because="one query more in a hundred",
            scale=Scale(100 / 381, 100.0),
        ),
    ],
    tuning="On emoji nothing was tuned; kernel temperatures are the defaults.",
)
