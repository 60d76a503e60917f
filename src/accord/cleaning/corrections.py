"""The table without what was wrong: decisions carried out on a copy of the source's rows.

The source is read as it stands and never written. Rows that were not judged, such as those whose files cannot be read,
stay as they are; lines of a table that are no rows are left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from accord.cleaning.table import read_clean
from accord.data.making.copies import check_table, copied_rows, write_rows
from accord.data.reading.sources import Source, read_source
from accord.errors import ConfigError, DataError
from accord.files import check_replaceable, reading

DECISIONS = ("accept", "reject", "drop")
FIELDS = {"label": "label", "caption": "text"}  # what a decision can say instead of the proposal -> field of the data
Decision = str | Mapping[str, str]
_MARK = b"accord cleaned"


@dataclass(frozen=True)
class Corrected:
    """What became of the rows.

    Args:
        path: the table that was written.
        rows: how many it has.
        dropped: rows that are not in it.
        corrected: rows with another label or caption.
        undecided: doubted rows that nobody decided on, which are as they were.
        unjudged: rows that were not judged, such as those whose pictures cannot be read, which are as they were.
    """

    path: Path
    rows: int
    dropped: int
    corrected: int
    undecided: int
    unjudged: int = 0


def write_corrected(folder: Path, decisions: Path | Mapping[int, Decision] | None, out: Path) -> Corrected:
    """Write the rows of a cleaned source with corrections, without those that were dropped.

    Args:
        folder: written by ``accord clean``.
        decisions: file of the review page, or row -> ``accept`` (take what is proposed; drop the row where nothing is),
            ``reject`` (it is right), ``drop``, or what is right instead: ``{"label": NAME}``, ``{"caption": TEXT}`` or
            both. None accepts everything.
        out: ``.parquet`` or ``.csv`` file to write. Paths in it are relative to its folder.

    Raises:
        ConfigError: the folder is none of ``accord clean``, the decisions are those of another, or ``out`` is neither.
        DataError: the source has changed since, or its column cannot hold a label.
        StorageError: ``out`` is another file already.
    """
    table, about = read_clean(folder)
    check_table(out)
    check_replaceable(out, _MARK, "table that accord clean apply wrote as Parquet")
    said = {row["id"]: row for row in table.filter(table["doubted"]).to_pylist()}
    chosen = _decided(decisions, about, said)
    source = read_source(about["source"], without=about["vectors"])
    if source_digest(source, about) != about["digest"]:
        raise DataError(f"{about['source']} has changed since {folder} was written: run accord clean on it again")
    accepted = {row: _instead(said[row], word) for row, word in chosen.items() if word not in ("reject", "drop")}
    work = _Work(source, about, accepted, out)
    dropped = {row for row, word in chosen.items() if word == "drop" or (word == "accept" and not _proposes(said[row]))}
    rows = (row for number, row in work.rows() if number not in dropped)
    count = write_rows(out, rows, work.schema, _MARK)
    corrected = sum(_proposes(row) for row in work.accepted.values())
    return Corrected(
        out, count, len(dropped), corrected, len(said) - len(chosen), unjudged=count - (len(table) - len(dropped))
    )


def source_digest(source: Source, about: Mapping[str, Any]) -> str:
    """Hash of how many rows a source has and what they say; encoded media and vectors are not looked into."""
    used = sorted({name for columns in about["columns"].values() for name in columns})
    plain = [name for name in used if _is_plain(source.rows.features.arrow_schema.field(name).type)]
    digest = hashlib.blake2b(str(len(source.rows)).encode(), digest_size=16)
    for batch in source.rows.select_columns(plain).with_format("arrow").iter(batch_size=4096) if plain else ():
        digest.update(json.dumps(batch.to_pydict(), default=str).encode())
    return digest.hexdigest()


def _is_plain(kind: pa.DataType) -> bool:
    """Texts, numbers, and lists of texts."""
    inner = kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else kind
    return pa.types.is_string(inner) or pa.types.is_large_string(inner) or (pa.types.is_primitive(kind))


def _proposes(row: Mapping[str, Any]) -> bool:
    return bool(row["proposed_label"] or row["proposed_caption"])


def _instead(found: Mapping[str, Any], decision: Decision) -> Mapping[str, Any]:
    """What was found of a row, with what a person proposes in the place of what was proposed."""
    if isinstance(decision, str):
        return found
    return {**found, **{f"proposed_{name}": decision.get(name) for name in FIELDS}}


def check_decision(row: int, decision: Any, about: Mapping[str, Any]) -> None:
    """Refuse what is no decision on a row.

    Args:
        row: its number.
        decision: a word, or what is right.
        about: what was judged and how, from ``clean.parquet``.

    Raises:
        ConfigError: it is neither, or the data have no such column.
    """
    if isinstance(decision, str) and decision in DECISIONS:
        return
    fields = decision if isinstance(decision, Mapping) else {}
    if not fields or not all(name in FIELDS and isinstance(text, str) and text for name, text in fields.items()):
        raise ConfigError(
            f"decision {decision!r} on row {row}: expected {', '.join(DECISIONS)}, or what is right, such as "
            '{"caption": "a dog"}'
        )
    for name in fields:
        if not about["columns"].get(FIELDS[name]):
            raise ConfigError(f"row {row}: the data have no column of {FIELDS[name]}s that could say {fields[name]!r}")


def _decided(
    decisions: Path | Mapping[int, Decision] | None, about: Mapping[str, Any], said: Mapping[int, Any]
) -> dict[int, Decision]:
    """Row -> decision.

    Raises:
        ConfigError: they belong to another folder, name rows that nobody doubted, or say something else.
    """
    if decisions is None:
        return dict.fromkeys(said, "accept")
    if isinstance(decisions, Path):
        with reading(decisions, "save it again from the review page"):
            held = json.loads(decisions.read_text(encoding="utf-8"))
            fingerprint, decisions = held["fingerprint"], {int(row): word for row, word in held["decisions"].items()}
        if fingerprint != about["fingerprint"]:
            raise ConfigError(
                f"these decisions were made on another folder, or on an earlier run of accord clean ({fingerprint}; "
                f"this one is {about['fingerprint']}): review this one"
            )
    for row, decision in decisions.items():
        if row not in said:
            raise ConfigError(f"decision {decision!r} on row {row}: only doubted rows are decided on")
        check_decision(row, decision, about)
    return dict(decisions)


class _Work:
    """The rows of a source, each changed as was accepted.

    Args:
        source: where they come from.
        about: which columns hold what, from ``clean.parquet``.
        accepted: number of a row -> what is proposed for it.
        out: the file to write.
    """

    def __init__(
        self, source: Source, about: Mapping[str, Any], accepted: Mapping[int, Mapping[str, Any]], out: Path
    ) -> None:
        self.accepted, self._about, self._columns, self._bad = accepted, about, about["columns"], source.bad
        vectors = set(about["vectors"])  # no longer those of the captions
        names = [name for name in source.rows.column_names if name not in vectors]
        self._features = source.rows.select_columns(names).features
        self.schema = self._features.arrow_schema
        self._copied = copied_rows(source, names, about["files"], out)

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Number and cells of every row; a line that is none has nothing to be copied."""
        for position, row in enumerate(self._copied):
            if position in self._bad:
                continue
            number = position if self._about["ids"] is None else row[self._about["ids"]]
            yield number, self._corrected(row, self.accepted.get(number))

    def _corrected(self, row: dict[str, Any], found: Mapping[str, Any] | None) -> dict[str, Any]:
        if found is None:
            return row
        if found["proposed_label"]:
            (column,) = self._columns["label"]
            row[column] = self._class(column, found["proposed_label"])
        if found["proposed_caption"]:
            first, *others = self._columns["text"]  # what else was said belonged to the wrong one too
            row[first] = (
                [found["proposed_caption"]]
                if pa.types.is_list(self.schema.field(first).type)
                else (found["proposed_caption"])
            )
            row |= dict.fromkeys(others)
        return row

    def _class(self, column: str, name: str) -> Any:
        """A class as its column writes it."""
        feature, kind = self._features[column], self.schema.field(column).type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return name
        try:
            return (
                feature.str2int(name)
                if isinstance(feature, datasets.ClassLabel)
                else pa.scalar(name).cast(kind).as_py()
            )
        except (ValueError, pa.ArrowInvalid) as error:
            raise DataError(f"column {column} cannot hold the label {name!r}: name a class that it has") from error
