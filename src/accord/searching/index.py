"""The index of a run: every row of a corpus with its vectors, under ``RUN/index``.

LanceDB keeps the rows (:mod:`accord.searching.table`), faiss finds the nearest (:mod:`accord.searching.vectors`). A row
is known by its content, so that only new and changed rows are embedded, wherever they stand in the source. Rows that
are gone are removed. A retrained model starts the index anew. What was embedded before an interruption is not embedded
again.

For a model with a second stage the tokens of a row are kept beside its vectors, in half precision. A search then
chooses candidates by their vectors and orders them by their tokens.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import pyarrow as pa
import torch
from filelock import FileLock
from torch import Tensor

from accord.data.loading.tokens import TokenRows
from accord.errors import AccordError, ConfigError, ShapeError, StorageError
from accord.evaluation.embedder import Embedder, rescorer
from accord.files import storage_of, write_atomically
from accord.searching.hit import Hit
from accord.searching.opened import KEYS, Opened
from accord.searching.place import writable_folder
from accord.searching.rows import file_stamp, token_rows
from accord.searching.table import RowTable
from accord.searching.vectors import make_vectors, taken, vector_sizes

if TYPE_CHECKING:
    from accord.data.corpus import Corpus

FORMAT = 2  # of an index; one of another is made anew
ANN_ROWS = 50_000  # above that, looking at every row takes longer than at some lists of them
_MIN_ANN_ROWS = 256  # of fewer there are no lists to speak of
_DAMAGE = re.compile("LanceError|was not found|faiss")
_MADE_BY = ("format", "model", "modalities", "tokens")  # of a state: what has to be the same for a query to fit it
_TRIES = 3  # to open a state that others replace meanwhile
P = ParamSpec("P")
R = TypeVar("R")
Rescore = Callable[[TokenRows], Tensor]  # candidates -> their scores (C,)
JointScore = Callable[[dict[str, Tensor], Tensor], Tensor]  # {modality: (C, D)}, which are there (C, k) -> (C,)


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
        ann: True makes an approximate index (inverted lists), False none, None one above 50 000 rows.
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
        self._rows = RowTable(self.folder, self.name)
        self._place = self.folder / f"{self.name}.vectors"
        self._opened: Opened | None = None

    def __len__(self) -> int:
        now = self._now
        return 0 if now is None else now.rows

    @property
    def dims(self) -> dict[str, int]:
        """Modality -> size of its vectors."""
        now = self._now
        return {} if now is None else now.dims

    @property
    def labels(self) -> dict[str, int]:
        """What rows say of their class -> how many say so, in alphabetical order."""
        now = self._now
        return {} if now is None else now.labels

    @property
    def corpus(self) -> str:
        """Fingerprint of the rows that are in it; empty where they are not known."""
        now = self._now
        return "" if now is None else now.state.get("corpus", "")

    def holds_tokens(self, modality: str) -> bool:
        """Whether a second stage can score the rows' ``modality``."""
        now = self._now
        return now is not None and f"{modality}_tokens" in now.table.schema.names

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
        made_by: dict[str, Any] = {
            "format": FORMAT,
            "model": file_stamp(self._weights),
            "modalities": list(modalities),
            "tokens": rescorer(model) is not None,
        }
        wanted = {**made_by, "corpus": corpus.fingerprint}
        embedded = removed = 0
        if not self._is_at(wanted, ann):
            with FileLock(self.folder / ".lock"):
                embedded, removed = self._bring_to(wanted, made_by, model, corpus, ann, progress)
        self._opened = None
        self.last_update = Update(len(self), embedded, removed, bool(self._read_state()["approximate"]))
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
        labels: Collection[str] = (),
    ) -> list[Hit]:
        """The k rows whose ``modality`` is nearest to ``vector``.

        Args:
            vector: ``(D,)``.
            modality: which of a row's vectors is compared, of :attr:`dims`.
            k: how many.
            ann: False compares every row, even where there is an approximate index.
            rescore: scores of candidates by their tokens, which then decide the order; the index must hold them.
            candidates: how many of the nearest are scored by ``rescore``; at least k.
            labels: of :attr:`labels`; only rows that say one of them are compared, and every one of these.

        Raises:
            ConfigError: the modality or its tokens are not in the index, or k is not positive.
            ShapeError: the vector has another size.
        """
        now = self._now
        if now is None or modality not in now.dims:
            held = ", ".join(now.dims) if now else "nothing yet"
            raise ConfigError(f"the index holds vectors of {held}, not of {modality}")
        if k < 1:
            raise ConfigError(f"k = {k}: expected at least 1")
        query = np.asarray(vector, dtype=np.float32)
        if query.shape != (now.dims[modality],):
            raise ShapeError(f"query: shape {query.shape}; the index of {modality} holds ({now.dims[modality]},)")
        if rescore is not None and not self.holds_tokens(modality):
            raise ConfigError(f"the index holds no tokens of {modality} for a second stage: search without candidates")
        count = k if rescore is None else max(k, candidates)
        ids, cosines = now.nearest(query, modality, count, ann, labels)
        if rescore is None or not len(ids):
            return now.hits(ids, cosines.tolist())
        scores = rescore(token_rows(taken(now.table, ids, [f"{modality}_vector", f"{modality}_tokens"]), modality))
        order = scores.argsort(descending=True, stable=True)[:k].numpy()
        return now.hits(ids[order], cosines[order], scores.numpy()[order])

    @_told
    def vectors_of(self, row: int) -> dict[str, np.ndarray]:
        """Modality -> vector ``(D,)`` of the row of this number.

        Raises:
            ConfigError: there is no such row.
        """
        now = self._now
        columns = [f"{modality}_vector" for modality in now.dims] if now else []
        found = now.table.search().where(f"row = {int(row)}").select(columns).limit(1).to_list() if now else []
        if now is None or not found:
            raise ConfigError(f"the index has no row {row}")
        held = {modality: found[0][f"{modality}_vector"] for modality in now.dims}
        return {modality: np.asarray(vector, np.float32) for modality, vector in held.items() if vector is not None}

    @_told
    def prototypes(self, modality: str) -> dict[str, np.ndarray]:
        """What rows say of their class -> the mean direction ``(D,)`` of these rows, computed once.

        Args:
            modality: which of the vectors, of :attr:`dims`.
        """
        now = self._now
        return {} if now is None or modality not in now.dims else now.means(modality)

    @_told
    def joint(
        self,
        vectors: Mapping[str, Tensor | np.ndarray],
        score: JointScore,
        k: int = 10,
        candidates: int = 100,
        ann: bool | None = None,
        labels: Collection[str] = (),
    ) -> list[Hit]:
        """The k rows that fit several queries together, by their other modalities.

        Args:
            vectors: modality -> ``(D,)``, what is asked.
            score: of candidates, see :data:`JointScore`.
            k: how many.
            candidates: how many of the nearest to each of the queries, and to its opposite, are scored; at least k.
            ann: False compares every row, even where there is an approximate index.
            labels: as in :meth:`search`.

        Raises:
            ConfigError: the index holds no vectors of the queries' size, or k is not positive.
        """
        now, size = self._now, len(next(iter(vectors.values())))
        fitting = [name for name, dim in self.dims.items() if dim == size]
        targets = [name for name in fitting if name not in vectors] or fitting
        if now is None or not targets or k < 1:
            raise ConfigError(f"k = {k} of rows with vectors of {size} numbers: the index holds {self.dims}")
        ids = _candidates(now, list(vectors.values()), targets, max(k, candidates), ann, labels)
        found = taken(now.table, ids, [f"{name}_vector" for name in targets])
        rows = {name: found[f"{name}_vector"] for name in targets}
        present = torch.from_numpy(np.stack([column.is_valid().to_numpy() for column in rows.values()], axis=1))
        held = {name: _filled_vectors(column, size) for name, column in rows.items()}
        scores = score(held, present).masked_fill(~present.any(dim=1), -torch.inf)
        order = [place for place in scores.argsort(descending=True)[:k].tolist() if scores[place] > -torch.inf]
        return now.hits(ids[order], scores[order].tolist())

    @_told
    def refresh(self) -> bool:
        """Take over what another process has made of the index meanwhile; True where there was something.

        Searches that have begun go on with what they began with. What was made by another model is left alone: its
        vectors mean something else.
        """
        for attempt in range(_TRIES):
            state, now = self._read_state(), self._opened
            if now is not None and any(state.get(key) != now.state.get(key) for key in _MADE_BY):
                return False
            if "vectors" not in state or (now is not None and all(state[key] == now.state[key] for key in KEYS)):
                return False
            try:
                self._opened = Opened(self._rows, state, self._place / state["vectors"]).held()
                return True
            except (OSError, RuntimeError):  # replaced once more in this very moment
                if attempt == _TRIES - 1:
                    raise
        return False

    def _bring_to(
        self,
        wanted: Mapping[str, Any],
        made_by: Mapping[str, Any],
        model: Embedder,
        corpus: Corpus,
        ann: bool | None,
        progress: bool,
    ) -> tuple[int, int]:
        """Make table and neighbours what is ``wanted``; how many rows were embedded and removed."""
        before = self._read_state()
        if any(before.get(key) != made_by[key] for key in made_by):
            before = {}
            if self._rows.exists:
                self._rows.drop()
        kept: dict[str, Any] = {key: before[key] for key in (*KEYS, "approximate") if key in before}
        embedded = removed = 0
        if not self._rows.exists or before.get("corpus") != wanted["corpus"]:
            self._write_state({**made_by, **kept})  # an interrupted update goes on from here
            embedded, removed = self._rows.synchronise(model, corpus, wanted["modalities"], progress)
        table = self._rows.newest()
        approximate = _approximate(len(corpus), ann, bool(before.get("approximate")))
        if before.get("version") != table.version or before["approximate"] != approximate:
            kept = self._make_vectors(table, before.get("vectors"), approximate)
        self._write_state({**wanted, **kept})
        return embedded, removed

    def _make_vectors(self, table: Any, before: str | None, approximate: bool) -> dict[str, Any]:
        """Neighbours of what the table holds now, beside those of before, from which others may be reading still."""
        number = 0 if before is None else int(before) + 1
        earlier = None if before is None else self._place / before
        make_vectors(table, self._place / str(number), earlier, approximate=approximate)
        for old in self._place.iterdir():
            if old.name not in (before, str(number)):
                shutil.rmtree(old)
        facts = (str(number), table.version, vector_sizes(table), table.count_rows())
        return {**dict(zip(KEYS, facts, strict=True)), "approximate": approximate}

    def _is_at(self, wanted: Mapping[str, Any], ann: bool | None) -> bool:
        """Whether nothing has to be done, not even a lock taken: a run may lie where nothing can be written."""
        state = self._read_state()
        if "vectors" not in state or any(state.get(key) != wanted[key] for key in wanted) or not self._rows.exists:
            return False
        return bool(state["approximate"]) == _approximate(state["rows"], ann, bool(state["approximate"]))

    @property
    def _now(self) -> Opened | None:
        """What the last update left, opened once; None before the first."""
        if self._opened is None:
            state = self._read_state()
            if "vectors" in state and self._rows.exists:
                self._opened = Opened(self._rows, state, self._place / state["vectors"])
        return self._opened

    def _read_state(self) -> dict[str, Any]:
        """What the index was made of; nothing where that is not known, so that it is made anew."""
        try:
            state = json.loads((self.folder / f"{self.name}.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        if not isinstance(state, dict):
            return {}
        if "vectors" in state and not (self._place / state["vectors"]).is_dir():
            return {key: state[key] for key in state.keys() - KEYS}
        return state

    def _write_state(self, state: Mapping[str, Any]) -> None:
        write_atomically(self.folder / f"{self.name}.json", json.dumps(state))


def _candidates(
    now: Opened,
    queries: Sequence[Tensor | np.ndarray],
    targets: Sequence[str],
    count: int,
    ann: bool | None,
    labels: Collection[str],
) -> np.ndarray:
    """Ids of the rows nearest to any of the queries or to its opposite; of all if they are few."""
    if count >= now.rows:
        return now.ids(labels)
    towards = [np.asarray(query, dtype=np.float32) for query in queries]
    parts = [
        now.nearest(query, target, count, ann, labels)[0]
        for query in (*towards, *(-query for query in towards))  # a volume does not see signs
        for target in targets
    ]
    return np.unique(np.concatenate(parts))


def _approximate(rows: int, ann: bool | None, before: bool) -> bool:
    """Whether there is to be an approximate index.

    Raises:
        ConfigError: one is asked for of too few rows.
    """
    if ann and rows < _MIN_ANN_ROWS:
        raise ConfigError(
            f"an approximate index needs at least {_MIN_ANN_ROWS} rows, there are {rows}: leave --ann out, "
            "the exact search is fast"
        )
    return before or (rows > ANN_ROWS if ann is None else ann)


def _table_name(corpus: Corpus) -> str:
    readable = re.sub(r"[^A-Za-z0-9]+", "-", corpus.name).strip("-")[:40]
    unique = hashlib.blake2b(f"{corpus.name} {corpus.root}".encode(), digest_size=4).hexdigest()
    return f"{readable}-{unique}"


def _filled_vectors(column: pa.ChunkedArray, size: int) -> Tensor:
    """Vectors ``(n, size)`` of a column, zeros where there is none."""
    rows = np.zeros((len(column), size), dtype=np.float32)
    there = column.is_valid().to_numpy()
    rows[there] = np.stack(column.drop_null().to_numpy()) if there.any() else 0
    return torch.from_numpy(rows)
