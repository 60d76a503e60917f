"""The part of the documentation's page on claims that is made from the records, as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from accord.claims.names import baseline_name, interval, method_name
from accord.claims.record import read_records

HEADER = ("statement", "method against baseline", "effect [95 % interval]", "verdict", "seeds", "measured in")


def page(results: Path, figures: str = "claims") -> str:
    """One section per claim: what the paper says, the questions' answers, the figure, how settings were chosen.

    Args:
        results: the folder of the records.
        figures: where the page finds the figures.
    """
    records = read_records(results)
    if not records:
        return "No claim has been measured yet."
    sections = [section(record, f"{figures}/{record['slug']}.png") for record in records]
    return "\n\n".join([summary(records), *sections])


def summary(records: Iterable[Mapping[str, Any]]) -> str:
    """How many statements came out how.

    >>> summary([{"questions": [{"verdict": "holds"}, {"verdict": "undecided"}]}])
    'Statements: 2 (papers: 1). Hold: 1, do not hold: 0, undecided: 1.'
    """
    records = list(records)
    verdicts = Counter(question["verdict"] for record in records for question in record["questions"])
    return (
        f"Statements: {verdicts.total()} (papers: {len(records)}). Hold: {verdicts['holds']}, "
        f"do not hold: {verdicts['does not hold']}, undecided: {verdicts['undecided']}."
    )


def section(record: Mapping[str, Any], figure: str) -> str:
    """Everything about one claim."""
    questions = record["questions"]
    machine = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in record["machine"].items())
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    parts = [
        f"### {record['slug']}",
        record["paper"],
        table(HEADER, [_row(record, question) for question in questions]),
        "\n".join(f"- {line}" for line in _remarks(record)),
        f"![Each seed's pair of values, and the mean advantage with its interval: {record['slug']}]({figure})",
        f"*How the settings were chosen.* {record['tuning']}" if record["tuning"] else "",
        f"`{record['command']}` · {machine} · {versions}",
    ]
    return "\n\n".join(part for part in parts if part)


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
        f"**{question['verdict']}**",
        str(len(record["seeds"])),
        f"{question['seconds'] / 60:.1f} min, {record['machine']['cores']} cores",
    )


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
