"""What re-ranking does: pictures that the embeddings find for a caption, and their order after the matching head.

python docs/pictures/tcl.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from shared import save

from accord.data.corpus import Corpus
from accord.evaluation.retrieval import evaluate_retrieval
from accord.pipeline.build import build_method
from accord.pipeline.config import RunConfig
from accord.training.artifact import Model
from accord.training.fit import fit

sys.path.append(str(Path(__file__).parents[2] / "claims" / "shared"))
from digits import cell_digits, digit_scenes, mentions

RIGHT, WRONG = "#2a7f3f", "#e0352b"
CANDIDATES, SHOWN, ROWS = 32, 5, 4
RUN: dict[str, Any] = {
    "data": {"source": "digit scenes"},
    "method": {
        "name": "tcl",
        "dim": 64,
        "queue_size": 1024,
        "momentum": 0.99,
        "grid": 2,
        "fusion_depth": 2,
        "fusion_heads": 4,
        "mlm_weight": 0.0,
        "crop_scale": [0.9, 1.0],
        "flip": 0.0,
        "colour": False,
        "rand_augment": None,
    },
    "encoders": {
        "image": {"name": "tiny_vit", "options": {"size": 16, "patch": 4, "width": 64, "depth": 2, "heads": 4}},
        "text": {
            "name": "tiny_text",
            "options": {"width": 64, "depth": 2, "heads": 4, "length": 24, "vocabulary": 400, "pool": "mean"},
        },
    },
    "training": {"epochs": 18, "batch_size": 128, "lr": 1e-3},
}


def main() -> None:
    """Train, re-rank every caption's candidates, and draw the first long captions that it brings to the top."""
    train, test = digit_scenes(0)
    model = trained(train)
    metrics = {metric.name: metric.value for metric in evaluate_retrieval(model, test, candidates=CANDIDATES)}
    captions = [texts[0] for texts in test.texts()]
    asked, pictures = model.tokens(texts=captions), model.tokens_corpus(test, "image")
    orders = []
    for row in range(len(captions)):
        first = (pictures.pooled @ asked.pooled[row]).topk(CANDIDATES).indices
        scores = model.rescore(asked.padded([row]), pictures.padded(first), "text")[0]
        orders.append((first, first[scores.argsort(descending=True)]))
    told = [row for row, (_, second) in enumerate(orders) if len(facts(captions[row])) == 4 and second[0] == row]
    chosen = [row for row in told if row in orders[row][0][1:SHOWN]][:ROWS]
    print(save(draw(test, captions, orders, chosen, metrics), "tcl"))


def trained(train: Corpus) -> Model:
    """Four thousand scenes, eighteen times."""
    config = RunConfig.parse(RUN)
    method = build_method(config, train)
    with TemporaryDirectory() as folder:
        fit(method, train, config.training, Path(folder))
    return Model(method)


def facts(caption: str) -> dict[int, int]:
    """Cell -> digit, as a caption says it."""
    return {cell: digit for _, digit, cell in mentions(caption)}


def draw(
    test: Corpus,
    captions: list[str],
    orders: list[tuple[torch.Tensor, torch.Tensor]],
    chosen: list[int],
    metrics: dict[str, float],
) -> Figure:
    """One row per caption: the nearest pictures by the embeddings, and those after re-ranking."""
    digits = cell_digits(test)
    figure, axes = plt.subplots(len(chosen), 2 * SHOWN + 1, figsize=(12, 1.42 * len(chosen) + 0.75))
    for row, line in zip(chosen, axes, strict=True):
        for axis, item in zip(line[:SHOWN], orders[row][0], strict=False):
            show(axis, test, int(item), digits, facts(captions[row]), int(item) == row)
        for axis, item in zip(line[SHOWN + 1 :], orders[row][1], strict=False):
            show(axis, test, int(item), digits, facts(captions[row]), int(item) == row)
        line[SHOWN].set_axis_off()
        line[SHOWN].text(0.5, 0.5, "→", fontsize=22, ha="center", va="center", color="#777777")
        line[0].text(0.0, -0.09, f"“{captions[row]}”", transform=line[0].transAxes, fontsize=9.5, va="top")
    figure.subplots_adjust(left=0.01, right=0.99, top=1 - 0.62 / figure.get_figheight(), bottom=0.06, hspace=0.3)
    for x, name, stage in ((0.23, "nearest by the embeddings", " (first stage)"), (0.77, "after re-ranking", "")):
        recalls = ", ".join(f"R@{k} {metrics[f'text→image R@{k}{stage}']:.1f} %" for k in (1, 10))
        figure.text(x, 0.985, f"{name}: {recalls}", ha="center", va="top", fontsize=13)
    return figure


def show(axis: Axes, test: Corpus, item: int, digits: NDArray[np.int64], said: dict[int, int], right: bool) -> None:
    """A picture, the cells in red where the caption says another digit; framed when it is the caption's own."""
    axis.imshow(test.sample(item, fields=("image",))["image"].convert("L"), interpolation="nearest", cmap="gray_r")
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set(color=RIGHT if right else "#cccccc", linewidth=4 if right else 0.8)
    for cell, digit in said.items():
        if digits[item, cell] != digit:
            corner = (8 * (cell % 2) - 0.1, 8 * (cell // 2) - 0.1)
            axis.add_patch(Rectangle(corner, 7.2, 7.2, fill=False, edgecolor=WRONG, linewidth=1.6))


if __name__ == "__main__":
    main()
