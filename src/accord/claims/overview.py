"""All questions of all claims, a line each: what was found, of how many seeds, and whether that is still so.

The records say what was found. What is asked today, and whether code or declarations have moved on, only the claim
files say; loading them takes PyTorch and a while, so that who wants to know it asks for :func:`declared`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accord.claims.load import claim_files, headline
from accord.claims.record import outdated, read_records
from accord.papers.verdicts import UNMEASURED

STALE, OUTDATED = "stale", "measured by an older version"


@dataclass(frozen=True)
class Declared:
    """What a claim file says today.

    Args:
        questions: name -> statement.
        kind_of_data: real, composed or synthetic.
        seeds: how many.
        state: what ``accord claims check`` says of its record.
    """

    questions: Mapping[str, str]
    kind_of_data: str
    seeds: int
    state: str


@dataclass(frozen=True)
class Line:
    """One question.

    Args:
        claim: the claim's name.
        question: its own; empty for a claim of which nothing is known but that it is there.
        statement: the sentence.
        kind_of_data: real, composed or synthetic.
        found: the question's part of the record; None where it was not measured.
        seeds: how many it was measured on, or is to be.
        commit: what was measured; empty without one.
        remark: "stale …" where claim or code is another one by now; without an answer "not measured yet", or
            "measured by an older version"; else nothing.
    """

    claim: str
    question: str
    statement: str
    kind_of_data: str
    found: Mapping[str, Any] | None
    seeds: int
    commit: str
    remark: str

    @property
    def name(self) -> str:
        """The name by which cards and pages call the question."""
        return f"{self.claim}/{self.question}" if self.question else self.claim


def overview(folder: Path, today: Mapping[str, Declared] | None = None) -> list[Line]:
    """A line per question, by claim.

    Args:
        folder: where the claim files are; their records lie in ``results``.
        today: claim -> what its file says, from :func:`declared`. Without it a claim that was not measured has one
            line, and no record is called stale.

    Raises:
        ConfigError: there is no such folder.
    """
    records = {record["slug"]: record for record in read_records(folder / "results")}
    older = outdated(folder / "results")
    lines: list[Line] = []
    for slug, path in claim_files(folder).items():
        if slug in records:
            lines += _measured(records[slug], None if today is None else today[slug])
            continue
        remark = OUTDATED if slug in older else UNMEASURED
        if today is None:
            lines.append(Line(slug, "", headline(path), "", None, 0, "", remark))
        else:
            lines += _unmeasured(slug, today[slug], today[slug].questions, remark)
    return lines


def declared(folder: Path) -> dict[str, Declared]:
    """Claim -> what its file says, of all claims; loads each, trains none.

    Raises:
        ConfigError: a claim file fails.
    """
    from accord.claims.check import check  # PyTorch, with all that the claims import
    from accord.claims.load import loaded

    found = {}
    for slug in claim_files(folder):
        state = str(check(slug, folder))
        with loaded(slug, folder) as claim:
            questions = {question.name: question.statement for question in claim.questions}
            found[slug] = Declared(questions, claim.kind_of_data, len(claim.declared_seeds), state)
    return found


def _measured(record: Mapping[str, Any], today: Declared | None) -> list[Line]:
    """The questions of a record that are still asked, and those that were not when it was made."""
    answers = {question["name"]: question for question in record["questions"]}
    asked = answers if today is None else [name for name in answers if name in today.questions]
    kind = today.kind_of_data if today is not None else record.get("kind_of_data", "")
    remark = today.state if today is not None and today.state.startswith(STALE) else ""
    commit = record["commit"] or ""
    lines = [
        Line(
            record["slug"], name, answers[name]["statement"], kind, answers[name], len(record["seeds"]), commit, remark
        )
        for name in asked
    ]
    if today is None:
        return lines
    new = {name: statement for name, statement in today.questions.items() if name not in answers}
    return [*lines, *_unmeasured(record["slug"], today, new, UNMEASURED)]


def _unmeasured(slug: str, today: Declared, questions: Mapping[str, str], remark: str) -> list[Line]:
    return [
        Line(slug, name, statement, today.kind_of_data, None, today.seeds, "", remark)
        for name, statement in questions.items()
    ]
