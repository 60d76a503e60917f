"""Slots as coloured maps beside the true masks, on scenes of emoji that training has not seen.

python docs/pictures/slotcon.py
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray
from PIL import Image
from shared import save

from accord.data.corpus import Corpus, open_corpus
from accord.data.making.compose import Sprite, sprites_of, write_scenes
from accord.evaluation.dense import evaluate_segmentation
from accord.pipeline.build import build_method
from accord.pipeline.config import RunConfig
from accord.training.artifact import Model
from accord.training.fit import fit

THINGS = ("red apple", "sunflower", "soccer ball", "octopus", "automobile", "evergreen tree", "frog", "balloon")
SLOTS, SIDE, SHOWN = 16, 64, 6
GROUND = "#f4ecd8"
COLOURS = ("#4c72b0", "#dd8452", "#2a7f3f", "#9467bd", "#c0392b", "#17a2b8", "#8c6d31", "#e377c2")
RUN: dict[str, Any] = {
    "data": {"source": "scenes"},
    "method": {
        "name": "slotcon",
        "slots": SLOTS,
        "dim": 64,
        "hidden": 256,
        "momentum": 0.99,
        "teacher_temperature": 0.05,
        "crop_scale": [0.3, 1.0],
    },
    "encoders": {"image": {"name": "tiny_resnet", "options": {"size": SIDE, "width": 32}}},
    "training": {"epochs": 8, "batch_size": 16, "lr": 1e-3},
}


def main() -> None:
    """Compose scenes, train, and draw the first held-out ones."""
    with TemporaryDirectory() as folder:
        train = composed(Path(folder) / "train", 1000, seed=1)
        test = composed(Path(folder) / "test", 200, seed=2)
        model = trained(train)
        for metric in evaluate_segmentation(model, test, train):
            print(metric)
        masks = np.stack([test.mask(row) for row in range(len(test))])
        slots = by_share(model.segment_corpus(test, (SIDE, SIDE)).numpy(), masks)
        found, solid = slots > 0, masks > 0
        print(
            f"told from the ground: {100 * (found == solid).mean():.1f} % of the pixels, {100 * (~solid).mean():.1f} %"
        )
        print(f"intersection over union of things: {100 * (found & solid).sum() / (found | solid).sum():.1f} %")
        print(save(draw(test, slots, masks), "slotcon"))


def composed(folder: Path, count: int, seed: int) -> Corpus:
    """Scenes of two to four things, each drawn by one of two hands, on plain pale backgrounds."""
    emoji = open_corpus("pack:emoji", check=False, quiet=True)
    names = [texts[0] for texts in emoji.texts()]
    rows = [row for row, name in enumerate(names) if name in THINGS]
    sprites = [
        Sprite(sprite.picture, sprite.name, THINGS.index(names[row]))
        for row, sprite in zip(rows, sprites_of(emoji.select(rows)), strict=True)
    ]
    pale = np.random.default_rng(0).integers(170, 250, size=(40, 3)).tolist()
    grounds = [Image.new("RGB", (SIDE, SIDE), tuple(colour)) for colour in pale]
    write_scenes(folder, sprites, grounds, count=count, seed=seed, kinds=THINGS, side=SIDE, scale=(0.35, 0.55))
    return open_corpus(folder, quiet=True)


def trained(train: Corpus) -> Model:
    """SlotCon from scratch."""
    config = RunConfig.parse(RUN)
    method = build_method(config, train)
    with TemporaryDirectory() as folder:
        fit(method, train, config.training, Path(folder))
    return Model(method)


def by_share(slots: NDArray[np.int64], masks: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Slots renumbered: 0 is the one that has most of the ground, then those of the things, largest first."""
    ground = np.bincount(slots[masks == 0], minlength=SLOTS).argmax()
    order = [slot for slot in np.bincount(slots[masks > 0], minlength=SLOTS).argsort()[::-1] if slot != ground]
    return np.array([ground, *order]).argsort()[slots]


def draw(test: Corpus, slots: NDArray[np.int64], masks: NDArray[np.uint8]) -> Figure:
    """Scenes with their slots and true things, and what slots the kinds of things are made of."""
    figure = plt.figure(figsize=(12, 4.9))
    maps, bars = figure.subfigures(1, 2, width_ratios=[2.1, 1])
    draw_maps(maps, test, slots, masks)
    draw_bars(bars.subplots(), slots, masks)
    bars.subplots_adjust(left=0.33, right=0.95, top=0.92, bottom=0.12)
    return figure


def draw_maps(figure: SubFigure, test: Corpus, slots: NDArray[np.int64], masks: NDArray[np.uint8]) -> None:
    """A column for each scene."""
    palette = np.array([to_rgb(colour) for colour in (GROUND, *COLOURS)])
    axes = figure.subplots(3, SHOWN)
    for place, (scene, found, true) in enumerate(axes.T):
        scene.imshow(test.sample(place, fields=("image",))["image"])
        found.imshow(palette[np.minimum(slots[place], len(COLOURS))], interpolation="nearest")
        found.contour(masks[place] > 0, levels=[0.5], colors="black", linewidths=0.8)
        true.imshow(masks[place] > 0, cmap="gray_r", vmin=-0.1, vmax=1.4, interpolation="nearest")
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for row, title in zip(axes, ("scene", "slots", "true things"), strict=True):
        row[0].set_ylabel(title, fontsize=12)
    figure.subplots_adjust(left=0.05, right=0.99, top=0.99, bottom=0.01, wspace=0.04, hspace=0.04)


def draw_bars(axis: Axes, slots: NDArray[np.int64], masks: NDArray[np.uint8]) -> None:
    """The share of each slot in the pixels of the ground and of each kind of thing."""
    shares = np.stack([np.bincount(slots[masks == kind], minlength=SLOTS) for kind in range(1 + len(THINGS))])
    shares = 100 * shares / shares.sum(axis=1, keepdims=True)  # (kinds, slots)
    start = np.zeros(len(shares))
    for slot, colour in enumerate((GROUND, *COLOURS)):
        axis.barh(range(len(shares)), shares[:, slot], left=start, color=colour)
        start += shares[:, slot]
    axis.set_yticks(range(len(shares)), ["background", *THINGS])
    axis.invert_yaxis()
    axis.set(xlim=(0, 100), xlabel="share of the pixels, %")
    axis.set_title("slots of each kind of thing", fontsize=12)
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
