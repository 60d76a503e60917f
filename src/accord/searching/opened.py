"""One state of an index, to be read: a search goes on with the one that it began with, whoever changes the index."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from accord.searching.hit import Hit
from accord.searching.neighbours import Floats, Ids, Neighbours, unit
from accord.searching.table import RowTable
from accord.searching.vectors import all_ids, answers, neighbours, taken

_AT_ONCE = 24  # pictures that are read together
_AVERAGED = 50_000  # rows
KEYS = ("vectors", "version", "sizes", "rows")  # of a state: what is read without the table


class Opened:
    """Rows and neighbours of one state.

    Args:
        rows: the table of all states.
        state: what the index says of this one.
        vectors: the folder of its neighbours.
    """

    def __init__(self, rows: RowTable, state: Mapping[str, Any], vectors: Path) -> None:
        self._stored, self._vectors = rows, vectors
        self.state = dict(state)
        self.rows: int = state["rows"]
        self.dims: dict[str, int] = state["sizes"]
        self._neighbours: dict[str, Neighbours] = {}
        self._means: dict[str, dict[str, Floats]] = {}
        self._answers = answers(vectors)

    def held(self) -> Opened:
        """The same with all its files open, so that it can be read when they are gone."""
        for modality in self.dims:
            self.neighbours(modality)
        self._answers.hold()
        return self

    @cached_property
    def table(self) -> Any:
        """LanceDB's table, which a search needs for pictures and second stages alone."""
        return self._stored.at(self.state["version"])

    def neighbours(self, modality: str) -> Neighbours:
        """Those of a modality, opened once."""
        if modality not in self._neighbours:
            self._neighbours[modality] = neighbours(self._vectors, modality)
        return self._neighbours[modality]

    @property
    def labels(self) -> dict[str, int]:
        """What rows say of their class -> how many say so."""
        return self._answers.labels

    def ids(self, labels: Collection[str] = ()) -> Ids:
        """Ids of all rows, or of those that say one of ``labels``."""
        return self._answers.ids_with(labels) if labels else all_ids(self.table)

    def nearest(
        self, query: Floats, modality: str, k: int, ann: bool | None, labels: Collection[str] = ()
    ) -> tuple[Ids, Floats]:
        """Ids and cosines of the ``k`` rows nearest to a query, of all or of those that say one of ``labels``."""
        among = self._answers.ids_with(labels) if labels else None
        return self.neighbours(modality).search(query, k, exact=ann is False, among=among)

    def means(self, modality: str) -> dict[str, Floats]:
        """What rows say of their class -> the mean direction of such rows' vectors ``(D,)``; of many rows the first."""
        if modality not in self._means:
            self._means[modality] = self._averaged(f"{modality}_vector")
        return self._means[modality]

    def _averaged(self, column: str) -> dict[str, Floats]:
        rows = self.table.search().where(f"label IS NOT NULL AND {column} IS NOT NULL").select(["label", column])
        sums: dict[str, Floats] = {}
        for batch in rows.limit(_AVERAGED).to_batches(batch_size=_AT_ONCE * 100):
            vectors = np.asarray(batch[column].flatten(), np.float32).reshape(len(batch), -1)
            said = np.asarray(batch["label"].to_pylist(), dtype=object)
            for label in set(said.tolist()):
                sums[label] = sums.get(label, 0) + vectors[said == label].sum(axis=0)
        return {label: unit(total[None])[0] for label, total in sums.items()}

    def hits(self, ids: Ids, cosines: Sequence[float], scores: Sequence[float] | None = None) -> list[Hit]:
        """Rows as answers, best first; with the scores of a second stage, if they come from there."""
        pictures = _Pictures(self, ids)
        return [
            Hit(
                rank=place + 1,
                score=(cosines if scores is None else scores)[place],
                cosine=None if scores is None else cosines[place],
                row=said["row"],
                captions=tuple(said["captions"] or ()),
                label=said["label"],
                path=said["path"],
                picture=partial(pictures, place),
            )
            for place, said in enumerate(self._answers.of(ids))
        ]


class _Pictures:
    """The pictures of answers, some of them read at once when one is asked for."""

    def __init__(self, index: Opened, ids: np.ndarray) -> None:
        self._index, self._ids = index, ids
        self._read: dict[int, list[bytes | None]] = {}

    def __call__(self, place: int) -> bytes | None:
        block, within = divmod(place, _AT_ONCE)
        if block not in self._read:
            ids = self._ids[block * _AT_ONCE : (block + 1) * _AT_ONCE]
            self._read[block] = taken(self._index.table, ids, ["thumbnail"])["thumbnail"].to_pylist()
        return self._read[block][within]
