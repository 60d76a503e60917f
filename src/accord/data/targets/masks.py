"""Semantic masks: pictures whose grey values, or indices into a palette, are classes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from accord.data.reading.media import Unreadable, open_image, read_bytes
from accord.data.targets.base import Canvas, Target
from accord.data.targets.place import Place

VOID = -1  # pixels of which nothing is said
VOID_GREY = 255  # what stands for it in a file
_MODES = ("1", "L", "P", "I", "I;16")  # one number a pixel


class SemanticMask(Target[Tensor]):
    """The class of each pixel of the picture, 0 for the background and -1 (255 in the file) where nothing is said."""

    name: ClassVar[str] = "mask"
    fields: ClassVar[tuple[str, ...]] = ("mask",)
    keys: ClassVar[tuple[str, ...]] = ("segmentation",)  # (B, H, W) int64
    medium: ClassVar[str | None] = "image"

    def read(self, cells: Mapping[str, Any], canvas: Canvas) -> Tensor:
        """The mask ``(H, W)`` int32.

        Raises:
            Unreadable: it is no mask, of another size than the picture, or has a value that is no class.
        """
        found = read_map(cells["mask"], self.root, canvas.size)
        mask = torch.where(found == VOID_GREY, VOID, found)
        most = int(mask.max())
        if self.classes and most >= len(self.classes):
            allowed = f"0 to {len(self.classes) - 1} are classes (data.mask_classes), {VOID_GREY} says nothing"
            raise Unreadable(f"unknown class: the mask has a pixel of {most}; {allowed}")
        return mask

    def blank(self, canvas: Canvas) -> Tensor:
        """A mask that says nothing."""
        width, height = canvas.size
        return torch.full((height, width), VOID, dtype=torch.int32)

    def through(self, value: Tensor, place: Place) -> Tensor:
        """The mask ``(h, w)`` of a view."""
        return place.maps(value[None])[0]

    def collate(self, values: Sequence[Tensor]) -> dict[str, Any]:
        """``segmentation (B, H, W)``."""
        return {"segmentation": torch.stack(list(values)).long()}


def read_map(cell: Any, root: Path | None, size: tuple[int, int]) -> Tensor:
    """The numbers ``(H, W)`` int32 in a picture of them.

    Args:
        cell: path, bytes, or ``{"bytes", "path"}``.
        root: the folder that paths are relative to.
        size: width and height that it has to have.

    Raises:
        Unreadable: it cannot be read, holds colours, or has another size.
    """
    with open_image(io.BytesIO(read_bytes(cell, root))) as picture:
        if picture.mode not in _MODES:
            raise Unreadable(f"a {picture.mode} picture is no mask: expected one grey value or index a pixel")
        if picture.size != size:
            came, allowed = (f"{width} x {height}" for width, height in (picture.size, size))
            raise Unreadable(f"mask of another size: {came} pixels on a picture of {allowed}")
        try:
            return torch.from_numpy(np.array(picture, dtype=np.int32))
        except Exception as error:  # decoders raise anything on damaged data
            raise Unreadable(f"damaged mask: {error}") from None
