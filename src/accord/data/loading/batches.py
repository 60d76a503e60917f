"""Samples become a batch: views, tokens, spectrograms and masks, or cached features, as the encoders want them.

Everything random is a function of (seed, epoch, row), see :mod:`accord.data.draws`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from accord.data.augmenting.pixels import Pixels
from accord.data.augmenting.text_views import TextView
from accord.data.augmenting.views import View, expand
from accord.data.draws import Draws
from accord.data.inputs import Input
from accord.data.loading.features import FeatureCache
from accord.data.modalities import modality_of, viewed_field
from accord.data.quarantine import BadRow
from accord.data.targets import Place, Target, entries
from accord.errors import AccordError, ConfigError, DataError

T = TypeVar("T")
Batch = dict[str, Any]
Epoch = int | np.ndarray  # which pass over the data a batch is of, or (B,) that of each row
Key = tuple[Epoch, Any]  # and what the batch is made of


@dataclass
class Fetched:
    """What a data set gives for a key: a batch and the rows replaced in it, or an error to raise."""

    batch: Batch = dataclasses.field(default_factory=dict)
    replaced: list[BadRow] = dataclasses.field(default_factory=list)
    rows: int = 0
    error: AccordError | None = None

    def pin_memory(self) -> Fetched:
        """The same in memory from which a GPU copies by itself."""
        pinned = apply_to_collection(self.batch, (Tensor, Pixels), lambda part: part.pin_memory())
        return dataclasses.replace(self, batch=pinned)


@dataclass(frozen=True)
class Recipe:
    """How to make batches.

    Args:
        inputs: field -> what its encoder is fed.
        views: declared views of the training images, or of clips where there are no images; empty gives the evaluation
            view.
        seed: of everything random.
        training: draw captions, views and variants; otherwise first caption and evaluation view.
        cache: field -> features that replace its raw input.
        text_views: declared views of the training captions.
        targets: what rows say beside their media, carried through the views.
        raw: field -> what it is prepared for besides, as ``FIELD_raw``, whatever is cached of it.
        late: leave pixels as bytes, which :func:`to_device` normalises where it takes them.

    Raises:
        ConfigError: targets lie on what is not read, or views move pixels where they cannot follow.
        DataError: the cache holds fewer views than declared, texts of which views are declared, or views of what is
            wanted raw as well.
    """

    inputs: Mapping[str, Input]
    views: tuple[View, ...] = ()
    seed: int = 0
    training: bool = True
    cache: Mapping[str, FeatureCache] | None = None
    text_views: tuple[TextView, ...] = ()
    targets: tuple[Target[Any], ...] = ()
    raw: Mapping[str, Input] = dataclasses.field(default_factory=dict)
    late: bool = False

    def __post_init__(self) -> None:
        if self.training and self.text_views and "text" in self.cached:
            raise DataError("the method augments captions, so their features cannot be cached: leave text out of it")
        self._require_places()
        held, wanted = self.cached.get(self.viewed or ""), len(expand(self.views))
        if self.training and held is not None and held.variants is not None and held.views < wanted:
            raise DataError(f"the feature cache holds {held.views} views, the method declares {wanted}: rebuild it")
        if self.training and held is not None and self.viewed in self.raw and wanted:
            raise DataError(f"views of {self.viewed} are wanted raw, and cached features are of others: leave it out")

    def _require_places(self) -> None:
        """Check that the pixels that targets lie on are cut here, and only so that they can follow.

        Raises:
            ConfigError: they are not.
        """
        for target in self.targets:
            if target.medium is not None and target.medium not in self.decoded:
                raise ConfigError(f"{target.name} lie on pixels of {target.medium}, which is not read for this method")
            views = () if target.medium is None else self.views_of(target.medium)
            for moving in ("rand_augment", "auto_augment"):
                if any(getattr(view, moving) for view in views):
                    raise ConfigError(
                        f"views with {moving} shear, shift and turn pictures, where {target.name} cannot follow: "
                        "turn it off for a method with such targets"
                    )

    @property
    def cached(self) -> dict[str, FeatureCache]:
        """The caches of the fields wanted."""
        return {field: cache for field, cache in (self.cache or {}).items() if field in self.inputs}

    @property
    def decoded(self) -> tuple[str, ...]:
        """Fields that have to be read from the corpus, row by row."""
        return tuple(field for field in self.inputs if field not in self.cached and modality_of(field).by_row)

    @property
    def reads_rows(self) -> bool:
        """Whether rows have to be read at all."""
        return bool(self.decoded or self.targets or self.raw)

    @property
    def apart(self) -> dict[str, Input]:
        """Those of ``raw`` that are prepared for themselves; the others are what the encoder is fed."""
        fed = {field: self.inputs[field] for field in self.decoded}
        return {field: spec for field, spec in self.raw.items() if fed.get(field) != spec}

    @property
    def viewed(self) -> str | None:
        """The field that ``views`` are of."""
        return viewed_field(self.inputs)

    def views_of(self, field: str) -> tuple[Any, ...]:
        """The views of a field in training, one by one; empty for the evaluation view."""
        source = modality_of(field).views_from
        if not self.training or source is None or (source == "views" and field != self.viewed):
            return ()
        return expand(self.views) if source == "views" else expand(self.text_views)

    def draws(self, row: int | np.ndarray, epoch: Epoch) -> Draws:
        """What the random choices for a row, or for those of a batch, hang on."""
        return Draws(self.seed, epoch, row, self.training)

    def read(self, sample: Callable[..., dict[str, Any]], row: Any, draws: Draws) -> dict[str, Any]:
        """A row, decoded: its fields, and as ``FIELD_raw`` what is prepared besides.

        Args:
            sample: reads fields of a row, as :meth:`accord.data.corpus.Corpus.sample` does.
            row: which.
            draws: of the row.
        """
        found = sample(row, self.decoded, self.inputs, draws)
        for field, spec in self.apart.items():
            found[f"{field}_raw"] = sample(row, (field,), {field: spec}, self._as_cached(field, draws))[field]
        return found

    def _as_cached(self, field: str, draws: Draws) -> Draws:
        """The draws that show raw what cached features are of: none, where only the un-augmented ones are held."""
        held = self.cached.get(field)
        return dataclasses.replace(draws, training=False) if held is not None and held.variants is None else draws

    def cut(self, sample: Mapping[str, Any], key: int, epoch: int) -> dict[str, Any]:
        """A decoded sample with its pictures and clips cut to what the views show: a list of crops each.

        Done sample by sample, so that whole photographs are never held for a batch; ``key`` is what the random choices
        hang on.
        """
        cut, draws = dict(sample), self.draws(key, epoch)
        for field in self.decoded:
            cut[field] = self._cut(field, sample[field], self.inputs[field], draws)
        for field, spec in self.apart.items():
            cut[f"{field}_raw"] = self._cut(field, sample[f"{field}_raw"], spec, self._as_cached(field, draws))
        for target in self.targets:
            value, crops = sample[target.name], cut[target.medium] if target.medium else []
            cut[target.name] = [target.through(value, Place.of(crop)) for crop in crops] or [value]
        return cut

    def _cut(self, field: str, value: Any, spec: Input, draws: Draws) -> Any:
        modality = modality_of(field)
        return modality.cut(modality.blank(spec) if value is None else value, spec, self.views_of(field), draws)

    def assemble(self, samples: Sequence[Mapping[str, Any]], keys: np.ndarray, epoch: Epoch) -> Batch:
        """The batch of samples that were :meth:`cut` with ``keys (B,)``."""
        batch: Batch = {}
        draws, apart = self.draws(keys, epoch), self.apart
        for field in self.decoded:
            made = self._collated(field, field, samples, self.inputs[field], draws)
            batch |= made
            if field in self.raw and field not in apart:
                batch |= {key.replace(field, f"{field}_raw", 1): made[key] for key in made if key.startswith(field)}
        for field, spec in apart.items():
            batch |= self._collated(field, f"{field}_raw", samples, spec, self._as_cached(field, draws))
        for target in self.targets:
            batch |= entries(target, [sample[target.name] for sample in samples])
        return batch

    def _collated(self, field: str, key: str, samples: Sequence[Mapping[str, Any]], spec: Input, draws: Draws) -> Batch:
        values = [sample[key] for sample in samples]
        made = modality_of(field).collate(key, values, spec, self.views_of(field), draws)
        return dict(made) if self.late else to_device(dict(made), torch.device("cpu"))

    def recall(self, rows: np.ndarray, epoch: Epoch) -> Batch:
        """The cached features of these rows, without a loop over them."""
        batch: Batch = {}
        for field, cache in self.cached.items():
            views = self.views_of(field)
            unvaried = cache.variants is None or (field == self.viewed and not views)
            if not self.training or unvaried:
                batch[field] = cache.unpack(cache.plain[torch.from_numpy(rows)])
            else:
                batch |= self._variants(field, cache, max(1, len(views)), rows, epoch)
        return batch

    def _variants(self, field: str, cache: FeatureCache, views: int, rows: np.ndarray, epoch: Epoch) -> Batch:
        assert cache.variants is not None
        hashes = modality_of(field).variant_hashes(self.draws(rows, epoch), views)  # (B, V)
        if cache.counts is None or cache.starts is None:
            _, held, each, _ = cache.variants.shape
            variants, start = np.array(each), (rows[:, None] * held + np.arange(views)) * each
        else:
            variants, start = cache.counts.numpy()[rows, None], cache.starts[rows, None]
        flat = torch.from_numpy(start + (hashes % variants.astype(np.uint64)).astype(np.int64))  # (B, V)
        features = cache.variants.flatten(0, -2)
        drawn = [cache.unpack(features.index_select(0, column)) for column in flat.unbind(1)]  # V times
        batch: Batch = {field: drawn[0]}
        if views > 1:
            batch[f"{field}_views"] = drawn
        if cache.boxes is not None and cache.flips is not None:
            batch["view_boxes"] = cache.boxes.flatten(0, 2)[flat]
            batch["view_flips"] = cache.flips.flatten(0, 2)[flat]
        return batch


def label_tensor(labels: np.ndarray) -> Tensor:
    """``(B,)`` int64 class indices or ``(B, C)`` float32 multi-hot."""
    return torch.from_numpy(labels).float() if labels.ndim == 2 else torch.from_numpy(labels)


@runtime_checkable
class Movable(Protocol):
    """What lies on a device: a tensor, features, a graph."""

    def to(self, device: torch.device) -> Any:
        """The same on another device."""


def to_device(batch: T, device: torch.device) -> T:
    """A batch, or whatever holds tensors, with all that lies on a device moved to this one, however deep it is.

    Host memory that is pinned is copied while the processor goes on.

    >>> to_device({"image": torch.zeros(2), "views": [torch.zeros(3)], "name": "a"}, torch.device("meta"))["views"]
    [tensor(..., device='meta', size=(3,))]
    """
    waits = device.type in ("cpu", "mps")  # copies to these may be read before they are there

    def moved(part: Any) -> Any:
        alone = isinstance(part, Tensor | Pixels) and not waits
        return part.to(device, non_blocking=True) if alone else part.to(device)

    found: T = apply_to_collection(batch, Movable, moved)
    return found
