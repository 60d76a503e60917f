"""A corpus: rows of a source with their modalities, labels and groups, read one by one when they are wanted."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
from PIL import Image

from accord.data.check import unreadable_rows
from accord.data.columns import Columns, describe_columns
from accord.data.corpus.captions import Captions
from accord.data.corpus.contents import filled, fingerprint_of
from accord.data.draws import UNDRAWN, Draws
from accord.data.fields import declared, text_fields
from accord.data.inputs import Input
from accord.data.modalities import Reading, modality_of
from accord.data.quarantine import Quarantine, RowError
from accord.data.reading.cells import cells_of, coded_cells, read_captions
from accord.data.reading.media import Unreadable, cell_name, cell_path
from accord.data.reading.shards import SHARD
from accord.data.targets import TARGETS, get_target
from accord.data.targets.base import BoxFormat
from accord.data.targets.rows import canvas_of, has_value, is_empty
from accord.errors import DataError, ShapeError

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

    from accord.data.targets import Target


@dataclass(frozen=True, eq=False)
class Corpus:
    """Rows of one source. Cheap to select from; nothing is decoded before :meth:`sample`.

    Args:
        name: how to call it.
        rows: the cells; media columns hold paths or encoded bytes.
        columns: which column is which modality.
        ids: ``(N,)`` int64 row numbers in the source, which survive :meth:`select`.
        classes: class names, empty without labels.
        labels: ``(N,)`` int64 class indices (-1: none of the classes), ``(N, C)`` uint8 multi-hot, or None.
        truth: ``(N,)`` true class indices, -1 for none of the classes, or None when not known; for scoring only.
        root: the folder that paths are relative to.
        where: the file that lists the rows, for messages.
        captions: texts that replace those of the text columns.
        max_bad: largest share of rows that may turn out unreadable while it is used.
        incomplete: rows may lack modalities, see :attr:`present`.
        graph: the typed graph (PyG's ``HeteroData``) in which the rows are nodes of type ``target``, or None; row
            ``ids[i]`` is node ``ids[i]``.
        target: that node type.
        mask_classes: names of the classes in masks, by grey value, empty where not known.
        instance_classes: names of the classes of things in boxes, instances and tracks.
        box_format: what the four numbers of a box are.
        stamp: hash of place, size and time of the files that hold the rows, so that what they hold is hashed only once;
            empty where they are not known.
        near: over how many rows training mixes their order, so that what lies together is read together; None for all.
        left_out: the rows of the source that cannot be used and are not among these, and where their list is.
    """

    name: str
    rows: datasets.Dataset
    columns: Columns
    ids: np.ndarray
    classes: tuple[str, ...] = ()
    labels: np.ndarray | None = None
    truth: np.ndarray | None = None
    root: Path | None = None
    where: str = ""
    captions: Sequence[Sequence[str]] | None = None
    max_bad: float = 0.2
    incomplete: bool = False
    graph: HeteroData | None = None
    target: str = ""
    mask_classes: tuple[str, ...] = ()
    instance_classes: tuple[str, ...] = ()
    box_format: BoxFormat = "xyxy"
    stamp: str = ""
    near: int | None = None
    left_out: Quarantine = dataclasses.field(default_factory=Quarantine)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"Corpus({self.name}, {len(self)} rows, {describe_columns(self.columns)})"

    @property
    def multi_label(self) -> bool:
        """True when a row may have several classes."""
        return self.labels is not None and self.labels.ndim == 2

    @property
    def unlabelled(self) -> int:
        """How many rows of a corpus with labels have none of the classes."""
        return int((self.labels < 0).sum()) if self.labels is not None and self.labels.ndim == 1 else 0

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that the rows have, labels not counted."""
        return self.columns.modalities

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets that the rows have, see :mod:`accord.data.targets`."""
        return tuple(name for name in TARGETS if getattr(self.columns, name))

    @property
    def _fields(self) -> tuple[str, ...]:
        """What can be read of a row: its modalities, then what stands beside them."""
        return tuple(dict.fromkeys([*self.modalities, *self.columns.readable]))

    @cached_property
    def present(self) -> dict[str, np.ndarray]:
        """Field -> ``(N,)`` bool, which rows have it."""
        everywhere = {field: np.ones(len(self), dtype=np.bool_) for field in self._fields}
        if not self.incomplete:
            return everywhere
        table = self._cells.with_format("arrow")[:] if self.columns.media and len(self) else None
        found = {field: filled(table.column(column)) for field, column in self.columns.media.items() if table}
        texts = {
            field: np.array([bool(row) for row in rows], dtype=np.bool_) for field, rows in self._said.items() if rows
        }
        return everywhere | found | texts

    def having(self, *modalities: str) -> Corpus:
        """The rows that have all of these modalities."""
        there = [self.present[name] for name in modalities if name in self.present]
        kept = np.logical_and.reduce(there) if there else np.ones(len(self), dtype=np.bool_)
        return self if kept.all() else self.select(np.flatnonzero(kept))

    def select(self, indices: Sequence[int] | np.ndarray) -> Corpus:
        """The rows at these positions, in this order, repeats allowed."""
        index = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            rows=self.rows.select(index),
            ids=self.ids[index],
            labels=None if self.labels is None else self.labels[index],
            truth=None if self.truth is None else self.truth[index],
            captions=None if self.captions is None else Captions.of(self.captions).take(index),
        )

    def without(self, bad: Quarantine) -> Corpus:
        """The rows but for these, which join :attr:`left_out`; the same corpus where it has none of them."""
        kept = ~np.isin(self.ids, [entry.row for entry in bad])
        if kept.all():
            return self
        return replace(self.select(np.flatnonzero(kept)), left_out=Quarantine([*self.left_out, *bad]))

    def readable(self) -> Corpus:
        """The rows that can be decoded now, whatever is remembered of them."""
        return self.without(Quarantine(unreadable_rows(self)))

    def texts(self, field: str = "text") -> list[list[str]]:
        """All captions of every row, stripped, empty ones dropped; empty lists where there is no such column.

        Args:
            field: of texts, such as ``answers``.
        """
        return [list(row) for row in self.said(field)]

    def said(self, field: str = "text") -> Sequence[Sequence[str]]:
        """The same, one row after the other: all of them at once take several times the memory."""
        return self._said[field] or ((),) * len(self)

    def groups(self) -> np.ndarray | None:
        """Group name of every row ``(N,)``, or None; a row without one is a group of its own."""
        if not self.columns.group:
            return None
        values = cells_of(self.rows, self.columns.group)
        named = [f"row {id}" if value is None else str(value) for value, id in zip(values, self.ids, strict=True)]
        return np.array(named, dtype=np.str_)

    @property
    def dataset_names(self) -> tuple[str, ...]:
        """Names of the data sets that the rows are of, in alphabetical order; empty where nothing says so."""
        return self._datasets[0]

    @property
    def dataset_ids(self) -> np.ndarray | None:
        """Which of :attr:`dataset_names` each row is of, ``(N,)`` int64; None where nothing says so."""
        return self._datasets[1]

    @cached_property
    def _datasets(self) -> tuple[tuple[str, ...], np.ndarray | None]:
        if not self.columns.dataset:
            return (), None
        named = ["" if value is None else str(value) for value in cells_of(self.rows, self.columns.dataset)]
        names, ids = np.unique(np.array(named, dtype=np.str_), return_inverse=True)
        return tuple(names.tolist()), ids

    @cached_property
    def shards(self) -> np.ndarray | None:
        """Which file of many each row lies in, ``(N,)`` int64 in the order of the files; None where it lies in none."""
        if SHARD not in self.rows.column_names or not len(self):
            return None
        return np.asarray(coded_cells(self.rows, SHARD).indices, dtype=np.int64)

    def sample(
        self,
        position: int,
        fields: Collection[str] | None = None,
        inputs: Mapping[str, Input] | None = None,
        draws: Draws = UNDRAWN,
    ) -> dict[str, Any]:
        """One row, decoded.

        Args:
            position: which row, in [0, N).
            fields: those wanted; None for all there are.
            inputs: field -> what an encoder is fed, such as the background under transparent pixels or how many frames
                of a clip; a field that is not there is read as a whole.
            draws: what random choices hang on, such as which frames.

        Returns:
            What the modality of each field reads: ``image`` RGB picture; ``video`` clip, a sequence of RGB pictures;
            ``audio`` (float32 mono wave ``(S,)`` in [-1, 1], rate in Hz); ``text`` list of str; ``sequence`` steps; and
            ``label``; only what the corpus has. None for a medium that the row lacks, where rows may be incomplete.

        Raises:
            RowError: a cell cannot be read; names row, file and reason.
        """
        wanted = set(self.columns.readable if fields is None else fields)
        media = {field: column for field, column in self.columns.media.items() if field in wanted}
        cells = self._cells[position] if media else {}
        found: dict[str, Any] = {}
        for field, column in media.items():
            if self.incomplete and not self.present[field][position]:
                found[field] = None
                continue
            reading = Reading((inputs or {}).get(field), self.root, draws)
            with self._named(position, cells[column]):
                found[field] = modality_of(field).read(cells[column], reading)
        for field in wanted.intersection(text_fields()):
            found[field] = list(self._said[field][position]) if self._said[field] else []
        if self.labels is not None:
            found["label"] = self.labels[position]
        return found

    def check(self, position: int) -> dict[str, str]:
        """Decode all that a row holds, and read its targets.

        Returns:
            Field -> what has to be alike in all rows, in words.

        Raises:
            RowError: a cell cannot be read; names row, file and reason.
        """
        cells, alike = self._cells[position] if self.columns.media else {}, {}
        for field, column in self.columns.media.items():
            if not self.incomplete or self.present[field][position]:
                with self._named(position, cells[column]):
                    alike[field] = modality_of(field).check(cells[column], self.root)
        self.targets_of(position, self.targets)
        return alike

    def file_of(self, position: int, field: str) -> str:
        """The file of a row's cell, for messages."""
        column = self.columns.media[field]
        return self._file(self._cells[position][column])

    def picture(self, position: int, side: int, of: Collection[str] = ()) -> Image.Image | None:
        """Something to look at for a row, at most ``side`` pixels wide and high: of the first medium that has it.

        Args:
            position: which row, in [0, N).
            side: pixels.
            of: media that come before the others, such as what a model reads.

        Raises:
            RowError: the cell cannot be read; names row, file and reason.
        """
        for field, column in sorted(self.columns.media.items(), key=lambda item: item[0] not in of):
            cell = self._cells[position][column]
            with self._named(position, cell):
                shown = modality_of(field).picture(cell, self.root, side) if self.present[field][position] else None
            if shown is not None:
                return shown
        return None

    def targets_of(
        self,
        position: int,
        names: Collection[str],
        media: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Input] | None = None,
    ) -> dict[str, Any]:
        """What a row says beside its media: masks, boxes and the like.

        Args:
            position: which row, in [0, N).
            names: of :mod:`accord.data.targets`.
            media: what :meth:`sample` gave for the row, which saves opening it again; of clips, with the frames drawn.
            inputs: as for :meth:`sample`.

        Returns:
            Name -> value, as the target reads it; blank where the row has none.

        Raises:
            DataError: the rows have no such column.
            RowError: the cells cannot be used; names row, file and reason.
        """
        found = {}
        for name in names:
            reader = self.target_reader(name)
            cells = self.cells(position, reader.fields)
            try:
                canvas = canvas_of(self, position, reader.medium, media or {}, inputs or {})
                says = canvas.there and not is_empty(cells[name])
                found[name] = reader.read(cells, canvas) if says else reader.blank(canvas)
            except Unreadable as error:
                file = self._file(cells[name]) if declared(name).files else self._beside(position, reader.medium)
                raise RowError(int(self.ids[position]), file, str(error)) from None
        return found

    def _beside(self, position: int, medium: str | None) -> str:
        """The file that a row's numbers are said of, or where the row stands, for messages."""
        media = self.columns.media
        field = medium if medium in media else next(iter(media), None)
        return self.where or self.name if field is None else self.file_of(position, field)

    def target_reader(self, name: str) -> Target[Any]:
        """What reads a target of these rows, and carries it through views.

        Raises:
            DataError: the rows have no such column.
        """
        if name not in self.targets:
            raise DataError(f"{self.name} has no {name}: name their column with {declared(name).option} COL")
        classes = self.mask_classes if name == "mask" else self.instance_classes
        return get_target(name)(root=self.root, classes=classes, box_format=self.box_format)

    def has_target(self, name: str) -> np.ndarray:
        """Which rows ``(N,)`` have a target, or fill a column of it; that a picture has no boxes is one too."""
        column = getattr(self.columns, name)
        if not column or not len(self):
            return np.full(len(self), False)
        tables = self.rows.select_columns([column]).with_format("arrow").iter(batch_size=512)
        return np.concatenate([has_value(table.column(column)) for table in tables])

    def cells(self, position: int, fields: Collection[str]) -> dict[str, Any]:
        """Field -> cell of a row, of the fields that have a column."""
        used = {field: column for field in fields if (column := getattr(self.columns, field))}
        names = tuple(used.values())
        if names not in self._selections:
            self._selections[names] = self.rows.select_columns(list(dict.fromkeys(names)))
        row = self._selections[names][position]
        return {field: row[column] for field, column in used.items()}

    def cells_of(self, field: str) -> Sequence[Any]:
        """The cells ``(N,)`` of a field; none where it has no column."""
        column = getattr(self.columns, field)
        return list(cells_of(self.rows, column)) if column else []

    @cached_property
    def _selections(self) -> dict[tuple[str, ...], datasets.Dataset]:
        """Rows with some of their columns, since reading a row reads all of them."""
        return {}

    @contextmanager
    def _named(self, position: int, cell: Any) -> Iterator[None]:
        """Say of a cell that cannot be read which row and file it is."""
        try:
            yield
        except Unreadable as error:
            raise RowError(int(self.ids[position]), self._file(cell), str(error)) from None

    def position_of(self, row: int) -> int:
        """Where the row of this number in the source stands; the first place of one that stands several times.

        Raises:
            DataError: the corpus has no such row.
        """
        places = np.flatnonzero(self.ids == row)
        if not len(places):
            raise DataError(f"{self.name} has no row {row}")
        return int(places[0])

    def describe(self, position: int) -> str:
        """Row number and file of a position, for messages."""
        columns = list(self.columns.media.values())
        file = self._file(self._cells[position][columns[0]]) if columns else self.where
        return f"row {self.ids[position]} ({file})"

    def with_labels(
        self, labels: np.ndarray, truth: np.ndarray | None = None, classes: Sequence[str] | None = None
    ) -> Corpus:
        """The corpus with other labels; ``truth`` and ``classes`` stay as they are unless given.

        Raises:
            ShapeError: not one label a row.
        """
        labels = np.asarray(labels)
        labels = labels.astype(np.int64 if labels.ndim == 1 else np.uint8)
        for name, value in (("labels", labels), ("truth", truth)):
            if value is not None and len(value) != len(self):
                raise ShapeError(f"{name} has {len(value)} entries, expected one per row ({len(self)})")
        return replace(
            self,
            labels=labels,
            truth=self.truth if truth is None else np.asarray(truth),
            classes=self.classes if classes is None else tuple(classes),
        )

    def with_texts(self, texts: Sequence[Sequence[str]], moved: np.ndarray | None = None) -> Corpus:
        """The corpus with other captions.

        Args:
            texts: captions of every row.
            moved: ``(N,)`` bool, True where a caption no longer belongs to its row; then ``truth`` becomes 1
                where it does and 0 where it does not.

        Raises:
            ShapeError: not one list a row.
        """
        if len(texts) != len(self):
            raise ShapeError(f"texts has {len(texts)} entries, expected one per row ({len(self)})")
        truth = self.truth if moved is None else 1 - np.asarray(moved).astype(np.int64)
        return replace(self, captions=Captions.of(texts), truth=truth)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of what the corpus says: mapping, cells, labels, captions, and size and time of every file."""
        return fingerprint_of(self)

    @cached_property
    def _cells(self) -> datasets.Dataset:
        return self.rows.select_columns(list(self.columns.media.values()))

    @cached_property
    def _said(self) -> dict[str, Sequence[Sequence[str]]]:
        """Field of texts -> those of every row; none where it has no column."""
        found: dict[str, Sequence[Sequence[str]]] = {}
        for field in text_fields():
            columns = [cells_of(self.rows, column) for column in dict(self.columns.items()).get(field, ())]
            found[field] = Captions.of(read_captions(cells) for cells in zip(*columns, strict=True))
        return found if self.captions is None else {**found, "text": self.captions}

    def _file(self, cell: Any) -> str:
        name = cell_name(cell)
        return f"{name}, {self.where}" if cell_path(cell, self.root) is None and self.where else name
