"""Tracks: where the things in a clip are, frame by frame, as boxes or as pictures of their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchvision import tv_tensors

from accord.data.reading.media import Unreadable
from accord.data.reading.video import pictures_of
from accord.data.targets.base import LABEL, TEXT, Canvas, Target, listed, numbers, padded, same_count
from accord.data.targets.boxes import (
    LEAST,
    Things,
    collate_things,
    on_canvas,
    read_boxes,
    read_things,
    relative,
)
from accord.data.targets.instances import Drawn, around, numbers_in, pixels, read_numbered
from accord.data.targets.masks import read_map
from accord.data.targets.place import Place

_THINGS = ("instance_present", "instance_label", "instance_id", "instance_text")  # entries, as of boxes


@dataclass(frozen=True)
class Followed:
    """Things, and in each of T frames whether and in which box each of the M is.

    Args:
        boxes: ``(M * T, 4)`` in pixels, thing by thing.
        present: ``(M, T)`` bool.
        things: what is said of them.
    """

    boxes: tv_tensors.BoundingBoxes
    present: Tensor
    things: Things


class TrackBoxes(Target[Followed]):
    """A box around each thing in each frame of a clip.

    The cell lists the frames; a frame lists its boxes, and what stands in the same place is the same thing, with null
    where it is not seen. Where a column ``track_ids`` lists the number of each box as well, that tells things apart.
    Frames that are not shown are left out, as are things that no shown frame has.
    """

    name: ClassVar[str] = "tracks"
    fields: ClassVar[tuple[str, ...]] = ("tracks", "track_ids", LABEL, TEXT)
    keys: ClassVar[tuple[str, ...]] = ("track_boxes", "track_present", *_THINGS)  # (B, M, T, 4); (B, M, T)
    texts: ClassVar[str | None] = TEXT
    medium: ClassVar[str | None] = "video"

    def read(self, cells: Mapping[str, Any], canvas: Canvas) -> Followed:
        """The boxes in the frames that are shown; classes and phrases are of the clip's things, by number.

        Raises:
            Unreadable: there is not one list a frame, a number stands twice in a frame, or a box is empty or outside.
        """
        frames = [listed(frame, "tracks") for frame in listed(cells["tracks"], "tracks")]
        who = _ids(cells.get("track_ids"), frames)
        chosen = chosen_frames(canvas, len(frames), "tracks")
        ids = sorted({number for row in who for number in row})
        seen = [  # (thing, slot, box) of the boxes that are there
            (ids.index(number), slot, box)
            for slot, frame in enumerate(chosen)
            for number, box in zip(who[frame], frames[frame], strict=True)
            if box is not None
        ]
        names = [f"box of thing {ids[thing]} in frame {chosen[slot]}" for thing, slot, _ in seen]
        found = read_boxes([box for _, _, box in seen], names, canvas.size, self.box_format)
        boxes = torch.zeros(len(ids), max(len(chosen), canvas.slots or 0), 4)
        present = torch.zeros(boxes.shape[:2], dtype=torch.bool)
        for (thing, slot, _), box in zip(seen, found, strict=True):
            boxes[thing, slot], present[thing, slot] = box, True
        return Followed(on_canvas(boxes.flatten(0, 1), canvas.size), present, read_things(cells, ids, self.classes))

    def blank(self, canvas: Canvas) -> Followed:
        """No things."""
        nowhere = torch.zeros(0, _slots(canvas), dtype=torch.bool)
        return Followed(on_canvas(torch.zeros(0, 4), canvas.size), nowhere, read_things({}, [], ()))

    def through(self, value: Followed, place: Place) -> Followed:
        """The boxes of which the view shows enough, things in the same order."""
        boxes, left = place.boxes(value.boxes)
        present = value.present & (left >= LEAST).view(value.present.shape)  # nowhere is no share: never enough
        kept = present.any(dim=1)
        flat = boxes.view(*present.shape, 4)[kept] * present[kept][..., None]
        return Followed(tv_tensors.wrap(flat.flatten(0, 1), like=boxes), present[kept], value.things.at(kept))

    def collate(self, values: Sequence[Followed]) -> dict[str, Any]:
        """``track_boxes (B, M, T, 4)`` relative to the view, ``track_present (B, M, T)``, and as of boxes."""
        boxes = [relative(value.boxes).view(*value.present.shape, 4) for value in values]
        return _collated(boxes, [value.present for value in values], [value.things for value in values])


class TrackMasks(Target[Drawn]):
    """The mask of each thing in each frame of a clip, and the box around it.

    The cell names a folder of pictures, one a frame in name order, or lists them; values number the things, from 1,
    alike in all frames. Frames that are not shown are not read; things that no shown frame has are left out.
    """

    name: ClassVar[str] = "track_masks"
    fields: ClassVar[tuple[str, ...]] = ("track_masks", LABEL, TEXT)
    keys: ClassVar[tuple[str, ...]] = ("track_masks", "track_boxes", "track_present", *_THINGS)  # (B, M, T, H, W) bool
    texts: ClassVar[str | None] = TEXT
    medium: ClassVar[str | None] = "video"

    def read(self, cells: Mapping[str, Any], canvas: Canvas) -> Drawn:
        """The masks in the frames that are shown.

        Raises:
            Unreadable: there is not one picture a frame, or one cannot be read or has another size.
        """
        pictures = pictures_of(cells["track_masks"], self.root)
        if pictures is None:
            raise Unreadable("unusable track_masks: expected a folder of pictures or a list of them, one a frame")
        chosen = chosen_frames(canvas, len(pictures), "track_masks")
        maps = torch.zeros(max(len(chosen), canvas.slots or 0), *canvas.size[::-1], dtype=torch.int32)
        for slot, frame in enumerate(chosen):
            maps[slot] = read_map(pictures[frame], self.root, canvas.size)
        return Drawn(maps, read_numbered(cells, numbers_in(maps), self.classes))

    def blank(self, canvas: Canvas) -> Drawn:
        """No things."""
        return Drawn(torch.zeros(_slots(canvas), *canvas.size[::-1], dtype=torch.int32), read_things({}, [], ()))

    def through(self, value: Drawn, place: Place) -> Drawn:
        """The masks of which the view shows enough."""
        top, left, height, width = place.window(*value.maps.shape[-2:])
        ids, maps = value.things.ids, place.maps(value.maps)
        for slot, (whole, frame) in enumerate(zip(value.maps, maps, strict=True)):
            few = pixels(whole[top : top + height, left : left + width], ids) < LEAST * pixels(whole, ids)
            maps[slot] = frame.masked_fill(torch.isin(frame, ids[few]), 0)
        return Drawn(maps, value.things.at(pixels(maps, ids) > 0))

    def collate(self, values: Sequence[Drawn]) -> dict[str, Any]:
        """``track_masks (B, M, T, H, W)``, the boxes around them, and as :class:`TrackBoxes`."""
        masks = [value.maps == value.things.ids[:, None, None, None] for value in values]  # (M, T, H, W)
        present = [mask.flatten(2).any(dim=2) for mask in masks]
        boxes = [torch.zeros(*there.shape, 4) for there in present]
        for row, mask, there in zip(boxes, masks, present, strict=True):
            row[there] = around(mask[there])
        return {"track_masks": padded(masks)} | _collated(boxes, present, [value.things for value in values])


def chosen_frames(canvas: Canvas, count: int, field: str) -> Sequence[int]:
    """Positions of the frames that are shown, of ``count`` that a column describes.

    Raises:
        Unreadable: the clip has another number of frames.
    """
    if canvas.total is not None and canvas.total != count:
        raise Unreadable(f"unequal counts: {count} frames in {field}, the clip has {canvas.total}")
    return range(count) if canvas.frames is None else canvas.frames


def _ids(cell: Any, frames: Sequence[Sequence[Any]]) -> list[list[int]]:
    """The number of the thing in each box of each frame: from ``track_ids``, or its place from 1."""
    if cell is None:
        most = max(map(len, frames), default=0)
        for frame in frames:
            same_count("a frame of tracks", frame, most, "things (null where one is not seen)")
        return [list(range(1, most + 1)) for _ in frames]
    rows = [listed(row, "track_ids") for row in listed(cell, "track_ids")]
    same_count("track_ids", rows, len(frames), "frames")
    ids = [[int(n) for n in numbers(row, len(row), f"track_ids of frame {i}")] for i, row in enumerate(rows)]
    for place, row in enumerate(ids):
        same_count(f"frame {place} of track_ids", row, len(frames[place]), "boxes")
        twice = [number for number in row if row.count(number) > 1]
        if twice:
            raise Unreadable(f"number twice: {twice[0]} stands {len(twice)} times in frame {place} of track_ids")
    return ids


def _slots(canvas: Canvas) -> int:
    return max(len(canvas.frames or ()), canvas.slots or 0)


def _collated(boxes: Sequence[Tensor], present: Sequence[Tensor], things: Sequence[Things]) -> dict[str, Any]:
    return {"track_boxes": padded(boxes), "track_present": padded(present)} | collate_things(things)
