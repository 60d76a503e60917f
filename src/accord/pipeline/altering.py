"""``data counterfactuals``: a table with altered captions beside the captions, made by rules or a user's own model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor

from accord.data.columns import Columns, guess_columns
from accord.data.inputs import TextInput
from accord.data.making.copies import Row, check_table, copied_rows, write_rows
from accord.data.making.counterfactuals import KINDS, Altered, Kind, Writer, counterfactuals, sound, usual_words
from accord.data.reading.cells import cells_of, read_captions
from accord.data.reading.sources import Source, read_source
from accord.encoders import build_encoder
from accord.errors import ConfigError, DataError, no_such
from accord.files import check_replaceable
from accord.functional.checks import check_choice
from accord.pipeline.rows import ColumnNames
from accord.plugins import broken, find_plugin, plugin_names
from accord.training.device import resolve_device

MAX_SIMILARITY = 0.98  # above it, an altered caption says what the true one says
_MARK = b"accord counterfactuals"
_TEXTS, _OF, _KIND, _ALIKE = "counterfactuals", "counterfactual_of", "counterfactual_kind", "counterfactual_similarity"
_BATCH = 256  # texts that the encoder reads at a time


@dataclass(frozen=True)
class AlteredTable:
    """What was written.

    Args:
        path: the table.
        rows: how many it has.
        none: for how many of them no altered caption was found.
        texts: altered captions in all.
        dropped: those that were left out because they say what the true one says.
    """

    path: Path
    rows: int
    none: int
    texts: int
    dropped: int

    def sentences(self) -> list[str]:
        """What came out, for people."""
        found = self.rows - self.none
        lines = [f"{self.rows:,} rows, {found:,} with altered captions, {self.texts / max(1, found):.1f} each"]
        if self.none:
            lines.append(f"{self.none:,} rows without: nothing that could be altered was recognised in their captions")
        if self.dropped:
            lines.append(f"{self.dropped:,} altered captions left out: they say what the true one says")
        return lines


@dataclass
class _Found:
    """Of one row: the caption that is altered, what became of it, and how alike each is."""

    of: str
    altered: list[Altered]
    alike: list[float] | None = None


def add_counterfactuals(
    data: str | Path,
    out: str | Path,
    *,
    kinds: Sequence[Kind] = ("action",),
    count: int = 10,
    encoder: str | None = "minilm",
    writer: str | Writer | None = None,
    blocks: int | None = None,
    video_files: str | None = None,
    columns: ColumnNames | None = None,
    seed: int = 0,
    device: str = "auto",
) -> AlteredTable:
    """Write a copy of a table with altered captions of each row, for the method ``rcad`` and the task of that name.

    The data are not changed. Where rows have several captions, the first is altered.

    Args:
        data: what :func:`accord.train` takes, with captions.
        out: ``.parquet`` or ``.csv`` file to write.
        kinds: what is altered, see :func:`accord.data.making.counterfactuals.counterfactuals`.
        count: altered captions of a row, at most.
        encoder: text encoder whose cosine says how alike each altered caption and the true one are; those that are
            nearly the same are left out. None measures nothing.
        writer: what writes altered captions instead of rules: a name of the entry point ``accord.writers``, or a
            function as :class:`accord.data.making.counterfactuals.Writer` describes it.
        blocks: nothing is written anew: rows come in consecutive blocks of so many, the true caption of each first.
        video_files: what files of clips are called, with columns in braces, such as ``"clips/{video_id}.mp4"``; makes a
            column ``video``.
        columns: field -> column name(s) of ``data``, where the guess is wrong.
        seed: of what is drawn where there are more than ``count``.
        device: where the encoder runs: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Raises:
        ConfigError: there is no such kind, writer or encoder, or ``out`` is no table.
        DataError: the data cannot be read, have no captions, or have altered ones already; blocks are not whole.
        StorageError: ``out`` is another file already.

    Example:
        >>> accord.add_counterfactuals("clips.csv", "altered.parquet").none      # doctest: +SKIP
        3
    """
    for kind in kinds:
        check_choice(KINDS, kind=kind)
    target = Path(out)
    check_table(target)
    check_replaceable(target, _MARK, "table with altered captions that was written as Parquet")
    source = read_source(data)
    used = guess_columns(source.rows, {**source.columns, **(columns or {})}, any_medium=False)
    _require(source, used)
    captions = [
        read_captions(cells) for cells in zip(*(cells_of(source.rows, name) for name in used.text), strict=True)
    ]
    if blocks is not None:
        found = _of_blocks(source, used, captions, blocks, kinds[0])
    else:
        found = _written(captions, kinds, count, _writer(writer), seed)
    dropped = 0 if encoder is None else _compare(found, encoder, device)
    added = _added(found, any(len(row) > 1 for row in captions), video_files)
    names = [name for name in source.rows.column_names if not name.startswith("__")]
    cells = (
        row for place, row in enumerate(copied_rows(source, names, used.files, target)) if place % (blocks or 1) == 0
    )
    plain = target.suffix.lower() == ".csv"
    rows = ({**row, **_cells(added, row, one, plain)} for row, one in zip(cells, found, strict=True))
    schema = source.rows.select_columns(names).features.arrow_schema
    for name, (kind, _) in added.items():
        schema = schema.append(pa.field(name, pa.string() if plain else kind))
    write_rows(target, rows, schema, _MARK)
    texts = [len(one.altered) for one in found]
    return AlteredTable(target, len(found), texts.count(0), sum(texts), dropped)


def _require(source: Source, used: Columns) -> None:
    if not used.text:
        raise DataError(f"{source.name} has no captions; name their column with --text COL")
    taken = [name for name in (_TEXTS, _OF, _KIND, _ALIKE) if name in source.rows.column_names]
    if taken:
        raise DataError(f"{source.name} has a column {taken[0]} already: name data without it")


def _writer(writer: str | Writer | None) -> Writer | None:
    """The writer, by name where it has one."""
    if not isinstance(writer, str):
        return writer
    found = find_plugin("writers", writer)
    if found is None:
        raise ConfigError(no_such("writer", writer, plugin_names("writers")))
    if not callable(found):
        raise broken("writers", writer, f"expected a function of captions and a count, got {found!r}")
    writes: Writer = found
    return writes


def _written(
    captions: Sequence[Sequence[str]], kinds: Sequence[Kind], count: int, writer: Writer | None, seed: int
) -> list[_Found]:
    first = [row[0] if row else "" for row in captions]
    if writer is None:
        usual = usual_words(first)
        return [_Found(text, counterfactuals(text, kinds=kinds, count=count, seed=seed, usual=usual)) for text in first]
    written = writer(first, count)
    if len(written) != len(first):
        raise DataError(f"the writer gave altered versions of {len(written)} captions; expected {len(first)}")
    return [
        _Found(text, sound(text, (Altered(str(new), kinds[0]) for new in others))[:count])
        for text, others in zip(first, written, strict=True)
    ]


def _of_blocks(source: Source, used: Columns, captions: Sequence[Sequence[str]], size: int, kind: Kind) -> list[_Found]:
    """The captions of consecutive rows, the first of each block the true one.

    Raises:
        DataError: the last block is not whole, or rows of a block say different things besides.
    """
    if size < 2 or len(captions) % size:
        raise DataError(f"{source.name} has {len(captions)} rows: expected blocks of {size}, two rows at least")
    same = [name for name in source.rows.column_names if name not in used.text and not name.startswith("__")]
    cells = list(zip(*(cells_of(source.rows, name) for name in same), strict=True)) if same else []
    for start in range(0, len(cells), size):
        if any(row != cells[start] for row in cells[start : start + size]):
            raise DataError(
                f"{source.name}: rows {start} to {start + size - 1} should be one block, and differ in more than the "
                f"caption ({', '.join(same)}): sort them, or set the size of a block"
            )
    texts = [" ".join(row[:1]) for row in captions]
    return [
        _Found(texts[start], sound(texts[start], (Altered(text, kind) for text in texts[start + 1 : start + size])))
        for start in range(0, len(texts), size)
    ]


def _compare(found: Sequence[_Found], name: str, device: str) -> int:
    """Say how alike each altered caption and the true one are, and leave out what says the same; returns how many."""
    words = list(dict.fromkeys(text for one in found for text in (one.of, *(new.text for new in one.altered)) if text))
    vectors = dict(zip(words, _embedded(words, name, device), strict=True))
    dropped = 0
    for one in found:
        alike = [round(float(vectors[one.of] @ vectors[new.text]), 4) for new in one.altered]
        kept = [place for place, value in enumerate(alike) if value <= MAX_SIMILARITY]
        dropped += len(alike) - len(kept)
        one.altered, one.alike = [one.altered[place] for place in kept], [alike[place] for place in kept]
    return dropped


@torch.inference_mode()
def _embedded(words: Sequence[str], name: str, device: str) -> Tensor:
    """Unit vectors ``(N, D)`` of texts."""
    encoder = build_encoder("text", name, freeze="all").to(resolve_device(device)).eval()
    reader, where = encoder.input, next(encoder.parameters()).device
    assert isinstance(reader, TextInput)  # it is a text encoder
    parts = []
    for start in range(0, len(words), _BATCH):
        ids, mask = reader.tokenizer(list(words[start : start + _BATCH]))
        parts.append(encoder(ids.to(where), mask.to(where)).pooled.float().cpu())
    return F.normalize(torch.cat(parts), dim=1) if parts else torch.zeros(0, 1)


_Column = tuple[pa.DataType, Callable[[Row, _Found], Any]]


def _added(found: Sequence[_Found], several: bool, video_files: str | None) -> dict[str, _Column]:
    """Columns that the copy has more: their type, and their cell."""
    strings, floats = pa.list_(pa.string()), pa.list_(pa.float32())
    added: dict[str, _Column] = {
        _TEXTS: (strings, lambda row, one: [new.text for new in one.altered]),
        _KIND: (strings, lambda row, one: [new.kind for new in one.altered]),
    }
    if any(one.alike is not None for one in found):
        added[_ALIKE] = (floats, lambda row, one: one.alike)
    if several:
        added[_OF] = (pa.string(), lambda row, one: one.of)
    if video_files is not None:
        added["video"] = (pa.string(), lambda row, one: _filled(video_files, row))
    return added


def _cells(added: Mapping[str, _Column], row: Row, one: _Found, plain: bool) -> Row:
    """The cells that are added to a row; lists as JSON where a table has none."""
    cells = {name: cell(row, one) for name, (_, cell) in added.items()}
    return {name: json.dumps(cell) if plain and isinstance(cell, list) else cell for name, cell in cells.items()}


def _filled(pattern: str, row: Row) -> str:
    """A file's name with the cells of a row in it.

    Raises:
        ConfigError: it names no column.
    """
    try:
        return pattern.format(**row)
    except (KeyError, IndexError, ValueError):
        raise ConfigError(f"video_files = {pattern!r}: expected columns in braces, of: {', '.join(row)}") from None
