"""Cutting views from pictures and clips (torchvision v2 transforms).

A view is a function of the picture and one seed: the global generator is seeded for it and put back afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from accord.data.augmenting.views import Box, Crop, View, centre_box
from accord.data.draws import Draws, Purpose
from accord.data.inputs import ImageInput
from accord.data.reading.frames import Clip

# Principal components of the colours of ImageNet and their standard deviations (Krizhevsky et al. 2012, 4.1;
# the figures are those of the authors' released code).
_COLOUR_STD = torch.tensor([0.2175, 0.0188, 0.0045])
_COLOUR_AXES = torch.tensor(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)  # (RGB, component)

BLUR = (0.1 / 224, 2.0 / 224)  # range of the blur's standard deviation over the side: 0.1 to 2 pixels of 224 (SimCLR)
OVERLAP_TRIES = 10  # draws of a crop that should overlap the first (SlotCon)


def cut_views(seen: Image.Image | Clip, views: Sequence[View], spec: ImageInput, draws: Draws) -> list[Crop]:
    """Every view of one picture or clip, whose first one's place is known to the others; or the evaluation view.

    Args:
        seen: an RGB picture, or a clip, all of whose frames are cut and coloured alike.
        views: as they were expanded; empty for the evaluation view.
        spec: gives size, interpolation and background.
        draws: of the row.
    """
    if not views or not draws.training:
        return [_of_frames(seen, lambda frame: centre_view(frame, spec))]
    seen = seen if isinstance(seen, Image.Image) else _of_one_size(seen)
    seeds = (draws.hashes(Purpose.VIEW, np.arange(len(views))) >> np.uint64(1)).tolist()

    def cut(view: View, seed: int, first: Box | None) -> Crop:
        return _of_frames(seen, lambda frame: make_crop(frame, view, spec, seed, first))

    first = cut(views[0], seeds[0], None)
    return [first, *(cut(view, seed, first.box) for view, seed in zip(views[1:], seeds[1:], strict=True))]


def _of_frames(seen: Image.Image | Clip, cut: Callable[[Image.Image], Crop]) -> Crop:
    """The crop of a picture, or of a clip: that of its first frame, with the pixels of all."""
    if isinstance(seen, Image.Image):
        return cut(seen)
    crops = [cut(frame) for frame in seen]
    return replace(crops[0], pixels=torch.stack([crop.pixels for crop in crops]), timeline=seen.timeline)


def _of_one_size(clip: Clip) -> Clip:
    """Frames as large as the first: the same draws then cut the same part of each."""
    size = clip[0].size
    return replace(clip, frames=tuple(frame if frame.size == size else frame.resize(size) for frame in clip))


def make_crop(image: Image.Image, view: View, spec: ImageInput, seed: int, first: Box | None = None) -> Crop:
    """One augmented view.

    Crop, flip and colours are done on the Pillow image, which at 224 pixels takes half the time of tensors.

    Args:
        image: RGB.
        view: what to do.
        spec: gives size (unless the view has its own) and interpolation.
        seed: decides everything random.
        first: box of the first view's crop, for a view that is to overlap it.

    Example:
        >>> make_crop(Image.new("RGB", (60, 40)), View(size=32), ImageInput(), seed=1).pixels.shape
        torch.Size([3, 32, 32])
    """
    width, height = image.size
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        top, left, h, w = _crop_place(image, view, first)
        crop = _resized_crop(image, (top, left, h, w), view.size or spec.size, spec)
        flip = _happens(view.flip)
        crop = _colours(F.horizontal_flip(crop) if flip else crop, view)
        if view.rand_augment:
            crop = _rand_augment(crop, *view.rand_augment, spec.background)
        if view.auto_augment:
            crop = v2.AutoAugment(interpolation=InterpolationMode.BILINEAR, fill=list(spec.background))(crop)
        lighting = _COLOUR_AXES @ (_COLOUR_STD * view.lighting * torch.randn(3))
        pixels = _erased(to_pixels(crop), view.erase, spec)
    box = (left / width, top / height, (left + w) / width, (top + h) / height)
    return Crop(pixels, box, flip, lighting)


def _crop_place(image: Image.Image, view: View, first: Box | None) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random crop, in pixels."""
    place: tuple[int, int, int, int] = v2.RandomResizedCrop.get_params(image, list(view.scale), list(view.ratio))
    if first is None or not view.overlap:
        return place
    width, height = image.size
    x0, y0, x1, y1 = first[0] * width, first[1] * height, first[2] * width, first[3] * height
    for _ in range(OVERLAP_TRIES):
        top, left, h, w = place
        common = max(0.0, min(x1, left + w) - max(x0, left)) * max(0.0, min(y1, top + h) - max(y0, top))
        if common >= view.overlap * h * w:
            break
        place = v2.RandomResizedCrop.get_params(image, list(view.scale), list(view.ratio))
    return place


def centre_crop(image: Image.Image, spec: ImageInput) -> Tensor:
    """The pixels ``(3, size, size)`` uint8 of the evaluation view, see :func:`centre_view`."""
    return centre_view(image, spec).pixels


def centre_view(image: Image.Image, spec: ImageInput) -> Crop:
    """The evaluation view: the middle ``spec.crop`` of the shorter side, or all, resized to ``(3, size, size)``.

    The same picture as resizing the shorter side to ``size / crop`` and cutting out the centre, but without ever
    making the whole picture large (a 1 x 10,000 one would become 224 x 2,240,000).
    """
    width, height = image.size
    box = centre_box(width, height, spec)
    left, top, right, bottom = (round(share * side) for share, side in zip(box, (width, height) * 2, strict=True))
    pixels = to_pixels(_resized_crop(image, (top, left, bottom - top, right - left), spec.size, spec))
    return Crop(pixels, box, flip=False, lighting=torch.zeros(3))


def to_pixels(image: Image.Image) -> Tensor:
    """An RGB picture as ``(3, H, W)`` uint8.

    >>> to_pixels(Image.new("RGB", (4, 2))).shape
    torch.Size([3, 2, 4])
    """
    return F.pil_to_tensor(image)


def _resized_crop(image: Image.Image, box: tuple[int, int, int, int], size: int, spec: ImageInput) -> Image.Image:
    mode = InterpolationMode(spec.interpolation)
    return F.resized_crop(image, *box, [size, size], interpolation=mode, antialias=True)


def _colours(image: Image.Image, view: View) -> Image.Image:
    if view.jitter and _happens(view.jitter_p):
        image = _jitter(view.jitter)(image)
    if _happens(view.gray):
        image = F.rgb_to_grayscale(image, num_output_channels=3)
    if _happens(view.blur):
        low, high = BLUR
        image = image.filter(ImageFilter.GaussianBlur(image.width * (low + (high - low) * float(torch.rand(())))))
    if _happens(view.solarize):
        image = F.solarize(image, threshold=128)
    return image


def _erased(pixels: Tensor, probability: float, spec: ImageInput) -> Tensor:
    """The pixels with a box of the mean colour in them, or as they are."""
    if not _happens(probability):
        return pixels
    colour = [round(255 * share) for share in spec.mean]
    return v2.RandomErasing(p=1.0, value=colour)(pixels)


def _rand_augment(image: Image.Image, operations: int, strength: float, fill: tuple[int, int, int]) -> Image.Image:
    """Operations drawn with replacement (RandAugment; Cubuk et al. 2020), of those that leave the hue alone.

    At full strength they are AutoAugment's (Cubuk et al. 2019): brightness and sharpness ±90 %, shear by 0.3, shift by
    150/331 of the side, rotation by 30°. Signs are random; ``fill`` comes in from outside.
    """
    for _ in range(operations):
        number, sign = int(torch.randint(len(_OPERATIONS), ())), 1 - 2 * int(torch.randint(2, ()))
        image = _OPERATIONS[number](image, sign * strength, fill)
    return image


def _moved(image: Image.Image, fill: tuple[int, int, int], **change: Any) -> Image.Image:
    still: dict[str, Any] = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
    return F.affine(image, **still | change, interpolation=InterpolationMode.BILINEAR, fill=list(fill))


_SHEAR, _SHIFT, _TURN = math.degrees(math.atan(0.3)), 150 / 331, 30.0  # degrees, share of the side, degrees
_OPERATIONS: tuple[Callable[[Image.Image, float, tuple[int, int, int]], Image.Image], ...] = (
    lambda image, m, fill: image,
    lambda image, m, fill: F.autocontrast(image),
    lambda image, m, fill: F.equalize(image),
    lambda image, m, fill: F.adjust_brightness(image, 1 + 0.9 * m),
    lambda image, m, fill: F.adjust_sharpness(image, 1 + 0.9 * m),
    lambda image, m, fill: _moved(image, fill, shear=[m * _SHEAR, 0.0]),
    lambda image, m, fill: _moved(image, fill, shear=[0.0, m * _SHEAR]),
    lambda image, m, fill: _moved(image, fill, translate=[round(m * _SHIFT * image.width), 0]),
    lambda image, m, fill: _moved(image, fill, translate=[0, round(m * _SHIFT * image.height)]),
    lambda image, m, fill: _moved(image, fill, angle=m * _TURN),
)


def _happens(probability: float) -> bool:
    return float(torch.rand(())) < probability


@lru_cache(maxsize=64)
def _jitter(strengths: tuple[float, float, float, float]) -> v2.ColorJitter:
    return v2.ColorJitter(*strengths)
