"""Clips: films, animations, folders or lists of pictures; frames drawn in training, cut alike, with their times."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from accord.data.augmenting.pixels import Pixels
from accord.data.augmenting.views import Crop, View
from accord.data.draws import Draws
from accord.data.inputs import ImageInput
from accord.data.modalities.base import Modality, Reading
from accord.data.modalities.image import Images, background_of, lighting_of
from accord.data.reading.frames import Clip, Timeline, chosen_frames
from accord.data.reading.media import WHITE, cell_path, read_bytes
from accord.data.reading.video import VIDEO_SUFFIXES, check_video, is_video, read_video

_STRIP = 4  # frames of a film strip


class Videos(Images):
    """Clips. A value is a ``Clip``; cut, it is one crop of all its frames for each view."""

    name = "video"
    argument = "video"
    item, items = "clip", "clips"
    example = "cat.webp"
    suffixes = VIDEO_SUFFIXES
    even = True
    also = frozenset({".gif", ".webp"})  # animations
    draws_in_reading = True

    def knows(self, content: bytes) -> bool:
        """Matroska, MP4 and AVI; an animated picture is known by its column's name alone."""
        return is_video(content)

    def read(self, cell: Any, reading: Reading) -> Clip:
        """The frames that the encoder is fed; without a ``spec`` all."""
        choose = partial(chosen_frames, spec=reading.spec, draws=reading.draws)  # type: ignore[arg-type]
        rate = getattr(reading.spec, "rate", 1.0)
        return read_video(cell, reading.root, background_of(reading.spec), choose, rate)

    def check(self, cell: Any, root: Path | None) -> str:
        """Decode every frame, so that a clip that breaks half-way is found."""
        check_video(cell, root)
        return ""

    def blank(self, spec: Any) -> Clip:
        """One small black frame."""
        return Clip((Image.new("RGB", (8, 8)),), Timeline((0,), (0.0,), 1))

    def collate(
        self, field: str, values: Sequence[Sequence[Crop]], spec: Any, views: Sequence[View], draws: Draws
    ) -> dict[str, Any]:
        """As of pictures, with ``FIELD (B, T, 3, H, W)``, ``FIELD_mask (B, T)`` and ``FIELD_times (B, T)``, the
        seconds of the frames; shorter clips are padded with zeros after normalisation."""
        timelines = [row[0].timeline or Timeline((), (), 0) for row in values]
        times, mask = torch.zeros(len(values), spec.frames), torch.zeros(len(values), spec.frames, dtype=torch.bool)
        for row, timeline in enumerate(timelines):
            count = len(timeline.seconds)
            times[row, :count], mask[row, :count] = torch.tensor(timeline.seconds), True
        batch = super().collate(field, values, spec, views, draws)
        return batch | {f"{field}_mask": mask, f"{field}_times": times}

    def stack(self, crops: Sequence[Crop], image: ImageInput, spec: Any) -> Pixels:
        """One view of all rows, short clips filled up."""
        values = torch.zeros(len(crops), spec.frames, *crops[0].pixels.shape[1:], dtype=torch.uint8)
        real = torch.zeros(len(crops), spec.frames, dtype=torch.bool)
        for row, crop in enumerate(crops):
            values[row, : len(crop.pixels)], real[row, : len(crop.pixels)] = crop.pixels, True
        shifts = lighting_of(crops)
        return Pixels(values, image, None if shifts is None else shifts[:, None], real)

    def contents(self, cell: Any, root: Path | None) -> Iterator[bytes]:
        """The file, or those of a folder or list of frames, one by one."""
        if isinstance(cell, list):
            for part in cell:
                yield from self.contents(part, root)
            return
        path = cell_path(cell, root)
        if path is not None and path.is_dir():
            for file in sorted(path.iterdir()):
                yield read_bytes(str(file), None)
            return
        yield read_bytes(cell, root)

    def picture(self, cell: Any, root: Path | None, side: int) -> Image.Image | None:
        """A film strip cut in two, one half under the other, so that it fills the square that a picture would."""
        frames = list(read_video(cell, root, frames=_STRIP))
        columns = math.ceil(math.sqrt(len(frames)))
        for frame in frames:
            frame.thumbnail((side // columns, side // columns))
        width, height = max(frame.width for frame in frames), max(frame.height for frame in frames)
        strip = Image.new("RGB", (columns * width, math.ceil(len(frames) / columns) * height), WHITE)
        for place, frame in enumerate(frames):
            row, column = divmod(place, columns)
            strip.paste(frame, (column * width, row * height))
        return strip


MODALITY: Modality = Videos()
