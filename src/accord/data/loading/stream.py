"""Streaming tar shards that do not fit on the disk a second time, or into a table."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import Dataset

from accord.data.columns import Columns, describe_columns, guess_columns
from accord.data.draws import UNDRAWN, Draws, Purpose, seed_of
from accord.data.inputs import Input
from accord.data.loading.batches import Fetched, Key, Recipe, label_tensor
from accord.data.loading.watch import Watch
from accord.data.modalities import Reading, modality_of
from accord.data.quarantine import BadRow, RowError
from accord.data.reading.cells import caption_fault, read_captions
from accord.data.reading.labels import read_labels
from accord.data.reading.media import Unreadable, quiet_pillow
from accord.data.reading.shards import LOOK_AT, find_shards, read_shards
from accord.data.reading.sources import announce
from accord.errors import AccordError, ConfigError, DataError

if TYPE_CHECKING:
    import datasets

_SPARES = 16  # rows sent along with a batch, to take the place of those in it that cannot be read


@dataclass(frozen=True, eq=False)
class StreamCorpus:
    """Rows of tar shards that are read one after the other and never held together.

    It can be trained on, through :func:`accord.data.train_loader` with ``steps=``. It has no length and its rows
    no positions: for methods that remember each row, and for evaluation, open the shards as a corpus.

    Args:
        name: how to call it.
        shards: tar files, local paths.
        columns: which field is which modality.
        classes: class names, empty without labels.
        buffer: rows from which the next one is drawn; rows of one shard are mixed over about so many.
        max_bad: largest share of bad rows accepted.
    """

    name: str
    shards: tuple[str, ...]
    columns: Columns
    classes: tuple[str, ...] = ()
    buffer: int = 1000
    max_bad: float = 0.2

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that the rows have, labels not counted."""
        return self.columns.modalities

    def rows(self, seed: int, epoch: int) -> Iterator[dict[str, Any]]:
        """Raw rows without end: pass after pass over the shards, each in its own shuffled order."""
        for turn in itertools.count():
            order = seed_of(seed, Purpose.SHUFFLE, epoch, turn) % 2**32
            shuffled = self._read().shuffle(seed=order, buffer_size=self.buffer)
            yield from shuffled

    def sample(
        self,
        row: Mapping[str, Any],
        fields: Collection[str],
        inputs: Mapping[str, Input] | None = None,
        draws: Draws = UNDRAWN,
    ) -> dict[str, Any]:
        """A raw row, decoded, as :meth:`accord.data.corpus.Corpus.sample`.

        Raises:
            RowError: it cannot be used; names its number in the shard, shard and key, and the reason.
        """
        found: dict[str, Any] = {}
        try:
            for field, column in self.columns.media.items():
                if field in fields:
                    reading = Reading((inputs or {}).get(field), None, draws)
                    found[field] = modality_of(field).read(row[column], reading)
            if "text" in fields:
                found["text"] = read_captions(row[column] for column in self.columns.text)
                fault = caption_fault(found["text"])
                if fault:
                    raise Unreadable(fault)
            if self.columns.label:
                found["label"] = self._label(row[self.columns.label])
        except Unreadable as error:
            raise RowError(row["__row__"], f"{row['__shard__']}: {row['__key__']}", str(error)) from None
        return found

    def _label(self, value: Any) -> np.ndarray:
        names = self.classes if isinstance(value, int) else None
        labels = read_labels([value], names, self.classes)
        if labels.bad:
            raise Unreadable(labels.bad[0])
        return labels.values[0]

    def _read(self) -> datasets.IterableDataset:
        import datasets

        return datasets.IterableDataset.from_generator(read_shards, gen_kwargs={"shards": list(self.shards)})


def open_stream(
    source: str | Path,
    *,
    columns: Mapping[str, str | Sequence[str] | None] | None = None,
    classes: Sequence[str] | None = None,
    buffer: int = 1000,
    max_bad: float = 0.2,
    quiet: bool = False,
) -> StreamCorpus:
    """Open tar shards for streaming; only the first rows are read now.

    Args:
        source: a tar file, a folder of them, or a pattern: ``shards/*.tar``, ``shards/{000..012}.tar``.
        columns: modality -> field(s), over what is guessed; None takes a modality out.
        classes: class names in order, which labels name or count; without them labels are not used.
        buffer: size of the shuffle buffer in rows.
        max_bad: largest share of bad rows accepted, in [0, 1].
        quiet: print nothing.

    Raises:
        DataError: there are no such shards, or no rows in them.
        ConfigError: a label field is asked for without ``classes``.
    """
    import datasets

    shards = [str(path) for path in find_shards(str(source))]
    if not shards:
        raise DataError(f"{source}: no tar shards there")
    first = list(itertools.islice(read_shards(shards), LOOK_AT))
    mapping = guess_columns(datasets.Dataset.from_list(first), columns)
    if classes is None and mapping.label:
        if columns and columns.get("label"):
            raise ConfigError("the classes of a stream are not known beforehand: pass classes=, or label=None")
        mapping = mapping.model_copy(update={"label": None})
    if not quiet:
        announce(f"{source}: {len(shards)} shards, {describe_columns(mapping)}")
    return StreamCorpus(str(source), tuple(shards), mapping, tuple(classes or ()), buffer, max_bad)


@dataclass(frozen=True)
class Portion:
    """The key of a batch: raw rows, their places in the global batch, and rows to replace bad ones with."""

    rows: list[dict[str, Any]]
    places: range
    spares: list[dict[str, Any]]


@dataclass(frozen=True)
class StreamOrder:
    """The keys of an epoch over a stream. The process that trains reads the shards; workers only decode.

    So nothing depends on the number of workers, and resuming reads over the batches that were consumed. Every
    rank reads all shards and decodes its share.
    """

    corpus: StreamCorpus
    batch_size: int
    steps: int
    seed: int
    rank: int = 0
    world_size: int = 1

    def __len__(self) -> int:
        return self.steps

    def __call__(self, epoch: int, first: int) -> Iterator[Key]:
        """The keys of the epoch from batch ``first`` on."""
        rows = self.corpus.rows(self.seed, epoch)
        share = self.batch_size // self.world_size
        places = range(self.rank * share, (self.rank + 1) * share)
        window: list[dict[str, Any]] = []
        for step in range(self.steps):
            window += itertools.islice(rows, self.batch_size + _SPARES - len(window))
            batch, window = window[: self.batch_size], window[self.batch_size :]
            if step >= first:
                yield epoch, Portion([batch[place] for place in places], places, window)

    def notes(self, number: int) -> dict[str, Any]:
        """Nothing beyond what the rows hold."""
        return {}


class StreamedDataset(Dataset[Fetched]):
    """Batches of raw rows.

    A row that cannot be used is replaced by one of those that follow the batch, chosen by its place.

    Args:
        corpus: decodes the rows.
        recipe: how to make batches of them.
        workers: how many processes will read it.
    """

    def __init__(self, corpus: StreamCorpus, recipe: Recipe, workers: int = 0) -> None:
        self.corpus, self.recipe = corpus, recipe
        self.watch = Watch(workers)

    def __getitem__(self, key: Key) -> Fetched:
        epoch, portion = key
        try:
            return self._fetch(epoch, portion)
        except AccordError as error:
            return Fetched(error=error)

    def describe(self, note: str) -> str:
        """Shard and key, as a worker noted them down."""
        return note

    def _fetch(self, epoch: int, portion: Portion) -> Fetched:
        replaced: list[BadRow] = []
        with quiet_pillow():
            read = (
                self._read(row, epoch, place, portion.spares, replaced)
                for row, place in zip(portion.rows, portion.places, strict=True)
            )
            cut = [(key, self.recipe.cut(sample, key, epoch)) for key, sample in read]
        samples = [sample for _, sample in cut]
        batch = self.recipe.assemble(samples, np.array([key for key, _ in cut], dtype=np.uint64), epoch)
        if self.corpus.columns.label:
            batch["label"] = label_tensor(np.stack([sample["label"] for sample in samples]))
        return Fetched(batch, replaced, len(samples))

    def _read(
        self, row: dict[str, Any], epoch: int, place: int, spares: list[dict[str, Any]], replaced: list[BadRow]
    ) -> tuple[int, dict[str, Any]]:
        turn = place % len(spares)
        first: RowError | None = None
        for candidate in (row, *spares[turn:], *spares[:turn]):
            key = _identity(candidate)
            try:
                with self.watch.reading(f"{candidate['__shard__']}: {candidate['__key__']}"):
                    draws = self.recipe.draws(key, epoch)
                    sample = self.recipe.read(self.corpus.sample, candidate, draws)
            except RowError as error:
                first = first or error
                continue
            if first:
                replaced.append(BadRow(first.row, first.file, first.reason))
            return key, sample
        raise DataError(f"{first}; none of the {len(spares)} rows after this batch can be used either")


def _identity(row: Mapping[str, Any]) -> int:
    """A number for the row that is the same in every epoch, for its random choices."""
    name = f"{Path(row['__shard__']).name} {row['__key__']}"
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
