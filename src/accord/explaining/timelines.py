"""Explanations of clips and sequences as pictures: what is filled in, and when each word is meant."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from accord.explaining.figure import FRAME, INK, MARK, MUTED, WIDTH, blank, save_figure
from accord.explaining.filled import FilledExplanation
from accord.explaining.times import FrameExplanation, TimeExplanation, standing_out


def draw_filled(explanation: FilledExplanation, path: str | Path, columns: int = 8) -> Path:
    """Draw frames as they are, what was shown of them, and what was made of the rest; written atomically.

    Args:
        explanation: what to draw.
        path: PNG, SVG or PDF to write; its folder is made if missing.
        columns: frames at most, evenly spaced.

    Raises:
        ConfigError: a format that cannot be drawn.
    """
    count = len(explanation.seen)
    chosen = np.unique(np.linspace(0, count - 1, min(columns, count)).round().astype(int))
    seen, made = (part.permute(0, 2, 3, 1).numpy() for part in (explanation.seen, explanation.made))  # (T, H, W, 3)
    shown = np.where(explanation.hidden.numpy()[..., None], 0.5, seen)
    figure = Figure(figsize=(1.4 * len(chosen) + 0.8, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, len(chosen), squeeze=False)
    for row, (name, frames) in enumerate({"clip": seen, "shown": shown, "filled in": made}.items()):
        for column, frame in enumerate(chosen):
            axes[row, column].imshow(frames[frame], vmin=0, vmax=1)
            axes[row, column].set(xticks=[], yticks=[])
        axes[row, 0].set_ylabel(name if count > 1 or row else "picture", fontsize=10)
    return save_figure(figure, Path(path))


def draw_times(explanation: TimeExplanation, path: str | Path) -> Path:
    """Draw the cosine of each word with each step, the strongest step of a word framed, and write it atomically.

    Args:
        explanation: what to draw.
        path: PNG, SVG or PDF to write; its folder is made if missing.

    Returns:
        The path.

    Raises:
        ConfigError: a format that cannot be drawn.
    """
    rows, steps = max(1, len(explanation.words)), len(explanation.seconds)
    figure = Figure(figsize=(WIDTH, 1.5 + 0.38 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    heat = axes.imshow(explanation.similarity.numpy(), cmap="inferno", aspect="auto", interpolation="nearest")
    for row, step in enumerate(explanation.best):
        axes.add_patch(Rectangle((step - 0.5, row - 0.5), 1, 1, fill=False, color=MARK, linewidth=2.2))
    begins = explanation.seconds[explanation.best].tolist()
    labels = [f"{word}  {second:.1f} s" for word, second in zip(explanation.words, begins, strict=True)]
    axes.set_yticks(range(len(labels)), labels, fontsize=11, color=INK)
    marks = np.unique(np.linspace(0, steps - 1, min(steps, 12), dtype=int))
    axes.set_xticks(marks, [f"{explanation.seconds[mark]:.1f}" for mark in marks], color=MUTED)
    axes.set_xlabel("seconds at which a step begins", color=MUTED)
    axes.set_title(textwrap.shorten(explanation.text, 110), fontsize=11, color=MUTED, loc="left")
    figure.colorbar(heat, ax=axes, label="cosine", pad=0.01)
    return save_figure(figure, Path(path))


def draw_frames(explanation: FrameExplanation, path: str | Path) -> Path:
    """Draw a clip as a strip, under it a line a word: strong colour where the word goes, a frame around its best one.

    Colours are each word's own, from its mean to two standard deviations above it. Written atomically.

    Args:
        explanation: what to draw.
        path: PNG, SVG or PDF to write; its folder is made if missing.

    Returns:
        The path.

    Raises:
        ConfigError: a format that cannot be drawn.
    """
    count, words = len(explanation.frames), len(explanation.words)
    side = (WIDTH - 1.6) / max(count, 4)
    height = side + 0.3 * max(words, 1) + 0.5
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    edges = {"left": 1.5 / WIDTH, "right": (1.5 + side * count) / WIDTH}
    grid = figure.add_gridspec(
        2, 1, **edges, top=1 - 0.3 / height, bottom=0.1 / height, height_ratios=(side, 0.3 * max(words, 1)), hspace=0.03
    )
    strip, table = blank(figure.add_subplot(grid[0])), figure.add_subplot(grid[1])
    for place, (frame, second) in enumerate(zip(explanation.frames, explanation.seconds.tolist(), strict=True)):
        strip.imshow(frame, extent=(place + 0.02, place + 0.98, 0, 1))
        strip.text(place + 0.5, 1.03, f"{second:.1f} s", fontsize=9, color=MUTED, ha="center", va="bottom")
    strip.set(xlim=(0, count), ylim=(0, 1), aspect="auto")
    table.set(xlim=(0, count), ylim=(max(words, 1), 0), xticks=[])
    table.set_yticks([place + 0.5 for place in range(words)], explanation.words, fontsize=10, color=INK)
    table.tick_params(length=0)
    table.spines[:].set_visible(False)
    if words:
        heat = standing_out(explanation.similarity).numpy()
        table.imshow(heat, cmap="Blues", vmin=0, vmax=2, extent=(0, count, words, 0), aspect="auto")
        for place, best in enumerate(heat.argmax(axis=1)):
            table.add_patch(Rectangle((best, place), 1, 1, fill=False, color=FRAME, linewidth=1.8))
    return save_figure(figure, Path(path))
