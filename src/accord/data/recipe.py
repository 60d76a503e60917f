"""From a data configuration to the corpora of a run: open, split by concept, corrupt the training part.

Noise and split come from the configuration, never from code, so that a run can be read off its ``config.yaml``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from accord.config import Config
from accord.data.check import unreadable_rows
from accord.data.columns import NONE
from accord.data.corpus import Corpus, open_corpus
from accord.data.making.corruption import flip_labels, shuffle_captions, web_noise_by_query
from accord.data.quarantine import Quarantine
from accord.data.reading.sources import HUB, find_shards
from accord.data.splits import Splits, few_shots, split
from accord.data.targets.base import BoxFormat
from accord.errors import DataError


class SplitConfig(Config):
    """How rows are held out."""

    test: float = Field(0.2, ge=0, lt=1, description="share of concepts (or rows) held out for testing")
    val: float = Field(0.0, ge=0, lt=1, description="share held out for choosing settings")
    seed: int = Field(0, ge=0, description="which split")

    @model_validator(mode="after")
    def _something_left(self) -> Self:
        if self.test + self.val >= 1:
            raise ValueError(f"test + val = {self.test + self.val:g} leaves nothing to train on")
        return self


class CorruptionConfig(Config):
    """Controlled noise on the training part; the truth stays known, for scoring only."""

    kind: Literal["captions", "labels", "web_query"] = Field(description="what is corrupted")
    rate: float = Field(0.4, ge=0, le=1, description="share of rows corrupted (captions, labels)")
    order: Literal["cycle", "any"] = Field(
        "cycle",
        description="where moved captions go: cycle, none to its own row; any, a permutation as in papers on noisy "
        "correspondence, in which one comes back to its row on average",
    )
    flip: Literal["symmetric", "pair"] = Field("symmetric", description="where flipped labels go")
    queries: dict[str, list[str]] = Field(default_factory=dict, description="query words of each class (web_query)")
    seed: int = Field(0, ge=0, description="which corruption")


class DataConfig(Config):
    """What to train on."""

    source: str = Field(description="a folder, CSV/JSONL/Parquet, tar shards, pack:NAME or hf:NAME")
    location: str | None = Field(None, description="where the source was when a run was made; filled in by Accord")
    columns: dict[str, str | list[str] | None] = Field(
        default_factory=dict, description="modality -> column(s); null takes away what would be guessed"
    )
    classes: list[str] = Field(default_factory=list, description="classes to keep, in this order; empty keeps all")
    definitions: dict[str, str] = Field(default_factory=dict, description="class -> text that defines it")
    split: SplitConfig = Field(default_factory=SplitConfig, description="how rows are held out")
    shots: int | None = Field(
        None,
        ge=1,
        description="training rows kept of each class, for learning from a few; split.seed draws them, null keeps all",
    )
    corruption: CorruptionConfig | None = Field(None, description="controlled noise on the training rows")
    max_bad: float = Field(0.2, ge=0, le=1, description="share of unreadable rows that stops the run")
    target: str | None = Field(
        None, description="in a folder of nodes and edges, the node type to learn; none takes the one with labels"
    )
    mask_classes: list[str] = Field(
        default_factory=list, description="names of the classes in masks, by grey value from 0; empty where not known"
    )
    box_format: BoxFormat = Field(
        "xyxy", description="what the numbers of a box are: two corners, a corner and sides, or the centre and sides"
    )
    stream: bool = Field(
        False,
        description="read rows where and as they lie, shard after shard, and none before its turn: for data that are "
        "many or far away",
    )
    near: int = Field(10_000, ge=1, description="stream: over how many rows the order is mixed")
    check: bool | None = Field(
        None,
        description="decode every picture, clip and recording once before training; null: unless stream is on",
    )
    incomplete: bool = Field(
        False, description="keep rows that lack some modality, for methods that can use them (gram, multiview_infonce)"
    )

    @property
    def place(self) -> str:
        """Where to read the source from, in whatever folder we are: its recorded location, or the source as given.

        Raises:
            DataError: it is at neither; says how to name its new place.
        """
        given = Path(self.source).expanduser()
        if self.location is None or Path(self.location).parts[-len(given.parts) :] != given.parts:
            return self.source  # another source was written over that of the location
        if _is_there(self.source) and Path(self.location) == given.absolute():
            return self.source
        for place in (self.location, self.source):
            if _is_there(place):
                return place
        raise DataError(
            f"the data of this run are no longer at {self.location}: give their new place with --data (search, "
            "explain), or write it as data.source into the run's config.yaml, so that the held-out rows are found"
        )

    def located(self) -> Self:
        """The same with the location of the source, where it is a path that exists."""
        place = self.place
        return self.model_copy(
            update={"location": str(Path(place).expanduser().absolute()) if _is_there(place) else None}
        )


@dataclass(frozen=True)
class Prepared:
    """The corpora of a run.

    Args:
        train: training rows, with ``truth`` where the true label is known.
        test: held-out rows, clean; where rows have groups, theirs do not occur in ``train``.
        val: like ``test``; may be empty.
        splits: the row ids of each, as saved with the run.
        gone: rows of these that turned out unreadable since they were opened, see :meth:`readable`.
    """

    train: Corpus
    test: Corpus
    val: Corpus
    splits: Splits
    gone: Quarantine = field(default_factory=Quarantine)

    def __len__(self) -> int:
        """The rows of the source that can be used, with those that a method cannot learn from."""
        held = np.concatenate(list(self.splits.rows.values()))
        return len(np.setdiff1d(held, [bad.row for bad in self.left_out]))

    @property
    def left_out(self) -> Quarantine:
        """The rows of the source that are not used, be it that they were bad at the start or have gone bad."""
        rows = Quarantine([*self.train.left_out, *self.gone])
        rows.path = self.train.left_out.path
        return rows

    @cached_property
    def reference(self) -> Corpus:
        """The training rows that can still be read, for evaluations that learn from them."""
        return self.train.without(self.gone)

    def readable(self) -> Prepared:
        """After decoding every row once more: without the held-out rows that have gone bad.

        Training rows stay, since a method's verdicts are one a row; :attr:`reference` is without those gone bad.
        """
        gone = Quarantine(bad for part in (self.train, self.test, self.val) for bad in unreadable_rows(part))
        return replace(self, test=self.test.without(gone), val=self.val.without(gone), gone=gone)


def prepare(
    config: DataConfig,
    *,
    quarantine: Path | None = None,
    quiet: bool = False,
    splits: Splits | None = None,
    wanted: Collection[str] = (),
) -> Prepared:
    """Open, split and corrupt as ``config`` says.

    Args:
        config: what is said of the data.
        quarantine: where to list the bad rows; None lists them in the cache when there are any.
        quiet: print nothing.
        splits: how the rows were shared out before, which then stays, but for rows that have gone bad; None splits.
        wanted: fields that are guessed only where somebody wants them, such as ``boxes``.

    Raises:
        DataError: the source cannot be read, a class is unknown, nothing is left to train on, or a row of ``splits``
            is neither there nor bad.
    """
    corpus = open_corpus(
        config.place,
        columns=config.columns,
        max_bad=config.max_bad,
        quarantine=quarantine,
        incomplete=config.incomplete,
        target=config.target,
        mask_classes=config.mask_classes,
        box_format=config.box_format,
        wanted=wanted,
        check=not config.stream if config.check is None else config.check,
        quiet=quiet,
    )
    if config.classes:
        corpus = restrict_classes(corpus, config.classes)
    before = None if splits is None else splits.without(bad.row for bad in corpus.left_out)
    splits = before or _shared_out(corpus, config.split)
    parts = {name: corpus.select(splits.positions(name, corpus.ids)) for name in ("train", "test", "val")}
    if config.shots is not None:
        parts["train"] = few_rows(parts["train"], config.shots, config.split.seed)
    if config.stream:
        parts["train"] = replace(parts["train"], near=config.near)
    if config.corruption:
        parts["train"] = corrupt(parts["train"], config.corruption)
    parts = {name: _labelled(part) for name, part in parts.items()} if config.classes else parts
    if not len(parts["train"]):
        raise DataError(f"{config.source}: no training rows are left after split and corruption")
    return Prepared(parts["train"], parts["test"], parts["val"], splits)


def _is_there(source: str) -> bool:
    return not source.startswith(("pack:", HUB)) and (Path(source).expanduser().exists() or bool(find_shards(source)))


def _shared_out(corpus: Corpus, config: SplitConfig) -> Splits:
    """The splits of a corpus.

    Raises:
        DataError: there are too few groups, or rows, to give every split one; names the column.
    """
    groups = corpus.groups()
    count, wanted = len(corpus if groups is None else np.unique(groups)), 1 + (config.test > 0) + (config.val > 0)
    if count < wanted and groups is None:
        raise DataError(
            f"{corpus.name}: {count} row{'s' if count > 1 else ''} cannot be shared among {wanted} splits: "
            "hold out none with --set data.split.test=0"
        )
    if count < wanted:
        raise DataError(
            f"{corpus.name}: column {corpus.columns.group!r} puts all rows into {count} group{'s' if count > 1 else ''}"
            f", and {wanted} splits share whole groups: name another column with --group COL, or --group {NONE}"
        )
    shares = {"test": config.test, "val": config.val}
    return split(groups, corpus.labels, shares, config.seed, ids=corpus.ids)


def few_rows(corpus: Corpus, shots: int, seed: int) -> Corpus:
    """So many rows of each class, all where it has fewer, in the order of the corpus.

    Raises:
        DataError: rows have no labels, or several each.
    """
    if corpus.labels is None or corpus.multi_label or corpus.unlabelled == len(corpus):
        raise DataError(f"{corpus.name}: data.shots = {shots} needs one label a row; pass --label COL")
    return corpus.select(few_shots(corpus.labels, shots, seed))


def restrict_classes(corpus: Corpus, classes: list[str]) -> Corpus:
    """Map labels onto ``classes``; rows of other classes become -1 (kept, since a query may still find them).

    Raises:
        DataError: the corpus has no labels, or a class is not among them.
    """
    if corpus.labels is None or corpus.multi_label:
        raise DataError(f"{corpus.name}: classes can be chosen only where every row has one label; pass --label COL")
    unknown = [name for name in classes if name not in corpus.classes]
    if unknown:
        known = ", ".join(corpus.classes[:20])
        raise DataError(f"{corpus.name}: no class {unknown[0]!r}; the classes are {known} …")
    position = np.full(len(corpus.classes), -1)
    for new, name in enumerate(classes):
        position[corpus.classes.index(name)] = new
    labels = np.where(corpus.labels >= 0, position[corpus.labels], -1)
    return corpus.with_labels(labels, truth=labels, classes=tuple(classes))


def corrupt(corpus: Corpus, config: CorruptionConfig) -> Corpus:
    """The corpus with noisy labels or captions; ``truth`` keeps what was right.

    For ``captions`` the truth is 1 where the caption still belongs to its row and 0 where it was moved.

    Raises:
        DataError: the corpus lacks what is to be corrupted.
    """
    if config.kind == "captions":
        texts, moved = shuffle_captions(corpus.texts(), config.rate, config.seed, config.order)
        return corpus.with_texts(texts, moved=moved)
    if corpus.labels is None or corpus.multi_label:
        raise DataError(f"{corpus.name}: corruption {config.kind!r} needs one label a row; pass --label COL")
    labels = corpus.labels
    if config.kind == "labels":
        rows = np.flatnonzero(labels >= 0)
        noisy = flip_labels(labels[rows], config.rate, config.flip, num_classes=len(corpus.classes), seed=config.seed)
        return corpus.select(rows).with_labels(noisy, truth=labels[rows])
    missing = [name for name in corpus.classes if name not in config.queries]
    if missing:
        raise DataError(f"corruption web_query: no query words for class {missing[0]!r}")
    queries = {name: config.queries[name] for name in corpus.classes}
    rows, found = web_noise_by_query(corpus.texts(), queries)
    return corpus.select(rows).with_labels(found, truth=labels[rows])


def _labelled(corpus: Corpus) -> Corpus:
    labels = corpus.labels
    return corpus if labels is None or labels.ndim > 1 else corpus.select(np.flatnonzero(labels >= 0))
