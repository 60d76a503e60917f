"""Figures: a claim's questions, each with its seeds' pairs and its effect; and the effects of all claims at once."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from accord.claims.names import COLOURS, baseline_name, method_name
from accord.files import replacing

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


def draw_all(questions: Sequence[tuple[str, Mapping[str, Any]]]) -> bytes:
    """Draw the effects of all questions, each in units of the smallest effect that matters to it: a forest plot.

    The axis counts from the margin, evenly up to one unit, and in equal ratios beyond.

    Args:
        questions: name and answer of each, from the top down, as :func:`accord.claims.table.in_forest` gives them.

    Returns:
        A PNG file.
    """
    figure = Figure(figsize=(WIDTH, 1.0 + 0.17 * len(questions)), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.axvspan(-1, 1, color="#e8e8e8", zorder=0)
    axes.axvline(0, color="#4a4a4a", linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    for row, (_, question) in enumerate(questions):
        colour = COLOURS[question["answer"]]
        if question["low"] is not None and question["high"] is not None:
            ends = [_standardised(question, "low"), _standardised(question, "high")]
            axes.plot(ends, [row, row], color=colour, linewidth=2, solid_capstyle="butt", zorder=2)
        axes.scatter([_standardised(question, "effect")], [row], color=colour, s=16, zorder=3)
    axes.set_xscale("symlog", linthresh=1, linscale=0.6)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_yticks(range(len(questions)), [name for name, _ in questions], fontsize=7)
    axes.set_ylim(len(questions) - 0.4, -0.6)
    axes.set_xlabel(
        "effect beyond the margin, in units of the smallest effect of interest (grey: too small to matter)\n"
        "green: holds, red: does not hold, grey dots: undecided, or no room between floor and ceiling",
        fontsize=8,
        loc="left",
    )
    _plain(axes)
    content = io.BytesIO()
    figure.savefig(content, format="png", facecolor="white")
    return content.getvalue()


def _standardised(question: Mapping[str, Any], key: str) -> float:
    """An effect or a bound of it, beyond the margin, in smallest effects of interest."""
    return float((question[key] - question["margin"]) / question["smallest"])


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
