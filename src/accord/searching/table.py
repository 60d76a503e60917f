"""The rows of an index, in one LanceDB table: what was embedded is written every few thousand rows or half a minute."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from rich.console import Console
from rich.progress import track

from accord.evaluation.embedder import Embedder, rescorer
from accord.searching.rows import row_keys, row_records, rows_at_once
from accord.searching.vectors import ROW

if TYPE_CHECKING:
    from accord.data.corpus import Corpus

_BLOCK = 256  # rows embedded at a time
_COMMIT_ROWS, _COMMIT_SECONDS = 4096, 30.0  # after which what was embedded is written
_NAMED = 10_000  # rows named in one command
# Files of neighbours name rows by ids, which without this change when the table is compacted.
_STABLE = {"new_table_enable_stable_row_ids": "true"}


class RowTable:
    """The table of a corpus; who changes it holds the lock of the index.

    Args:
        folder: of the index.
        name: of the table.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name

    @property
    def exists(self) -> bool:
        """Whether it was made: LanceDB has a folder for each table, and to import it takes longer than to search."""
        return (self.folder / f"{self.name}.lance").is_dir()

    def newest(self) -> Any:
        """LanceDB's table in its newest version."""
        return self._database.open_table(self.name)

    def at(self, version: int) -> Any:
        """LanceDB's table as it was in a version, to be read."""
        table = self.newest()
        table.checkout(version)
        return table

    def drop(self) -> None:
        """Remove it with all rows."""
        self._database.drop_table(self.name)

    def synchronise(
        self, model: Embedder, corpus: Corpus, modalities: Sequence[str], progress: bool
    ) -> tuple[int, int]:
        """Embed and insert rows that are new, remove those that are gone; how many of each."""
        keys = list(row_keys(corpus))
        present = self._present()
        new = [position for position, key in enumerate(keys) if key not in present]
        wanted = set(keys)
        gone = [row for key, (row, _) in present.items() if key not in wanted]
        step = rows_at_once(corpus, modalities, _BLOCK)
        blocks = [new[start : start + step] for start in range(0, len(new), step)]
        shown = track(blocks, "indexing", console=Console(stderr=True), transient=True, disable=not progress)
        with self._writing() as write:
            for block in shown:
                write(_records(model, corpus.select(block), [keys[position] for position in block], modalities))
        for start in range(0, len(gone), _NAMED):
            self.newest().delete(f"{ROW} IN ({', '.join(map(str, gone[start : start + _NAMED]))})")
        self._renumber({key: int(row) for key, row in zip(keys, corpus.ids, strict=True)}, present)
        if new or gone:
            self.newest().optimize()  # compacts
        return len(new), len(gone)

    def _present(self) -> dict[str, tuple[int, int]]:
        """Key -> id and number, of the rows that are there."""
        if not self.exists:
            return {}
        table = self.newest()
        found = table.search().select(["key", "row"]).with_row_id(True).limit(table.count_rows()).to_arrow()
        rows = zip(found[ROW].to_pylist(), found["row"].to_pylist(), strict=True)
        return dict(zip(found["key"].to_pylist(), rows, strict=True))

    @contextmanager
    def _writing(self) -> Iterator[Any]:
        """A function that takes records; they are written together, the last ones also where something fails."""
        held: list[pa.Table] = []
        since = time.monotonic()

        def write(records: pa.Table) -> None:
            nonlocal since
            held.append(records)
            if sum(map(len, held)) >= _COMMIT_ROWS or time.monotonic() - since >= _COMMIT_SECONDS:
                self._append(held)
                since = time.monotonic()

        try:
            yield write
        finally:
            self._append(held)

    def _append(self, held: list[pa.Table]) -> None:
        """Write records, and forget them."""
        if not held:
            return
        records = pa.concat_tables(held)
        held.clear()
        if self.exists:
            self.newest().add(records, on_bad_vectors="null")
        else:
            self._database.create_table(self.name, records, on_bad_vectors="null", storage_options=_STABLE)

    def _renumber(self, rows: Mapping[str, int], present: Mapping[str, tuple[int, int]]) -> None:
        """Rows that only moved within the source keep their vectors and get their new number."""
        moved = {key: row for key, row in rows.items() if key in present and present[key][1] != row}
        if moved:
            changes = pa.table({"key": list(moved), "row": pa.array(moved.values(), pa.int64())})
            self.newest().merge_insert("key").when_matched_update_all().execute(changes)

    @cached_property
    def _database(self) -> Any:
        import lancedb

        self.folder.mkdir(parents=True, exist_ok=True)
        return lancedb.connect(self.folder)


def _records(model: Embedder, part: Corpus, keys: Sequence[str], modalities: Sequence[str]) -> pa.Table:
    """Some rows with their vectors, and with their tokens where the model has a second stage."""
    second = rescorer(model)
    tokens = {} if second is None else {name: second.tokens_corpus(part, name) for name in modalities}
    vectors = {name: tokens[name].pooled if second else model.embed_corpus(part, name) for name in modalities}
    return row_records(part, keys, vectors, tokens)
