"""Slots as coloured maps beside the true masks, on scenes of emoji that training has not seen.

python docs/pictures/slotcon.py
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from shared import save

from accord.data.compose import Sprite, sprites_of, write_scenes
from accord.data.corpus import Corpus, open_corpus
from accord.evaluation.dense import evaluate_segmentation, matched
from accord.pipeline.build import build_method
from accord.pipeline.config import RunConfig
from accord.training.artifact import Model
from accord.training.fit import fit

THINGS = ("red apple", "sunflower", "soccer ball", "octopus", "automobile", "evergreen tree", "frog", "balloon")
SIDE, SHOWN = 64, 7
SCENES = {"train": 1500, "test": 300}
RUN: dict[str, Any] = {
    "data": {"source": "scenes"},
    "method": {
        "name": "slotcon",
        "slots": 16,
        "dim": 64,
        "hidden": 256,
        "momentum": 0.97,
        "crop_scale": [0.3, 1.0],
    },
    "encoders": {"image": {"name": "tiny_resnet", "options": {"size": SIDE, "width": 64}}},
    "training": {"epochs": 20, "batch_size": 64, "lr": 1e-3},
}


def main() -> None:
    """Compose scenes, train, and draw the first held-out ones."""
    with TemporaryDirectory() as folder:
        train, test = (composed(Path(folder) / name, count) for name, count in SCENES.items())
        model = trained(train)
        for metric in evaluate_segmentation(model, test, train):
            print(metric)
        print(save(draw(model, test), "slotcon"))


def composed(folder: Path, count: int) -> Corpus:
    """Scenes of two to four things, each drawn in one of two hands, on gradients."""
    emoji = open_corpus("pack:emoji", columns={"text": "name"}, quiet=True)
    rows = [row for row, names in enumerate(emoji.texts()) if names[0] in THINGS]
    kinds = [THINGS.index(emoji.texts()[row][0]) for row in rows]
    cut = sprites_of(emoji.select(rows))
    sprites = [Sprite(sprite.picture, sprite.name, kind) for sprite, kind in zip(cut, kinds, strict=True)]
    seed = len(folder.name)
    write_scenes(folder, sprites, count=count, seed=seed, kinds=THINGS, side=SIDE, scale=(0.35, 0.55))
    return open_corpus(folder, quiet=True)


def trained(train: Corpus) -> Model:
    """SlotCon from scratch."""
    config = RunConfig.parse(RUN)
    torch.manual_seed(0)
    method = build_method(config, train)
    with TemporaryDirectory() as folder:
        fit(method, train, config.training, Path(folder))
    return Model(method)


def draw(model: Model, test: Corpus) -> Figure:
    pictures = test.select(range(SHOWN))
    parts = model.segment_corpus(pictures, (SIDE, SIDE)).numpy()
    masks = np.stack([pictures.mask(row) for row in range(SHOWN)])
    figure, axes = plt.subplots(3, SHOWN, figsize=(12, 5.4), layout="constrained")
    for place in range(SHOWN):
        axes[0][place].imshow(pictures.sample(place, modalities=("image",))["image"])
        axes[1][place].imshow(parts[place], cmap="tab20", vmin=0, vmax=19, interpolation="nearest")
        axes[2][place].imshow(masks[place], cmap="tab20", vmin=0, vmax=19, interpolation="nearest")
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    return figure


if __name__ == "__main__":
    main()
