"""The part of the documentation's page on claims that is made from the records, as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from accord.claims.names import baseline_name, interval, method_name
from accord.claims.record import outdated, read_records

HEADER = (
    "statement",
    "method against baseline",
    "effect [95 % interval]",
    "smallest of interest",
    "answer",
    "floor, ceiling",
    "seeds",
    "measured in",
)


def page(results: Path, figures: str = "claims") -> str:
    """One section per claim: what the paper says, the questions' answers, the figure, how settings were chosen.

    Args:
        results: the folder of the records.
        figures: where the page finds the figures.
    """
    records, older = read_records(results), outdated(results)
    again = f"Measured by an older version, and to be measured again: {', '.join(older)}." if older else ""
    if not records:
        return again or "No claim has been measured yet."
    sections = [section(record, f"{figures}/{record['slug']}.png") for record in records]
    return "\n\n".join(part for part in (summary(records), again, *sections) if part)


def summary(records: Iterable[Mapping[str, Any]]) -> str:
    """How many statements came out how.

    >>> summary([{"questions": [{"answer": "holds"}, {"answer": "undecided"}]}])
    'Statements: 2 (papers: 1). Hold: 1, do not hold: 0, undecided: 1, without room: 0.'
    """
    records = list(records)
    answers = Counter(question["answer"] for record in records for question in record["questions"])
    return (
        f"Statements: {answers.total()} (papers: {len(records)}). Hold: {answers['holds']}, do not hold: "
        f"{answers['does not hold']}, undecided: {answers['undecided']}, without room: {answers['no room']}."
    )


def section(record: Mapping[str, Any], figure: str) -> str:
    """Everything about one claim."""
    questions = record["questions"]
    parts = [
        f"### {record['slug']}",
        record["paper"],
        table(HEADER, [_row(record, question) for question in questions]),
        "\n".join(f"- {line}" for line in _remarks(record)),
        f"![Each seed's pair of values, and the mean advantage with its interval: {record['slug']}]({figure})",
        f"*How the settings were chosen.* {record['tuning']}" if record["tuning"] else "",
        f"`{record['command']}` · {_measured_at(record)}",
        *(_place(place) for place in record["places"]),
    ]
    return "\n\n".join(part for part in parts if part)


def _measured_at(record: Mapping[str, Any]) -> str:
    """Commit and date, and what was not as declared."""
    commit = f"commit {record['commit'][:10]}" if record["commit"] else "no commit"
    changed = "" if record["clean"] or not record["commit"] else ", with changes that are not in it"
    declared = "" if record["seeds"] == record["declared_seeds"] else f" · declared seeds: {record['declared_seeds']}"
    return f"{commit}{changed} · {record['date']}{declared}"


def _place(place: Mapping[str, Any]) -> str:
    """Machine and versions of trainings."""
    machine = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in place["machine"].items())
    versions = ", ".join(f"{name} {version}" for name, version in place["versions"].items())
    return f"{machine}, {place['device']}, threads {place['threads']} · {versions}"


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; bars inside cells are escaped."""
    lines = [list(header)]
    lines += [["---"] * len(lines[0]), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _row(record: Mapping[str, Any], question: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        f"`{question['name']}`: {question['statement']}",
        _sides(question),
        f"{interval(question)} {question['unit']}",
        "" if question["every"] else f"{question['smallest']:g}: {question['because']}",
        f"**{question['answer']}** ({question['verdict']})",
        _levels(question),
        _seeds(record, question),
        f"{question['seconds'] / 60:.1f} min",
    )


def _levels(question: Mapping[str, Any]) -> str:
    """Floor and ceiling, or why there are none."""
    if question["floor"] is None:
        return question["no_scale"]
    room = "" if question["room"] is None else f" ({question['room']:.1f} widths)"
    return f"{question['floor']['value']:.3g}, {question['ceiling']['value']:.3g}{room}"


def _seeds(record: Mapping[str, Any], question: Mapping[str, Any]) -> str:
    """How many, and how many would decide."""
    if question["answer"] != "undecided" or question["p"] is None:
        return str(len(record["seeds"]))
    return f"{len(record['seeds'])}; {question['seeds_needed'] or 'more than 200'} would decide"


def _sides(question: Mapping[str, Any]) -> str:
    """Metric, and both sides' means of it."""
    method, baseline = (sum(question[key]) / len(question[key]) for key in ("method_values", "baseline_values"))
    lower = "" if question["higher"] else " (lower is better)"
    other = f" {baseline:.3g}" if isinstance(question["baseline"], str) else ""  # a level says its value
    return f"{question['metric']}{lower}: {method_name(question)} {method:.3g}, {baseline_name(question)}{other}"


def _remarks(record: Mapping[str, Any]) -> list[str]:
    """What a reader has to know to judge the answers; questions of which the same is to be said share a line."""
    names: dict[str, list[str]] = {}
    tried: dict[str, dict[str, int]] = {}
    for question in record["questions"]:
        for remark in _reservations(question):
            names.setdefault(remark, []).append(f"`{question['name']}`")
            tried.setdefault(remark, {}).update(question["trials"])
    lines = []
    for remark, asked in names.items():
        listed = "; ".join(f"{arm}: {number}" for arm, number in tried[remark].items())
        lines.append(f"{', '.join(asked)}: {remark.replace(_TRIED, listed)}")
    return lines


_TRIED = "{tried}"


def _reservations(question: Mapping[str, Any]) -> list[str]:
    said = []
    if question["unequal_trials"]:
        said.append(f"tuned unequally (settings tried: {_TRIED}). {question['unequal_trials']}")
    if question["equal"] == "epochs":
        said.append("equal passes over the rows, not equal numbers of steps.")
    if question["equal"] == "nothing":
        said.append("the arms' budgets differ; the record has their steps and seconds.")
    return said
