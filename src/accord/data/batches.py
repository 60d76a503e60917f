"""Samples become a batch: views, tokens, spectrograms and masks, or cached features, as the encoders want them.

Everything random is a function of (seed, epoch, row), see :mod:`accord.data.draws`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from accord.data.audio import log_mel
from accord.data.draws import Purpose, draw
from accord.data.features import FeatureCache
from accord.data.inputs import AudioInput, ImageInput, Input, TextInput, VideoInput
from accord.data.quarantine import BadRow
from accord.data.text_views import TextView, augment
from accord.data.views import Crop, View, centre_crop, expand, make_crop, normalise
from accord.errors import AccordError, DataError

Batch = dict[str, Any]
Key = tuple[int, Any]  # epoch, and what the batch is made of


@dataclass
class Fetched:
    """What a data set gives for a key: a batch and the rows replaced in it, or an error to raise."""

    batch: Batch = field(default_factory=dict)
    replaced: list[BadRow] = field(default_factory=list)
    rows: int = 0
    error: AccordError | None = None


@dataclass(frozen=True)
class Recipe:
    """How to make batches.

    Args:
        inputs: modality -> what its encoder is fed.
        views: declared views of the training images; empty gives the evaluation view.
        seed: of everything random.
        training: draw captions, views and variants; otherwise first caption and evaluation view.
        cache: modality -> features that replace its raw input.
        text_views: declared views of the training captions.

    Raises:
        DataError: the cache holds fewer views than declared, or texts of which views are declared.
    """

    inputs: Mapping[str, Input]
    views: tuple[View, ...] = ()
    seed: int = 0
    training: bool = True
    cache: Mapping[str, FeatureCache] | None = None
    text_views: tuple[TextView, ...] = ()

    def __post_init__(self) -> None:
        if self.training and self.text_views and "text" in self.cached:
            raise DataError("the method augments captions, so their features cannot be cached: leave text out of it")
        held, wanted = self.cached.get("image"), len(expand(self.views))
        if self.training and held is not None and held.variants is not None and held.views < wanted:
            raise DataError(f"the feature cache holds {held.views} views, the method declares {wanted}: rebuild it")

    @property
    def cached(self) -> dict[str, FeatureCache]:
        """The caches of the modalities wanted."""
        return {name: cache for name, cache in (self.cache or {}).items() if name in self.inputs}

    @property
    def decoded(self) -> tuple[str, ...]:
        """Modalities that have to be read from the corpus, row by row."""
        return tuple(name for name in self.inputs if name not in self.cached and name != "graph")

    @property
    def background(self) -> tuple[int, int, int]:
        """RGB colour under transparent pixels."""
        spec = self.inputs.get("image") or self.inputs.get("video")
        spec = spec.image if isinstance(spec, VideoInput) else spec
        return spec.background if isinstance(spec, ImageInput) else ImageInput.background

    @property
    def frames(self) -> int | None:
        """Frames taken from a clip."""
        spec = self.inputs.get("video")
        return spec.frames if isinstance(spec, VideoInput) else None

    def cut(self, sample: Mapping[str, Any], key: int, epoch: int) -> dict[str, Any]:
        """A decoded sample with its pictures cut to what the views show.

        Done sample by sample, so that whole photographs are never held for a batch; ``key`` is what the random choices
        hang on.
        """
        cut = {
            name: _blank(name) if value is None and name in self.decoded else value for name, value in sample.items()
        }
        for modality in self.decoded:
            spec = self.inputs[modality]
            if isinstance(spec, ImageInput):
                cut[modality] = self._crops(cut[modality], spec, key, epoch)
            elif isinstance(spec, VideoInput):
                cut[modality] = torch.stack([centre_crop(frame, spec.image) for frame in cut[modality]])
        return cut

    def assemble(self, samples: Sequence[Mapping[str, Any]], keys: np.ndarray, epoch: int) -> Batch:
        """The batch of samples that were :meth:`cut` with ``keys (B,)``."""
        batch: Batch = {}
        for modality in self.decoded:
            spec = self.inputs[modality]
            values = [sample[modality] for sample in samples]
            if isinstance(spec, ImageInput):
                batch |= self._images(values, spec)
            elif isinstance(spec, TextInput):
                batch["text"], batch["text_mask"] = spec.tokenizer(self._captions(values, keys, epoch))
                if self.training and self.text_views:
                    batch["text_views"] = self._text_views(values, spec, keys, epoch)
            elif isinstance(spec, VideoInput):
                batch["video"], batch["video_mask"] = _videos(values, spec)
            elif isinstance(spec, AudioInput):
                batch["audio"], batch["audio_mask"] = _spectrograms(values, spec)
        return batch

    def recall(self, rows: np.ndarray, epoch: int) -> Batch:
        """The cached features of these rows, without a loop over them."""
        batch: Batch = {}
        for modality, cache in self.cached.items():
            views = expand(self.views) if modality == "image" else (View(),)
            if not self.training or cache.variants is None or not views:
                batch[modality] = cache.unpack(cache.plain[torch.from_numpy(rows)])
            else:
                batch |= self._variants(modality, cache, len(views), rows, epoch)
        return batch

    def _variants(self, modality: str, cache: FeatureCache, views: int, rows: np.ndarray, epoch: int) -> Batch:
        assert cache.variants is not None
        _, held, variants, _ = cache.variants.shape
        if modality == "text":
            hashes = draw(self.seed, Purpose.CAPTION, epoch, rows)[:, None]  # (B, 1), as for raw captions
        else:
            hashes = draw(self.seed, Purpose.VARIANT, epoch, rows[:, None], np.arange(views))  # (B, V)
        limit = np.uint64(variants) if cache.counts is None else cache.counts.numpy()[rows, None].astype(np.uint64)
        chosen = (hashes % limit).astype(np.int64)
        flat = torch.from_numpy((rows[:, None] * held + np.arange(views)) * variants + chosen)  # (B, V)
        features = cache.variants.flatten(0, 2)
        drawn = [cache.unpack(features.index_select(0, column)) for column in flat.unbind(1)]  # V times
        batch: Batch = {modality: drawn[0]}
        if modality == "image":
            if views > 1:
                batch["image_views"] = drawn
            if cache.boxes is not None and cache.flips is not None:
                batch["view_boxes"] = cache.boxes.flatten(0, 2)[flat]
                batch["view_flips"] = cache.flips.flatten(0, 2)[flat]
        return batch

    def _crops(self, picture: Image.Image, spec: ImageInput, key: int, epoch: int) -> list[Crop] | Tensor:
        """Every view of one picture, whose first one's place is known to the others; or the evaluation view."""
        views = expand(self.views) if self.training else ()
        if not views:
            return centre_crop(picture, spec)
        keys = np.array(key, dtype=np.uint64)
        seeds = (draw(self.seed, Purpose.VIEW, epoch, keys, np.arange(len(views))) >> np.uint64(1)).tolist()
        first = make_crop(picture, views[0], spec, seeds[0])
        rest = zip(views[1:], seeds[1:], strict=True)
        return [first, *(make_crop(picture, view, spec, seed, first.box) for view, seed in rest)]

    def _images(self, crops: Sequence[Any], spec: ImageInput) -> Batch:
        views = expand(self.views) if self.training else ()
        if not views:
            return {"image": normalise(torch.stack(list(crops)), spec)}
        stacked = [_stack(column, view, spec) for column, view in zip(zip(*crops, strict=True), views, strict=True)]
        batch: Batch = {
            "image": stacked[0],
            "view_boxes": torch.tensor([[crop.box for crop in row] for row in crops]),  # (B, V, 4)
            "view_flips": torch.tensor([[crop.flip for crop in row] for row in crops]),  # (B, V)
        }
        return batch | ({"image_views": stacked} if len(views) > 1 else {})

    def _captions(self, captions: Sequence[Sequence[str]], keys: np.ndarray, epoch: int) -> list[str]:
        if not self.training:
            return [row[0] if row else "" for row in captions]
        hashes = draw(self.seed, Purpose.CAPTION, epoch, keys)
        pairs = zip(captions, hashes, strict=True)
        return [row[int(number % np.uint64(len(row)))] if row else "" for row, number in pairs]

    def _text_views(
        self, captions: Sequence[Sequence[str]], spec: TextInput, keys: np.ndarray, epoch: int
    ) -> list[tuple[Tensor, Tensor]]:
        """Ids and mask of every view, each of a caption that it draws for itself."""
        views = expand(self.text_views)
        hashes = draw(self.seed, Purpose.TEXT_VIEW, epoch, keys[:, None, None], np.arange(len(views))[:, None], [0, 1])
        texts = [
            [
                augment(row[int(which % np.uint64(len(row)))], view, int(seed))
                for view, (which, seed) in zip(views, drawn, strict=True)
            ]
            for row, drawn in zip((row or [""] for row in captions), hashes, strict=True)
        ]
        return [spec.tokenizer(list(column)) for column in zip(*texts, strict=True)]


def _blank(modality: str) -> Any:
    """What stands in a batch for a medium that a row lacks."""
    picture = Image.new("RGB", (8, 8))
    silence = (np.zeros(1600, dtype=np.float32), 16000)
    return {"image": picture, "video": [picture], "audio": silence}[modality]


def label_tensor(labels: np.ndarray) -> Tensor:
    """``(B,)`` int64 class indices or ``(B, C)`` float32 multi-hot."""
    return torch.from_numpy(labels).float() if labels.ndim == 2 else torch.from_numpy(labels)


def _stack(crops: Sequence[Crop], view: View, spec: ImageInput) -> Tensor:
    lighting = torch.stack([crop.lighting for crop in crops]) if view.lighting else None
    return normalise(torch.stack([crop.pixels for crop in crops]), spec, lighting)


def _videos(clips: Sequence[Tensor], spec: VideoInput) -> tuple[Tensor, Tensor]:
    """``(B, T, 3, H, W)`` and mask ``(B, T)``; a shorter clip is padded with zeros after normalisation."""
    frames = [normalise(clip, spec.image) for clip in clips]
    batch = torch.zeros(len(clips), spec.frames, *frames[0].shape[1:])
    mask = torch.zeros(len(clips), spec.frames, dtype=torch.bool)
    for row, clip in enumerate(frames):
        batch[row, : len(clip)], mask[row, : len(clip)] = clip, True
    return batch, mask


def _spectrograms(waves: Sequence[tuple[np.ndarray, int]], spec: AudioInput) -> tuple[Tensor, Tensor]:
    """``(B, M, T)`` and mask ``(B, T)``, padded with zeros to the longest of the batch."""
    frames = [log_mel(wave, rate, spec).T for wave, rate in waves]  # (T, M)
    lengths = torch.tensor([len(row) for row in frames])
    padded = pad_sequence(frames, batch_first=True)  # (B, T, M)
    return padded.transpose(1, 2).contiguous(), torch.arange(padded.shape[1]) < lengths[:, None]
