"""ProtoCLIP's grouping, on single digits captioned in four languages, two captions of five at the wrong picture.

A caption names the digit in one of four languages and adds words that have nothing to do with the picture. So a digit
has many captions, and only their company shows that "seven" and "siete" are the same: the grouping that prototypes are
to bring about. Three hundred different pictures are little for it, and wrong captions spread what belongs together, so
that CLIP, which is the same method without clusters, leaves room. With right captions it finds the groups by itself,
and prototypes should bring nothing.

For translation the two sides are *turned* against each other: a fixed rotation stands behind the heads of the pictures,
so that a centroid of texts lies nowhere near its pictures. (A constant, as the paper speaks of a gap, is taken out by
the first batch norm.)

    accord claims run protoclip
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from shared.captions import captioned_digits, told_apart
from shared.encoders import DigitEncoder
from torch import Tensor

from accord.claims import Arm, Claim, Measured, Question, Scale
from accord.data.corpus import Corpus
from accord.encoders import build_encoder
from accord.encoders.base import Encoder
from accord.methods.base import Loader
from accord.methods.image_text.protoclip import ProtoClip
from accord.pipeline.build import build_method
from accord.pipeline.config import RunConfig, merged
from accord.training.artifact import Model
from accord.training.fit import fit

ROWS, DISTINCT, WRONG = 2000, 300, 0.4
TEXT = {"name": "tiny_text", "width": 64, "depth": 1, "heads": 4, "length": 16, "vocabulary": 400}
RUN: dict[str, Any] = {
    "method": {"name": "protoclip", "dim": 64, "head_hidden": 128, "head_dim": 32, "flip": 0.0},
    "training": {"epochs": 12, "batch_size": 128, "lr": 2e-3, "grad_clip": 10.0, "accelerator": "cpu"},
}
right = partial(captioned_digits, rows=ROWS, distinct=DISTINCT, languages=4)
noisy = partial(right, wrong=WRONG)


def towers(train: Corpus, seed: int) -> Mapping[str, Encoder]:
    """A perceptron and a small transformer."""
    captions = [caption for row in train.texts() for caption in row]
    return {"image": DigitEncoder(128), "text": build_encoder("text", TEXT, texts=captions)}


class Oracle(ProtoClip):
    """With a teacher that knows the classes, whatever the captions say: a random code for each."""

    labels: Tensor

    def teacher_vectors(self, loader: Loader) -> Tensor:
        """The code of every row's class."""
        codes = torch.randn(10, 64, generator=torch.Generator().manual_seed(0))
        return codes[self.labels]


class Turned(ProtoClip):
    """With a fixed rotation behind the heads of the pictures."""

    def _projected(self, towers: dict[str, Tensor]) -> dict[str, Tensor]:
        sides = super()._projected(towers)
        random = torch.randn(self.config.head_dim, self.config.head_dim, generator=torch.Generator().manual_seed(0))
        return {**sides, "image": sides["image"] @ torch.linalg.qr(random).Q}


def variant(kind: type[ProtoClip], **settings: Any) -> Callable[..., Measured]:
    """A function arm that does what the harness does, with a method that has no name in the registry."""

    def run(seed: int, quick: bool = False) -> Measured:
        train, test = noisy(seed)
        if quick:
            train, test = train.select(np.arange(256)), test.select(np.arange(100))
        changes = {f"method.{name}": value for name, value in settings.items()} | {"training.seed": seed}
        few = {"training.epochs": 1, "method.infonce_warmup": 0, "method.kmeans_restarts": 1} if quick else {}
        config = RunConfig.parse(merged(RUN, {"data": {"source": "captioned digits"}, **changes, **few}))
        torch.manual_seed(seed)
        method = build_method(config, train, towers(train, seed))
        method.__class__ = kind
        method.labels = torch.from_numpy(train.labels)
        with TemporaryDirectory() as folder:
            found = fit(method, train, config.training, Path(folder), progress=False)
        return Measured(told_apart(Model(method), train, test, quick), steps=found.steps, epochs=config.training.epochs)

    return run


GROUPS = {
    "metric": "ARI",
    "smallest": 2.0,
    "because": "of fifty pictures one more stands with its like",
}

CLAIM = Claim(
    slug="protoclip",
    kind_of_data="composed",
    paper="Prototypes of the other modality's clusters, translated back into a modality's own features, group what "
    "belongs together better than InfoNCE alone, whatever the gap between the modalities; an outside teacher helps "
    "further.",
    data=noisy,
    encoders=towers,
    run=RUN,
    arms={
        "protoclip": Arm(note="200 clusters on either side, a tenth of the episode"),
        "clip": Arm({"method.prototype_weight": 0.0}, note="the same without clusters"),
        "protoclip, right captions": Arm(data=right),
        "clip, right captions": Arm({"method.prototype_weight": 0.0}, data=right),
        "turned, translated": Arm(function=variant(Turned)),
        "turned, not translated": Arm(function=variant(Turned, back_translation=False)),
        "not translated": Arm({"method.back_translation": False}),
        "oracle teacher": Arm(
            function=variant(Oracle, teacher="oracle"), note="clusters of a random code of each class as well"
        ),
        "untrained": Arm(untrained=True),
    },
    measure=told_apart,
    scales={
        "ARI": Scale(floor=("untrained", 0.0), ceiling=("oracle teacher", "clip, right captions")),
        "probe": Scale(floor=("untrained", 10.0), ceiling=("oracle teacher", "clip, right captions")),
    },
    questions=[
        Question(
            "grouping",
            "k-means finds the digits in ProtoCLIP's features of held-out pictures better than in CLIP's.",
            method="protoclip",
            baseline="clip",
            **GROUPS,
        ),
        Question(
            "grouping, right captions",
            "Where all captions are right, it finds them as well in CLIP's.",
            method="protoclip, right captions",
            baseline="clip, right captions",
            expects="equivalent",
            **GROUPS,
        ),
        Question(
            "probe",
            "A probe with a hundred labels on ProtoCLIP's features of held-out pictures is more accurate.",
            method="protoclip",
            baseline="clip",
            metric="probe",
            smallest=1.0,
            because="one held-out digit of a hundred",
        ),
        Question(
            "translated",
            "Where the modalities are turned against each other, prototypes translated back group better than the "
            "other side's centroids.",
            method="turned, translated",
            baseline="turned, not translated",
            **GROUPS,
        ),
        Question(
            "translated, aligned",
            "Where they are not, it makes no difference.",
            method="protoclip",
            baseline="not translated",
            expects="equivalent",
            **GROUPS,
        ),
        Question(
            "translated, against clip",
            "Where they are turned, prototypes translated back group better than no prototypes.",
            method="turned, translated",
            baseline="clip",
            **GROUPS,
        ),
        Question(
            "oracle",
            "A teacher that knows the classes groups held-out pictures better than no teacher.",
            method="oracle teacher",
            baseline="protoclip",
            scale=Scale(floor=("untrained", 0.0), ceiling=100.0),
            **GROUPS,
        ),
    ],
    seeds=8,
    quick={"method.infonce_warmup": 0, "method.kmeans_restarts": 1},
    tuning="Clusters, target temperature, weights and clipping are the paper's. The learning rate is that of one trial "
    "on seed 200, of 16 epochs, in which CLIP left room above it; it is the same for all arms.",
)
