"""What SwAV's prototypes stand for: the held-out emoji nearest to some of them, and two curves of the training.

python docs/pictures/swav.py
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from shared import EMOJI, save
from torch import Tensor

from accord.data.corpus import Corpus
from accord.data.loading.loader import eval_loader
from accord.data.recipe import Prepared, prepare
from accord.evaluation.knn import evaluate_knn
from accord.methods.image.swav import Swav
from accord.pipeline.build import build_method
from accord.pipeline.config import RunConfig
from accord.pipeline.run import fit_model
from accord.report.curves import read_curves
from accord.training.artifact import Model

ROWS, PICTURES = 8, 8
BLUE, ORANGE = "#4c72b0", "#dd8452"
RUN: dict[str, Any] = {
    "data": EMOJI,
    "method": {
        "name": "swav",
        "dim": 64,
        "hidden": 256,
        "prototypes": 100,
        "temperature": 0.2,
        "sinkhorn_eps": 0.03,
        "freeze_prototypes": 24,
        "large_scale": [0.4, 1.0],
        "small_crops": 2,
        "small_scale": [0.2, 0.5],
        "small_size": 16,
    },
    "encoders": {"image": {"name": "tiny_resnet", "options": {"size": 32, "width": 64}}},
    "training": {"epochs": 20, "batch_size": 128, "lr": 1e-3, "probe_every": 1, "probe": ["knn"]},
}


def main() -> None:
    """Train, and draw the prototypes beside the curves."""
    config = RunConfig.parse(RUN)
    prepared = prepare(config.data, quiet=True)
    untrained = Model(build_method(config, prepared.train))
    before = knn(untrained, prepared)
    with TemporaryDirectory() as folder:
        model, _ = fit_model(config, prepared, Path(folder))
        curves = read_curves(Path(folder) / "train.jsonl")
    steps = len(prepared.train) // config.training.batch_size
    accuracy, used = (
        [(step / steps, value) for step, value in curves[f"train/{name}"]] for name in ("top-1", "prototypes_used")
    )
    accuracy = [(0.0, before), *accuracy, (float(config.training.epochs), knn(model, prepared))]
    print(accuracy)
    print(save(draw(model, prepared.test, accuracy, used), "swav"))


def knn(model: Model, prepared: Prepared) -> float:
    """Accuracy on held-out rows from their neighbours in the training rows, in percent."""
    return evaluate_knn(model, prepared.test, prepared.train)[0].value


def draw(model: Model, test: Corpus, accuracy: list[tuple[float, float]], used: list[tuple[float, float]]) -> Figure:
    """A sheet of prototypes, and curves as (epoch, value)."""
    figure = plt.figure(figsize=(12, 6.9))
    sheet, side = figure.subfigures(1, 2, width_ratios=[2, 1])
    draw_prototypes(sheet, model, test)
    above, below = side.subplots(2, 1)
    draw_curve(above, accuracy, BLUE, "k-NN accuracy, 98 classes, %")
    draw_curve(below, [(epoch, 100 * share) for epoch, share in used], ORANGE, "prototypes used by a batch, %")
    below.set_xlabel("epoch")
    side.subplots_adjust(left=0.13, right=0.96, top=0.93, bottom=0.09, hspace=0.3)
    return figure


def draw_prototypes(figure: SubFigure, model: Model, test: Corpus) -> None:
    """A row for each prototype: the held-out pictures that are nearest to it, of each thing the nearer drawing."""
    method = model.method
    assert isinstance(method, Swav)
    prototypes = F.normalize(method.prototypes.weight.detach(), dim=1)  # (K, d)
    scores = prototypes @ projections(method, model, test).T  # (K, held-out pictures)
    names = [texts[0] for texts in test.texts()]
    axes = figure.subplots(ROWS, PICTURES)
    for number, (row, prototype) in enumerate(zip(axes, different(prototypes, scores), strict=True)):
        order = {names[place]: place for place in scores[prototype].argsort().tolist()}  # the last is the nearest
        for axis, place in zip(row, list(order.values())[: -PICTURES - 1 : -1], strict=True):
            axis.imshow(test.sample(place, fields=("image",))["image"])
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        row[0].set_ylabel(f"prototype {number + 1}", rotation=0, ha="right", va="center", fontsize=10)
    axes[0][0].set_title("held-out pictures nearest to each", fontsize=12, loc="left")
    figure.subplots_adjust(left=0.11, right=0.99, top=0.93, bottom=0.02, wspace=0.1, hspace=0.12)


@torch.inference_mode()
def projections(method: Swav, model: Model, corpus: Corpus) -> Tensor:
    """Unit-norm vectors ``(N, d)`` of pictures in the space of the prototypes."""
    loader = eval_loader(corpus, model.inputs, modalities=("image",))
    pooled = (method.encoders["image"](batch["image"]).pooled for batch in loader)
    return torch.cat([F.normalize(method.head(rows), dim=1) for rows in pooled])


def different(prototypes: Tensor, scores: Tensor) -> list[int]:
    """Prototypes unlike each other, of the half with the nearest pictures.

    The next is always the one farthest from those taken.
    """
    near = scores.topk(PICTURES, dim=1).values.mean(dim=1)
    allowed = near >= near.median()
    taken = [int(near.argmax())]
    while len(taken) < ROWS:
        likeness = (prototypes @ prototypes[taken].T).amax(dim=1).masked_fill(~allowed, 2.0)
        taken.append(int(likeness.argmin()))
    return taken


def draw_curve(axis: Axes, points: list[tuple[float, float]], colour: str, title: str) -> None:
    """One curve over the epochs."""
    axis.plot(*zip(*points, strict=True), color=colour, linewidth=2)
    axis.set_title(title, fontsize=11)
    axis.set_xlim(left=0)
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
