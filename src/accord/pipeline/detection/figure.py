"""Time lines of recordings one under the other: scores over time, intervals, and pictures of a clip above them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from accord.data.fields import read_by
from accord.data.reading.sources import announce
from accord.data.reading.video import read_video
from accord.files import replacing

if TYPE_CHECKING:
    from accord.data.corpus import Corpus
    from accord.pipeline.detection.verb import Detected

_MOST = 24  # recordings on one figure
_FRAMES = 10  # pictures of a strip
_WIDTH, _LINE, _STRIP = 9.0, 1.9, 0.9  # inches
_SIDE = 160  # pixels of a picture


def draw_timelines(found: Sequence[Detected], corpus: Corpus, path: Path, threshold: float) -> Path:
    """Draw the scores of recordings over seconds, the first twenty-four of them.

    Args:
        found: what was detected in each.
        corpus: their rows; where these have clips, a strip of pictures stands above the scores.
        path: PNG, SVG or PDF to write.
        threshold: where a line is drawn.

    Returns:
        ``path``.

    Raises:
        StorageError: the file cannot be written.
    """
    if len(found) > _MOST:
        announce(f"{path}: shows the first {_MOST} of {len(found)} recordings")
    shown = found[:_MOST]
    field = next((name for name in corpus.columns.readable if read_by(name) == "video"), None)
    clips = corpus.cells_of(field)[: len(shown)] if field else [None] * len(shown)
    heights = [size for _ in shown for size in ((_STRIP, _LINE) if field else (_LINE,))]
    figure = Figure(figsize=(_WIDTH, max(sum(heights), _LINE) + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = iter(np.ravel(figure.subplots(len(heights), 1, gridspec_kw={"height_ratios": heights}, squeeze=False)))
    for place, (one, clip) in enumerate(zip(shown, clips, strict=True)):
        if field:
            _draw_strip(next(axes), one, clip, corpus.root)
        _draw_scores(next(axes), one, threshold, legend=place == 0)
    with replacing(path) as partial:
        figure.savefig(partial, format=path.suffix.lower().removeprefix("."), dpi=120)
    return path


def _draw_scores(axes: Any, one: Detected, threshold: float, legend: bool) -> None:
    """Steps of the scores, those of each stream thin, and the intervals as bands."""
    edges = [*one.timeline.spans[:, 0].tolist(), *one.timeline.spans[-1:, 1].tolist()]
    for start, end, _ in one.intervals:
        axes.axvspan(start, end, color="tab:orange", alpha=0.25, linewidth=0)
    for name, scores in one.timeline.streams.items():
        axes.stairs(scores.tolist(), edges, label=name, linewidth=0.8, alpha=0.7)
    axes.stairs(one.timeline.scores.tolist(), edges, label=one.event, color="black", linewidth=1.4)
    axes.axhline(threshold, color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, 1), xlabel="seconds", ylabel="probability")
    axes.set_title(Path(one.file).name, loc="left", fontsize=9, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    if legend:
        axes.legend(loc="upper right", fontsize=7, frameon=False)


def _draw_strip(axes: Any, one: Detected, clip: Any, root: Path | None) -> None:
    """Pictures of a clip at even distances over the axis of time, in their own shape."""
    frames = list(read_video(clip, root, frames=_FRAMES))
    start, end = float(one.timeline.spans[0, 0]), float(one.timeline.spans[-1, 1])
    room = (end - start) / max(1, len(frames))
    for place, frame in enumerate(frames):
        frame.thumbnail((_SIDE, _SIDE))
        width = min(room, (end - start) * _STRIP / _WIDTH * frame.width / frame.height)
        middle = start + (place + 0.5) * room
        axes.imshow(np.asarray(frame), extent=(middle - width / 2, middle + width / 2, 0, 1), aspect="auto")
    axes.set(xlim=(start, end), ylim=(0, 1))
    axes.axis("off")
