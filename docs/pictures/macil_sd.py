"""When something happens in two streams, learnt from labels of whole recordings: scores, and what training contrasts.

Bags, network and settings are those of the claim.

python docs/pictures/macil_sd.py
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from itertools import product

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from shared import of_claim, save, train_arm
from shared.digits import Digits
from shared.events import CLASSES, HEARD, SEEN, STREAMS, Bag, Making

from accord.data.corpus import Corpus
from accord.methods.abilities import Classifies, ScoresMoments, Timeline
from accord.training.artifact import Model

CLAIM = of_claim("macil_sd")
SEED, LONGEST, INK, GREY = 0, 48, "#111111", "#777777"
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

    def _shown(self, digits: Digits, labels: Labels, noise: float, random: np.random.Generator) -> NDArray[np.float32]:
        self.labels.append(labels)
        return super()._shown(digits, labels, noise, random)


@dataclass(frozen=True, eq=False)
class Row:
    """A held-out bag, the digits of its streams, its scores, and its probability."""

    bag: Bag
    labels: dict[str, Labels]
    line: Timeline
    probability: float

    def runs(self, stream: str) -> list[tuple[int, int]]:
        """First step and length of each run of what the event is made of in a stream."""
        there = self.labels[stream] == (SEEN if stream == STREAMS[0] else HEARD)
        edges = np.flatnonzero(np.diff(there, prepend=False, append=False)).reshape(-1, 2)
        return [(int(start), int(end - start)) for start, end in edges]

    def taken(self, stream: str, largest: bool) -> list[int]:
        """The steps that training would take from a stream: its surest ones, or the least sure."""
        scores = self.line.streams[stream]
        return sorted(scores.topk(len(scores) // 16 + 1, largest=largest).indices.tolist())

    def event(self, stream: str) -> tuple[int, int]:
        """The longest of these runs."""
        return max(self.runs(stream), key=lambda run: run[1])

    def hits(self, stream: str) -> list[bool]:
        """Whether each of the surest steps of a stream lies in its event."""
        start, count = self.event(stream)
        return [start <= at < start + count for at in self.taken(stream, True)]


def main() -> None:
    """Train, and draw a recording in which something happens and one in which nothing does."""
    making = Told(**asdict(CLAIM.MAKING))
    train, test = making.corpora(SEED)
    model = train_arm(CLAIM, CLAIM.FULL, train, SEED)
    print(CLAIM.measure(model, train, test))
    bags, labels = making.bags[len(train) :], making.labels[2 * len(train) :]
    known = [dict(zip(STREAMS, pair, strict=True)) for pair in zip(labels[::2], labels[1::2], strict=True)]
    rows = [Row(*each) for each in zip(bags, known, *scored(model, test), strict=True)]
    called = [row for row in rows if row.bag.event and row.probability > 0.5]
    for stream in STREAMS:
        hits = [hit for row in called for hit in row.hits(stream)]
        print(f"{stream}: {sum(hits)} of the {len(hits)} surest steps lie in the event")
    short = [row for row in rows if len(row.bag.seen) <= LONGEST]
    apart = [row for row in short if row in called and row.event(STREAMS[1])[0] > sum(row.event(STREAMS[0]))]
    happens = [row for row in apart if min(sum(row.hits(stream)) for stream in STREAMS) >= 3]
    calm = [row for row in short if not row.bag.event and row.probability < 0.5]
    print(f"{len(happens)} and {len(calm)} to choose from", save(draw([happens[0], calm[0]]), "macil_sd"))


@torch.inference_mode()
def scored(model: Model, test: Corpus) -> tuple[list[Timeline], list[float]]:
    """The scores of all steps of each row, and the probability of each row that something happens in it."""
    lines = [line for part in model.over_batches(test, model.able(ScoresMoments).score_moments) for line in part]
    logits = torch.cat(model.over_batches(test, model.able(Classifies).classify))
    return lines, logits.softmax(dim=1)[:, CLASSES.index("event")].tolist()


def draw(rows: list[Row]) -> Figure:
    """Both streams of each row as strips, and its scores below."""
    figure, axes = plt.subplots(4, 1, figsize=(12, 6.4), height_ratios=[1.25, 1.1] * 2)
    for row, strips, curves in zip(rows, axes[::2], axes[1::2], strict=True):
        draw_strips(strips, row)
        draw_scores(curves, row)
    axes[1].legend(frameon=False, fontsize=10, ncols=3, loc="upper left", bbox_to_anchor=(0.0, 1.08))
    axes[3].set_xlabel("step")
    figure.subplots_adjust(left=0.105, right=0.995, top=0.99, bottom=0.075, hspace=0.2)
    return figure


def draw_strips(axis: Axes, row: Row) -> None:
    """What both streams show, the classes of the event framed, and the steps that training would take from each."""
    happens = row.probability > 0.5
    for stream, steps, top, height, mark in zip(STREAMS, row.bag[:2], TOPS, HEIGHTS, MARKS, strict=True):
        colour = COLOURS[stream]
        for place, step in enumerate(steps):
            extent = (place, place + 1, top - height, top)
            axis.imshow(step.reshape(-1, 8), cmap="gray_r", vmin=0, vmax=1.1, extent=extent)
        for start, count in row.runs(stream):
            frame = Rectangle((start, top - height), count, height, fill=False, edgecolor=colour, linewidth=2, zorder=3)
            axis.add_patch(frame)
        for steps, shape in ((row.taken(stream, True), "o"), (row.taken(stream, False), "x")):
            face = colour if happens else "white"
            axis.plot([at + 0.5 for at in steps], [mark] * len(steps), shape, color=colour, mfc=face, markersize=6)
        axis.text(-0.4, top - height / 2, NAMES[stream], color=colour, ha="right", va="center", fontsize=10)
    for pair in product(*(row.taken(stream, True) for stream in STREAMS)) if happens else ():
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
    axis.plot(middles, row.line.scores, color=INK, linewidth=2.2, label="both")
    said = f"something happens: {100 * row.probability:.0f} %"
    axis.text(0.995, 0.96, said, transform=axis.transAxes, ha="right", va="top", fontsize=10)
    axis.set(xlim=(0, LONGEST), yticks=[0, 0.5, 1], ylim=(0, 1.25), ylabel="score")
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
