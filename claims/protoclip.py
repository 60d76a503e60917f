"""ProtoCLIP's grouping, on single digits that are captioned in four languages.

A caption names the digit in one of four languages and adds words that have nothing to do with the picture. So a digit
has many captions, and only their company shows that "seven" and "siete" are the same: the grouping that prototypes are
to bring about. The plain contrast may find it as well, since it sees each picture with several captions over time.

The baseline is the same method without clusters: CLIP on the same rows in the same order.

    accord claims run protoclip
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from shared.digits import Digits, split_digits, with_texts
from shared.encoders import DigitEncoder
from shared.interest import POINT
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score
from torch import Tensor

from accord.claims import Arm, Claim, Measured, Question
from accord.data.corpus import Corpus
from accord.data.loading.features import Features
from accord.encoders import build_encoder
from accord.encoders.base import Encoder
from accord.evaluation.linear_probe import evaluate_linear_probe
from accord.functional import kmeans, modality_gap
from accord.methods.base import Loader
from accord.methods.image_text.protoclip import ProtoClip
from accord.pipeline.build import build_method
from accord.pipeline.config import RunConfig, merged
from accord.training.artifact import Model
from accord.training.fit import fit

ROWS = 5000
WORDS = (
    ("zero", "null", "cero", "nul"),
    ("one", "eins", "uno", "een"),
    ("two", "zwei", "dos", "twee"),
    ("three", "drei", "tres", "drie"),
    ("four", "vier", "cuatro", "fire"),
    ("five", "funf", "cinco", "vijf"),
    ("six", "sechs", "seis", "zes"),
    ("seven", "sieben", "siete", "zeven"),
    ("eight", "acht", "ocho", "otte"),
    ("nine", "neun", "nueve", "negen"),
)
OPENINGS = ("a picture of", "here we see", "look at", "my", "this is", "another")
ENDINGS = ("on paper", "in ink", "from the archive", "by hand", "again", "at school", "in a letter", "", "on a cheque")
OFFSET = 20.0  # length of what is added to the image tower's features, whose own length is about 4
TEXT = {"name": "tiny_text", "width": 64, "depth": 1, "heads": 4, "length": 16, "vocabulary": 400}
RUN: dict[str, Any] = {
    "method": {"name": "protoclip", "dim": 64, "head_hidden": 128, "head_dim": 32, "flip": 0.0},
    "training": {"epochs": 12, "batch_size": 128, "lr": 2e-3, "grad_clip": 10.0, "accelerator": "cpu"},
}


def captioned_digits(seed: int) -> tuple[Corpus, Corpus]:
    """Digits with captions; training draws each picture about four times, with another caption each time."""
    random = np.random.default_rng(seed)
    train, test = split_digits(seed)
    chosen = random.integers(len(train.labels), size=ROWS)
    train = Digits(train.pixels[chosen], train.labels[chosen])
    return _captioned("captioned digits, train", train, random), _captioned("captioned digits, test", test, random)


def _captioned(name: str, digits: Digits, random: np.random.Generator) -> Corpus:
    captions = []
    for label in digits.labels:
        parts = (words[random.integers(len(words))] for words in (OPENINGS, WORDS[label], ENDINGS))
        captions.append(" ".join(parts).strip())
    corpus = with_texts(name, digits.pixels, captions)
    return replace(corpus, labels=digits.labels, classes=tuple(words[0] for words in WORDS))


def towers(train: Corpus, seed: int) -> Mapping[str, Encoder]:
    """A perceptron and a small transformer."""
    captions = [caption for row in train.texts() for caption in row]
    return {"image": DigitEncoder(128), "text": build_encoder("text", TEXT, texts=captions)}


class FarDigits(DigitEncoder):
    """The same perceptron, its features moved far from where they would be."""

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features with a constant added."""
        pooled = super().encode(x, mask).pooled
        return Features(pooled=pooled + OFFSET * self.dim**-0.5)


def far_towers(train: Corpus, seed: int) -> Mapping[str, Encoder]:
    """As :func:`towers`, with a gap between the modalities from the start."""
    return {**towers(train, seed), "image": FarDigits(128)}


def measure(model: Model, train: Corpus, test: Corpus) -> Mapping[str, float]:
    """How well the classes of held-out pictures are found, by a linear probe and by k-means, and the gap."""
    image, text = (model.embed_corpus(test, modality) for modality in ("image", "text"))
    found, _, _ = kmeans(image, len(test.classes), n_iter=100, n_redo=5)
    probe = {metric.name: metric.value for metric in evaluate_linear_probe(model, test, train)}
    return {
        "ARI": 100 * adjusted_rand_score(test.labels, found),
        "AMI": 100 * adjusted_mutual_info_score(test.labels, found),
        "linear probe": probe["top-1"],
        "gap": float(modality_gap(image, text)),
    }


class Oracle(ProtoClip):
    """With a teacher that knows the classes: a random code for each."""

    labels: Tensor

    def teacher_vectors(self, loader: Loader) -> Tensor:
        """The code of every row's class."""
        codes = torch.randn(10, 64, generator=torch.Generator().manual_seed(0))
        return codes[self.labels]


def taught(seed: int, quick: bool = False) -> Measured:
    """What an arm of the harness does, with the oracle."""
    train, test = captioned_digits(seed)
    if quick:
        train, test = train.select(np.arange(512)), test.select(np.arange(200))
    changes = {"data": {"source": "captioned digits"}, "method.teacher": "oracle", "training.seed": seed}
    config = RunConfig.parse(merged(RUN, changes | ({"training.epochs": 1} if quick else {})))
    torch.manual_seed(seed)
    method = build_method(config, train, towers(train, seed))
    method.__class__ = Oracle
    method.labels = torch.from_numpy(train.labels)
    with TemporaryDirectory() as folder:
        fitted = fit(method, train, config.training, Path(folder), progress=False)
    return Measured(measure(Model(method), train, test), fitted.steps, config.training.epochs)


def linear_heads(**settings: Any) -> Arm:
    """Modalities far apart, and heads that leave them so: batch norm would take out what is constant."""
    changes = {"method.head_layers": 0, **{f"method.{name}": value for name, value in settings.items()}}
    return Arm(changes, encoders=far_towers)


CLAIM = Claim(
    slug="protoclip",
    kind_of_data="composed",
    paper="Prototypes of the other modality's clusters, translated back into a modality's own features, group what "
    "belongs together better than InfoNCE alone, whatever the gap between the modalities; an outside teacher helps "
    "further.",
    data=captioned_digits,
    encoders=towers,
    run=RUN,
    arms={
        "protoclip": Arm(note="500 clusters on either side, a tenth of the episode"),
        "clip": Arm({"method.prototype_weight": 0.0}, note="the same without clusters"),
        "far apart, translated": linear_heads(),
        "far apart, not translated": linear_heads(back_translation=False),
        "far apart, clip": linear_heads(prototype_weight=0.0),
        "oracle teacher": Arm(function=taught, note="clusters of a random code of each class as well"),
    },
    measure=measure,
    questions=[
        Question(
            "grouping",
            "k-means finds the digits in ProtoCLIP's features of held-out pictures better than in CLIP's.",
            method="protoclip",
            baseline="clip",
            metric="ARI",
            **POINT,
        ),
        Question(
            "linear probe",
            "A linear probe on ProtoCLIP's features of held-out pictures is more accurate than on CLIP's.",
            method="protoclip",
            baseline="clip",
            metric="linear probe",
            **POINT,
        ),
        Question(
            "translated",
            "Where the modalities begin far apart, prototypes translated back group better than the other side's "
            "centroids.",
            method="far apart, translated",
            baseline="far apart, not translated",
            metric="ARI",
            **POINT,
        ),
        Question(
            "translated, against clip",
            "Where the modalities begin far apart, prototypes translated back group better than no prototypes.",
            method="far apart, translated",
            baseline="far apart, clip",
            metric="ARI",
            **POINT,
        ),
        Question(
            "oracle",
            "A teacher that knows the classes groups held-out pictures better than no teacher.",
            method="oracle teacher",
            baseline="protoclip",
            metric="ARI",
            **POINT,
        ),
    ],
    quick={"method.infonce_warmup": 0, "method.kmeans_restarts": 1},
    tuning="Clusters, target temperature, weights and clipping are the paper's. Learning rate and length are those of "
    "one first trial of the baseline on seed 100, the same for all arms.",
)
