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
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
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
COLOURS = ("#d62728", "#bcbd22", "#333333", "#9467bd", "#1f77b4", "#2ca02c", "#17becf", "#ff7f0e")
BACKGROUND = "#f4f1e8"
SIDE, SHOWN = 64, 8
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
    """Scenes, the slots of their pixels and their masks; a slot has the colour of the thing that it fits best."""
    masks = np.stack([test.mask(row) for row in range(len(test))])
    slots = model.segment_corpus(test, (SIDE, SIDE)).numpy()
    named = matched(slots, masks, 1 + len(THINGS))
    figure, axes = plt.subplots(3, SHOWN, figsize=(12, 5.9))
    for place, (scene, found, true) in enumerate(axes.T):
        scene.imshow(test.sample(place, modalities=("image",))["image"])
        found.imshow(in_colours(named[place], slots[place]), interpolation="nearest")
        true.imshow(in_colours(masks[place]), interpolation="nearest")
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for row, title in zip(axes, ("scene", "slots", "true masks"), strict=True):
        row[0].set_ylabel(title, fontsize=12)
    handles = [Patch(color=colour, label=thing) for thing, colour in zip(THINGS, COLOURS, strict=True)]
    handles.append(Patch(facecolor=BACKGROUND, edgecolor="#999999", label="background"))
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, handlelength=1)
    figure.subplots_adjust(left=0.03, right=0.99, top=0.99, bottom=0.07, wspace=0.05, hspace=0.05)
    return figure


def in_colours(named: NDArray[np.int64], slots: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """A map ``(H, W)`` of things, 0 for the background, as a picture; the slots of -1 in greys of their own."""
    palette = np.array([to_rgb(colour) for colour in (BACKGROUND, *COLOURS)])
    picture = palette[np.maximum(named, 0)]
    if slots is not None:
        shades = np.linspace(0.55, 0.85, RUN["method"]["slots"])[slots]
        picture = np.where((named < 0)[..., None], shades[..., None], picture)
    return picture


if __name__ == "__main__":
    main()
