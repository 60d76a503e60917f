"""The part of the documentation's page on claims that is made from the records, as Markdown with drawings in it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from accord.claims.names import baseline_name, method_name
from accord.claims.overview import Declared, Line, overview
from accord.claims.plot import effect_plot
from accord.claims.record import outdated, read_records
from accord.papers.verdicts import effect

COLUMNS = ("question", "data", "verdict", "effect [95 % interval]", "floor, ceiling", "seeds", "commit")
DETAILS = (
    "statement",
    "method against baseline",
    "effect [95 % interval]",
    "smallest of interest",
    "answer",
    "floor, ceiling",
    "seeds",
    "measured in",
)
FOREST = "all_claims.png"  # the figure of all questions
BADGES = {"holds": "holds", "does not hold": "fails", "undecided": "undecided", "no room": "undecided"}


def page(folder: Path, figures: str = "claims", today: Mapping[str, Declared] | None = None) -> str:
    """All questions, and then the details of each claim: see :func:`opening` and :func:`details`."""
    return "\n\n".join(part for part in (opening(folder, figures, today), details(folder, figures)) if part)


def opening(folder: Path, figures: str = "claims", today: Mapping[str, Declared] | None = None) -> str:
    """How the statements came out, one table of all questions, and a figure of all effects.

    Args:
        folder: of the claim files, with their records in ``results``.
        figures: where the page finds the figures.
        today: what the claim files say, from :func:`accord.claims.overview.declared`.

    Raises:
        ConfigError: there is no such folder.
    """
    lines, records, older = overview(folder, today), read_records(folder / "results"), outdated(folder / "results")
    parts = [summary(records) if records else "No claim has been measured yet."]
    if older:
        parts.append(f"Measured by an older version, and to be measured again: {', '.join(older)}.")
    parts.append(table(COLUMNS, [_line(line) for line in lines]))
    if in_forest(records):
        parts.append(f"![All effects in units of the smallest one that matters]({figures}/{FOREST})")
    return "\n\n".join(parts)


def details(folder: Path, figures: str = "claims") -> str:
    """A section per claim that was measured: what the paper says, and folded below it every question and its figure."""
    records = read_records(folder / "results")
    return "\n\n".join(section(record, f"{figures}/{record['slug']}.png") for record in records)


def in_forest(records: Iterable[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Name and answer of the questions that can share an axis: a promise has no smallest effect to be measured by."""
    return [
        (f"{record['slug']}/{question['name']}", question)
        for record in records
        for question in record["questions"]
        if question["smallest"] > 0 and not question["every"]
    ]


def anchor(name: str) -> str:
    """Where the page has a question.

    >>> anchor("gram/longer, direction")
    'gram-longer-direction'
    """
    return re.sub(r"\W+", "-", name).strip("-")


def badge(line: Line) -> str:
    """An answer as coloured text, which reads well without the colour too.

    >>> badge(Line("clip", "rows", "", "real", None, 5, "", "not measured yet"))
    '<span class="verdict unmeasured">not measured yet</span>'
    """
    if line.found is None:
        return f'<span class="verdict unmeasured">{escape(line.remark)}</span>'
    answer, verdict = line.found["answer"], line.found["verdict"]
    how = "" if verdict == answer else f" ({verdict})"
    return f'<span class="verdict {BADGES[answer]}">{answer}</span>{how}'


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
    """Everything about one claim, folded but for what the paper says."""
    questions = record["questions"]
    parts = [
        table(DETAILS, [_row(record, question) for question in questions]),
        "\n".join(f"- {line}" for line in _remarks(record)),
        f"![Each seed's pair of values, and the mean advantage with its interval: {record['slug']}]({figure})",
        f"*How the settings were chosen.* {record['tuning']}" if record["tuning"] else "",
        f"`{record['command']}` · {_measured_at(record)}",
        *(_place(place) for place in record["places"]),
    ]
    folded = "\n\n".join(part for part in parts if part)
    told = f'<details markdown="1">\n<summary>Every question, seed by seed</summary>\n\n{folded}\n\n</details>'
    return f"### {record['slug']}\n\n{record['paper']}\n\n{told}"


def _line(line: Line) -> tuple[str, ...]:
    """A row of the table of all questions."""
    name, found = f"`{line.name}`", line.found
    linked = name if found is None else f"[{name}](#{line.claim})"  # what was not measured has no section
    asked = f'<span class="question" id="{anchor(line.name)}"></span>{linked}<br>{line.statement}'
    if found is None:
        return asked, line.kind_of_data, badge(line), "", "", str(line.seeds or ""), ""
    shown = f"{effect_plot(found)}<br>{effect(found)}"
    return asked, line.kind_of_data, badge(line), shown, levels(found), seeds(line.seeds, found), _commit(line)


def _commit(line: Line) -> str:
    """What was measured, and whether code or claim are others by now."""
    stale = f'<span class="verdict stale" title="{escape(line.remark)}">stale</span>' if line.remark else ""
    return " ".join(part for part in (line.commit[:10] or "none", stale) if part)


def levels(question: Mapping[str, Any]) -> str:
    """Floor and ceiling in short; nothing where there are none."""
    if question["floor"] is None:
        return ""
    return f"{question['floor']['value']:.3g}, {question['ceiling']['value']:.3g}"


def seeds(number: int, question: Mapping[str, Any]) -> str:
    """How many there are, and how many would decide."""
    if question["answer"] != "undecided" or question["p"] is None:
        return str(number)
    return f"{number}; {question['seeds_needed'] or 'more than 200'} would decide"


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
        f"{effect(question)}{_chance(question)}",
        "" if question["every"] else f"{question['smallest']:g}: {question['because']}",
        f"**{question['answer']}** ({question['verdict']})",
        _levels(question),
        seeds(len(record["seeds"]), question),
        f"{question['seconds'] / 60:.1f} min",
    )


def _chance(question: Mapping[str, Any]) -> str:
    """How likely such an effect is without there being one, as it is and with all of the claim's questions counted."""
    return "" if question["p_holm"] is None else f" (p {question['p']:.2g}, Holm {question['p_holm']:.2g})"


def _levels(question: Mapping[str, Any]) -> str:
    """Floor and ceiling, or why there are none."""
    if question["floor"] is None:
        return question["no_scale"]
    room = "" if question["room"] is None else f" ({question['room']:.1f} widths)"
    return f"{levels(question)}{room}"


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
