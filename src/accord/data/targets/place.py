"""The place of a view: maps, boxes and points as the view shows them, cut as its pixels are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from accord.data.augmenting.views import Crop

if TYPE_CHECKING:
    from torchvision import tv_tensors


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
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms.v2 import functional as F

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
        from torchvision.transforms.v2 import functional as F

        cut = F.crop(boxes, *self.window(*boxes.canvas_size))
        left = _areas(cut) / _areas(boxes)
        moved = F.resize(cut, list(self.size))
        return (F.horizontal_flip(moved) if self.flip else moved), left

    def points(self, points: Tensor, canvas: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Points ``(N, 2)``, x and y in pixels of the picture, in those of the view, and which ``(N,)`` it shows.

        Args:
            points: the points.
            canvas: height and width of the picture.

        Example:
            >>> left = Place((0, 0, 0.5, 1), True, (32, 32))
            >>> left.points(torch.tensor([[10.0, 40.0], [60.0, 40.0]]), (80, 80))
            (tensor([[ 24.,  16.],
                    [-16.,  16.]]), tensor([ True, False]))
        """
        top, left, height, width = self.window(*canvas)
        rows, columns = self.size
        moved = (points - torch.tensor([left, top])) * torch.tensor([columns / width, rows / height])
        shown = ((moved >= 0) & (moved <= torch.tensor([columns, rows]))).all(dim=1)
        return torch.stack([columns - moved[:, 0], moved[:, 1]], dim=1) if self.flip else moved, shown


def _areas(boxes: tv_tensors.BoundingBoxes) -> Tensor:
    plain = boxes.as_subclass(Tensor)
    return (plain[:, 2] - plain[:, 0]) * (plain[:, 3] - plain[:, 1])
