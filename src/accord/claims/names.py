"""How the two sides of a question are written, and its answer coloured, in figures, tables and on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COLOURS = {"holds": "#1b7f4d", "does not hold": "#b3261e", "undecided": "#6b6b6b", "no room": "#6b6b6b"}


def method_name(question: Mapping[str, Any]) -> str:
    """The method's arm, with its metric where the baseline has another one."""
    metric = f", {question['metric']}" if question["baseline_metric"] else ""
    return f"{question['method']}{metric}"


def baseline_name(question: Mapping[str, Any]) -> str:
    """The baseline's arm or level, with its metric where it is not the method's.

    >>> baseline_name({"baseline": 25.0, "baseline_metric": ""})
    'level 25'
    """
    if not isinstance(question["baseline"], str):
        return f"level {question['baseline']:g}"
    metric = f", {question['baseline_metric']}" if question["baseline_metric"] else ""
    return f"{question['baseline']}{metric}"
