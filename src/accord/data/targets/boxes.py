"""Boxes with the class or phrase of each, and what boxes, instances and tracks say alike of the things they are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from accord.data.media import Unreadable
from accord.data.targets.base import LABEL, TEXT, Canvas, Target, listed, numbers, padded, present, same_count
from accord.data.targets.place import Place

LEAST = 0.1  # share of a thing's area that a view has to show, or it is not in the view
SLACK = 1.0  # pixels that a box may reach over the edge, where it is clipped: numbers in files are rounded


@dataclass(frozen=True)
class Things:
    """What is said of the M things of a row beside where they are.

    Args:
        ids: ``(M,)`` int64 numbers by which views and frames know them.
        labels: ``(M,)`` int64 classes, -1 for none.
        texts: a phrase each, the name of the class where there is none, or else nothing.
    """

    ids: Tensor
    labels: Tensor
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def at(self, kept: Tensor) -> Things:
        """Those where ``kept (M,)`` is True."""
        places = kept.nonzero()[:, 0]
        return Things(self.ids[places], self.labels[places], tuple(self.texts[i] for i in places.tolist()))


@dataclass(frozen=True)
class Boxed:
    """Things and the box ``(M, 4)`` of each, in pixels."""

    boxes: tv_tensors.BoundingBoxes
    things: Things


class Boxes(Target[Boxed]):
    """Boxes around things in the picture.

    In a view they are clipped, and a box of which less than a tenth is left is dropped.
    """

    name: ClassVar[str] = "boxes"
    fields: ClassVar[tuple[str, ...]] = ("boxes", LABEL, TEXT)
    # (B, M, 4) x0, y0, x1, y1 relative to the view; (B, M) bool; (B, M); (B, M); list of lists of str
    keys: ClassVar[tuple[str, ...]] = ("boxes", "instance_present", "instance_label", "instance_id", "instance_text")
    medium: ClassVar[str | None] = "image"

    def read(self, cells: Mapping[str, Any], canvas: Canvas) -> Boxed:
        """The boxes of a row, numbered from 1 in their order.

        Raises:
            Unreadable: a box is empty or outside the picture, or there are not as many classes or phrases.
        """
        rows = listed(cells["boxes"], "boxes")
        found = [read_box(box, f"box {i}", canvas.size, self.box_format) for i, box in enumerate(rows)]
        return Boxed(on_canvas(found, canvas.size), read_things(cells, range(1, len(rows) + 1), self.classes))

    def blank(self, canvas: Canvas) -> Boxed:
        """No boxes."""
        return self.read({"boxes": []}, canvas)

    def through(self, value: Boxed, place: Place) -> Boxed:
        """The boxes of which a view shows enough."""
        boxes, left = place.boxes(value.boxes)
        kept = left >= LEAST
        return Boxed(tv_tensors.wrap(boxes[kept], like=boxes), value.things.at(kept))

    def collate(self, values: Sequence[Boxed]) -> dict[str, Any]:
        """``boxes (B, M, 4)`` and what :func:`collate_things` says of them."""
        return {"boxes": padded([relative(value.boxes) for value in values])} | collate_things(
            [value.things for value in values]
        )


def read_box(box: Any, what: str, size: tuple[int, int], form: str) -> list[float]:
    """A box as x0, y0, x1, y1 in pixels, clipped to a picture of ``size`` (width, height).

    Raises:
        Unreadable: it is empty, outside, or no box; names it as ``what``.

    Example:
        >>> read_box([10, 20, 30, 40], "box 0", (64, 64), "xywh")
        [10.0, 20.0, 40.0, 60.0]
        >>> read_box([30, 20, 10, 40], "box 0", (64, 64), "xyxy")
        Traceback (most recent call last):
        accord.data.media.Unreadable: empty box: box 0 is [30, 20, 10, 40], ...
    """
    width, height = size
    given = numbers(box, 4, what)
    if form.startswith("relative"):
        given = [number * side for number, side in zip(given, (width, height) * 2, strict=True)]
    held = tv_tensors.BoundingBoxes([given], format=form.split()[-1].upper(), canvas_size=(height, width))  # type: ignore[call-overload]
    x0, y0, x1, y1 = F.convert_bounding_box_format(held, new_format="XYXY")[0].tolist()
    allowed = f"on a picture of {width} x {height} pixels; boxes are read as {form} (data.box_format)"
    if x1 <= x0 or y1 <= y0:
        raise Unreadable(f"empty box: {what} is {list(box)}, {allowed}")
    if min(x0, y0) < -SLACK or x1 > width + SLACK or y1 > height + SLACK or x0 >= width or y0 >= height:
        raise Unreadable(f"box outside its picture: {what} is {list(box)}, {allowed}")
    return [max(0.0, x0), max(0.0, y0), min(float(width), x1), min(float(height), y1)]


def on_canvas(boxes: Sequence[Sequence[float]], size: tuple[int, int]) -> tv_tensors.BoundingBoxes:
    """Boxes ``(M, 4)`` in pixels of a picture of ``size`` (width, height)."""
    held = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return tv_tensors.BoundingBoxes(held, format="XYXY", canvas_size=(size[1], size[0]))  # type: ignore[call-overload]


def relative(boxes: tv_tensors.BoundingBoxes) -> Tensor:
    """Boxes ``(M, 4)`` relative to the width and height of what they are on.

    >>> relative(on_canvas([[8, 4, 16, 16]], (32, 16))).tolist()
    [[0.25, 0.25, 0.5, 1.0]]
    """
    height, width = boxes.canvas_size
    return boxes.as_subclass(Tensor) / torch.tensor([width, height, width, height])


def read_things(cells: Mapping[str, Any], ids: Sequence[int], classes: Sequence[str]) -> Things:
    """Class and phrase of each of the things ``ids`` of a row.

    Raises:
        Unreadable: there are not as many, or a class is unknown.

    Example:
        >>> read_things({"instance_label": ["dog", "cat"]}, [1, 2], ["cat", "dog"])
        Things(ids=tensor([1, 2]), labels=tensor([1, 0]), texts=('dog', 'cat'))
    """
    labels, texts = [-1] * len(ids), [""] * len(ids)
    if LABEL in cells:
        named = [None if name is None else str(name) for name in listed(cells[LABEL], LABEL)]
        same_count(LABEL, named, len(ids), "things")
        unknown = [name for name in named if name is not None and name not in classes]
        if unknown:
            raise Unreadable(f"unknown class: {unknown[0]!r} is not one of the {len(classes)} classes of things")
        labels = [-1 if name is None else classes.index(name) for name in named]
        texts = [name or "" for name in named]
    if cells.get(TEXT) is not None:
        texts = [str(text or "").strip() for text in listed(cells[TEXT], TEXT)]
        same_count(TEXT, texts, len(ids), "things")
    return Things(torch.tensor(list(ids), dtype=torch.int64), torch.tensor(labels, dtype=torch.int64), tuple(texts))


def collate_things(rows: Sequence[Things]) -> dict[str, Any]:
    """``instance_present``, ``instance_label`` and ``instance_id (B, M)``, ``instance_text`` list of lists of str.

    Of what is not there, label and id are -1.
    """
    return {
        "instance_present": present(rows),
        "instance_label": padded([row.labels for row in rows], -1),
        "instance_id": padded([row.ids for row in rows], -1),
        "instance_text": [list(row.texts) for row in rows],
    }
