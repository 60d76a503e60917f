"""Cells of one drawing that are looked for in another drawing of the same thing, before and after training.

python docs/pictures/pixpro.py
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from matplotlib import patheffects
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from shared import save, train_emoji
from torch import Tensor

from accord.data.corpus import Corpus
from accord.encoders.base import Encoder
from accord.evaluation.correspondence import evaluate_correspondence, shown_cells, untrained
from accord.evaluation.metric import Metric
from accord.training.artifact import Model

METHOD = {"name": "pixpro", "dim": 64, "hidden": 256, "momentum": 0.99, "crop_scale": [0.3, 1.0]}
RUN: dict[str, Any] = {
    "training.epochs": 8,
    "training.batch_size": 32,
    "encoders.image": {"name": "tiny_resnet", "options": {"size": 64, "width": 32}},
}
BEFORE, CONSISTENCY, CONTRAST = "before\ntraining", "consistency\n(pixpro)", "contrast\n(pixcontrast)"
POINTS = {  # held-out emoji, and two cells (row, column) of the first drawing, marked by hand
    "cherries": ((1, 4), (6, 2)),
    "hatching chick": ((2, 4), (6, 4)),
    "robot": ((4, 2), (6, 4)),
    "rocket": ((1, 6), (6, 1)),
    "cupcake": ((3, 4), (6, 4)),
    "potted plant": ((3, 3), (6, 4)),
}
COLOURS, CELL = ("#1f5fd0", "#e0352b"), 8
BLUE, ORANGE, GREY = "#4c72b0", "#dd8452", "#777777"


def main() -> None:
    """Train with both objectives, measure, and draw."""
    models, measured = {}, {}
    for title, objective in ((CONSISTENCY, "pixpro"), (CONTRAST, "pixcontrast")):
        models[title], prepared = train_emoji({**METHOD, "objective": objective}, RUN)
        metrics = {metric.name: metric for metric in evaluate_correspondence(models[title], prepared.test)}
        print(objective, *metrics.values(), sep="\n")
        measured[title] = [metrics["same place"], metrics["same place, mirrored"]]
        measured[BEFORE] = [metrics["same place (untrained)"], metrics["same place, mirrored (untrained)"]]
    print(save(draw(prepared.test, models[CONTRAST], measured), "pixpro"))


def draw(test: Corpus, model: Model, measured: dict[str, list[Metric]]) -> Figure:
    """Some drawings with what was found, and the numbers over all pairs."""
    figure = plt.figure(figsize=(12, 4.8))
    sheet, side = figure.subfigures(1, 2, width_ratios=[2.1, 1])
    draw_pairs(sheet, test, model)
    draw_shares(side.subplots(), {title: measured[title] for title in (BEFORE, CONSISTENCY, CONTRAST)})
    side.subplots_adjust(left=0.13, right=0.98, top=0.9, bottom=0.14)
    return figure


def draw_pairs(figure: SubFigure, test: Corpus, model: Model) -> None:
    """A column for each pair: the cells that are marked in one drawing, and what is nearest to them in the other."""
    encoder = model.method.encoders["image"]
    assert isinstance(encoder, Encoder)
    names = [texts[0] for texts in test.texts()]
    axes = figure.subplots(3, len(POINTS))
    for column, (name, cells) in zip(axes.T, POINTS.items(), strict=True):
        pair = test.select([row for row, other in enumerate(names) if other == name])
        for axis, row in zip(column, (0, 1, 1), strict=True):
            axis.imshow(pair.sample(row, fields=("image",))["image"])
        for cell, colour in zip(cells, COLOURS, strict=True):
            frame(column[0], cell, colour)
            for axis, maps_of in zip(column[1:], (model.dense_corpus, untrained(encoder, 0)), strict=True):
                frame(axis, found(pair, cell, maps_of, encoder), colour)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for row, title in zip(axes, ("marked", "found, trained\n(pixcontrast)", "found, before\ntraining"), strict=True):
        row[0].set_ylabel(title, fontsize=11)
    figure.subplots_adjust(left=0.08, right=0.99, top=0.99, bottom=0.01, wspace=0.14, hspace=0.06)


def found(pair: Corpus, cell: tuple[int, int], maps_of: Callable[[Corpus], Tensor], encoder: Any) -> tuple[int, int]:
    """The cell of the second drawing that is nearest to one of the first, of those that show something."""
    one, other = F.normalize(maps_of(pair), dim=1)  # each (C, h, w)
    shown = shown_cells(pair, encoder.input, *other.shape[1:])[1]
    place = int((one[:, *cell] @ other.flatten(1)).masked_fill(~shown.flatten(), -2).argmax())
    return divmod(place, other.shape[2])


def frame(axis: Axes, cell: tuple[int, int], colour: str) -> None:
    """Draw round a cell."""
    corner = (CELL * cell[1] - 0.5, CELL * cell[0] - 0.5)
    box = Rectangle(corner, CELL, CELL, fill=False, edgecolor=colour, linewidth=2.5, clip_on=False, zorder=3)
    box.set_path_effects([patheffects.withStroke(linewidth=4.5, foreground="white")])
    axis.add_patch(box)


def draw_shares(axis: Axes, measured: dict[str, list[Metric]]) -> None:
    """How often the nearest cell lies at the same place, with intervals."""
    for place, metrics in enumerate(measured.values()):
        for metric, shift, colour in zip(metrics, (-0.19, 0.19), (BLUE, ORANGE), strict=True):
            assert metric.low is not None
            assert metric.high is not None
            reach = [[metric.value - metric.low], [metric.high - metric.value]]
            axis.bar(place + shift, metric.value, 0.36, color=colour, yerr=reach, capsize=3)
    chance = next(iter(measured.values()))[0].chance
    assert chance is not None
    axis.axhline(chance, color=GREY, linestyle="--", linewidth=1)
    axis.text(2.45, chance, "chance", color=GREY, va="bottom", fontsize=9)
    axis.set(xlim=(-0.5, 2.9), ylim=(0, 60))
    axis.set_xticks(range(len(measured)), list(measured))
    axis.set_title("cells found at the same place, %", fontsize=11)
    axis.legend(
        [Rectangle((0, 0), 1, 1, color=colour) for colour in (BLUE, ORANGE)],
        ["as drawn", "second drawing mirrored"],
        frameon=False,
        loc="upper left",
    )
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
