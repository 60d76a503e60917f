"""Which rows make which batch of an epoch: a method declares it, and an order carries it out for one process.

What is drawn depends on (seed, epoch) and on what the declaration knows, never on what was drawn before. All processes
draw the same global batches and each takes its share of every one, so that together they see what one process would.
An epoch has as many batches as its rows fill, whatever is declared: a schedule knows its length beforehand, and a run
that resumes finds its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from accord.data.draws import Purpose, seed_of
from accord.data.loading.samplers import ClassBalancedSampler, ClusterBatchSampler, EpisodeSampler
from accord.errors import ConfigError, DataError

if TYPE_CHECKING:
    from accord.data.corpus import Corpus
    from accord.data.loading.batches import Key

_PLACES = 64  # at which a batch's rows are read, where they are to lie near each other
QUERY, SUPPORT = 0, 1  # in batch["role"], as `accord.data.targets.ROLES` counts


@dataclass(frozen=True, eq=False)
class Known:
    """What a declaration may know of the rows.

    Args:
        rows: their number N.
        labels: ``(N,)`` class indices, negative for none, or ``(N, C)`` multi-hot; None without labels.
        datasets: ``(N,)`` number of the data set of each row, None where there is but one.
        name: of the data, for messages.
        shards: ``(N,)`` number of the file of many that each row lies in, None where it lies in none.
    """

    rows: int
    labels: np.ndarray | None = None
    datasets: np.ndarray | None = None
    name: str = "the data"
    shards: np.ndarray | None = None

    @classmethod
    def of(cls, corpus: Corpus) -> Known:
        """What is known of the rows of a corpus."""
        shards = None if corpus.near is None else corpus.shards
        return cls(len(corpus), corpus.labels, corpus.dataset_ids, corpus.name, shards)


@dataclass(frozen=True, eq=False)
class Drawn:
    """The rows of a global batch in order.

    Args:
        rows: ``(B,)``.
        notes: what the batch is to say of them, entries ``(B,)`` by name.
        passes: ``(B,)`` as of which pass over the data each is read and cut; None for that of the epoch.
    """

    rows: np.ndarray
    notes: dict[str, np.ndarray] = field(default_factory=dict)
    passes: np.ndarray | None = None


class Sampling:
    """How the rows of an epoch are drawn. A method declares one of the kinds below, or a subclass of its own.

    What is known of the rows may not do, such as labels that are not there: :meth:`rows_per_batch` refuses it, which is
    asked before anything is computed. Two epochs differ, unless rows are to come in one order.
    """

    def rows_per_epoch(self, known: Known) -> int:
        """Rows that an epoch goes through."""
        return known.rows

    def rows_per_batch(self, wanted: int, known: Known) -> int:
        """Rows of a global batch where the settings ask for ``wanted``.

        Raises:
            ConfigError: the batches that are declared cannot be drawn.
            DataError: the rows are not such that they can.
        """
        return wanted

    def draw(self, known: Known, size: int, count: int, seed: int, epoch: int) -> Sequence[Drawn]:
        """The first ``count`` batches of ``size`` rows of an epoch; a last one of fewer rows where they run out."""
        raise NotImplementedError


@dataclass(frozen=True)
class EveryRow(Sampling):
    """Every row once an epoch.

    Args:
        shuffle: in an order of its own each epoch, else in that of the data.
    """

    shuffle: bool = True

    def draw(self, known: Known, size: int, count: int, seed: int, epoch: int) -> Sequence[Drawn]:
        """The rows, cut into batches."""
        order = np.arange(known.rows)
        if self.shuffle:
            order = np.random.default_rng(seed_of(seed, Purpose.ORDER, epoch)).permutation(known.rows)
        return [Drawn(batch) for batch in _cut(order, size, count)]


@dataclass(frozen=True)
class Passes(Sampling):
    """Pass after pass over the rows, of which an epoch is a stretch: the next one goes on where it ended.

    Each row comes once a pass; where rows do not fill the batches, a batch holds the last of one pass and the first of
    the next. With ``near``, rows that lie together are read together: shards come in random order, a batch takes its
    rows from up to 64 places among them, and at each the rows are mixed over a stretch. Of several processes each
    reads at places of its own.

    Args:
        rows: of an epoch; None for as many as there are.
        near: over how many rows the order is mixed; None for all.
    """

    rows: int | None = None
    near: int | None = None

    def rows_per_epoch(self, known: Known) -> int:
        """``rows``, or all."""
        return self.rows or known.rows

    def rows_per_batch(self, wanted: int, known: Known) -> int:
        """``wanted``, but no row twice."""
        return min(wanted, known.rows)

    def draw(self, known: Known, size: int, count: int, seed: int, epoch: int) -> Sequence[Drawn]:
        """The stretch of the epoch, cut into batches."""
        first, wanted = epoch * count * size, count * size
        turns = range(first // known.rows, (first + max(wanted, 1) - 1) // known.rows + 1)
        rows = np.concatenate([self._turn(known, size, seed, turn) for turn in turns])
        return [Drawn(batch) for batch in _cut(rows[first - turns.start * known.rows :], size, count)]

    def _turn(self, known: Known, size: int, seed: int, turn: int) -> np.ndarray:
        """The rows ``(N,)`` of a pass in their order."""
        generator = np.random.default_rng(seed_of(seed, Purpose.ORDER, turn))
        if self.near is None or self.near >= known.rows:
            return generator.permutation(known.rows)
        shards = np.arange(known.rows) // self.near if known.shards is None else known.shards
        order = np.argsort(generator.permutation(shards.max() + 1)[shards], kind="stable")
        begun = -turn * known.rows % size  # rows that fill the last batch of the pass before
        batches = max(0, known.rows - begun) // size
        places = max(part for part in range(1, _PLACES + 1) if size % part == 0)
        whole = order[begun : begun + batches * size]
        # Each row of this table is what one place gives, which goes to the same places of every batch
        stretches = whole.reshape(places, -1)
        moved = np.arange(stretches.shape[1]) // max(1, self.near // places) + generator.random(stretches.shape)
        mixed = np.take_along_axis(stretches, np.argsort(moved, axis=1), axis=1)
        whole[:] = mixed.reshape(places, batches, -1).swapaxes(0, 1).reshape(-1)
        return order


@dataclass(frozen=True)
class Repeated(Sampling):
    """Every row several times in its batch, read and cut anew: repeated augmentation (Hoffer et al. 2020, CVPR).

    The copies of a row stand behind one another. What is random of each is drawn as in a pass of its own, so that an
    epoch is that many passes, and as much longer.

    Args:
        times: how often.
        of: how the rows are drawn; in training as they are where a method does not say.
    """

    times: int
    of: Sampling = EveryRow()

    def rows_per_epoch(self, known: Known) -> int:
        """All copies."""
        return self.times * self.of.rows_per_epoch(known)

    def rows_per_batch(self, wanted: int, known: Known) -> int:
        """Whole rows with all their copies."""
        if wanted < self.times:
            raise ConfigError(f"a batch of {wanted} rows has no room for {self.times} copies of one: raise batch_size")
        return self.times * self.of.rows_per_batch(wanted // self.times, known)

    def draw(self, known: Known, size: int, count: int, seed: int, epoch: int) -> Sequence[Drawn]:
        """The batches of rows, each with all its copies."""
        passes = self.times * epoch + np.arange(self.times)
        return [
            Drawn(
                batch.rows.repeat(self.times),
                {name: values.repeat(self.times) for name, values in batch.notes.items()},
                np.tile(passes, len(batch.rows)),
            )
            for batch in self.of.draw(known, size // self.times, count, seed, epoch)
        ]


@dataclass(frozen=True)
class Episode(Sampling):
    """An epoch of rows drawn with replacement instead of every row once (ProtoCLIP).

    ``batch["place"] (B,)`` is the position of each row in the episode.

    Args:
        rows: how many rows an episode has; None for as many as there are.
    """

    rows: int | None = None

    def rows_per_epoch(self, known: Known) -> int:
        """Rows of the episode."""
        return self.rows or known.rows

    def draw(self, known: Known, size: int, count: int, seed: int, epoch: int) -> Sequence[Drawn]:
        """The rows of the episode, cut into batches."""
        episodes = EpisodeSampler(known.rows, self.rows_per_epoch(known), seed=seed_of(seed, Purpose.ORDER))
        batches = _cut(episodes.rows(epoch).numpy(), size, count)
        return [Drawn(rows, {"place": number * size + np.arange(len(rows))}) for number, rows in enumerate(batches)]


@dataclass(frozen=True)
class ClassBalanced(Sampling):
    """P classes with K rows each in every batch, P as many as the batch has room for, so that anchors have positives.

    Args:
        samples: K.
    """

    samples: int

    def rows_per_batch(self, wanted: int, known: Known) -> int:
        """``P K``, at most ``wanted``."""
        labels = _single_labels(known, self)
        classes = len(np.unique(labels[labels >= 0]))
        if wanted < self.samples:
            raise ConfigError(f"a batch of {wanted} rows has no room for a class of {self.samples}: raise batch_size")
        return min(wanted // self.samples, classes) * self.samples

    def draw(self, known: Known, size: int, count: int, seed: int, epoch: int) -> Sequence[Drawn]:
        """Batches class after class."""
        assert known.labels is not None
        sampler = ClassBalancedSampler(
            torch.from_numpy(known.labels),
            size // self.samples,
            self.samples,
            seed_of(seed, Purpose.ORDER, epoch),
            batches=count,
        )
        return [Drawn(np.array(batch)) for batch in sampler]


@dataclass(frozen=True, eq=False)
class Clusters(Sampling):
    """Batches whose rows all have one label that the method gave them, so that negatives are of one kind (MCL).

    A method declares it with labels that a hook has computed. What the clusters leave over in an epoch is filled from
    the start of another round over them, shuffled anew.

    Args:
        labels: ``(N,)`` integers, see :func:`.samplers.combine_labels`; negative rows are never drawn.
        order: see :class:`accord.data.loading.samplers.ClusterBatchSampler`.
        small: likewise.
    """

    labels: Tensor
    order: Literal["round_robin", "proportional"] = "round_robin"
    small: Literal["drop", "merge"] = "drop"

    def draw(self, known: Known, size: int, count: int, seed: int, epoch: int) -> Sequence[Drawn]:
        """Round after round over the clusters."""
        if len(self.labels) != known.rows:
            raise DataError(f"Clusters has {len(self.labels)} labels, {known.name} has {known.rows} rows")
        start = seed_of(seed, Purpose.ORDER, epoch)
        sampler = ClusterBatchSampler(self.labels.cpu(), size, start, order=self.order, small=self.small)
        batches: list[Drawn] = []
        while len(batches) < count:
            batches += [Drawn(np.array(batch)) for batch in sampler]
            sampler.set_epoch(sampler.epoch + 1)
        return batches[:count]


@dataclass(frozen=True, eq=False)
class OneOfEach(Sampling):
    """Round after round over groups of rows, of each a row drawn anew: of a sentence one of its videos (CiCo).

    An epoch has as many rows as there are, and so several rounds where groups have several. A batch is of one round,
    so that no two of its rows are of one group, unless it wants more rows than there are groups.

    Args:
        groups: ``(N,)`` integers, which group each row is of.
    """

    groups: Tensor

    def draw(self, known: Known, size: int, count: int, seed: int, epoch: int) -> Sequence[Drawn]:
        """Batches of the rounds; what a round leaves over is left out."""
        generator = np.random.default_rng(seed_of(seed, Purpose.ORDER, epoch))
        groups = self.groups.cpu().numpy()
        batches: list[np.ndarray] = []
        spare = np.empty(0, dtype=np.int64)
        while len(batches) < count:
            rows = generator.permutation(known.rows)
            _, first = np.unique(groups[rows], return_index=True)  # the first of each group in a random order
            spare = np.concatenate([spare, generator.permutation(rows[first])])
            whole = len(spare) // size
            batches += _cut(spare, size, whole)
            spare = spare[:0] if whole else spare
        return [Drawn(rows) for rows in batches[:count]]


@dataclass(frozen=True)
class Weighted(Sampling):
    """Groups of rows in given shares: labelled and unlabelled rows, classes, or data sets of one table.

    The rows of a group come in shuffled rounds: none comes again before all have come.

    Args:
        by: what makes a group: ``labelled`` (rows without a label, rows with one), ``label`` or ``dataset``.
        shares: of the groups, in ascending order; empty for equal ones. They need not sum to 1.
        mixed: draw the group of every row; else that of every batch, whose rows then all belong to one.
    """

    by: Literal["labelled", "label", "dataset"]
    shares: tuple[float, ...] = ()
    mixed: bool = True

    def rows_per_batch(self, wanted: int, known: Known) -> int:
        """``wanted``, where each group has a share."""
        self._shared(self._groups(known), known)
        return wanted

    def draw(self, known: Known, size: int, count: int, seed: int, epoch: int) -> Sequence[Drawn]:
        """Batches of rows whose groups are drawn by their shares."""
        generator = np.random.default_rng(seed_of(seed, Purpose.ORDER, epoch))
        of_row = self._groups(known)
        groups, shares = self._shared(of_row, known)
        chosen = generator.choice(len(groups), count * size if self.mixed else count, p=shares / shares.sum())
        chosen = chosen if self.mixed else chosen.repeat(size)
        rows = np.empty(len(chosen), dtype=np.int64)
        for number, group in enumerate(groups):
            wanted = np.flatnonzero(chosen == number)
            rows[wanted] = _rounds(np.flatnonzero(of_row == group), len(wanted), generator)
        return [Drawn(batch) for batch in _cut(rows, size, count)]

    def _shared(self, of_row: np.ndarray, known: Known) -> tuple[np.ndarray, np.ndarray]:
        """The groups ``(G,)`` in ascending order, and the share of each."""
        groups = np.unique(of_row[of_row >= 0])
        shares = np.array(self.shares or [1.0] * len(groups))
        if len(shares) != len(groups) or not (shares >= 0).all() or not shares.sum() > 0:
            raise ConfigError(
                f"Weighted(by={self.by!r}) has shares {self.shares}: expected {len(groups)} that are not negative, "
                f"one for each group of {known.name}"
            )
        return groups, shares

    def _groups(self, known: Known) -> np.ndarray:
        """``(N,)`` the group of every row."""
        if self.by == "dataset":
            return np.zeros(known.rows, dtype=np.int64) if known.datasets is None else known.datasets
        if self.by == "label":
            return _single_labels(known, self)
        if known.labels is None:
            return np.zeros(known.rows, dtype=np.int64)
        columns = known.labels.reshape(known.rows, -1)  # (N, 1) or (N, C)
        return np.any(columns >= 0 if known.labels.ndim == 1 else columns > 0, axis=1).astype(np.int64)


@dataclass(frozen=True)
class SupportQuery(Sampling):
    """Episodes of a few classes, of each a few labelled rows and a few to be judged by them; several fill a batch.

    The rows stand class by class, supports first. Of each row ``batch["role"] (B,)`` is SUPPORT or QUERY,
    ``episode (B,)`` its episode in the batch, from 0, and ``episode_label (B,)`` the class that it was drawn for, of
    those it has. A row comes twice in an episode only where its classes have no others.

    Args:
        ways: classes of an episode.
        shots: supports of each class.
        queries: queries of each class.
    """

    ways: int
    shots: int
    queries: int = 1

    def rows_per_batch(self, wanted: int, known: Known) -> int:
        """Whole episodes, at least one."""
        self._able(_members(known, self), known)
        return max(1, wanted // self._rows) * self._rows

    @property
    def _rows(self) -> int:
        """Rows of an episode."""
        return self.ways * (self.shots + self.queries)

    def draw(self, known: Known, size: int, count: int, seed: int, epoch: int) -> Sequence[Drawn]:
        """Episode after episode."""
        generator = np.random.default_rng(seed_of(seed, Purpose.ORDER, epoch))
        members = _members(known, self)
        able = self._able(members, known)
        return [self._batch(members, able, size // self._rows, generator) for _ in range(count)]

    def _able(self, members: dict[int, np.ndarray], known: Known) -> list[int]:
        """The classes that have rows enough."""
        able = [label for label, rows in members.items() if len(rows) >= self.shots + self.queries]
        if len(able) < self.ways:
            raise DataError(
                f"{known.name} has {len(able)} classes of at least {self.shots + self.queries} rows: "
                f"episodes of {self.ways} classes need more, or fewer shots and queries"
            )
        return able

    def _batch(
        self, members: dict[int, np.ndarray], able: list[int], episodes: int, generator: np.random.Generator
    ) -> Drawn:
        labels = [generator.choice(able, self.ways, replace=False) for _ in range(episodes)]
        rows = np.concatenate([self._episode([members[label] for label in some], generator) for some in labels])
        each = self.shots + self.queries
        role = np.tile(np.repeat([SUPPORT, QUERY], [self.shots, self.queries]), episodes * self.ways)
        episode = np.repeat(np.arange(episodes), self._rows)
        return Drawn(rows, {"role": role, "episode": episode, "episode_label": np.concatenate(labels).repeat(each)})

    def _episode(self, classes: list[np.ndarray], generator: np.random.Generator) -> np.ndarray:
        """Rows of an episode, from those of its classes; a row that has several of them is drawn once, if possible."""
        each, rows = self.shots + self.queries, np.empty(0, dtype=np.int64)
        for members in classes:
            free = np.setdiff1d(members, rows)
            free = free if len(free) >= each else members
            rows = np.concatenate([rows, generator.choice(free, each, replace=False)])
        return rows


def usual(corpus: Corpus, epoch_rows: int | None = None) -> Sampling:
    """How rows are drawn where the method does not say.

    Args:
        corpus: the rows; where their order is to be mixed over a stretch alone, they are read so.
        epoch_rows: rows of an epoch; None for all.
    """
    return EveryRow() if epoch_rows is None and corpus.near is None else Passes(epoch_rows, corpus.near)


class Order:
    """The keys of an epoch over a corpus: this process's share of each global batch.

    Args:
        known: the rows.
        batch_size: rows of a global batch.
        seed: of what is drawn.
        sampling: says how rows are drawn now; asked anew at the start of every epoch.
        rank: this process's number.
        world_size: number of processes.
        drop_last: leave out a last, smaller batch; else it is kept and, over several processes, filled up.
    """

    def __init__(
        self,
        known: Known,
        batch_size: int,
        seed: int,
        sampling: Callable[[], Sampling],
        *,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = True,
    ) -> None:
        self._known, self._size, self._seed, self._sampling = known, batch_size, seed, sampling
        self._rank, self._world = rank, world_size
        rows = sampling().rows_per_epoch(known)
        self._count = rows // batch_size if drop_last else -(-rows // batch_size)
        self._drawn: Sequence[Drawn] = ()

    def __len__(self) -> int:
        return self._count

    def __call__(self, epoch: int, first: int) -> Iterator[Key]:
        """The keys of the epoch from batch ``first`` on."""
        self._drawn = drawn = self._sampling().draw(self._known, self._size, self._count, self._seed, epoch)
        for number in range(first, self._count):
            batch, begin = drawn[number], drawn[0]
            rows = self._share(self._filled(batch.rows, begin.rows))
            if batch.passes is None or begin.passes is None:
                yield epoch, rows
            else:
                yield self._share(self._filled(batch.passes, begin.passes)), rows

    def notes(self, number: int) -> dict[str, Any]:
        """What batch ``number`` of the epoch last asked for is to say of its rows, ``(b,)`` each."""
        drawn = self._drawn[number]
        return {
            name: torch.from_numpy(self._share(self._filled(values, self._drawn[0].notes[name])))
            for name, values in drawn.notes.items()
        }

    def _filled(self, values: np.ndarray, first: np.ndarray) -> np.ndarray:
        """A last batch that does not divide among the processes, with rows of the first."""
        short = -len(values) % self._world
        return np.concatenate([values, first[:short]]) if short else values

    def _share(self, values: np.ndarray) -> np.ndarray:
        share = len(values) // self._world
        return values[self._rank * share : (self._rank + 1) * share]


def _cut(order: np.ndarray, size: int, count: int) -> list[np.ndarray]:
    return [order[number * size : (number + 1) * size] for number in range(count)]


def _rounds(rows: np.ndarray, wanted: int, generator: np.random.Generator) -> np.ndarray:
    """``wanted`` of ``rows`` in shuffled rounds."""
    rounds = [generator.permutation(rows) for _ in range(-(-wanted // len(rows)))]
    return np.concatenate([rows[:0], *rounds])[:wanted]


def _single_labels(known: Known, sampling: Sampling) -> np.ndarray:
    """``(N,)`` class indices."""
    if known.labels is None or known.labels.ndim > 1:
        what = "no labels" if known.labels is None else "several labels a row"
        raise DataError(f"{known.name} has {what}: {type(sampling).__name__} needs one a row (--label COL)")
    return known.labels


def _members(known: Known, sampling: Sampling) -> dict[int, np.ndarray]:
    """Class -> its rows; a row may have several classes."""
    if known.labels is None:
        raise DataError(f"{known.name} has no labels: {type(sampling).__name__} needs them (--label COL)")
    if known.labels.ndim > 1:
        return {label: np.flatnonzero(known.labels[:, label]) for label in range(known.labels.shape[1])}
    return {int(label): np.flatnonzero(known.labels == label) for label in np.unique(known.labels) if label >= 0}
