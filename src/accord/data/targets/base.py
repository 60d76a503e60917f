"""What every target promises: it is read and checked, follows its pixels into each view, and is collated by rule.

A target is what a row says about its picture or clip beside what that shows: masks, boxes, tracks, moments. It is
read from the row's cells, where a wrong one is a bad row; what a view shows of it depends on its :class:`Place` alone.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from accord.data.media import Unreadable
from accord.data.views import Crop

Value = TypeVar("Value")
BOX_FORMATS = ("xyxy", "xywh", "cxcywh", "relative xyxy", "relative xywh", "relative cxcywh")


@dataclass(frozen=True)
class Place:
    """Where a view looks and how large it is.

    Args:
        box: x0, y0, x1, y1 of the crop, relative to the picture's width and height.
        flip: whether it is mirrored left to right, after cropping.
        size: height and width of the view in pixels.
    """

    box: tuple[float, float, float, float]
    flip: bool
    size: tuple[int, int]

    @classmethod
    def of(cls, crop: Crop) -> Place:
        """The place of a crop; of a clip's, that of all its frames."""
        height, width = crop.pixels.shape[-2:]
        return cls(crop.box, crop.flip, (height, width))

    def window(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height and width of the crop in pixels of a picture of that size.

        >>> Place((0.25, 0, 0.75, 1), False, (32, 32)).window(40, 80)
        (0, 20, 40, 40)
        """
        x0, y0, x1, y1 = self.box
        left, top = round(x0 * width), round(y0 * height)
        return top, left, max(1, round(y1 * height) - top), max(1, round(x1 * width) - left)

    def maps(self, maps: Tensor) -> Tensor:
        """Maps of numbers ``(L, H, W)`` int32 as the view shows them, ``(L, h, w)``: by nearest neighbour."""
        window = self.window(*maps.shape[-2:])
        # by Pillow, as pictures are: torchvision's own choice of neighbours for masks is half a pixel off theirs
        cut = [
            F.resized_crop(Image.fromarray(numbers), *window, list(self.size), InterpolationMode.NEAREST)
            for numbers in maps.numpy()
        ]
        found = torch.from_numpy(np.stack([np.asarray(picture) for picture in cut]))
        return found.flip(-1) if self.flip else found

    def boxes(self, boxes: tv_tensors.BoundingBoxes) -> tuple[tv_tensors.BoundingBoxes, Tensor]:
        """Boxes in pixels of the picture as the view shows them, clipped, and the share ``(N,)`` of each that is left.

        What is left of a box outside the view has no area.
        """
        cut = F.crop(boxes, *self.window(*boxes.canvas_size))
        left = _areas(cut) / _areas(boxes)
        moved = F.resize(cut, list(self.size))
        return (F.horizontal_flip(moved) if self.flip else moved), left


@dataclass(frozen=True)
class Canvas:
    """The picture or clip that a target lies on.

    Args:
        size: width and height in pixels, upright; ``(0, 0)`` where there are no pixels.
        frames: positions of the frames that were taken from a clip, in order; None for all.
        total: frames of the whole clip, or None where that is not known.
        slots: frames that a clip has in the batch, where short ones are filled up; None for as many as were taken.
    """

    size: tuple[int, int] = (0, 0)
    frames: tuple[int, ...] | None = None
    total: int | None = None
    slots: int | None = None


@dataclass(frozen=True)
class Target(ABC, Generic[Value]):
    """One kind of target.

    A subclass says which columns it reads and which entries it makes in a batch. :attr:`name` is its first column: a
    row whose cell there is empty has no such target. Its values are never changed in place.

    Args:
        root: the folder that paths are relative to.
        classes: class names that cells name or count.
        box_format: what the four numbers of a box are, one of ``BOX_FORMATS``.
    """

    name: ClassVar[str]
    fields: ClassVar[tuple[str, ...]]  # columns, those after the first may be missing
    keys: ClassVar[tuple[str, ...]]  # entries of the batch
    medium: ClassVar[str | None] = None  # the modality whose pixels it lies on, None where views do not change it

    root: Path | None = None
    classes: tuple[str, ...] = ()
    box_format: str = "xyxy"

    @abstractmethod
    def read(self, cells: Mapping[str, Any], canvas: Canvas) -> Value:
        """The value in the cells of a row.

        Args:
            cells: column of :attr:`fields` -> content, those that the corpus has; the first is not empty.
            canvas: what it lies on.

        Raises:
            Unreadable: the cells cannot be used; says which, what came, and what is allowed.
        """

    @abstractmethod
    def blank(self, canvas: Canvas) -> Value:
        """What stands in for a row that has none."""

    def through(self, value: Value, place: Place) -> Value:
        """What a view shows of it; the value itself where it does not lie on pixels."""
        return value

    @abstractmethod
    def collate(self, values: Sequence[Value]) -> dict[str, Any]:
        """The entries :attr:`keys` of a batch: tensors, or lists, of B rows."""


def entries(target: Target[Value], rows: Sequence[Sequence[Value]]) -> dict[str, Any]:
    """The entries of a batch: those of the first view and, where there are several, the list of all as ``KEY_views``.

    Args:
        target: what they are.
        rows: of each row the value in each view; a single one where views do not change it.
    """
    views = [target.collate(column) for column in zip(*rows, strict=True)]
    batch = dict(views[0])
    if len(views) > 1:
        batch |= {f"{key}_views": [view[key] for view in views] for key in views[0]}
    return batch


def listed(cell: Any, field: str) -> list[Any]:
    """The list in a cell, which tables without lists (CSV) hold as JSON.

    Raises:
        Unreadable: there is no list.

    Example:
        >>> listed("[[0, 1], [2, 3]]", "moments"), listed(None, "moments")
        ([[0, 1], [2, 3]], [])
    """
    if isinstance(cell, str):
        try:
            cell = json.loads(cell)
        except ValueError:
            raise Unreadable(f"unusable {field}: {cell[:40]!r} is no list, which a table writes as JSON") from None
    if cell is None:
        return []
    if hasattr(cell, "tolist"):
        cell = cell.tolist()
    if not isinstance(cell, list | tuple):
        raise Unreadable(f"unusable {field}: {cell!r} is no list")
    return list(cell)


def numbers(value: Any, count: int, what: str) -> list[float]:
    """``count`` finite numbers.

    Raises:
        Unreadable: it is something else; begins with the last word of ``what``.

    Example:
        >>> numbers([1, 2], 2, "moment 0")
        [1.0, 2.0]
    """
    kind = what.split()[0]
    try:
        found = [float(number) for number in value]
    except (TypeError, ValueError):
        found = []
    if len(found) != count or not all(map(math.isfinite, found)):
        raise Unreadable(f"bad {kind}: {what} is {value!r}, expected {count} numbers")
    return found


def same_count(field: str, found: Sequence[Any], count: int, what: str) -> None:
    """Check that a column says something of each thing.

    Raises:
        Unreadable: it does not.
    """
    if len(found) != count:
        raise Unreadable(f"unequal counts: {len(found)} in {field} for {count} {what}, expected one each")


def padded(rows: Sequence[Tensor], fill: float = 0) -> Tensor:
    """``(B, M, ...)`` of tensors ``(m, ...)``, filled up to the longest.

    >>> padded([torch.tensor([1, 2]), torch.tensor([3])], -1).tolist()
    [[1, 2], [3, -1]]
    """
    return pad_sequence(list(rows), batch_first=True, padding_value=fill)


def present(rows: Sequence[Any]) -> Tensor:
    """``(B, M)`` bool, where :func:`padded` holds something.

    >>> present([[7, 8], [9]]).tolist()
    [[True, True], [True, False]]
    """
    lengths = torch.tensor([len(row) for row in rows])
    return torch.arange(int(lengths.max()) if len(rows) else 0) < lengths[:, None]


def _areas(boxes: tv_tensors.BoundingBoxes) -> Tensor:
    plain = boxes.as_subclass(Tensor)
    return (plain[:, 2] - plain[:, 0]) * (plain[:, 3] - plain[:, 1])
