"""Cells of one drawing that are looked for in another drawing of the same thing, before and after training.

python docs/pictures/pixpro.py
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from shared import EMOJI, save, train_emoji
from torch import Tensor

from accord.data.corpus import Corpus
from accord.data.recipe import prepare
from accord.evaluation.correspondence import evaluate_correspondence, shown_cells, untrained
from accord.evaluation.metric import Metric

METHOD = {
    "name": "pixpro",
    "dim": 64,
    "hidden": 256,
    "momentum": 0.99,
    "crop_scale": [0.3, 1.0],
}
CHANGES: dict[str, Any] = {
    "training.epochs": 8,
    "training.batch_size": 32,
    "encoders.image": {"name": "tiny_resnet", "options": {"size": 64, "width": 32}},
}
POINTS = {  # held-out emoji, and two cells (row, column) of the first drawing, marked by hand
    "cherries": ((1, 4), (6, 2)),
    "hatching chick": ((2, 4), (6, 4)),
    "robot": ((4, 2), (6, 4)),
    "rocket": ((1, 6), (6, 1)),
    "cupcake": ((3, 4), (6, 4)),
    "potted plant": ((3, 3), (6, 4)),
}
COLOURS = ("#1f5fd0", "#e0352b")
SIDE = 64


def main() -> None:
    """Train, measure, and draw."""
    model, prepared = train_emoji(METHOD, CHANGES)
    metrics = evaluate_correspondence(model, prepared.test)
    for metric in metrics:
        print(metric)
    encoder: Any = model.method.encoders["image"]
    print(save(draw(prepared.test, model.dense_corpus, untrained(encoder, 0), encoder.input, metrics), "pixpro"))


def draw(test: Corpus, trained: Any, before: Any, spec: Any, metrics: list[Metric]) -> Figure:
    """The drawings with what was found, and the numbers over all pairs."""
    figure = plt.figure(figsize=(12, 6.4))
    sheet, side = figure.subfigures(1, 2, width_ratios=[2.3, 1])
    names = [texts[0] for texts in test.texts()]
    pairs = [[row for row, name in enumerate(names) if name == wanted] for wanted in POINTS]
    axes = sheet.subplots(4, len(POINTS))
    for column, rows, cells in zip(axes.T, pairs, POINTS.values(), strict=True):
        pair = test.select(rows)
        shown = shown_cells(pair, spec, 8, 8)[1]
        first, second = (pair.sample(row, ("image",))["image"] for row in (0, 1))
        maps = likeness(trained(pair), cells)
        column[0].imshow(first)
        column[1].imshow(second)
        column[2].imshow(second)
        column[3].imshow(second.convert("L"), cmap="gray", alpha=0.5, extent=(0, SIDE, SIDE, 0))
        column[3].imshow(maps[0], cmap="viridis", alpha=0.75, extent=(0, SIDE, SIDE, 0), interpolation="bilinear")
        old = likeness(before(pair), cells)
        for number, colour in enumerate(COLOURS):
            mark(column[0], cells[number], colour)
            mark(column[1], best(maps[number], shown), colour)
            mark(column[2], best(old[number], shown), colour)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for row, title in zip(axes, ("marked", "found", "found before\ntraining", "likeness\nto blue"), strict=True):
        row[0].set_ylabel(title, fontsize=11)
    sheet.subplots_adjust(left=0.08, right=0.99, top=0.99, bottom=0.01, wspace=0.06, hspace=0.06)
    return figure


def likeness(maps: Tensor, cells: tuple[tuple[int, int], ...]) -> Tensor:
    """Cosine ``(n, h, w)`` of some cells of the first picture with all cells of the second."""
    one, other = F.normalize(maps, dim=1)
    return torch.stack([torch.einsum("c,chw->hw", one[:, y, x], other) for y, x in cells])


def best(values: Tensor, shown: Tensor) -> tuple[int, int]:
    """The most similar of the cells that show something."""
    place = int(values.masked_fill(~shown, -2).argmax())
    return place // values.shape[1], place % values.shape[1]


def mark(axis: Axes, cell: tuple[int, int], colour: str) -> None:
    """Frame a cell."""
    y, x = cell
    axis.add_patch(Rectangle((8 * x - 0.5, 8 * y - 0.5), 8, 8, fill=False, edgecolor=colour, linewidth=2.5))


if __name__ == "__main__":
    main()
