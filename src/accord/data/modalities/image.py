"""Pictures: paths, encoded bytes or PIL images; cut into a method's views, normalised as the encoder wants them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from accord.data.augmenting.pixels import Pixels
from accord.data.augmenting.views import Crop, View
from accord.data.draws import Draws
from accord.data.inputs import ImageInput
from accord.data.modalities.base import Modality, Reading
from accord.data.reading.media import IMAGE_SUFFIXES, WHITE, is_image, read_image
from accord.errors import DataError


class Images(Modality):
    """RGB pictures. A value is a PIL image; cut, it is one ``Crop`` for each view."""

    name = "image"
    argument = "images"
    item, items = "picture", "pictures"
    example = "cat.png"
    suffixes = IMAGE_SUFFIXES
    even = True
    views_from = "views"

    def knows(self, content: bytes) -> bool:
        """PNG, JPEG, WebP, GIF, BMP, TIFF and AVIF."""
        return is_image(content)

    def read(self, cell: Any, reading: Reading) -> Any:
        """The picture, upright, transparent parts over the background that the encoder wants."""
        return read_image(cell, reading.root, background_of(reading.spec))

    def blank(self, spec: Any) -> Any:
        """A small black picture."""
        return Image.new("RGB", (8, 8))

    def cut(self, value: Any, spec: Any, views: Sequence[View], draws: Draws) -> list[Crop]:
        """One crop for each view, or that of the evaluation view."""
        from accord.data.augmenting.crops import (
            cut_views,  # torchvision, which takes seconds and which words do without
        )

        return cut_views(value, views, image_input(spec), draws)

    def collate(
        self, field: str, values: Sequence[Sequence[Crop]], spec: Any, views: Sequence[View], draws: Draws
    ) -> dict[str, Any]:
        """``FIELD (B, 3, H, W)``, the first view; with views ``view_boxes (B, V, 4)`` and ``view_flips (B, V)``, with
        several ``FIELD_views``, a list of all."""
        stacked = [self.stack(column, image_input(spec), spec) for column in zip(*values, strict=True)]
        batch: dict[str, Any] = {field: stacked[0]}
        if views and draws.training:
            batch["view_boxes"] = torch.tensor([[crop.box for crop in row] for row in values])
            batch["view_flips"] = torch.tensor([[crop.flip for crop in row] for row in values])
        return batch | ({f"{field}_views": stacked} if len(stacked) > 1 else {})

    def stack(self, crops: Sequence[Crop], image: ImageInput, spec: Any) -> Pixels:
        """One view of all rows."""
        return Pixels(torch.stack([crop.pixels for crop in crops]), image, lighting_of(crops))

    def picture(self, cell: Any, root: Path | None, side: int) -> Image.Image | None:
        """The picture, made smaller."""
        seen = read_image(cell, root)
        seen.thumbnail((side, side))
        return seen

    def cell(self, item: Any, position: int) -> Any:
        """Of a path, bytes or a PIL image."""
        if isinstance(item, Image.Image):
            stream = io.BytesIO()
            item.save(stream, format="PNG", compress_level=1)
            return {"bytes": stream.getvalue(), "path": None}
        if isinstance(item, bytes | str | Path):
            return super().cell(item, position)
        raise DataError(f"item {position} is a {type(item).__name__}; expected a path, bytes or a PIL image")


def image_input(spec: Any) -> ImageInput:
    """What a picture, or a frame of a clip, is prepared for."""
    found: ImageInput = getattr(spec, "image", spec)
    return found


def background_of(spec: Any) -> tuple[int, int, int]:
    """The RGB colour under transparent pixels."""
    return getattr(image_input(spec), "background", WHITE)


def lighting_of(crops: Sequence[Crop]) -> Tensor | None:
    """The colour shifts ``(B, 3)`` of a view, or None where there are none."""
    shifts = torch.stack([crop.lighting for crop in crops])
    return shifts if bool(shifts.any()) else None


MODALITY: Modality = Images()
