"""What every target promises: it is read and checked, follows its pixels into each view, and is collated by rule.

A target is what a row says about its picture or clip beside what that shows: masks, boxes, tracks, moments. It is
read from the row's cells, where a wrong one is a bad row; what a view shows of it depends on its place alone.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from accord.data.reading.media import Unreadable

if TYPE_CHECKING:
    from accord.data.targets.place import Place

Value = TypeVar("Value")
LABEL, TEXT = "instance_label", "instance_text"  # columns that say something of the things in others
# Two corners, a corner with width and height, or the centre with them; in pixels, or relative to the picture.
BoxFormat = Literal["xyxy", "xywh", "cxcywh", "relative xyxy", "relative xywh", "relative cxcywh"]


@dataclass(frozen=True)
class Canvas:
    """The picture or clip that a target lies on.

    Args:
        size: width and height in pixels, upright; ``(0, 0)`` where there are no pixels.
        frames: positions of the frames that were taken from a clip, in order; None for all.
        total: frames of the whole clip, or None where that is not known.
        slots: frames that a clip has in the batch, where short ones are filled up; None for as many as were taken.
        there: False where the row lacks the picture or clip, so that nothing lies on it.
    """

    size: tuple[int, int] = (0, 0)
    frames: tuple[int, ...] | None = None
    total: int | None = None
    slots: int | None = None
    there: bool = True


@dataclass(frozen=True)
class Target(ABC, Generic[Value]):
    """One kind of target.

    A subclass says which columns it reads and which entries it makes in a batch. :attr:`name` is its first column: a
    row whose cell there is empty has no such target. Its values are never changed in place.

    Args:
        root: the folder that paths are relative to.
        classes: class names that cells name or count.
        box_format: what the four numbers of a box are.
    """

    name: ClassVar[str]
    fields: ClassVar[tuple[str, ...]]  # columns, those after the first may be missing
    keys: ClassVar[tuple[str, ...]]  # entries of the batch
    texts: ClassVar[str | None] = None  # which of its columns lists texts, of which a tokenizer can learn
    medium: ClassVar[str | None] = None  # the modality whose pixels it lies on, None where views do not change it

    root: Path | None = None
    classes: tuple[str, ...] = ()
    box_format: BoxFormat = "xyxy"

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
