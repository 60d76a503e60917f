"""A corpus for another process, perhaps on another machine, without the pictures in it.

Where cells name files, the names travel: a folder listed anew might hold other files. Where cells hold the bytes, the
other side reads them from the source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from accord.data.corpus import Corpus, undecoded
from accord.data.reading.sources import absolute_source, read_source
from accord.errors import DataError

_PROBES = 32  # rows whose content is compared


@dataclass(frozen=True)
class Handover:
    """What is sent of a corpus.

    Args:
        corpus: the corpus; its rows hold names and texts, or nothing.
        source: where to read the rows from, or None when they came along.
        probe: hash of what some of the rows hold, to be sure that they are read from the same thing.
    """

    corpus: Corpus
    source: str | None = None
    probe: str = ""


def hand_over(corpus: Corpus, source: str | Path) -> Handover:
    """What has to be sent of ``corpus``, which was opened from ``source``.

    Example:
        >>> from accord.data import corpus_from_items
        >>> corpus = corpus_from_items("text", ["a cat", "a dog"])
        >>> take_over(hand_over(corpus, "pets.csv")).texts()
        [['a cat'], ['a dog']]
    """
    media = list(corpus.columns.media.values())
    if all(_is_names(corpus.rows.data.schema.field(column).type) for column in media):
        used = dict.fromkeys([*media, *corpus.columns.text, *corpus.columns.graph])
        table = corpus.rows.select_columns(list(used)).with_format("arrow")[:]
        root = (corpus.root or Path()).absolute()
        return Handover(replace(corpus, rows=datasets.Dataset(table), root=root))
    nothing = datasets.Dataset.from_dict({})
    return Handover(replace(corpus, rows=nothing), absolute_source(source), _probe(corpus))


def take_over(sent: Handover) -> Corpus:
    """The corpus that was sent: the same rows in the same order.

    Raises:
        DataError: the source cannot be read here, or holds other rows than when the corpus was opened.
    """
    if sent.source is None:
        return sent.corpus
    found, ids = read_source(sent.source), sent.corpus.ids
    if ids.max(initial=-1) < len(found.rows):
        rows = undecoded(found.rows, sent.corpus.columns).select(ids)
        corpus = replace(sent.corpus, rows=rows, root=found.root)
        if _probe(corpus) == sent.probe:
            return corpus
    raise DataError(f"{sent.source} holds other rows than when it was opened: leave it alone until all is done")


def _is_names(cells: pa.DataType) -> bool:
    """Whether a column holds paths, or lists of them."""
    kind = cells.value_type if pa.types.is_list(cells) or pa.types.is_large_list(cells) else cells
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _probe(corpus: Corpus) -> str:
    digest = hashlib.blake2b(digest_size=16)
    media = corpus.rows.select_columns(list(corpus.columns.media.values()))
    for position in np.linspace(0, len(corpus) - 1, min(_PROBES, len(corpus)), dtype=int):
        for cell in media[int(position)].values():
            digest.update(_content(cell))
    return digest.hexdigest()


def _content(cell: Any) -> bytes:
    """The bytes of a cell, or the name of the file that it names."""
    if isinstance(cell, list):
        return b"".join(map(_content, cell))
    if isinstance(cell, Mapping):
        cell = cell.get("bytes") or Path(cell.get("path") or "").name
    return cell if isinstance(cell, bytes) else str(cell).encode(errors="replace")
