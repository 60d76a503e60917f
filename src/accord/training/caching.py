"""Features of frozen encoders, computed once: for every run, every method and every selection of the same rows.

What is stored depends on the encoder's weights, the views and the content of a picture or text, and on nothing else;
in particular not on the run's seed or on the row's place in a selection. A run draws among the stored augmentations
as it would have drawn augmentations.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from filelock import Timeout
from rich.console import Console
from rich.progress import Progress
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from accord.data.augmenting.views import View, expand
from accord.data.corpus import Corpus
from accord.data.draws import UNDRAWN, Draws
from accord.data.inputs import GraphInput, Input, TextInput
from accord.data.loading.batches import Batch, Recipe
from accord.data.loading.features import MAIN, FeatureCache, Features, Layout
from accord.data.modalities import modality_of, viewed_field
from accord.data.modalities.image import image_input
from accord.data.quarantine import RowError
from accord.data.reading.media import Unreadable, cell_name
from accord.data.reading.sources import cache_folder
from accord.data.targets import get_target
from accord.encoders.base import Encoder
from accord.errors import AccordError, ShapeError
from accord.methods.base import Method
from accord.training.config import TrainingConfig
from accord.training.device import reading_workers, resolve_device
from accord.training.feature_store import FeatureStore, content_key
from accord.training.identity import fixed_encoders, weights_digest
from accord.training.precision import computed_in, half_precision

_BATCH = 128  # rows encoded at once
_FILE = 1024  # rows of one file; a run killed meanwhile loses at most these
_LARGEST = 8 << 30  # bytes of one cache, which is held in memory
_NOT_AT_ALL, _PATIENCE, _FOR_EVER = 0, 1, -1  # seconds of silent waiting for another run
_WORTH_WORKERS = 4  # batches; fewer are decoded before processes have started
_FORMAT = 1  # counted up when the same settings would give other features

Sample = Callable[[int, Draws], dict[str, Any]]  # the row at a position, decoded, and what random choices hang on
Wanted = tuple[list[int], list[bytes]]  # positions of the rows of a batch, and the hash of each one's content


def feature_caches(
    method: Method, corpus: Corpus, config: TrainingConfig, console: Console | None = None
) -> dict[str, FeatureCache]:
    """Features of the modalities whose encoder is frozen: vectors, and those streams of a fixed size that are needed.

    Texts of which the method declares augmented views are left out: there are too many different ones; so is what it
    mixes. Features are read from the user's cache folder; missing ones are computed and added. No cache is made of what
    the method's targets lie on, since they follow the pixels, nor of views that it wants raw as well, nor one that
    would take more than 8 GiB: the encoder then runs in every step.

    Args:
        method: its encoders, views and needs decide.
        corpus: the rows.
        config: ``cached_augmentations`` and ``accelerator``.
        console: where to show progress, or None.

    Returns:
        Modality -> cache, rows in the order of the corpus.

    Raises:
        RowError: a row cannot be read any more.
        DataError: a stored file is damaged.
    """
    caches = {}
    followed = {get_target(name).medium for name in method.read_targets}
    for modality, encoder in fixed_encoders(method).items():
        if modality in method.mixes or modality not in method.reads(method.config):
            continue
        views = expand(method.views) if modality == viewed_field(method.reads(method.config)) else ()
        layout = layout_of(modality, encoder, method.needs[modality], views)
        if modality in followed or modality not in corpus.modalities or layout is None:
            continue
        if views and modality in method.raw_inputs:
            continue
        if modality == "text" and method.text_views:
            continue
        copies = config.cached_augmentations
        size = _entries(corpus, modality, len(views) * copies) * layout.bytes
        if size > _LARGEST:
            _say(console, f"{modality} features would take {size / 2**30:.0f} GiB, so they are computed in every step")
            continue
        half = half_precision(config)
        plain = _Source(modality, encoder, layout, half)
        varied = [
            _Source(modality, encoder, layout, half, view, views[:place].count(view), copies)
            for place, view in enumerate(views)
        ]
        device = resolve_device(config.accelerator, "training.accelerator")
        workers = reading_workers(config.workers, device, config.devices)
        with _on(encoder, device):
            caches[modality] = (
                _text_cache(plain, corpus, console)
                if modality == "text"
                else _row_cache(plain, varied, corpus, console, workers)
            )
    return caches


def _entries(corpus: Corpus, modality: str, variants: int = 0) -> int:
    """How many features a cache holds: of every row the unchanged ones and its variants, which captions are."""
    if modality == "text":
        return len(corpus) + sum(max(1, len(captions)) for captions in corpus.said())
    return len(corpus) * (1 + variants)


def layout_of(modality: str, encoder: Encoder, wanted: frozenset[str], views: Sequence[View] = ()) -> Layout | None:
    """What has to be stored of a frozen encoder's features, or None where that cannot be, or it has no weights.

    Streams are stored that have as many positions for every item: those of modalities that are :attr:`even`, unless
    views have sizes of their own, and the layers of any network.
    """
    names = sorted(wanted - {"pooled"})
    if next(encoder.parameters(), None) is None:  # what is read is what it gives
        return None
    if not names:
        return Layout(encoder.dim)
    inputs = encoder.input
    size = getattr(image_input(inputs), "size", None)
    sizes = {view.size or size for view in views} | {size}
    fixed = modality_of(modality).even or names == ["layers"]
    if not fixed or len(sizes) > 1 or not encoder.gives.issuperset(names):
        return None
    try:
        return Layout.of(_encoded(encoder, modality, _blank(modality, inputs), "layers" in names), names)
    except ShapeError:  # it does not give what it says
        return None


def _blank(modality: str, inputs: Input) -> Batch:
    """A batch of one item without content."""
    kind = modality_of(modality)
    cut = kind.cut(kind.blank(inputs), inputs, (), UNDRAWN)
    return dict(kind.collate(modality, [cut], inputs, (), UNDRAWN))


@torch.inference_mode()
def _encoded(encoder: Encoder, modality: str, batch: Batch, layers: bool) -> Features:
    """What a frozen encoder makes of a batch, where the encoder is."""
    device = next(encoder.parameters()).device
    held = (batch.get(f"{modality}_{part}") for part in ("mask", "times"))
    mask, times = (None if one is None else one.to(device) for one in held)
    features: Features = encoder(batch[modality].to(device), mask, times=times, layers=layers)
    return features


def stored_features(
    modality: str,
    encoder: Encoder,
    corpus: Corpus,
    wanted: frozenset[str] = frozenset({"pooled"}),
    workers: int | None = None,
) -> FeatureCache | None:
    """The un-augmented features of a frozen encoder, read from the user's cache folder, which gets what is missing.

    Args:
        modality: which of the rows' modalities.
        encoder: frozen.
        corpus: the rows.
        wanted: ``"pooled"`` and names of streams of a fixed size, see :func:`layout_of`.
        workers: processes that decode; None for what suits the device.

    Returns:
        The cache, rows in the order of the corpus; None where there can be none or it would take more than 8 GiB.

    Raises:
        RowError: a row cannot be read any more.
        DataError: a stored file is damaged.
    """
    layout = layout_of(modality, encoder, wanted)
    if layout is None or _entries(corpus, modality) * layout.bytes > _LARGEST:
        return None
    plain, device = _Source(modality, encoder, layout), next(encoder.parameters()).device
    with _on(encoder, device):
        if modality == "text":
            return _text_cache(plain, corpus, None)
        return _row_cache(plain, [], corpus, None, reading_workers(workers, device))


class _Source:
    """How one kind of features comes about: un-augmented, or those of one view, whoever declares that view.

    Args:
        modality: which.
        encoder: frozen.
        layout: what is stored.
        half: type of what is computed in half precision, or None.
        view: one augmented view, or None.
        copy: how many equal views stand before it, so that each has augmentations of its own.
        augmentations: stored variants A of the view.
    """

    def __init__(
        self,
        modality: str,
        encoder: Encoder,
        layout: Layout,
        half: torch.dtype | None = None,
        view: View | None = None,
        copy: int = 0,
        augmentations: int = 0,
    ) -> None:
        self.modality, self.encoder, self.layout, self.view, self.half = modality, encoder, layout, view, half
        self.epochs = range(copy * augmentations, (copy + 1) * augmentations)  # one draw of augmentations each
        self.recipe = Recipe({modality: encoder.input}, (view,) if view else (), training=view is not None, late=True)
        self.kind = modality_of(modality)

    def store(self) -> FeatureStore:
        """Where features made in this way are kept."""
        return FeatureStore(cache_folder("features", self.fingerprint))

    @property
    def name(self) -> str:
        """What progress calls it."""
        return f"{self.modality} features" + (", augmented" if self.view else "")

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all that the features depend on, but for the content."""
        encoder, inputs = self.encoder, self.encoder.input
        setup = {
            "format": _FORMAT,
            "encoder": encoder.spec(),
            "weights": weights_digest(encoder),
            "input": None if isinstance(inputs, TextInput | GraphInput) else asdict(inputs),
            "view": asdict(self.view) if self.view else None,
            "augmentations": list(self.epochs),
            **({} if self.half is None else {"precision": str(self.half)}),
            **self._streams(),
        }
        return content_key(json.dumps(setup, sort_keys=True).encode()).hex()

    def _streams(self) -> dict[str, Any]:
        """What is stored beside the vector; the main sequence alone as it was written before streams had names."""
        held = self.layout.streams
        if len(held) == 1 and held[0].name == self.layout.main and not held[0].masked and not held[0].timed:
            return {MAIN: held[0].count}
        return {"streams": [asdict(one) for one in held]} if held else {}

    def prepared(self, sample: Sample, batches: Sequence[Wanted], workers: int) -> Iterator[list[Batch]]:
        """What the encoder is fed of the rows at these positions: of each batch the batches of all its variants."""
        epochs = range(1) if self.view is None else self.epochs
        rows = _Prepared(self.recipe, epochs, sample, self.kind.draws_in_reading)
        if not workers or len(batches) < _WORTH_WORKERS:
            yield from (_or_raised(rows[batch]) for batch in batches)
            return
        loader = DataLoader(rows, sampler=batches, batch_size=None, num_workers=workers, collate_fn=_unchanged)
        yield from map(_or_raised, loader)

    def encode(self, batches: Sequence[Batch]) -> dict[str, Tensor]:
        """``features (B, W)`` of a batch; of the variants of a view ``features (B, A, W)``, ``boxes`` and ``flips``."""
        made = [self._encoded(batch) for batch in batches]
        return made[0] if self.view is None else {name: torch.stack([p[name] for p in made], 1) for name in made[0]}

    def _encoded(self, batch: Batch) -> dict[str, Tensor]:
        made = {"boxes": "view_boxes", "flips": "view_flips"} if self.view else {}
        cut = {name: batch[key][:, 0] for name, key in made.items() if key in batch}  # of what has a place in pixels
        return {"features": self._rows(batch), **cut}

    def _rows(self, batch: Batch) -> Tensor:
        layers = any(one.name == "layers" for one in self.layout.streams)
        with computed_in(self.half, next(self.encoder.parameters()).device):
            return self.layout.pack(_encoded(self.encoder, self.modality, batch, layers)).cpu()

    def cache(self, plain: Tensor, **rest: Any) -> FeatureCache:
        """A cache of rows as they are laid out here."""
        return FeatureCache(plain, **rest, layout=self.layout)


class _Prepared(Dataset[list[Batch] | AccordError]):
    """Rows by their positions and keys, decoded and cut as an encoder wants them.

    Args:
        recipe: how.
        epochs: one draw of augmentations each.
        sample: a row, decoded.
        anew: whether a row is read for every epoch, as the frames of a clip are drawn; else once.
    """

    def __init__(self, recipe: Recipe, epochs: range, sample: Sample, anew: bool) -> None:
        self._recipe, self._epochs, self._sample, self._anew = recipe, epochs, sample, anew

    def __getitem__(self, wanted: Wanted) -> list[Batch] | AccordError:
        try:
            return self._prepared(*wanted)
        except AccordError as error:  # returned, since an exception from a worker would lose its message
            return error

    def _prepared(self, positions: Sequence[int], keys: Sequence[bytes]) -> list[Batch]:
        place = np.array([int.from_bytes(key[:8], "little") >> 1 for key in keys], dtype=np.uint64)
        cut = [  # decoded one by one, so that no more than one whole picture is held
            [self._recipe.cut(decoded, int(key), epoch) for decoded, epoch in self._decoded(position, int(key))]
            for position, key in zip(positions, place, strict=True)
        ]
        columns = zip(zip(*cut, strict=True), self._epochs, strict=True)
        return [self._recipe.assemble(column, place, epoch) for column, epoch in columns]

    def _decoded(self, position: int, key: int) -> Iterator[tuple[dict[str, Any], int]]:
        found: dict[str, Any] | None = None
        for epoch in self._epochs:
            if found is None or self._anew:
                found = self._sample(position, self._recipe.draws(key, epoch))
            yield found, epoch


def _or_raised(found: list[Batch] | AccordError) -> list[Batch]:
    if isinstance(found, AccordError):
        raise found
    return found


def _unchanged(found: Any) -> Any:
    return found


@dataclass(frozen=True)
class _Cells:
    """The rows of a corpus, decoded as an encoder wants them."""

    corpus: Corpus
    modality: str
    inputs: Mapping[str, Input]

    def __call__(self, position: int, draws: Draws) -> dict[str, Any]:
        return self.corpus.sample(position, (self.modality,), self.inputs, draws)


@dataclass(frozen=True)
class _Words:
    """Captions one by one."""

    texts: Sequence[str]

    def __call__(self, position: int, draws: Draws) -> dict[str, Any]:
        return {"text": [self.texts[position]]}


def _row_cache(
    plain: _Source, views: list[_Source], corpus: Corpus, console: Console | None, workers: int
) -> FeatureCache:
    """One entry per row, keyed by the content of its cell."""
    keys = _cell_keys(corpus, plain.modality)
    sample = _Cells(corpus, plain.modality, plain.recipe.inputs)
    unchanged = _gathered(plain, keys, sample, console, workers)["features"]
    key = content_key(*(source.fingerprint.encode() for source in (plain, *views))).hex()
    if not views:
        return plain.cache(unchanged, key=key)
    parts = [_gathered(view, keys, sample, console, workers) for view in views]
    stacked = {name: torch.stack([part[name] for part in parts], dim=1) for name in parts[0]}  # (N, V, A, ...)
    return plain.cache(unchanged, variants=stacked.pop("features"), **stacked, key=key)


def _text_cache(source: _Source, corpus: Corpus, console: Console | None) -> FeatureCache:
    """One entry per different caption, then laid out row by row; a row without text has the empty one."""
    captions = [texts or [""] for texts in corpus.texts()]
    counts = torch.tensor([len(texts) for texts in captions])
    flat = [text for texts in captions for text in texts]
    keys = [content_key(text.encode()) for text in flat]
    features = _gathered(source, keys, _Words(flat), console, workers=0)["features"]
    starts = counts.cumsum(0) - counts
    return source.cache(features[starts], variants=features, counts=counts, key=source.fingerprint)


def _gathered(
    source: _Source, keys: list[bytes], sample: Sample, console: Console | None, workers: int
) -> dict[str, Tensor]:
    """Features of all ``keys``; those not yet stored are computed from ``sample(position, draws)``.

    Several processes that want the same share the work, block by block.
    """
    store = source.store()
    blocks = [range(start, min(start + _FILE, len(keys))) for start in range(0, len(keys), _FILE)]
    with _progress(console, source, len(store.missing(keys))) as advance:

        def computed(block: range, patience: float) -> bool:
            return _computed(source, store, keys[block.start : block.stop], block, sample, workers, advance, patience)

        left = [block for block in blocks if not computed(block, _NOT_AT_ALL)]
        for block in left:
            if not computed(block, _PATIENCE):
                _say(console, f"{source.name}: another run is computing these; waiting for it")
                computed(block, _FOR_EVER)
    return store.gather(keys)


def _computed(
    source: _Source,
    store: FeatureStore,
    keys: list[bytes],
    block: range,
    sample: Sample,
    workers: int,
    advance: Callable[[int], None],
    patience: float,
) -> bool:
    """Compute what is missing of a block; False where another process is at it for longer than that, in seconds."""
    lock = store.lock(keys)
    try:
        with nullcontext() if lock is None else lock.acquire(timeout=patience):
            missing = store.missing(keys)
            parts = [missing[start : start + _BATCH] for start in range(0, len(missing), _BATCH)]
            batches = [([block[place] for place in part], [keys[place] for place in part]) for part in parts]
            found = []
            for part, made in zip(parts, source.prepared(sample, batches, workers), strict=True):
                found.append(source.encode(made))
                advance(len(part))
            if found:
                tensors = {name: torch.cat([piece[name] for piece in found]) for name in found[0]}
                store.add([keys[place] for place in missing], tensors)
    except Timeout:
        return False
    return True


def _cell_keys(corpus: Corpus, modality: str) -> list[bytes]:
    """Hash of the content of every row's cell: the encoded picture or recording, or the frames of a clip."""
    column = corpus.columns.media[modality]
    keys: list[bytes] = []
    for batch in corpus.rows.select_columns([column]).iter(batch_size=_FILE):
        for cell in batch[column]:
            if not corpus.present[modality][len(keys)]:
                keys.append(content_key())  # of nothing
                continue
            try:
                keys.append(content_key(*modality_of(modality).contents(cell, corpus.root)))
            except Unreadable as error:
                raise RowError(int(corpus.ids[len(keys)]), cell_name(cell), str(error)) from None
    return keys


@contextmanager
def _on(encoder: Encoder, device: torch.device) -> Iterator[None]:
    """The encoder in eval mode on ``device``, and back again."""
    before, training = next(encoder.parameters()).device, encoder.training
    encoder.to(device).eval()
    try:
        yield
    finally:
        encoder.to(before).train(training)


@contextmanager
def _progress(console: Console | None, source: _Source, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, one line elsewhere, nothing when there is nothing to compute."""
    what = source.name
    clock = time.perf_counter()
    if console is not None and console.is_terminal and total:
        with Progress(console=console) as bar:
            task = bar.add_task(f"{what}, once", total=total)
            yield lambda rows: bar.advance(task, rows)
        return
    yield lambda rows: None
    if total:
        _say(console, f"{what}: {total:,} computed and stored in {time.perf_counter() - clock:.1f} s")


def _say(console: Console | None, line: str) -> None:
    if console is not None:
        console.print(line, highlight=False, soft_wrap=True)
