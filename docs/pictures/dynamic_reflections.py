"""How many neighbours two encoders that never met have in common, by the number of frames and captions of an item.

Items, encoders and numbers are those of the claim.

python docs/pictures/dynamic_reflections.py
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from numpy.typing import NDArray
from shared import of_claim, save
from shared.digits import split_digits
from torch import Tensor

from accord.diagnostics.law import ScalingLaw
from accord.functional import knn_indices, neighbour_overlap

CLAIM = of_claim("dynamic_reflections")
SEED, VISIBLE, SAID, LINE = 0, 0.85, 0.9, 5
AMOUNTS = ((1, 1), (CLAIM.FRAMES[-1], CLAIM.CAPTIONS[-1]))
SHARED, GREY, PALE = "#009e73", "#666666", "#cccccc"
COLOURS = plt.get_cmap("viridis")(np.linspace(0.85, 0.0, len(CLAIM.CAPTIONS)))


def main() -> None:
    """Show an item's neighbours with little and with much evidence, and the law over all numbers of both."""
    world = CLAIM.World(SEED, VISIBLE, SAID)
    items = CLAIM.items_of(split_digits(SEED)[1], CLAIM.ITEMS, np.random.default_rng([SEED, 1]))[0]  # the world's own
    pictures = items.unflatten(2, (8, 8)).transpose(1, 2).flatten(2).numpy()  # (N, 8, 24)
    near = [neighbours(world, *amount) for amount in AMOUNTS]
    figure = plt.figure(figsize=(12, 5.4))
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[1.15, 1])[0]
    draw_neighbours(left, pictures, typical(near), near)
    draw_law(right.subplots(), world)
    right.subplots_adjust(left=0.13, right=0.97, top=0.93, bottom=0.105)
    print(save(figure, "dynamic_reflections"))


def neighbours(world: Any, frames: int, captions: int) -> tuple[Tensor, Tensor]:
    """The nearest items ``(N, K)`` by so many frames, and by so many captions."""
    seen, said = world.frames[:frames].mean(dim=0), world.captions[:captions].mean(dim=0)
    return knn_indices(seen, CLAIM.K), knn_indices(said, CLAIM.K)


def typical(near: list[tuple[Tensor, Tensor]]) -> int:
    """The first item that has as many neighbours in common as items have on average, with little and with much."""
    counts = torch.stack([CLAIM.K * neighbour_overlap(*pair) for pair in near], dim=1).round()  # (N, 2)
    return int((counts == counts.mean(dim=0).round()).all(dim=1).nonzero()[0])


def draw_neighbours(
    figure: SubFigure, pictures: NDArray[np.float32], item: int, near: list[tuple[Tensor, Tensor]]
) -> None:
    """An item, and its neighbours by frames and by captions, those in common framed."""
    head = figure.add_axes((0.2, 0.905, 0.15, 0.08))
    show(head, pictures[item], PALE)
    figure.text(0.01, 0.945, "an item", fontsize=12, va="center")
    for block, (pair, (frames, captions)) in enumerate(zip(near, AMOUNTS, strict=True)):
        top, found = 0.86 - 0.44 * block, [one[item].tolist() for one in pair]
        common = set(found[0]) & set(found[1])
        names = [f"{count} {word}{'s' * (count > 1)}" for count, word in ((frames, "frame"), (captions, "caption"))]
        said = f"with {names[0]} and {names[1]}: {len(common)} of {CLAIM.K} neighbours in common"
        figure.text(0.01, top, said, fontsize=12, va="top")
        for row, (name, rows) in enumerate(zip(("by frames", "by captions"), found, strict=True)):
            figure.text(0.01, top - 0.14 - 0.18 * row, name, fontsize=10.5, color=GREY, va="center")
            for place, other in enumerate(rows):
                line, column = divmod(place, LINE)
                box = (0.2 + 0.158 * column, top - 0.137 - 0.18 * row - 0.08 * line, 0.15, 0.072)
                show(figure.add_axes(box), pictures[other], SHARED if other in common else PALE)


def show(axis: Axes, picture: NDArray[np.float32], colour: str) -> None:
    """An item in a frame."""
    axis.imshow(picture, cmap="gray_r", interpolation="nearest", aspect="auto")
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set(color=colour, linewidth=1 if colour == PALE else 3)


def draw_law(axis: Axes, world: Any) -> None:
    """Neighbours in common over frames, a colour for each number of captions, with the law and what chance gives."""
    evidence, scores = world.grid()
    law, fine = ScalingLaw.fit(evidence, scores), np.geomspace(1, CLAIM.FRAMES[-1], 60)
    print(law)
    for colour, captions in zip(COLOURS, CLAIM.CAPTIONS, strict=True):
        chosen = evidence[1] == captions
        axis.plot(evidence[0][chosen], 100 * scores[chosen], "o", color=colour, markersize=6)
        curve = 100 * law.predict([fine, np.full(len(fine), captions)])
        axis.plot(fine, curve, color=colour, linewidth=1.6, label=f"{captions} caption{'s' * (captions > 1)}")
    axis.axhline(100 * law.limit, color=GREY, linewidth=1, linestyle=(0, (5, 3)))
    axis.text(1, 100 * law.limit + 0.4, f"limit of the law: {100 * law.limit:.0f} %", color=GREY, fontsize=10)
    order = torch.randperm(CLAIM.ITEMS, generator=torch.Generator().manual_seed(SEED))
    others = [world.score(frames, AMOUNTS[-1][1], order) for frames in CLAIM.FRAMES]
    axis.plot(CLAIM.FRAMES, others, "s", color=GREY, markersize=4.5, label="captions of other items")
    axis.set(xscale="log", xlabel="frames", ylabel="neighbours in common, %", ylim=(0, None))
    axis.set_xticks(CLAIM.FRAMES, [str(frames) for frames in CLAIM.FRAMES])
    axis.minorticks_off()
    axis.set_title(f"dots: measured; lines: the law, R² {law.r2:.2f}", fontsize=12)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=9.5, loc="center right", bbox_to_anchor=(1.0, 0.27))
    print(f"one of each {100 * scores[0]:.1f} %, all {100 * scores[-1]:.1f} %, captions of others {others[-1]:.1f} %")


if __name__ == "__main__":
    main()
