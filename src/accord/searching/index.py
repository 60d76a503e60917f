"""The index of a run: every row of a corpus with its vectors, kept in LanceDB under ``RUN/index``.

A row is known by its content, so that only new and changed rows are embedded, wherever they stand in the source.
Rows that are gone are removed. A retrained model starts the index anew. Every step is one LanceDB commit: what was
embedded before an interruption is not embedded again.

For a model with a second stage the tokens of a row are kept beside its vectors, in half precision. A search then
chooses candidates by their vectors and orders them by their tokens.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import pyarrow as pa
import torch
from filelock import FileLock
from rich.console import Console
from rich.progress import track
from torch import Tensor

from accord.data.loading.tokens import TokenRows
from accord.errors import AccordError, ConfigError, ShapeError, StorageError
from accord.evaluation.embedder import Embedder, rescorer
from accord.files import storage_of, write_atomically
from accord.searching.place import writable_folder
from accord.searching.rows import file_stamp, row_keys, row_records, rows_at_once, token_rows

if TYPE_CHECKING:
    from PIL.Image import Image

    from accord.data.corpus import Corpus

ANN_ROWS = 50_000  # above that, searching every row is slower than an approximate index
_MIN_ANN_ROWS = 256  # product quantisation learns 256 centroids
# Measured on 60 000 clustered vectors of 128 numbers: all of the exact top 10, in a fifth of the time.
_PROBES = 40  # partitions looked into
_REFINE = 20  # candidates per answer that are ranked by their true vectors
_BLOCK = 256  # rows embedded, and committed, at a time
_DAMAGE = re.compile("LanceError|was not found")
_FIELDS = ["row", "captions", "label", "path", "thumbnail", "_distance"]
P = ParamSpec("P")
R = TypeVar("R")
Rescore = Callable[[TokenRows], Tensor]  # candidates -> their scores (C,)
JointScore = Callable[[dict[str, Tensor], Tensor], Tensor]  # {modality: (C, D)}, which are there (C, k) -> (C,)


@dataclass(frozen=True)
class Hit:
    """One answer.

    Args:
        rank: place, from 1.
        score: what the answers are ordered by: cosine similarity to the query, or the second stage's score.
        row: row number in the source.
        captions: its texts.
        label: its class names, or None.
        path: its file, or None when the source holds bytes.
        thumbnail: WebP bytes of its picture, or None.
        cosine: cosine similarity to the query where ``score`` is a second stage's, else None.
    """

    rank: int
    score: float
    row: int
    captions: tuple[str, ...] = ()
    label: str | None = None
    path: str | None = None
    thumbnail: bytes | None = field(default=None, repr=False)
    cosine: float | None = None

    @property
    def caption(self) -> str:
        """Its first text, empty without one."""
        return self.captions[0] if self.captions else ""

    def image(self) -> Image | None:
        """The thumbnail, decoded."""
        from PIL import Image

        return None if self.thumbnail is None else Image.open(io.BytesIO(self.thumbnail)).convert("RGB")


@dataclass(frozen=True)
class Update:
    """What bringing an index up to date took.

    Args:
        rows: rows in the index now.
        embedded: rows that were new or changed.
        removed: rows that are gone.
        ann: True when an approximate index is in use.
    """

    rows: int
    embedded: int
    removed: int
    ann: bool


def build_index(
    run_dir: Path, model: Embedder, corpus: Corpus, ann: bool | None = None, progress: bool = True
) -> SearchIndex:
    """The index of ``corpus`` under ``run_dir``, made on first use and brought up to date after.

    Args:
        run_dir: directory of the trained run.
        model: its model.
        corpus: what is to be found.
        ann: True makes an approximate index (IVF-PQ), False none, None one above 50 000 rows.
        progress: show a progress bar while embedding.

    Returns:
        The index; ``index.last_update`` says what was done.

    Raises:
        ConfigError: the model embeds nothing that the corpus has, or too few rows for an approximate index.
    """
    index = SearchIndex(run_dir, corpus)
    index.update(model, corpus, ann, progress)
    return index


def _told(method: Callable[Concatenate[SearchIndex, P], R]) -> Callable[Concatenate[SearchIndex, P], R]:
    """A method of the index whose failures name its folder and a remedy, instead of what LanceDB says of them."""

    @wraps(method)
    def call(index: SearchIndex, *args: P.args, **options: P.kwargs) -> R:
        try:
            with storage_of(index.folder):
                return method(index, *args, **options)
        except (RuntimeError, ValueError) as error:
            if isinstance(error, AccordError) or not _DAMAGE.search(str(error)):
                raise
            raise StorageError(f"{index.folder} is damaged: delete it, and the next search makes it anew") from error

    return call


class SearchIndex:
    """One corpus in the index of one run.

    Args:
        run_dir: directory of the trained run.
        corpus: names the table; its rows come in with :meth:`update`.
    """

    def __init__(self, run_dir: Path, corpus: Corpus) -> None:
        self.folder = writable_folder(run_dir) / "index"
        self.name = _table_name(corpus)
        self.last_update: Update | None = None
        self._weights = Path(run_dir) / "model.safetensors"

    def __len__(self) -> int:
        return self._table.count_rows() if self.name in self._tables() else 0

    @property
    def dims(self) -> dict[str, int]:
        """Modality -> size of its vectors."""
        fields = self._table.schema if self.name in self._tables() else ()
        return {
            item.name.removesuffix("_vector"): item.type.list_size for item in fields if item.name.endswith("_vector")
        }

    def holds_tokens(self, modality: str) -> bool:
        """Whether a second stage can score the rows' ``modality``."""
        return self.name in self._tables() and f"{modality}_tokens" in self._table.schema.names

    @_told
    def update(self, model: Embedder, corpus: Corpus, ann: bool | None = None, progress: bool = True) -> Update:
        """Embed what is new or changed, remove what is gone, and see to the approximate index.

        Several processes may do so at once: one writes, the others wait for it.

        Raises:
            ConfigError: see :func:`build_index`.
            StorageError: the index is damaged, or cannot be written.
        """
        modalities = tuple(name for name in corpus.modalities if name in model.modalities)
        if not modalities:
            embeds, has = (", ".join(names) or "nothing" for names in (model.modalities, corpus.modalities))
            raise ConfigError(f"the model embeds {embeds}, {corpus.name} has {has}: nothing in common to search")
        made_by: dict[str, Any] = {"model": file_stamp(self._weights), "modalities": list(modalities)}
        if rescorer(model) is not None:
            made_by["tokens"] = True
        state = {**made_by, "corpus": corpus.fingerprint}
        embedded = removed = 0
        if not self._is_at(state):
            with FileLock(self.folder / ".lock"):
                if self.name in self._tables() and any(self._read_state().get(key) != made_by[key] for key in made_by):
                    self._database.drop_table(self.name)
                self._write_state(made_by)  # an interrupted update goes on from here
                embedded, removed = self._synchronise(model, corpus, modalities, progress)
                self._write_state(state)
        approximate = self._see_to_ann(ann)
        self.last_update = Update(len(self), embedded, removed, approximate)
        return self.last_update

    @_told
    def search(
        self,
        vector: Tensor | np.ndarray,
        modality: str,
        k: int = 10,
        ann: bool | None = None,
        *,
        rescore: Rescore | None = None,
        candidates: int = 0,
    ) -> list[Hit]:
        """The k rows whose ``modality`` is nearest to ``vector``.

        Args:
            vector: ``(D,)``.
            modality: which of a row's vectors is compared, of :attr:`dims`.
            k: how many.
            ann: False compares every row, even where there is an approximate index.
            rescore: scores of candidates by their tokens, which then decide the order; the index must hold them.
            candidates: how many of the nearest are scored by ``rescore``; at least k.

        Raises:
            ConfigError: the modality or its tokens are not in the index, or k is not positive.
            ShapeError: the vector has another size.
        """
        dims = self.dims
        if modality not in dims:
            raise ConfigError(f"the index holds vectors of {', '.join(dims) or 'nothing yet'}, not of {modality}")
        if k < 1:
            raise ConfigError(f"k = {k}: expected at least 1")
        query = np.asarray(vector, dtype=np.float32)
        if query.shape != (dims[modality],):
            raise ShapeError(f"query: shape {query.shape}; the index of {modality} holds ({dims[modality]},)")
        if rescore is not None and not self.holds_tokens(modality):
            raise ConfigError(f"the index holds no tokens of {modality} for a second stage: search without candidates")
        builder = self._table.search(query, vector_column_name=f"{modality}_vector").distance_type("cosine")
        # An approximate index finds candidates by compressed vectors; refining ranks them by the true ones.
        builder = builder.bypass_vector_index() if ann is False else builder.nprobes(_PROBES).refine_factor(_REFINE)
        if rescore is None:
            found = builder.select(_FIELDS).limit(k).to_list()
            return [_hit(rank, record) for rank, record in enumerate(found, start=1)]
        held = [f"{modality}_vector", f"{modality}_tokens"]
        nearest = builder.select([*_FIELDS, *held]).limit(max(k, candidates)).to_arrow()
        return _reordered(nearest, rescore(token_rows(nearest, modality)), k) if len(nearest) else []

    @_told
    def vectors_of(self, row: int) -> dict[str, np.ndarray]:
        """Modality -> vector ``(D,)`` of the row of this number.

        Raises:
            ConfigError: there is no such row.
        """
        columns = [f"{modality}_vector" for modality in self.dims]
        found = self._table.search().where(f"row = {row}").select(columns).limit(1).to_list() if columns else []
        if not found:
            raise ConfigError(f"the index has no row {row}")
        held = {modality: found[0][f"{modality}_vector"] for modality in self.dims}
        return {modality: np.asarray(vector, np.float32) for modality, vector in held.items() if vector is not None}

    @_told
    def joint(
        self,
        vectors: Mapping[str, Tensor | np.ndarray],
        score: JointScore,
        k: int = 10,
        candidates: int = 100,
        ann: bool | None = None,
    ) -> list[Hit]:
        """The k rows that fit several queries together, by their other modalities.

        Args:
            vectors: modality -> ``(D,)``, what is asked.
            score: of candidates, see :data:`JointScore`.
            k: how many.
            candidates: how many of the nearest to each of the queries, and to its opposite, are scored; at least k.
            ann: False compares every row, even where there is an approximate index.

        Raises:
            ConfigError: the index holds no vectors of the queries' size, or k is not positive.
        """
        size = len(next(iter(vectors.values())))
        fitting = [name for name, dim in self.dims.items() if dim == size]
        targets = [name for name in fitting if name not in vectors] or fitting
        if not targets or k < 1:
            raise ConfigError(f"k = {k} of rows with vectors of {size} numbers: the index holds {self.dims}")
        found = self._candidates(list(vectors.values()), targets, max(k, candidates), ann)
        rows = {name: found[f"{name}_vector"] for name in targets}
        present = torch.from_numpy(np.stack([column.is_valid().to_numpy() for column in rows.values()], axis=1))
        held = {name: _filled_vectors(column, size) for name, column in rows.items()}
        scores = score(held, present).masked_fill(~present.any(dim=1), -torch.inf)
        order = [place for place in scores.argsort(descending=True)[:k].tolist() if scores[place] > -torch.inf]
        best = {found["row"][place].as_py(): float(scores[place]) for place in order}
        listed = ", ".join(map(str, best)) or "NULL"
        fields = [name for name in _FIELDS if name != "_distance"]
        records = self._table.search().where(f"row IN ({listed})").select(fields).limit(k).to_list()
        by_row = {record["row"]: record for record in records}
        return [
            _hit(rank, {**by_row[row], "_distance": 1 - value})
            for rank, (row, value) in enumerate(best.items(), start=1)
        ]

    def _candidates(
        self, queries: Sequence[Tensor | np.ndarray], targets: Sequence[str], count: int, ann: bool | None
    ) -> pa.Table:
        """Numbers and vectors of the rows nearest to any of the queries or to its opposite; of all if they are few."""
        columns = ["row", *(f"{name}_vector" for name in targets)]
        if count >= len(self):
            return self._table.search().select(columns).limit(len(self)).to_arrow()
        towards = [np.asarray(query, dtype=np.float32) for query in queries]
        parts = []
        for query in (*towards, *(-query for query in towards)):  # a volume does not see signs
            for target in targets:
                builder = self._table.search(query, vector_column_name=f"{target}_vector").distance_type("cosine")
                builder = builder.bypass_vector_index() if ann is False else builder.nprobes(_PROBES)
                parts.append(builder.select([*columns, "_distance"]).limit(count).to_arrow().select(columns))
        found = pa.concat_tables(parts)
        return found.take(np.unique(found["row"].to_numpy(), return_index=True)[1])

    def _is_at(self, state: Mapping[str, Any]) -> bool:
        """Whether nothing has to be done, not even a lock taken: a run may lie where nothing can be written."""
        return self.name in self._tables() and self._read_state() == state

    def _synchronise(
        self, model: Embedder, corpus: Corpus, modalities: Sequence[str], progress: bool
    ) -> tuple[int, int]:
        """Embed and insert the new rows, remove those that are gone; how many of each."""
        keys = list(row_keys(corpus))
        present = self._present()
        new = [position for position, key in enumerate(keys) if key not in present]
        step = rows_at_once(corpus, modalities, _BLOCK)
        blocks = [new[start : start + step] for start in range(0, len(new), step)]
        second = rescorer(model)
        for block in track(blocks, "indexing", console=Console(stderr=True), transient=True, disable=not progress):
            part = corpus.select(block)
            tokens = {} if second is None else {name: second.tokens_corpus(part, name) for name in modalities}
            vectors = {name: tokens[name].pooled if second else model.embed_corpus(part, name) for name in modalities}
            self._insert(row_records(part, [keys[position] for position in block], vectors, tokens))
        gone = sorted(present.keys() - set(keys))
        for start in range(0, len(gone), _BLOCK):
            listed = ", ".join(f"'{key}'" for key in gone[start : start + _BLOCK])
            self._table.delete(f"key IN ({listed})")
        self._renumber({key: int(row) for key, row in zip(keys, corpus.ids, strict=True)}, present)
        if new or gone:
            self._table.optimize()  # compacts, and takes new rows into the approximate index
        return len(new), len(gone)

    def _insert(self, records: pa.Table) -> None:
        if self.name not in self._tables():
            self._database.create_table(self.name, records, on_bad_vectors="null")
        else:
            # Not a plain append: a row that another process put in meanwhile stays single.
            self._table.merge_insert("key").when_not_matched_insert_all().execute(records, on_bad_vectors="null")

    def _renumber(self, rows: Mapping[str, int], present: Mapping[str, int]) -> None:
        """Rows that only moved within the source keep their vectors and get their new number."""
        moved = {key: row for key, row in rows.items() if present.get(key, row) != row}
        if moved:
            changes = pa.table({"key": list(moved), "row": pa.array(moved.values(), pa.int64())})
            self._table.merge_insert("key").when_matched_update_all().execute(changes)

    def _present(self) -> dict[str, int]:
        if self.name not in self._tables():
            return {}
        known = self._table.search().select(["key", "row"]).limit(self._table.count_rows()).to_arrow()
        return dict(zip(known["key"].to_pylist(), known["row"].to_pylist(), strict=True))

    def _see_to_ann(self, ann: bool | None) -> bool:
        """Make the approximate index where it is wanted; True when there is one."""
        rows = len(self)
        wanted = rows > ANN_ROWS if ann is None else ann
        if wanted and rows < _MIN_ANN_ROWS:
            raise ConfigError(
                f"an approximate index needs at least {_MIN_ANN_ROWS} rows, there are {rows}: leave --ann out, "
                "the exact search is fast"
            )
        covered = {column for index in self._table.list_indices() for column in index.columns}
        for modality in self.dims:
            if wanted and f"{modality}_vector" not in covered:
                self._make_ann(f"{modality}_vector", rows)
        return bool(self._table.list_indices())

    def _make_ann(self, column: str, rows: int) -> None:
        from lancedb.index import IvfPq

        # sqrt(N) partitions, but not so many that one is trained on fewer rows than there are centroids.
        partitions = max(1, min(int(math.sqrt(rows)), rows // _MIN_ANN_ROWS))
        self._table.create_index(column, config=IvfPq(distance_type="cosine", num_partitions=partitions))

    @cached_property
    def _database(self) -> Any:
        os.environ.setdefault("LANCEDB_LOG", "error")  # it would warn of every partition with few different vectors
        import lancedb

        self.folder.mkdir(parents=True, exist_ok=True)
        return lancedb.connect(self.folder)

    def _tables(self) -> list[str]:
        names: list[str] = []
        token = None
        while True:
            page = self._database.list_tables(page_token=token)
            names += page.tables
            token = page.page_token
            if not token:
                return names

    @property
    def _table(self) -> Any:
        return self._database.open_table(self.name)

    def _read_state(self) -> dict[str, Any]:
        """What the index was made of; nothing where that is not known, so that it is made anew."""
        try:
            state = json.loads((self.folder / f"{self.name}.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def _write_state(self, state: Mapping[str, Any]) -> None:
        write_atomically(self.folder / f"{self.name}.json", json.dumps(state))


def _table_name(corpus: Corpus) -> str:
    readable = re.sub(r"[^A-Za-z0-9]+", "-", corpus.name).strip("-")[:40]
    unique = hashlib.blake2b(f"{corpus.name} {corpus.root}".encode(), digest_size=4).hexdigest()
    return f"{readable}-{unique}"


def _reordered(nearest: pa.Table, scores: Tensor, k: int) -> list[Hit]:
    """The k records with the highest scores, best first."""
    order = scores.argsort(descending=True, stable=True)[:k].tolist()
    best = nearest.select(_FIELDS).take(order).to_pylist()
    scored = zip(best, scores[order].tolist(), strict=True)
    return [_hit(rank, record, score) for rank, (record, score) in enumerate(scored, start=1)]


def _filled_vectors(column: pa.ChunkedArray, size: int) -> Tensor:
    """Vectors ``(n, size)`` of a column, zeros where there is none."""
    rows = np.zeros((len(column), size), dtype=np.float32)
    there = column.is_valid().to_numpy()
    rows[there] = np.stack(column.drop_null().to_numpy()) if there.any() else 0
    return torch.from_numpy(rows)


def _hit(rank: int, record: Mapping[str, Any], score: float | None = None) -> Hit:
    """An answer; with the score of a second stage, if it comes from there."""
    cosine = 1 - record["_distance"]
    return Hit(
        rank=rank,
        score=cosine if score is None else score,
        cosine=None if score is None else cosine,
        row=record["row"],
        captions=tuple(record["captions"] or ()),
        label=record["label"],
        path=record["path"],
        thumbnail=record["thumbnail"],
    )
