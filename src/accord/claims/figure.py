"""The figure of a claim: for each question the seeds' pairs, and the effect with its interval."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from accord.claims.names import baseline_name, method_name
from accord.files import replacing

COLOURS = {"holds": "#1b7f4d", "does not hold": "#b3261e", "undecided": "#6b6b6b", "no room": "#6b6b6b"}
WIDTH, ROW, DPI = 9.0, 1.7, 100  # inches, inches per question, dots per inch
MANY, SHADES = 12, 24  # from so many questions on, dots are larger, and so many colours: the file stays below 100 kB


def draw(record: Mapping[str, Any], path: Path) -> Path:
    """Draw a record's questions, one below the other, into a PNG file.

    Args:
        record: what ``results/SLUG.json`` holds.
        path: the file.
    """
    questions = record["questions"]
    figure = Figure(
        figsize=(WIDTH, 0.25 + ROW * len(questions)), dpi=min(1, MANY / len(questions)) * DPI, layout="constrained"
    )
    grid = figure.subplots(len(questions), 2, squeeze=False, width_ratios=(3, 2))
    for (pairs, effect), question in zip(grid, questions, strict=True):
        _pairs(pairs, question)
        _effect(effect, question)
    content = io.BytesIO()
    figure.savefig(content, format="png", facecolor="white")
    with replacing(path) as partial, Image.open(content) as picture:
        picture.convert("RGB").quantize(SHADES).save(partial, format="PNG", optimize=True)
    return path


def _pairs(axes: Axes, question: Mapping[str, Any]) -> None:
    """A line per seed from the baseline's value to the method's."""
    colour = COLOURS[question["answer"]]
    for method, baseline in zip(question["method_values"], question["baseline_values"], strict=True):
        axes.plot([baseline, method], [0, 1], color="#c4c4c4", linewidth=1, zorder=1)
    for row, key, shade in ((0, "baseline_values", "#4a4a4a"), (1, "method_values", colour)):
        axes.scatter(question[key], [row] * len(question[key]), color=shade, s=16, zorder=2)
    axes.set_yticks([0, 1], [fill(name, 26) for name in (baseline_name(question), method_name(question))], fontsize=8)
    axes.set_ylim(-0.45, 1.45)
    axes.set_xlabel(_labelled(question), fontsize=8, loc="left")
    axes.set_title(fill(question["statement"], 62), fontsize=9, loc="left")
    _plain(axes)


def _effect(axes: Axes, question: Mapping[str, Any]) -> None:
    """The mean advantage with its interval, beside the margin that it has to pass."""
    colour = COLOURS[question["answer"]]
    axes.axvline(question["margin"], color="#4a4a4a", linewidth=1, linestyle=(0, (4, 3)))
    sign = 1 if question["higher"] else -1
    both = zip(question["method_values"], question["baseline_values"], strict=True)
    axes.scatter(
        [sign * (one - other) for one, other in both],
        [0.45] * len(question["method_values"]),
        s=9,
        color="#c4c4c4",
        zorder=2,
    )
    if question["low"] is not None:
        axes.plot([question["low"], question["high"]], [0, 0], color=colour, linewidth=2.5, solid_capstyle="butt")
    axes.scatter([question["effect"]], [0], color=colour, s=34, zorder=3)
    axes.set_ylim(-0.8, 1)
    axes.set_yticks([])
    axes.set_xlabel(f"advantage, {question['unit']}", fontsize=8, loc="left")
    axes.set_title(
        f"{question['answer']} ({question['verdict']})", fontsize=9, loc="left", color=colour, fontweight="bold"
    )
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _labelled(question: Mapping[str, Any]) -> str:
    better = "" if question["higher"] else " (lower is better)"
    return f"{question['metric']}, {question['unit']}{better}"
