"""Moments of clips and recordings as a picture: scores over time, the best spans, and what clips show in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from accord.data.reading.video import read_video
from accord.explaining.figure import INK, MUTED, PALETTE, save_figure

_POINTS = 400  # of the curve
_WIDTH, _CURVE, _STRIP, _TITLE = 11.0, 1.3, 1.5, 0.45  # inches
_MOST = 8  # pictures of a strip


@dataclass(frozen=True)
class MomentLine:
    """What was found of a sentence in a file.

    Args:
        file: path of the clip or recording.
        sentence: what happens.
        seconds: how long it lasts.
        spans: ``(M, 2)`` of all moments that were looked at.
        scores: ``(M,)`` theirs.
        best: start, end and score of those that were found, the likeliest first.
        pictures: whether the file is a clip, of which pictures are shown.
    """

    file: Path
    sentence: str
    seconds: float
    spans: NDArray[np.float32]
    scores: NDArray[np.float32]
    best: Sequence[tuple[float, float, float]]
    pictures: bool

    def curve(self) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Seconds, and at each the highest score of the moments around it."""
        times = (np.arange(_POINTS) + 0.5) * self.seconds / _POINTS
        around = (self.spans[:, :1] <= times) & (times < self.spans[:, 1:])
        return times, np.where(around, self.scores[:, None], 0.0).max(axis=0, initial=0.0)

    def shown(self) -> list[Image.Image]:
        """The frame in the middle of each of the best moments."""

        def middles(total: int) -> list[int]:
            return [
                min(total - 1, int((start + end) / 2 / self.seconds * total)) for start, end, _ in self.best[:_MOST]
            ]

        chosen: list[int] = []

        def choose(total: int) -> list[int]:
            chosen.extend(middles(total))
            return sorted(set(chosen))

        clip = read_video(str(self.file), None, frames=choose)
        place = dict(zip(clip.timeline.positions, clip, strict=True))
        last = clip[len(clip) - 1]  # where a film has fewer frames than its header says
        return [place.get(position, last) for position in chosen]


def draw_moments(lines: Sequence[MomentLine], path: str | Path) -> Path:
    """Draw the scores over time of each file and sentence, and a strip of pictures of clips, and write it atomically.

    Args:
        lines: what to draw, one under the other.
        path: PNG, SVG or PDF to write; its folder is made if missing.

    Returns:
        The path.

    Raises:
        ConfigError: a format that cannot be drawn.
    """
    heights = [height for line in lines for height in ([_CURVE, _STRIP] if line.pictures else [_CURVE])]
    figure = Figure(figsize=(_WIDTH, sum(heights) + _TITLE * len(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    parts = iter(figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0])
    for line in lines:
        _curve(next(parts).subplots(), line)
        if line.pictures:
            _strip(next(parts).subplots(1, max(len(line.best[:_MOST]), 5), squeeze=False)[0], line)
    return save_figure(figure, Path(path))


def _curve(axes: Axes, line: MomentLine) -> None:
    """The score over time, and the best spans as bars at their scores."""
    times, scores = line.curve()
    axes.fill_between(times, scores, step="mid", color=MUTED, alpha=0.25, linewidth=0)
    axes.plot(times, scores, color=INK, linewidth=1)
    for rank, (start, end, score) in enumerate(line.best):
        colour = PALETTE[rank % len(PALETTE)]
        axes.hlines(score, start, end, color=colour, linewidth=4 if rank else 7, alpha=0.8)
        axes.annotate(str(rank + 1), ((start + end) / 2, score), color=colour, ha="center", va="bottom", fontsize=10)
    axes.set_xlim(0, line.seconds)
    axes.set_ylim(0, max(1e-6, 1.25 * float(scores.max(initial=0.0))))
    axes.set_title(f"{line.file.name}: {line.sentence}", loc="left", fontsize=11, color=INK)
    axes.set_xlabel("seconds", color=MUTED)
    axes.set_ylabel("score", color=MUTED)
    axes.spines[["top", "right"]].set_visible(False)


def _strip(every: Sequence[Axes], line: MomentLine) -> None:
    """A picture of each of the best moments, in their order."""
    for axes in every:
        axes.set_axis_off()
    for rank, (axes, picture, span) in enumerate(zip(every, line.shown(), line.best, strict=False)):
        axes.imshow(picture)
        start, end, score = span
        axes.set_title(
            f"{rank + 1}: {start:.1f}–{end:.1f} s, {score:.2f}", fontsize=9, color=PALETTE[rank % len(PALETTE)]
        )
