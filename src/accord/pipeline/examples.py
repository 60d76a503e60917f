"""Rows as a report shows them: their pictures, captions and names."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from accord.data.corpus import Corpus
from accord.data.quarantine import RowError
from accord.data.reading.graphs import ID
from accord.report.summary import ClassRow, Item, Picture, Section
from accord.searching.rows import file_paths, has_node_ids

Shown = TypeVar("Shown", bound=Section)


def pictured(section: Shown, of: Collection[str]) -> Shown:
    """A section with the pictures of its rows, and with the names of those that have no text.

    Args:
        section: with rows of its corpus by their positions.
        of: media that are shown before others, those that the model looks at.
    """
    return section if section.corpus is None else _filled(section, section.corpus, of)


def _filled(value: Any, corpus: Corpus, of: Collection[str], alt: str = "") -> Any:
    """The same with every item of a row filled in, however deep."""
    if isinstance(value, Item):
        return value if value.row is None else _with_picture(value, corpus, of, alt)
    if isinstance(value, tuple):
        return tuple(_filled(part, corpus, of, alt) for part in value)
    if is_dataclass(value) and not isinstance(value, type | Corpus):
        alt = value.name if isinstance(value, ClassRow) else alt
        filled = {part.name: _filled(getattr(value, part.name), corpus, of, alt) for part in fields(value)}
        return replace(value, **filled)
    return value


def _with_picture(item: Item, corpus: Corpus, of: Collection[str], alt: str) -> Item:
    row = int(item.row or 0)
    return replace(item, picture=thumbnail(corpus, row, of, alt), text=item.text or row_name(corpus, row))


def thumbnail(corpus: Corpus, row: int, of: Collection[str] = (), alt: str = "") -> Picture | None:
    """A small picture of a row, of a clip a film strip; of the first medium ``of`` these; None where there is none."""
    try:
        shown = corpus.picture(int(row), side=96, of=of)
    except RowError:  # went bad since it was checked: the report does without it
        return None
    return Picture.of(shown, alt or caption(corpus, row) or row_name(corpus, row), side=96) if shown else None


def caption(corpus: Corpus, row: int) -> str:
    """The first caption of a row, empty where it has none."""
    captions = corpus.select([row]).texts()[0]
    return captions[0] if captions else ""


def row_name(corpus: Corpus, row: int) -> str:
    """What a row is called: its number, and its file or its node's id where it has one.

    Example:
        >>> from accord.data.corpus import corpus_from_items
        >>> row_name(corpus_from_items("image", ["cats/1.png"]), 0)
        'row 0 · cats/1.png'
    """
    one = corpus.select([row])
    name = f"row {one.ids[0]}"
    if has_node_ids(one):
        return f"{name} · {one.rows[ID][0]}"
    (file,) = file_paths(one)
    if file is None:
        return name
    inside = corpus.root is not None and Path(file).is_relative_to(corpus.root)
    return f"{name} · {Path(file).relative_to(corpus.root) if inside and corpus.root else file}"
