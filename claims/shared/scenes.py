"""Scenes of three or four emoji of eight kinds with exact masks, for methods that are measured place by place."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import datasets
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from accord.data.columns import Columns
from accord.data.corpus import Corpus, open_corpus
from accord.data.making.compose import compose, sprites_of
from accord.data.splits import split
from accord.evaluation.dense import cell_classes, evaluate_segmentation
from accord.evaluation.linear_probe import fit_probe
from accord.training.artifact import Model

SIDE = 64
KINDS = (
    *("country-flag", "person-role", "animal-mammal", "transport-ground"),
    *("clothing", "heart", "place-building", "time"),
)
KIND = "kind of a cell"
PER_KIND = 60  # drawings of a kind, so that flags are not half of all things
SIMCLR: dict[str, Any] = {  # contrast of whole crops, for an arm beside
    "method": {
        "name": "multiview_infonce",
        "objective": "nt_xent",
        "views": 2,
        "dim": 48,
        "temperature": 0.2,
        "crop_scale": [0.3, 1.0],
        "colour": 0.5,
    }
}


def masked_scenes(seed: int, train: int = 1200, test: int = 300) -> tuple[Corpus, Corpus]:
    """Scenes for training and for testing, made of different emoji, both drawings of a concept on one side."""
    emoji = open_corpus("pack:emoji", check=False, quiet=True)
    assert emoji.labels is not None
    kinds = [emoji.classes.index(name) for name in KINDS]
    emoji = emoji.select(np.flatnonzero(np.isin(emoji.labels, kinds)))
    emoji = emoji.with_labels(np.array([kinds.index(label) for label in emoji.labels]), classes=KINDS)
    parts = split(emoji.groups(), emoji.labels, {"test": 0.3}, seed, ids=np.arange(len(emoji)))
    return (
        _scenes("train", emoji.select(parts.rows["train"]), train, seed),
        _scenes("test", emoji.select(parts.rows["test"]), test, seed + 1_000_000),
    )


def segmentation(model: Model, train: Corpus, test: Corpus, quick: bool = False) -> Mapping[str, float]:
    """What a linear probe on single cells reaches, correspondence, and found parts where there are any.

    ``kind of a cell`` is a probe of cells that show something, which says more while features are weak: the others are
    so many that a weak probe calls everything background.
    """
    if quick:
        train, test = train.select(np.arange(8)), test.select(np.arange(8))
    found = {metric.name: metric.value for metric in evaluate_segmentation(model, test, train)}
    known, asked = (_shown(model, corpus) for corpus in (train, test))
    probe = fit_probe(*known, len(KINDS), strengths=(1.0,))
    found[KIND] = 100 * float((probe.logits(asked[0]).argmax(dim=1).numpy() == asked[1]).mean())
    return found


def _shown(model: Model, corpus: Corpus) -> tuple[Tensor, NDArray[np.int64]]:
    """Features ``(n, C)`` and kinds ``(n,)`` of the cells that show something, 20,000 at most."""
    maps = model.dense_corpus(corpus)
    classes = cell_classes(corpus, maps.shape[2], maps.shape[3]).reshape(-1)
    rows = np.flatnonzero(classes)
    rows = np.random.default_rng(0).permutation(rows)[:20_000]
    return maps.flatten(2).mT.flatten(0, 1)[torch.from_numpy(rows)], classes[rows] - 1


def _scenes(name: str, emoji: Corpus, count: int, seed: int) -> Corpus:
    random = np.random.default_rng(seed)
    assert emoji.labels is not None
    drawn = [random.permutation(np.flatnonzero(emoji.labels == kind))[:PER_KIND] for kind in range(len(KINDS))]
    sprites = sprites_of(emoji.select(np.concatenate(drawn)))
    images, masks = [], []
    for own in random.integers(2**32, size=count):
        scene = compose(sprites, seed=int(own), side=SIDE, things=(3, 4), scale=(0.3, 0.42))
        images.append(_png(scene.frames[0]))
        masks.append(_png(Image.fromarray(scene.masks[0])))
    cell = {"bytes": datasets.Value("large_binary"), "path": datasets.Value("string")}
    table = {"image": images, "mask": masks}
    rows = datasets.Dataset.from_dict(table, features=datasets.Features({"image": cell, "mask": cell}))
    return Corpus(f"masked scenes, {name}", rows, Columns(image="image", mask="mask"), np.arange(count))


def _png(picture: Image.Image) -> dict[str, bytes | None]:
    stream = io.BytesIO()
    picture.save(stream, format="PNG", compress_level=1)
    return {"bytes": stream.getvalue(), "path": None}
