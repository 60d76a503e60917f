"""The effect of a question as a drawing of a line's height, which stands in a table: plain SVG, without any library."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from accord.claims.names import COLOURS
from accord.papers.verdicts import effect

WIDTH, HEIGHT, EDGE = 150, 18, 5  # pixels
MIDDLE = HEIGHT / 2


def effect_plot(question: Mapping[str, Any]) -> str:
    """The effect as a dot with its interval, beside what matters.

    A dashed line is the margin that it has to exceed, the band around it what is too small to matter to anybody. Ticks
    at the edges are what the effect would be if the method reached floor and ceiling.

    Args:
        question: a question of a record.

    Returns:
        An ``<svg>`` on one line.
    """
    marks = _marks(question)
    place = _scaled(list(marks.values()))
    at = {name: place(value) for name, value in marks.items()}
    colour = COLOURS[question["answer"]]
    parts = [f"<title>{escape(_said(question))}</title>"]
    if "least" in at:
        width = at["most"] - at["least"]
        parts.append(f'<rect x="{at["least"]:.1f}" y="2" width="{width:.1f}" height="{HEIGHT - 4}" fill="{_SHADE}"/>')
    parts.append(_upright(at["margin"], 0, HEIGHT, "currentColor", 'stroke-dasharray="3 2" stroke-opacity="0.7"'))
    parts += [_upright(at[level], 4, HEIGHT - 4, "currentColor") for level in ("floor", "ceiling") if level in at]
    if "low" in at:
        parts.append(
            f'<path d="M{at["low"]:.1f} {MIDDLE:g}H{at["high"]:.1f}" stroke="{colour}" stroke-width="3" fill="none"/>'
        )
    parts.append(f'<circle cx="{at["effect"]:.1f}" cy="{MIDDLE:g}" r="3.5" fill="{colour}"/>')
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    return f'<svg class="effect" role="img" {size}>{"".join(parts)}</svg>'


_SHADE = "rgba(128,128,128,0.25)"


def _marks(question: Mapping[str, Any]) -> dict[str, float]:
    """What is drawn, as effects."""
    margin, smallest = question["margin"], question["smallest"]
    marks = {"effect": question["effect"], "margin": margin}
    if question["low"] is not None and question["high"] is not None:
        marks |= {"low": question["low"], "high": question["high"]}
    if not question["every"]:
        marks |= {"least": margin - smallest, "most": margin + smallest}
    if question["floor"] is not None:
        sign = 1 if question["higher"] else -1
        baseline = sum(question["baseline_values"]) / len(question["baseline_values"])
        marks |= {level: sign * (question[level]["value"] - baseline) for level in ("floor", "ceiling")}
    return marks


def _scaled(values: list[float]) -> Any:
    """Value -> place, so that all values fit."""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return lambda value: EDGE + (WIDTH - 2 * EDGE) * (value - low) / span


def _upright(x: float, top: float, bottom: float, colour: str, more: str = "") -> str:
    return f'<path d="M{x:.1f} {top:g}V{bottom:g}" stroke="{colour}" stroke-width="1" {more}/>'


def _said(question: Mapping[str, Any]) -> str:
    """The drawing in words."""
    parts = [effect(question)]
    if question["margin"]:
        parts.append(f"to exceed {question['margin']:g}")
    if not question["every"]:
        parts.append(f"too small to matter: ±{question['smallest']:g}")
    if question["floor"] is not None:
        parts.append(f"floor {question['floor']['value']:.3g}, ceiling {question['ceiling']['value']:.3g}")
    return "; ".join(parts)
