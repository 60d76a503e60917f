"""When something happens in two streams, learnt from labels of whole recordings: scores, and what training contrasts.

Bags, network and settings are those of the claim.

python docs/pictures/macil_sd.py
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from shared import of_claim, save, train_arm
from shared.digits import Digits
from shared.events import CLASSES, HEARD, SEEN, STREAMS, Bag, Making

from accord.data.corpus import Corpus
from accord.methods.abilities import Classifies, ScoresMoments, Timeline
from accord.training.artifact import Model

CLAIM = of_claim("macil_sd")
SEED, CHOSEN, LONGEST, GREY = 0, (40, 3), 48, "#777777"
COLOURS = dict(zip(STREAMS, ("#0072b2", "#d55e00"), strict=True))
NAMES = dict(zip(STREAMS, ("first stream", "second stream"), strict=True))
TOPS, HEIGHTS, MARKS = (4.0, 1.0), (1.0, 0.5), (2.75, 1.25)  # of the strips, and of what is marked between them
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Told(Making):
    """Bags of which it is known what their steps show: ``labels`` has two entries a bag."""

    bags: list[Bag] = field(default_factory=list)
    labels: list[Labels] = field(default_factory=list)

    def bag(self, digits: Digits, event: bool, random: np.random.Generator) -> Bag:
        """One bag, which is kept."""
        self.bags.append(super().bag(digits, event, random))
        return self.bags[-1]

    def _shown(self, digits: Digits, labels: Labels, *more: Any) -> NDArray[np.float32]:
        self.labels.append(labels)
        return super()._shown(digits, labels, *more)


@dataclass(frozen=True, eq=False)
class Row:
    """A held-out bag, which steps of its streams are of the event's class, its scores, and its probability."""

    bag: Bag
    true: dict[str, NDArray[np.bool_]]
    line: Timeline
    probability: float

    def runs(self, stream: str) -> list[tuple[int, int]]:
        """First step and length of each run of what the event is made of in a stream."""
        edges = np.flatnonzero(np.diff(self.true[stream], prepend=False, append=False)).reshape(-1, 2)
        return [(int(start), int(end - start)) for start, end in edges]

    def taken(self, stream: str, largest: bool = True) -> list[int]:
        """The steps that training would take from a stream: its surest ones, or the least sure."""
        scores = self.line.streams[stream]
        return sorted(scores.topk(len(scores) // 16 + 1, largest=largest).indices.tolist())

    def hits(self, stream: str) -> int:
        """How many of the surest steps of a stream lie in its event, which is the longest of these runs."""
        start, count = max(self.runs(stream), key=lambda run: run[1])
        return sum(start <= at < start + count for at in self.taken(stream))


def main() -> None:
    """Train, and draw a recording in which something happens and one in which nothing does."""
    making = Told(**asdict(CLAIM.MAKING))
    train, test = making.corpora(SEED)
    model = train_arm(CLAIM, CLAIM.FULL, train, SEED)
    print(CLAIM.measure(model, train, test))
    rows = rows_of(model, test, making.bags[len(train) :], making.labels[2 * len(train) :])
    called = [row for row in rows if row.bag.event and row.probability > 0.5]
    for stream in STREAMS:
        hits, steps = sum(row.hits(stream) for row in called), sum(len(row.taken(stream)) for row in called)
        print(f"{stream}: {hits} of the {steps} surest steps lie in the event")
    figure, axes = plt.subplots(4, 1, figsize=(12, 6.4), height_ratios=[1.25, 1.1] * 2)
    for place, strips, curves in zip(CHOSEN, axes[::2], axes[1::2], strict=True):
        draw_strips(strips, rows[place])
        draw_scores(curves, rows[place])
    axes[1].legend(frameon=False, fontsize=10, ncols=3, loc="upper left", bbox_to_anchor=(0.0, 1.08))
    axes[3].set_xlabel("step")
    figure.subplots_adjust(left=0.105, right=0.995, top=0.99, bottom=0.075, hspace=0.2)
    print(save(figure, "macil_sd"))


@torch.inference_mode()
def rows_of(model: Model, test: Corpus, bags: list[Bag], labels: list[Labels]) -> list[Row]:
    """All held-out bags."""
    pairs = zip(labels[::2], labels[1::2], strict=True)
    true = [{STREAMS[0]: seen == SEEN, STREAMS[1]: heard == HEARD} for seen, heard in pairs]
    lines = [line for part in model.over_batches(test, model.able(ScoresMoments).score_moments) for line in part]
    logits = torch.cat(model.over_batches(test, model.able(Classifies).classify))
    chances = logits.softmax(dim=1)[:, CLASSES.index("event")].tolist()
    return [Row(*each) for each in zip(bags, true, lines, chances, strict=True)]


def draw_strips(axis: Axes, row: Row) -> None:
    """What both streams show, the classes of the event framed, and the steps that training would take from each."""
    happens = row.probability > 0.5
    for stream, steps, top, height, mark in zip(STREAMS, row.bag[:2], TOPS, HEIGHTS, MARKS, strict=True):
        colour = COLOURS[stream]
        strip, extent = np.concatenate(steps.reshape(len(steps), -1, 8), axis=1), (0, len(steps), top - height, top)
        axis.imshow(strip, cmap="gray_r", vmin=0, vmax=1.1, extent=extent)
        for at, count in row.runs(stream):
            axis.add_patch(Rectangle((at, top - height), count, height, fill=False, color=colour, lw=2, zorder=3))
        for steps, shape in ((row.taken(stream), "o"), (row.taken(stream, False), "x")):
            places, face = [at + 0.5 for at in steps], colour if happens else "white"
            axis.plot(places, [mark] * len(places), shape, color=colour, mfc=face, markersize=6)
        axis.text(-0.4, top - height / 2, NAMES[stream], color=colour, ha="right", va="center", fontsize=10)
    for pair in product(*(row.taken(stream) for stream in STREAMS)) if happens else ():
        axis.plot([at + 0.5 for at in pair], MARKS, color=GREY, linewidth=0.6, zorder=0)
    told = "● taken for the event, joined across the streams" if happens else "○ taken for what is no event"
    axis.text(LONGEST, 4.2, f"{told}    × taken for background", color=GREY, ha="right", fontsize=10)
    axis.set(xlim=(0, LONGEST), ylim=(0.4, 4.9), aspect="equal")
    axis.axis("off")


def draw_scores(axis: Axes, row: Row) -> None:
    """The score of each step, of both streams together and of each alone."""
    middles = np.arange(len(row.line.scores)) + 0.5
    if row.bag.event:
        axis.axvspan(*row.bag.event, color="#e8e8e8", linewidth=0)
    for stream, scores in row.line.streams.items():
        axis.plot(middles, scores, color=COLOURS[stream], linewidth=1.2, label=NAMES[stream])
    axis.plot(middles, row.line.scores, color="#111111", linewidth=2.2, label="both")
    axis.text(LONGEST, 1.2, f"something happens: {100 * row.probability:.0f} %", ha="right", va="top", fontsize=10)
    axis.set(xlim=(0, LONGEST), yticks=[0, 0.5, 1], ylim=(0, 1.25), ylabel="score")
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
