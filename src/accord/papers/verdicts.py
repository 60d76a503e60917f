"""What became of the cards' claims: the answers in ``verdicts.json``, which comes with the package.

The file is a summary of the records of measured claims, made by ``tools/verdicts.py``. A question that is not in it has
not been measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

UNMEASURED = "not measured yet"


@dataclass(frozen=True)
class Verdict:
    """The answer to one question of a claim.

    Args:
        statement: what was asked.
        answer: "holds", "does not hold", "undecided", or "no room" where floor and ceiling lie too near.
        verdict: "better", "worse", "equivalent" or "undecided"; of a promise "kept" or "broken".
        effect: the advantage with its interval and unit, as text.
        seeds: how many.
        kind_of_data: real, composed or synthetic.
        commit: the commit that was measured; empty where it is not known.
    """

    statement: str
    answer: str
    verdict: str
    effect: str
    seeds: int
    kind_of_data: str = ""
    commit: str = ""

    def __str__(self) -> str:
        """The answer in one line.

        >>> str(Verdict("", "does not hold", "worse", "-1.6 [-2.8, -0.3] points", 10))
        'does not hold (worse): -1.6 [-2.8, -0.3] points, seeds: 10'
        """
        how = "" if self.verdict == self.answer else f" ({self.verdict})"
        return f"{self.answer}{how}: {self.effect}, seeds: {self.seeds}"


def verdicts_of(record: Mapping[str, Any]) -> dict[str, Verdict]:
    """``SLUG/QUESTION`` -> answer, of one claim's record."""
    facts = (len(record["seeds"]), record.get("kind_of_data", ""), record["commit"] or "")
    return {
        f"{record['slug']}/{question['name']}": Verdict(
            question["statement"], question["answer"], question["verdict"], effect(question), *facts
        )
        for question in record["questions"]
    }


def effect(question: Mapping[str, Any]) -> str:
    """Effect, interval and unit of a question as a record has it.

    >>> effect({"effect": 3.14159, "low": 1.0, "high": 5.2, "unit": "points"})
    '+3.14 [+1, +5.2] points'
    """
    return f"{interval(question)} {question['unit']}"


def interval(question: Mapping[str, Any]) -> str:
    """Effect and interval.

    >>> interval({"effect": 3.14159, "low": 1.0, "high": None}), interval({"effect": 3.14159, "low": 1.0, "high": 5.2})
    ('+3.14', '+3.14 [+1, +5.2]')
    """
    if question["low"] is None or question["high"] is None:
        return f"{question['effect']:+.3g}"
    return f"{question['effect']:+.3g} [{question['low']:+.3g}, {question['high']:+.3g}]"


@cache
def shipped_verdicts() -> Mapping[str, Verdict]:
    """``SLUG/QUESTION`` -> answer, of all that was measured."""
    told = json.loads((files("accord.papers") / "verdicts.json").read_text(encoding="utf-8"))
    return {question: Verdict(**values) for question, values in told.items()}
