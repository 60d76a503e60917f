"""Loaders: the batches of an epoch in an order that depends on (seed, epoch) alone.

The same batches come whatever the number of workers, however often the run was interrupted, and, put together,
over however many processes they are spread.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from accord.data.augmenting.text_views import TextView
from accord.data.augmenting.views import View
from accord.data.draws import Purpose, draw
from accord.data.inputs import Input
from accord.data.loading.batches import Batch, Epoch, Fetched, Key, Recipe, label_tensor
from accord.data.loading.features import FeatureCache
from accord.data.loading.order import EveryRow, Known, Order, Sampling, usual
from accord.data.loading.watch import Watch
from accord.data.quarantine import BadRow, Quarantine, RowError
from accord.data.reading.media import quiet_pillow
from accord.errors import AccordError, ConfigError, DataError

if TYPE_CHECKING:
    from accord.data.corpus import Corpus

_log = logging.getLogger("accord.data")
_ATTEMPTS = 16  # rows tried in the place of one that cannot be read
_WORTH_WORKERS = 4  # batches in order; fewer are made before processes have started
_ENFORCE_FROM = 256  # rows handed out before the share of bad ones says something


class ViewedDataset(Dataset[Fetched]):
    """Batches of a corpus by (epoch, positions), or by the epochs ``(B,)`` of all positions.

    Args:
        corpus: the rows.
        recipe: how to make batches of them.
        workers: how many processes will read it, for the record of who reads what.
        substitute: put another row, the same one every time, in the place of one that cannot be read any more, as
            training wants it; else such a row is an error.
    """

    def __init__(self, corpus: Corpus, recipe: Recipe, workers: int = 0, substitute: bool = True) -> None:
        self.corpus, self.recipe = corpus, recipe
        self._attempts = _ATTEMPTS if substitute else 1
        self.labels = None if corpus.labels is None else label_tensor(corpus.labels)
        self.watch = Watch(workers)

    def __len__(self) -> int:
        return len(self.corpus)

    def __getitem__(self, key: Key) -> Fetched:
        epoch, positions = key
        try:
            return self._fetch(epoch, positions)
        except AccordError as error:  # returned, since an exception from a worker would lose its message
            return Fetched(error=error)

    def _fetch(self, epoch: Epoch, positions: np.ndarray) -> Fetched:
        rows, samples = positions, []
        replaced: list[BadRow] = []
        if self.recipe.reads_rows:
            with quiet_pillow():
                found = [
                    self._cut(number, position, replaced)
                    for number, position in zip(np.broadcast_to(epoch, len(positions)).tolist(), positions, strict=True)
                ]
            samples = [sample for _, sample in found]
            if self.recipe.training:
                rows = np.array([row for row, _ in found], dtype=np.int64)
        batch = self.recipe.assemble(samples, rows, epoch) | self.recipe.recall(rows, epoch)
        index = torch.from_numpy(rows)
        if "graph" in self.recipe.inputs:
            # Not a copy: encoders know the graph that they have read by its identity.
            batch |= {"graph": self.corpus.graph, "node": torch.from_numpy(self.corpus.ids[rows])}
        if self.corpus.incomplete:
            for modality in self.recipe.inputs:
                batch[f"{modality}_present"] = torch.from_numpy(self.corpus.present[modality][rows])
        if self.labels is not None:
            batch["label"] = self.labels[index]
        if self.corpus.dataset_ids is not None:
            batch["dataset_id"] = torch.from_numpy(self.corpus.dataset_ids[rows])
        return Fetched({**batch, "index": index}, replaced, len(rows))

    def _cut(self, epoch: int, position: int, replaced: list[BadRow]) -> tuple[int, dict[str, Any]]:
        """The row that was read for a position, and its sample, cut to what the views show."""
        row, sample = self._read(epoch, int(position), replaced)
        return row, self.recipe.cut(sample, row, epoch)

    def _read(self, epoch: int, position: int, replaced: list[BadRow]) -> tuple[int, dict[str, Any]]:
        """The sample of a row, or of the row that takes its place."""
        first: RowError | None = None
        for attempt in range(self._attempts):
            row = position if attempt == 0 else self._substitute(epoch, position, attempt)
            try:
                sample = self._sample(row, epoch)
            except RowError as error:
                first = first or error
                continue
            if first:
                replaced.append(BadRow(first.row, first.file, first.reason))
            return row, sample
        if self._attempts == 1 and first is not None:
            raise first
        raise DataError(f"{first}; none of {_ATTEMPTS - 1} other rows tried in its place can be read either")

    def _substitute(self, epoch: int, position: int, attempt: int) -> int:
        hashed = draw(self.recipe.seed, Purpose.REPLACEMENT, epoch, position, attempt)
        return int(hashed[0] % np.uint64(len(self.corpus)))

    def _sample(self, row: int, epoch: int) -> dict[str, Any]:
        with self.watch.reading(str(row)):
            sample = self.recipe.read(self.corpus.sample, row, self.recipe.draws(row, epoch))
        if self.recipe.training and sample.get("text") == [] and not self.corpus.incomplete:
            raise RowError(int(self.corpus.ids[row]), self.corpus.where, "empty text")
        names = [target.name for target in self.recipe.targets]
        return sample | self.corpus.targets_of(row, names, sample, self.recipe.inputs)

    def describe(self, note: str) -> str:
        """Row number and file of what a worker noted down."""
        return self.corpus.describe(int(note))


class EpochLoader:
    """Batches of one epoch after another, resumable at any batch.

    Iterating goes through the current epoch and then stands at the next. Lightning saves and restores it through
    :meth:`state_dict` and :meth:`load_state_dict`.

    Args:
        dataset: makes the batch of a key.
        order: the batches of an epoch as keys, from a given batch on.
        workers: processes that read ahead; 0 reads in this one.
    """

    def __init__(self, dataset: ViewedDataset, order: Order, workers: int = 0) -> None:
        self.dataset, self.quarantine = dataset, Quarantine()
        self._order, self._workers = order, workers
        self._next, self._resume = (0, 0), False  # epoch and batch that come next; whether to start amid an epoch
        self._pending = _Pending()
        self._loader: DataLoader[Fetched] | None = None
        self._runs, self._seen = 0, 0
        self._known: set[BadRow] = set()

    def __len__(self) -> int:
        return len(self._order)

    def set_epoch(self, epoch: int) -> None:
        """Stand before this epoch; no effect within it, so that a restored position is kept."""
        if epoch != self._next[0]:
            self._next, self._resume = (epoch, 0), False

    def state_dict(self) -> dict[str, int]:
        """Epoch and batch that come next: those handed out count, those read ahead by workers do not."""
        return {"epoch": self._next[0], "batch": self._next[1]}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Let the next iteration start where the state was saved."""
        self._next, self._resume = (int(state["epoch"]), int(state["batch"])), True

    def __iter__(self) -> Iterator[Batch]:
        # A generator: epoch and position are looked up at the first batch, after a trainer's set_epoch.
        epoch, batch = self._next
        first = batch if self._resume else 0
        self._resume = False
        for step, fetched in enumerate(self._fetch(self._order(epoch, first)), first + 1):
            self._next = (epoch, step) if step < len(self) else (epoch + 1, 0)
            if fetched.error:
                raise fetched.error
            self._seen += fetched.rows
            self._report(fetched.replaced)
            yield fetched.batch | self._order.notes(step - 1)

    def close(self) -> None:
        """Stop the workers now rather than when the loader is collected; iterating again starts new ones."""
        self._loader = None

    def __reduce__(self) -> Any:
        raise TypeError("an EpochLoader is not pickled: save its state_dict()")

    def _fetch(self, keys: Iterable[Key]) -> Iterator[Fetched]:
        self._runs += 1
        if not self._workers:
            yield from (self.dataset[key] for key in keys)
            return
        run, self._pending.keys = self._runs, keys
        batches = iter(self._parallel())
        while run == self._runs:
            try:
                fetched = next(batches, None)
            except RuntimeError as error:
                raise self._explained(error) from error
            if fetched is None:
                return
            if fetched.error:
                del batches  # else the traceback would keep the workers waiting
                self.close()
            yield fetched
        raise RuntimeError("this iteration ended when another one over the same loader began")

    def _parallel(self) -> DataLoader[Fetched]:
        if self._loader is None:
            self._loader = DataLoader(
                self.dataset,
                sampler=self._pending,
                batch_size=None,
                num_workers=self._workers,
                collate_fn=_unchanged,
                persistent_workers=True,
                pin_memory=self.dataset.recipe.late and torch.cuda.is_available(),
            )
        return self._loader

    def _report(self, replaced: list[BadRow]) -> None:
        new = [bad for bad in replaced if bad not in self._known]
        for bad in new:
            self._known.add(bad)
            self.quarantine.add(bad.row, bad.file, bad.reason)
            _log.warning("row %d (%s) cannot be read: %s; another takes its place", bad.row, bad.file, bad.reason)
        if new and self._seen >= _ENFORCE_FROM:
            self.quarantine.enforce(self.dataset.corpus.max_bad, self._seen)

    def _explained(self, error: RuntimeError) -> Exception:
        """A worker that died leaves only its process id; say which row it was reading."""
        if "DataLoader worker" not in str(error) or "pid" not in str(error):
            return error
        processes = {int(number) for number in re.findall(r"\d+", str(error))}
        rows = [self.dataset.describe(note) for note in self.dataset.watch.notes(processes)]
        where = f" while reading {' and '.join(rows)}" if rows else ""
        self.close()
        return DataError(
            f"a data worker died{where}: {str(error).splitlines()[0]}; look at that file, or run with workers=0"
        )


class _Pending:
    """The keys set out for the workers, as a sampler that outlives an epoch (as they do)."""

    keys: Iterable[Key] = ()

    def __iter__(self) -> Iterator[Key]:
        return iter(self.keys)


def train_loader(
    corpus: Corpus,
    inputs: Mapping[str, Input],
    views: tuple[View, ...] = (),
    *,
    text_views: tuple[TextView, ...] = (),
    targets: Collection[str] = (),
    batch_size: int,
    seed: int,
    workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    drop_last: bool = True,
    shuffle: bool = True,
    cache: Mapping[str, FeatureCache] | None = None,
    sampling: Callable[[], Sampling | None] | None = None,
    raw: Mapping[str, Input] | None = None,
    late: bool = False,
) -> EpochLoader:
    """Augmented batches in shuffled order.

    Keys: ``image (B,3,H,W)`` (the first view), ``image_views`` list of ``(B,3,h,w)`` in declared order when there
    are several, ``view_boxes (B,V,4)`` relative x0, y0, x1, y1, ``view_flips (B,V)`` bool, ``text (B,L)``,
    ``text_mask``, ``video (B,T,3,H,W)``, ``video_mask (B,T)``, ``audio (B,M,T)``, ``audio_mask (B,T)``,
    ``graph`` PyG ``HeteroData`` and ``node (B,)`` the rows' numbers in it, ``label (B,)`` int64 or ``(B,C)`` float32
    multi-hot, ``index (B,)`` position in the corpus, ``dataset_id (B,)`` where rows name their data set. A row of
    several captions gives one of them, drawn anew each epoch. ``text_views`` is a list of ``(ids (B,L), mask (B,L))``
    in declared order, where each view draws a caption of its own. Cached modalities are
    :class:`~accord.data.loading.features.Features`.

    Args:
        corpus: the rows.
        inputs: modality -> what its encoder is fed.
        views: augmented views; empty gives the evaluation view.
        text_views: augmented views of the captions, beside ``text``.
        targets: names of :mod:`accord.data.targets` that are read, carried through the views, and in the batch under
            the keys of each; of several views also as ``KEY_views``. Blank where a row has none.
        batch_size: rows of the *global* batch, all of them for a graph; each of ``world_size`` ranks gets an equal
            share, rank r the rows ``r * b`` to ``(r + 1) * b``, so that together they see what one process would.
        seed: of order, captions and augmentation.
        workers: processes that read ahead; does not change what comes out.
        rank: this process's number.
        world_size: number of processes.
        drop_last: leave out the last, smaller batch; otherwise it is kept and, over several ranks, filled up.
        shuffle: False keeps the order of the corpus.
        cache: modality -> features instead of raw input.
        sampling: how rows are drawn, asked at the start of every epoch; None for every row once. What a sampling
            adds to the batch is said there (:mod:`accord.data.loading.order`).
        raw: field -> what it is prepared for besides, under keys that begin with ``FIELD_raw``, whatever is cached of
            it; of the same view, so that features of views are not to be cached of it.
        late: leave pixels as bytes until :func:`~accord.data.loading.batches.to_device` takes them to a device.

    Raises:
        ConfigError: ``batch_size`` cannot be shared among the ranks.
        DataError: the corpus lacks a modality or is smaller than a batch.

    Example:
        >>> from PIL import Image
        >>> from accord.data import ImageInput, View, corpus_from_items
        >>> pictures = corpus_from_items("image", [Image.new("RGB", (40, 30))] * 8)
        >>> batches = train_loader(pictures, {"image": ImageInput(size=32)}, (View(),), batch_size=4, seed=0)
        >>> len(batches), next(iter(batches))["image"].shape
        (2, torch.Size([4, 3, 32, 32]))
    """
    if batch_size < 1 or batch_size % world_size:
        raise ConfigError(f"batch_size = {batch_size}: expected a positive multiple of world_size = {world_size}")
    _require_modalities(corpus, inputs)
    if "graph" in inputs and world_size > 1:
        raise ConfigError("a graph is trained on as a whole, in one process: set training.devices = 1")
    read = tuple(corpus.target_reader(name) for name in targets)
    recipe = Recipe(inputs, views, seed, cache=cache, text_views=text_views, targets=read, raw=raw or {}, late=late)
    known, every = Known.of(corpus), usual(corpus) if shuffle else EveryRow(shuffle=False)
    batch_size = len(corpus) if "graph" in inputs else batch_size
    order = Order(
        known,
        batch_size,
        seed,
        (lambda: sampling() or every) if sampling is not None else lambda: every,
        rank=rank,
        world_size=world_size,
        drop_last=drop_last,
    )
    if drop_last and not len(order):
        rows = ((sampling and sampling()) or every).rows_per_epoch(known)
        raise DataError(f"an epoch of {corpus.name} has {rows} rows, fewer than batch_size = {batch_size}: lower it")
    return _loader(corpus, recipe, order, workers)


def eval_loader(
    corpus: Corpus,
    inputs: Mapping[str, Input],
    *,
    batch_size: int = 64,
    workers: int = 0,
    modalities: Collection[str] | None = None,
    cache: Mapping[str, FeatureCache] | None = None,
    targets: Collection[str] = (),
    raw: Mapping[str, Input] | None = None,
    late: bool = False,
) -> EpochLoader:
    """Every row once, in order, without augmentation, with its first caption.

    No row ever stands for another: one whose file has gone since the corpus was opened is an error.

    Args:
        corpus: the rows.
        inputs: modality -> what its encoder is fed.
        batch_size: rows of a batch, all of them for a graph; the last one may be smaller.
        workers: processes that read ahead.
        modalities: those wanted; None for all that both corpus and inputs have.
        cache: modality -> features instead of raw input.
        targets: as for :func:`train_loader`, in the evaluation view.
        raw: as for :func:`train_loader`, of the modalities wanted.
        late: as for :func:`train_loader`.

    Raises:
        DataError: the corpus lacks a modality or target asked for.
        RowError: while iterating, a row cannot be read any more.
    """
    return _in_order(corpus, inputs, batch_size, workers, modalities, cache, targets, raw, substitute=False, late=late)


def hook_loader(
    corpus: Corpus,
    inputs: Mapping[str, Input],
    *,
    workers: int = 0,
    cache: Mapping[str, FeatureCache] | None = None,
    targets: Collection[str] = (),
    raw: Mapping[str, Input] | None = None,
    late: bool = False,
) -> EpochLoader:
    """The training rows for a method's hooks: as :func:`eval_loader`, but no corrupt row stops the training.

    A row whose file has gone keeps its ``index`` and ``label`` but gets another row's content; it is reported.

    Args:
        corpus: the training rows.
        inputs: modality -> what its encoder is fed.
        workers: processes that read ahead.
        cache: modality -> features instead of raw input.
        targets: as for :func:`eval_loader`.
        raw: likewise.
        late: likewise.
    """
    return _in_order(corpus, inputs, 64, workers, None, cache, targets, raw, substitute=True, late=late)


def _in_order(
    corpus: Corpus,
    inputs: Mapping[str, Input],
    batch_size: int,
    workers: int,
    modalities: Collection[str] | None,
    cache: Mapping[str, FeatureCache] | None,
    targets: Collection[str],
    raw: Mapping[str, Input] | None,
    *,
    substitute: bool,
    late: bool,
) -> EpochLoader:
    if modalities is None:
        modalities = [field for field in inputs if field in corpus.columns.readable]
    wanted = {name: inputs[name] for name in modalities}
    _require_modalities(corpus, wanted)
    batch_size = max(1, len(corpus)) if "graph" in wanted else batch_size
    order = Order(Known.of(corpus), batch_size, 0, lambda: EveryRow(shuffle=False), drop_last=False)
    read = tuple(corpus.target_reader(name) for name in targets)
    beside = {field: spec for field, spec in (raw or {}).items() if field in wanted}
    recipe = Recipe(wanted, training=False, cache=cache, targets=read, raw=beside, late=late)
    return _loader(corpus, recipe, order, workers if len(order) >= _WORTH_WORKERS else 0, substitute)


def _loader(corpus: Corpus, recipe: Recipe, order: Order, workers: int, substitute: bool = True) -> EpochLoader:
    for modality, cache in recipe.cached.items():
        if len(cache) != len(corpus):
            raise DataError(f"the {modality} cache has {len(cache)} rows, {corpus.name} has {len(corpus)}")
    workers = workers if recipe.reads_rows else 0  # tensors are indexed faster than sent between processes
    return EpochLoader(ViewedDataset(corpus, recipe, workers, substitute), order, workers)


def _require_modalities(corpus: Corpus, inputs: Mapping[str, Input]) -> None:
    for field in inputs:
        if field not in corpus.columns.readable:
            have = ", ".join(corpus.modalities)
            raise DataError(f"{corpus.name} has no {field} column (it has {have}): pass --{field} COL")


def _unchanged(fetched: Any) -> Any:
    return fetched
