"""Instances: the mask of each thing in a picture, as one picture of their numbers or as one picture each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchvision.ops import masks_to_boxes

from accord.data.reading.media import Unreadable
from accord.data.targets.base import LABEL, TEXT, Canvas, Target, listed, padded
from accord.data.targets.boxes import LEAST, Things, collate_things, read_things
from accord.data.targets.masks import read_map
from accord.data.targets.place import Place


@dataclass(frozen=True)
class Drawn:
    """Things, and maps ``(L, H, W)`` int32 of their numbers where they are and 0 elsewhere.

    There are several maps where things overlap, and for a clip one each frame.
    """

    maps: Tensor
    things: Things


class Instances(Target[Drawn]):
    """The mask of each thing in the picture, and the box around it.

    The cell holds a picture whose values number the things from 1, or a list of pictures, one a thing, that are not 0
    where it is. Of a thing that a view cuts, less than a tenth of the pixels is not enough: it is dropped.
    """

    name: ClassVar[str] = "instances"
    fields: ClassVar[tuple[str, ...]] = ("instances", LABEL, TEXT)
    # (B, M, H, W) bool; (B, M, 4) around the mask, relative to the view; and as of boxes
    keys: ClassVar[tuple[str, ...]] = (
        "instance_masks",
        "boxes",
        "instance_present",
        "instance_label",
        "instance_id",
        "instance_text",
    )
    texts: ClassVar[str | None] = TEXT
    medium: ClassVar[str | None] = "image"

    def read(self, cells: Mapping[str, Any], canvas: Canvas) -> Drawn:
        """The things that have a pixel.

        Raises:
            Unreadable: a picture cannot be read or has another size, or a thing has no class or phrase.
        """
        cell = cells["instances"]
        one_each = isinstance(cell, list | tuple) or (isinstance(cell, str) and cell.startswith("["))
        pictures = listed(cell, "instances") if one_each else [cell]
        if not pictures:
            return self.blank(canvas)
        maps = torch.stack([read_map(picture, self.root, canvas.size) for picture in pictures])
        if one_each:
            maps = (maps != 0).int() * torch.arange(1, len(maps) + 1, dtype=torch.int32)[:, None, None]
        return Drawn(maps, read_numbered(cells, numbers_in(maps), self.classes))

    def blank(self, canvas: Canvas) -> Drawn:
        """No things."""
        width, height = canvas.size
        return Drawn(torch.zeros(1, height, width, dtype=torch.int32), read_things({}, [], ()))

    def through(self, value: Drawn, place: Place) -> Drawn:
        """The things of which a view shows enough."""
        ids, maps = value.things.ids, place.maps(value.maps)
        top, left, height, width = place.window(*value.maps.shape[-2:])
        within = pixels(value.maps[:, top : top + height, left : left + width], ids)
        enough = within >= LEAST * pixels(value.maps, ids)
        return Drawn(maps, value.things.at(enough & (pixels(maps, ids) > 0)))  # a small one falls between the pixels

    def collate(self, values: Sequence[Drawn]) -> dict[str, Any]:
        """``instance_masks (B, M, H, W)``, the ``boxes (B, M, 4)`` around them, and what is said of the things."""
        masks = [(value.maps == value.things.ids[:, None, None, None]).any(dim=1) for value in values]  # (M, H, W)
        drawn = {"instance_masks": padded(masks), "boxes": padded([around(mask) for mask in masks])}
        return drawn | collate_things([value.things for value in values])


def read_numbered(cells: Mapping[str, Any], found: Sequence[int], classes: Sequence[str]) -> Things:
    """Class and phrase of the things of these numbers, of which the cells name the first, second, ...

    Raises:
        Unreadable: a thing has none, or a class is unknown.
    """
    counts = [len(listed(cells[field], field)) for field in (LABEL, TEXT) if cells.get(field) is not None]
    if not counts:
        return read_things({}, found, classes)
    if found and found[-1] > counts[0]:
        raise Unreadable(f"unequal counts: the masks number a thing {found[-1]}, {counts[0]} have a class or phrase")
    things = read_things(cells, range(1, counts[0] + 1), classes)
    return things.at(torch.isin(things.ids, torch.tensor(found, dtype=torch.int64)))


def numbers_in(maps: Tensor) -> list[int]:
    """The numbers of the things that have a pixel, in order."""
    return [number for number in torch.unique(maps).tolist() if number > 0]


def pixels(maps: Tensor, ids: Tensor) -> Tensor:
    """How many pixels ``(M,)`` of maps of numbers each of the things has.

    >>> pixels(torch.tensor([[0, 3], [3, 1]]), torch.tensor([1, 2, 3])).tolist()
    [1, 0, 2]
    """
    most = int(ids.max()) if len(ids) else 0
    return torch.bincount(maps.flatten().clamp(min=0), minlength=most + 1)[ids]


def around(masks: Tensor) -> Tensor:
    """Boxes ``(M, 4)`` around masks ``(M, H, W)`` that have a pixel each, relative to height and width.

    >>> around(torch.tensor([[[False, True, True, False]]])).tolist()
    [[0.25, 0.0, 0.75, 1.0]]
    """
    height, width = masks.shape[-2:]
    boxes = masks_to_boxes(masks) + torch.tensor([0, 0, 1, 1])  # from the first pixel to the end of the last
    return boxes / torch.tensor([width, height, width, height])
