"""How the two sides of a question and its effect are written, in figures, tables and on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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


def interval(question: Mapping[str, Any]) -> str:
    """Effect and interval.

    >>> interval({"effect": 3.14159, "low": 1.0, "high": None}), interval({"effect": 3.14159, "low": 1.0, "high": 5.2})
    ('+3.14', '+3.14 [+1, +5.2]')
    """
    if question["low"] is None or question["high"] is None:
        return f"{question['effect']:+.3g}"
    return f"{question['effect']:+.3g} [{question['low']:+.3g}, {question['high']:+.3g}]"
