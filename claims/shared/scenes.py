"""Scenes of three or four real digits with exact masks, for methods that are measured place by place.

Pictures of 48 pixels are seen at 32, by a network of four convolutions whose 8 × 8 cells see little more than a digit:
a deeper one's would see the whole picture, and place would not matter.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import partial
from typing import Any

import datasets
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from accord.claims import Arm, Measured, Scale
from accord.claims.declare import Measure
from accord.data.columns import Columns
from accord.data.corpus import Corpus
from accord.data.inputs import ImageInput
from accord.data.loading.loader import eval_loader
from accord.data.loading.streams import Features, Stream
from accord.encoders.base import Encoder
from accord.evaluation.dense import cell_classes, evaluate_segmentation
from accord.functional import warmup_cosine_at
from accord.methods import DataInfo
from accord.methods.image.pixpro import Pixpro
from accord.training.artifact import Model
from shared.digits import Digits, split_digits

CANVAS, SIDE, CELLS = 48, 32, 8  # pixels of a scene, pixels of what the network sees, cells of a side of its map
SIZES, SPOTS = (14, 21), 24  # pixels of a digit, and of a quarter of the scene that it stands in
CLASSES = 11  # the background and ten digits
TRAIN, TEST, EPOCHS, BATCH, LR = 600, 200, 10, 32, 1e-3
MIOU = "linear mIoU"
CROPS: dict[str, Any] = {"crop_scale": [0.3, 0.9], "flip": 0.0}  # a mirrored digit is none
WHOLE: dict[str, Any] = {"method.crop_scale": [1.0, 1.0], "method.colour": False}  # both views are the same picture
FLOOR, CEILING = "untrained", "by masks"
SCALE = Scale(FLOOR, CEILING)
TRAINING = {"epochs": EPOCHS, "batch_size": BATCH, "lr": LR, "accelerator": "cpu"}
SIMCLR: dict[str, Any] = {  # contrast of whole crops, for an arm beside
    "method": {"name": "multiview_infonce", "objective": "nt_xent", "views": 2, "dim": 48, "colour": 0.0, **CROPS}
}
POINTS: dict[str, Any] = {
    "smallest": 1.0,
    "because": "the paper's gains for segmentation are one to two points of mIoU",
}


def masked_scenes(seed: int) -> tuple[Corpus, Corpus]:
    """Scenes for training and for testing, made of different pictures of digits."""
    parts = zip(("train", "test"), split_digits(seed), (TRAIN, TEST), strict=True)
    train, test = (
        _corpus(name, digits, count, np.random.default_rng([seed, place]))
        for place, (name, digits, count) in enumerate(parts)
    )
    return train, test


class CellEncoder(Encoder):
    """Four convolutions on grey values, with a stride of four in all: a map, and its mean.

    Args:
        width: channels of the map.
    """

    modality = "image"
    gives = frozenset({"pooled", "tokens", "patches"})

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.input = ImageInput(size=SIDE, mean=(0.5,) * 3, std=(0.5,) * 3)
        self.dim = width
        widths, strides = (1, width // 4, width // 2, width, width), (1, 2, 2, 1)
        self.layers = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(given, made, 3, stride, 1, bias=False), nn.BatchNorm2d(made), nn.ReLU())
                for given, made, stride in zip(widths, widths[1:], strides, strict=False)
            )
        )

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of pictures ``(B, 3, 32, 32)`` in grey."""
        cells = self.layers(x.mean(dim=1, keepdim=True))  # (B, C, 8, 8)
        return Features(cells.mean(dim=(2, 3)), streams={"patches": Stream.of_map(cells)}, main="patches")

    def blocks(self) -> list[nn.Module]:
        """The convolutions."""
        return list(self.layers)

    def spec(self) -> dict[str, Any]:
        """The width."""
        return {"name": "cells", "width": self.dim}


def cell_encoder(train: Corpus, seed: int) -> dict[str, Encoder]:
    """The encoder of all arms."""
    return {"image": CellEncoder()}


def segmentation(model: Model, train: Corpus, test: Corpus) -> Mapping[str, float]:
    """What a linear probe on single cells reaches."""
    return {metric.name: metric.value for metric in evaluate_segmentation(model, test, train)}


def by_masks(seed: int, measure: Measure, quick: bool = False) -> Measured:
    """The ceiling: the same network, whose cells the masks teach in as many steps, measured likewise."""
    train, test = masked_scenes(seed)
    train, test = (train.select(range(BATCH)), test.select(range(BATCH))) if quick else (train, test)
    torch.manual_seed(seed)
    encoder, head, epochs = CellEncoder(), nn.Conv2d(64, CLASSES, 1), 1 if quick else EPOCHS
    pictures = torch.cat([batch["image"] for batch in eval_loader(train, {"image": encoder.input}, batch_size=BATCH)])
    masks = torch.from_numpy(cell_classes(train, CELLS, CELLS))
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=LR)
    steps = epochs * (len(pictures) // BATCH)
    for index in range(steps):
        rows = torch.randperm(len(pictures))[:BATCH]
        optimizer.param_groups[0]["lr"] = warmup_cosine_at(index, steps // 20, steps, base=LR)
        optimizer.zero_grad()
        F.cross_entropy(head(encoder(pictures[rows]).grid()), masks[rows]).backward()
        optimizer.step()
    probed = Pixpro({"dim": 8, "hidden": 8}, {"image": encoder}, DataInfo(rows=len(train)))
    return Measured(measure(Model(probed.eval()), train, test), steps, epochs)


def ends(measure: Measure) -> dict[str, Arm]:
    """The arms that are floor and ceiling."""
    return {
        FLOOR: Arm(untrained=True),
        CEILING: Arm(function=partial(by_masks, measure=measure), note="the same network, taught by the masks"),
    }


def _corpus(name: str, digits: Digits, count: int, random: np.random.Generator) -> Corpus:
    scenes = [_scene(digits, random) for _ in range(count)]
    cell = {"bytes": datasets.Value("large_binary"), "path": datasets.Value("string")}
    table = {"image": [_png(picture) for picture, _ in scenes], "mask": [_png(mask) for _, mask in scenes]}
    rows = datasets.Dataset.from_dict(table, features=datasets.Features({"image": cell, "mask": cell}))
    return Corpus(f"digit scenes with masks, {name}", rows, Columns(image="image", mask="mask"), np.arange(count))


def _scene(digits: Digits, random: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Grey values and classes ``(48, 48)``: digits in three or four quarters, over smooth noise."""
    coarse = Image.fromarray(random.integers(0, 110, (6, 6)).astype(np.uint8))
    canvas = np.asarray(coarse.resize((CANVAS, CANVAS), Image.Resampling.BICUBIC)).copy()
    mask = np.zeros_like(canvas)
    for quarter in random.permutation(4)[: random.integers(3, 5)]:
        chosen, size = random.integers(len(digits.labels)), int(random.integers(*SIZES))
        digit = np.asarray(Image.fromarray(digits.pixels[chosen]).resize((size, size), Image.Resampling.BILINEAR))
        top, left = SPOTS * np.array(divmod(quarter, 2)) + random.integers(SPOTS - size + 1, size=2)
        place = np.s_[top : top + size, left : left + size]
        canvas[place] = np.maximum(canvas[place], digit)
        mask[place][digit > 60] = digits.labels[chosen] + 1
    return canvas, mask


def _png(grey: NDArray[np.uint8]) -> dict[str, bytes | None]:
    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, format="PNG", compress_level=1)
    return {"bytes": stream.getvalue(), "path": None}
