"""``review.html``: the doubted rows on a page that needs no network, to accept or reject each proposal."""

from __future__ import annotations

import base64
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jinja2 import Environment

from accord.cleaning.table import REVIEW, doubted_first
from accord.data.corpus import Corpus
from accord.data.quarantine import RowError
from accord.evaluation.sections import Picture
from accord.files import write_atomically
from accord.report.html import environment_over

_SIDE = 160  # pixels of a picture


def write_review(
    folder: Path, table: pa.Table, about: dict[str, Any], corpus: Corpus, most: int, of: Collection[str] = ()
) -> Path:
    """Write ``folder/review.html``.

    Args:
        folder: that of ``clean.parquet``.
        table: what stands there.
        about: its metadata, with the fingerprint.
        corpus: the rows of the table, for their pictures.
        most: how many rows are shown, the surest doubts.
        of: media that are shown before others.
    """
    order = doubted_first(table)
    place = {int(number): position for position, number in enumerate(corpus.ids)}
    cards = []
    for position, row in zip(order[:most], table.take(order[:most]).to_pylist(), strict=True):
        near = place.get(row["nearest_id"]) if row["nearest_id"] is not None else None
        pictures = {
            "picture": _uri(corpus, int(position), of),
            "nearest": None if near is None else _uri(corpus, near, of),
        }
        cards.append({**row, **pictures})
    page = (
        _environment()
        .get_template("review.html.j2")
        .render(about=about, cards=cards, doubted=len(order), rows=len(table), lowest=_percent(table))
    )
    write_atomically(folder / REVIEW, page)
    return folder / REVIEW


def _percent(table: pa.Table) -> str:
    """Share of doubted rows, in words."""
    return f"{100 * float(np.mean(table['doubted'].to_numpy())) if len(table) else 0:.1f} %"


def _uri(corpus: Corpus, position: int, of: Collection[str]) -> str | None:
    """A small picture of a row as it is written into a page; None where there is none."""
    try:
        shown = corpus.picture(position, _SIDE, of)
    except RowError:
        return None
    if shown is None:
        return None
    return f"data:image/webp;base64,{base64.b64encode(Picture.of(shown, '', _SIDE).data).decode('ascii')}"


@cache
def _environment() -> Environment:
    """Pages share the report's looks."""
    return environment_over("accord.cleaning")
