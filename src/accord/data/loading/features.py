"""The cache of a frozen encoder's features, which the loader reads in place of raw input; and the features it holds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from accord.data.loading.streams import MAIN, Features, Stream
from accord.errors import DataError, ShapeError
from accord.files import replacing

__all__ = ["MAIN", "FeatureCache", "Features", "Layout", "Stored", "Stream"]


@dataclass(frozen=True)
class Stored:
    """How one stream lies in a row of a cache.

    Args:
        name: of the stream.
        count: its positions N, the same for every item.
        dim: width of a position.
        grid: how the positions lie.
        masked: a mask follows the values.
        timed: times follow them.
    """

    name: str
    count: int
    dim: int
    grid: tuple[int, ...] | None = None
    masked: bool = False
    timed: bool = False

    @classmethod
    def of(cls, name: str, stream: Stream) -> Stored:
        """That of streams like this one."""
        count, dim = stream.values.shape[1:]
        return cls(name, count, dim, stream.grid, stream.mask is not None, stream.times is not None)

    @property
    def halves(self) -> int:
        """Numbers of two bytes that it takes; a time takes two of them."""
        return self.count * (self.dim + self.masked + 2 * self.timed)

    def pack(self, stream: Stream) -> Tensor:
        """The stream's items as rows ``(B, halves)``."""
        parts = [stream.values.flatten(1).half()]
        if self.masked:
            parts.append(stream.real().half())
        if self.timed:
            if stream.times is None:
                raise ShapeError(f"stream {self.name!r} came without times: expected those of a cache that has them")
            parts.append(stream.times.float().contiguous().view(torch.float16))  # the same bits: seconds stay exact
        return torch.cat(parts, dim=1)

    def unpack(self, rows: Tensor) -> Stream:
        """The stream in rows ``(B, halves)``, its values in float32."""
        sizes = [self.count * self.dim, self.count * self.masked, 2 * self.count * self.timed]
        values, mask, times = rows.split(sizes, dim=1)
        return Stream(
            values.float().unflatten(1, (self.count, self.dim)),
            mask > 0 if self.masked else None,
            self.grid,
            times.contiguous().view(torch.float32) if self.timed else None,
        )


@dataclass(frozen=True)
class Layout:
    """What a cache holds of an item: a vector in float32, or a vector and streams in half precision.

    Args:
        dim: width of the vector.
        streams: those that are held, in the order in which they lie behind the vector.
        main: name of the main sequence, held or not.

    Example:
        >>> features = Features(torch.zeros(2, 3), streams={"patches": Stream(torch.ones(2, 4, 5), grid=(2, 2))})
        >>> layout = Layout.of(features, ["patches"])
        >>> layout.pack(features).shape, layout.unpack(layout.pack(features)).stream("patches").grid
        (torch.Size([2, 23]), (2, 2))
    """

    dim: int
    streams: tuple[Stored, ...] = ()
    main: str = MAIN

    @classmethod
    def of(cls, features: Features, names: Iterable[str] = ()) -> Layout:
        """That of features like these, with the streams of these names.

        Raises:
            ShapeError: there is no such stream.
        """
        held = {features.main if name == MAIN else name: features.stream(name) for name in names}
        streams = [Stored.of(name, stream) for name, stream in sorted(held.items())]
        return cls(features.pooled.shape[1], tuple(streams), features.main)

    @property
    def bytes(self) -> int:
        """Size of one item."""
        return 2 * (self.dim + sum(one.halves for one in self.streams)) if self.streams else 4 * self.dim

    def pack(self, features: Features) -> Tensor:
        """Each item in one row ``(B, W)``.

        Raises:
            ShapeError: a stream is missing, or has another number of positions.
        """
        if not self.streams:
            return features.pooled.float()
        rows = [features.pooled.half()]
        for one in self.streams:
            stream = features.stream(one.name)
            if stream.values.shape[1:] != (one.count, one.dim):
                came = " × ".join(str(size) for size in stream.values.shape[1:])
                raise ShapeError(f"stream {one.name!r} of {came} does not fit a cache of {one.count} × {one.dim}")
            rows.append(one.pack(stream))
        return torch.cat(rows, dim=1)

    def unpack(self, rows: Tensor) -> Features:
        """The features in rows ``(B, W)`` that :meth:`pack` made, in float32."""
        if not self.streams:
            return Features(rows, main=self.main)
        pooled, *parts = rows.split([self.dim, *(one.halves for one in self.streams)], dim=1)
        streams = {one.name: one.unpack(part) for one, part in zip(self.streams, parts, strict=True)}
        return Features(pooled.float(), streams=streams, main=self.main)


@dataclass(frozen=True)
class FeatureCache:
    """Features of one modality, computed once by a frozen encoder and fed instead of raw input.

    Training draws, for every epoch, row and view, one of the row's ``A`` variants: cached augmentations of an image, or
    the captions of a row, of which each row has as many as it has. Evaluation reads ``plain``.

    Args:
        plain: ``(N, D)`` features without augmentation (image) or of the first caption (text).
        variants: ``(N, V, A, D)``, V views by A augmentations, or ``(M, D)``, those of one row after those of the
            other; None when training reads ``plain`` too.
        counts: ``(N,)`` int64, how many of the M variants each row has, at least one; None when all have V by A.
        boxes: ``(N, V, A, 4)`` relative crop boxes of the variants, or None.
        flips: ``(N, V, A)`` bool, which variants are mirrored, or None.
        key: what the features were computed from (encoder and data), compared before a saved cache is reused.
        layout: how streams lie behind the vector in each row; None for the vector alone.

    Raises:
        ShapeError: the tensors do not agree on N, V, A or D.

    Example:
        >>> cache = FeatureCache(torch.eye(3), torch.zeros(3, 2, 4, 3))
        >>> len(cache), cache.views, cache.select([0, 2]).plain.shape
        (3, 2, torch.Size([2, 3]))
    """

    plain: Tensor
    variants: Tensor | None = None
    counts: Tensor | None = None
    boxes: Tensor | None = None
    flips: Tensor | None = None
    key: str = ""
    layout: Layout | None = None

    def __post_init__(self) -> None:
        rows, width = self.plain.shape
        shape = (rows, *(self.variants.shape[1:3] if self.variants is not None else (0, 0)))
        if self.counts is not None:
            shape = (int(self.counts.sum()),)
        expected = {"variants": (*shape, width), "counts": (rows,), "boxes": (*shape, 4), "flips": shape}
        for name, value in self._tensors().items():
            if name in expected and tuple(value.shape) != expected[name]:
                raise ShapeError(f"FeatureCache.{name} is {tuple(value.shape)}, expected {expected[name]}")

    def __len__(self) -> int:
        return len(self.plain)

    def unpack(self, rows: Tensor) -> Features:
        """The features that rows ``(B, D)`` of this cache hold, in float32."""
        return Features(rows) if self.layout is None else self.layout.unpack(rows)

    @property
    def views(self) -> int:
        """Number of views V, 0 when only un-augmented features are held."""
        return 0 if self.variants is None else 1 if self.counts is not None else self.variants.shape[1]

    @cached_property
    def starts(self) -> np.ndarray | None:
        """Where the variants of each row begin ``(N,)``, None when all have equally many."""
        return None if self.counts is None else (self.counts.cumsum(0) - self.counts).numpy()

    def select(self, rows: Sequence[int] | np.ndarray | Tensor) -> FeatureCache:
        """The cache of these rows, in this order, as :meth:`accord.data.corpus.Corpus.select`."""
        index = torch.as_tensor(np.asarray(rows), dtype=torch.int64)
        chosen = {name: value[index] for name, value in self._tensors().items() if name != "variants"}
        if self.variants is not None and self.starts is not None:
            parts = self.variants.split(self.counts.tolist())  # type: ignore[union-attr]
            chosen["variants"] = torch.cat([self.variants[:0], *(parts[row] for row in index.tolist())])
        elif self.variants is not None:
            chosen["variants"] = self.variants[index]
        return replace(self, **chosen)  # type: ignore[arg-type]

    def save(self, path: Path) -> None:
        """Write a safetensors file atomically."""
        tensors = {name: value.contiguous() for name, value in self._tensors().items()}
        facts = {"key": self.key}
        if self.layout is not None:
            facts["layout"] = json.dumps(asdict(self.layout))
        with replacing(path) as partial:
            save_file(tensors, partial, metadata=facts)

    @classmethod
    def load(cls, path: Path) -> FeatureCache:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: the file is missing or is not such a cache.
        """
        names = {field.name for field in fields(cls)} - {"key", "layout"}
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys() if name in names}  # noqa: SIM118
                facts = file.metadata() or {}
                return cls(**tensors, key=facts.get("key", ""), layout=_layout(facts, tensors["plain"]))
        except (OSError, SafetensorError, TypeError, KeyError, ValueError) as error:
            raise DataError(f"{path} is not a feature cache ({error}): delete it to rebuild it") from None

    def _tensors(self) -> dict[str, Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def _layout(facts: Mapping[str, str], plain: Tensor) -> Layout | None:
    """What a file says of its layout; one written before streams had names counts the tokens behind the vector."""
    if count := int(facts.get("tokens", 0)):
        dim = int(facts["dim"])
        return Layout(dim, (Stored(MAIN, count, (plain.shape[1] - dim) // count),))
    if "layout" not in facts:
        return None
    read = json.loads(facts["layout"])
    streams = (Stored(**{**one, "grid": one["grid"] and tuple(one["grid"])}) for one in read["streams"])
    return Layout(read["dim"], tuple(streams), read["main"])
