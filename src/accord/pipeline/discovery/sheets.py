"""The page of found classes: of each a contact sheet, its name, and how stable it is."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

import numpy as np

from accord.data.corpus import Corpus
from accord.pipeline.discovery.classes import FoundClass, FoundClasses
from accord.pipeline.discovery.files import ROWS
from accord.pipeline.discovery.stability import MOST, SHARE
from accord.pipeline.examples import caption, pictured
from accord.report.html import write_report
from accord.report.summary import Curves, Item, RunSummary, Section, Sheet, Sheets
from accord.searching.rows import file_paths

_NEAREST, _DOUBTFUL = 8, 4  # rows shown of a class
_SHOWN = 2400  # rows on a page; of many classes fewer are shown, but of each as many as this:
_LEAST = 2
_NEAR, _DOUBTED = "nearest to the centre", "most doubtful: what they might be instead"


def write_page(found: FoundClasses, corpus: Corpus, setup: Mapping[str, Mapping[str, str]], modality: str) -> None:
    """Write ``discover.html``, which needs nothing beside it.

    Args:
        found: the classes.
        corpus: the rows.
        setup: sections of facts.
        modality: what the classes were found by, which is shown before other media.
    """
    sections: list[Section] = []
    order = np.argsort(found.placed.classes, kind="stable")
    starts = np.searchsorted(found.placed.classes[order], np.arange(len(found.classes) + 1))
    sheets = [_sheet(found, k, order[starts[k] : starts[k + 1]], corpus) for k in range(len(found.classes))]
    for title, lead, part in (
        ("New classes", "No row was labelled with these; the largest first.", sheets[found.known :]),
        ("Known classes", "These had labelled rows.", sheets[: found.known]),
    ):
        if part:
            sections.append(pictured(Sheets(f"{lead} {_HOW}", tuple(part), title=title, corpus=corpus), (modality,)))
    sections += _numbers(found)
    summary = RunSummary(
        title=f"Classes in {corpus.name}",
        method="discover",
        lede=f"{found.sentence()}.",
        setup=setup,
        sections=tuple(sections),
        next_steps=_next_steps(found, corpus),
    )
    write_report(summary, found.page)


_HOW = (
    "Stability is the mean overlap with the class most like it that is found in parts of the rows: above 0.75 a class "
    "comes back, below 0.5 it falls apart. Density is the mean cosine of the rows with their centre."
)


def _sheet(found: FoundClasses, number: int, rows: np.ndarray, corpus: Corpus) -> Sheet:
    """The nearest rows of a class, and of the others those nearest to another class."""
    most = _SHOWN // (len(found.classes) * (_NEAREST + _DOUBTFUL))
    nearest, doubtful = (_NEAREST, _DOUBTFUL) if most else (_LEAST, _LEAST)
    near = rows[np.argsort(found.placed.distance[rows], kind="stable")[:nearest]]
    rest = np.setdiff1d(rows, near)
    doubted = rest[np.argsort(found.placed.margin[rest], kind="stable")[:doubtful]]
    one = found.classes[number]
    shown = tuple(_item(corpus, row) for row in near)
    likely = tuple(_item(corpus, row, found.classes[found.placed.other[row]].name) for row in doubted)
    return Sheet(one.name, "new" if one.new else "", _note(one), ((_NEAR, shown), (_DOUBTED, likely)))


def _item(corpus: Corpus, row: int, relation: str = "") -> Item:
    return Item(text=caption(corpus, row), relation=relation and f"or {relation}", row=int(row))


def _note(one: FoundClass) -> str:
    stability = "not measured" if one.stability is None else f"{one.stability:.2f}"
    parts = [f"{one.rows:,} rows", f"{one.labelled:,} of them labelled" if one.labelled else ""]
    words = ", ".join(word for word, _ in one.words if word != one.name)
    parts += [f"stability {stability}", f"density {one.density:.2f}", f"words: {words}" if words else ""]
    return " · ".join(part for part in parts if part)


def _numbers(found: FoundClasses) -> list[Section]:
    """How the number of classes came about, and what it was in parts of the rows."""
    lines = {
        "all rows": [(float(sweep), float(count)) for sweep, count in enumerate(found.history)],
        "parts": [(float(part), float(count)) for part, count in enumerate(found.repeats, start=1)],
    }
    lead = f"After each sweep over all rows; and in parts of {SHARE:.0%} of the rows, {MOST:,} at most, one by one."
    drawn = {name: points for name, points in lines.items() if len(points) > 1}
    return [Curves(lead, drawn, x="sweep or part", y="classes", title="Number of classes")] if drawn else []


def _next_steps(found: FoundClasses, corpus: Corpus) -> tuple[str, ...]:
    """A command that goes on with the classes, where rows are files."""
    medium = next(iter(corpus.columns.media), None)
    if medium is None or None in file_paths(corpus):
        return ()
    command = ("accord", "train", str(found.path / ROWS), f"--{medium}", "path", "--label", "class")
    return (shlex.join(command),)
