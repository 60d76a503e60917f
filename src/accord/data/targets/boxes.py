"""Boxes with the class or phrase of each, and what boxes, instances and tracks say alike of the things they are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from accord.data.reading.media import Unreadable
from accord.data.targets.base import (
    LABEL,
    TEXT,
    BoxFormat,
    Canvas,
    Target,
    listed,
    numbers,
    padded,
    present,
    same_count,
)
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
    texts: ClassVar[str | None] = TEXT
    medium: ClassVar[str | None] = "image"

    def read(self, cells: Mapping[str, Any], canvas: Canvas) -> Boxed:
        """The boxes of a row, numbered from 1 in their order.

        Raises:
            Unreadable: a box is empty or outside the picture, or there are not as many classes or phrases.
        """
        rows = listed(cells["boxes"], "boxes")
        boxes = read_boxes(rows, [f"box {i}" for i in range(len(rows))], canvas.size, self.box_format)
        return Boxed(boxes, read_things(cells, range(1, len(rows) + 1), self.classes))

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


def read_boxes(
    rows: Sequence[Any], names: Sequence[str], size: tuple[int, int], form: BoxFormat
) -> tv_tensors.BoundingBoxes:
    """Boxes ``(M, 4)`` in pixels of a picture of ``size`` (width, height), clipped to it.

    Args:
        rows: four numbers each.
        names: what to call each in a message.
        size: width and height of the picture.
        form: what the numbers are.

    Raises:
        Unreadable: one is empty, outside, or no box.

    Example:
        >>> read_boxes([[10, 20, 30, 40]], ["box 0"], (64, 64), "xywh").tolist()
        [[10.0, 20.0, 40.0, 60.0]]
        >>> read_boxes([[30, 20, 10, 40]], ["box 0"], (64, 64), "xyxy")
        Traceback (most recent call last):
        accord.data.reading.media.Unreadable: empty box: box 0 is [30, 20, 10, 40], ...
    """
    given = [numbers(row, 4, name) for row, name in zip(rows, names, strict=True)]
    held, sides = torch.tensor(given, dtype=torch.float32).reshape(-1, 4), torch.tensor(size)
    held = held * torch.cat([sides, sides]) if form.startswith("relative") else held
    boxes = F.convert_bounding_box_format(on_canvas(held, size, form.split()[-1].upper()), new_format="XYXY")
    start, end = boxes.as_subclass(Tensor).split(2, dim=1)
    outside = (start < -SLACK) | (end > sides + SLACK) | (start >= sides) | (end <= 0)
    for fault, faulty in (("empty box", end <= start), ("box outside its picture", outside)):
        for place in faulty.any(dim=1).nonzero()[:1, 0].tolist():
            came = ", ".join(f"{number:g}" for number in given[place])
            raise Unreadable(
                f"{fault}: {names[place]} is [{came}], on a picture of {size[0]} x {size[1]} pixels; boxes are read as "
                f"{form} (data.box_format)"
            )
    return F.clamp_bounding_boxes(boxes)


def on_canvas(boxes: Tensor, size: tuple[int, int], form: str = "XYXY") -> tv_tensors.BoundingBoxes:
    """Boxes ``(M, 4)`` in pixels of a picture of ``size`` (width, height)."""
    return tv_tensors.BoundingBoxes(boxes, format=form, canvas_size=(size[1], size[0]))


def relative(boxes: tv_tensors.BoundingBoxes) -> Tensor:
    """Boxes ``(M, 4)`` relative to the width and height of what they are on.

    >>> relative(on_canvas(torch.tensor([[8, 4, 16, 16]]), (32, 16))).tolist()
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
    if cells.get(LABEL) is not None:
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
