"""What noise does to captions in a space of pictures and texts, and to a head that learns from captions alone.

Space, heads and settings are those of the claim.

python docs/pictures/close.py
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from shared import of_claim, save
from shared.digits import WORDS
from torch import Tensor

from accord.data.loading.features import Features
from accord.functional import noise_for_cosine

CLAIM = of_claim("close")
SEED, SEEDS, TAUGHT, ASKED = 0, range(5), 4, 8
LEVELS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8)
TEXT, MOVED, IMAGE, RIGHT, GREY = "#0072b2", "#56b4e9", "#d55e00", "#009e73", "#666666"


def main() -> None:
    """Train a space and heads in it, and draw answers, cosines and accuracies."""
    there = CLAIM.world(SEED, False)
    unit = {name: F.normalize(there.vectors["test", name], dim=1) for name in ("text", "image")}
    pairs = {name: F.normalize(there.vectors["pairs", name], dim=1) for name in ("text", "image")}
    level = noise_for_cosine(float((pairs["text"] * pairs["image"]).sum(dim=1).mean()), CLAIM.DIM)
    draws = torch.Generator().manual_seed(SEED)
    moved = F.normalize(unit["text"] + level * torch.randn(unit["text"].shape, generator=draws), dim=1)
    figure = plt.figure(figsize=(12, 4.4))
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[1, 1.9])[0]
    axes = right.subplots(1, 2)
    draw_use(left, there)
    draw_cosines(axes[0], unit, moved)
    draw_levels(axes[1], level)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, fontsize=9.5)
    right.subplots_adjust(left=0.07, right=0.985, top=0.9, bottom=0.13, wspace=0.22)
    print(f"noise of level {level:.3f}", save(figure, "close"))


def draw_use(figure: SubFigure, there: Any) -> None:
    """What a head learns from, and what it answers about the first pictures that it is asked about."""
    head, _ = CLAIM.learnt(SEED, {}, 1.0, "text", False)
    shares = head.classify({"image": Features(there.vectors["test", "image"])}).softmax(dim=1).detach()
    rows, taught = there.rows["test"], there.rows["head"]
    figure.text(0.05, 0.93, "learns from captions …", fontsize=12)
    for place in range(TAUGHT):
        said = f"“{taught.captions[place]}” → {WORDS[int(taught.said[place, 0])]}"
        figure.text(0.05, 0.865 - 0.065 * place, said, fontsize=10, color=TEXT)
    figure.text(0.05, 0.545, "… and is asked about pictures", fontsize=12)
    for place, (picture, share, truth) in enumerate(zip(rows.image[:ASKED], shares, rows.said[:, 0], strict=False)):
        axis = figure.add_axes((0.05 + 0.235 * (place % 4), 0.32 - 0.26 * (place // 4), 0.2, 0.19))
        axis.imshow(picture[0], cmap="gray_r", interpolation="nearest")
        axis.set(xticks=[], yticks=[])
        colour = RIGHT if int(share.argmax()) == int(truth) else IMAGE
        axis.set_xlabel(f"{WORDS[int(share.argmax())]} {100 * float(share.max()):.0f} %", color=colour, labelpad=2)


def draw_cosines(axis: Axes, unit: dict[str, Tensor], moved: Tensor) -> None:
    """Cosines of captions with their pictures and with their moved copies."""
    bins = np.linspace(-0.2, 1, 37).tolist()
    for name, others, colour in (("its picture", unit["image"], IMAGE), ("its moved copy", moved, MOVED)):
        cosines = (unit["text"] * others).sum(dim=1)
        axis.hist(cosines, bins, histtype="step", linewidth=2, color=colour, label=f"a caption and {name}")
        print(f"cosine of a caption and {name}: {float(cosines.mean()):.2f}")
    axis.set(xlabel="cosine", ylabel="captions", ylim=(0, 62))
    axis.set_title("noise is as large as the gap", fontsize=12)


def draw_levels(axis: Axes, level: float) -> None:
    """Accuracy on pictures and on captions by the level of the noise, as means over seeds."""
    none = [accuracies({"adapter": "none"})]
    found = none + [accuracies({"noise": noise}) for noise in LEVELS[1:]]
    ceiling = accuracies({"adapter": "none"}, source="image")["top-1"]
    chosen = accuracies({})
    for metric, name, colour in (("top-1", "pictures", IMAGE), ("top-1 of captions", "captions", TEXT)):
        axis.plot(LEVELS, [each[metric] for each in found], "o-", color=colour, label=f"asked about {name}")
        print(f"{name}: {found[0][metric]:.1f} % without, {chosen[metric]:.1f} % at the level of each seed's pairs")
    axis.axhline(ceiling, color=GREY, linestyle="--", linewidth=1)
    axis.text(LEVELS[-1], ceiling + 0.05, f"learnt from pictures: {ceiling:.1f} %", color=GREY, ha="right", va="bottom")
    axis.axvline(level, ymax=0.85, color=GREY, linewidth=1, linestyle=":", label="level that pairs give")
    axis.set(xlabel="level of the noise", ylabel="right, %")
    axis.set_title("a head that learns from captions", fontsize=12)


def accuracies(settings: dict[str, Any], source: str = "text") -> dict[str, float]:
    """What the claim measures, as means over seeds."""
    every = [CLAIM.classifier(seed, settings, source=source).metrics for seed in SEEDS]
    return {name: float(np.mean([each[name] for each in every])) for name in every[0]}


if __name__ == "__main__":
    main()
