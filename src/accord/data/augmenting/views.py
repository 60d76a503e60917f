"""Augmented views, as a method declares them, and what comes of one; they are cut in :mod:`.crops`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor

from accord.data.inputs import ImageInput
from accord.data.reading.frames import Timeline

if TYPE_CHECKING:
    from accord.data.augmenting.text_views import TextView

Box = tuple[float, float, float, float]  # x0, y0, x1, y1, relative to width and height
Declared = TypeVar("Declared", "View", "TextView")

# Changes of colour as in SimCLR (Chen et al. 2020) at the strength of MoCo v2: settings of a :class:`View`.
STRONG_COLOURS: dict[str, Any] = {"jitter": (0.4, 0.4, 0.4, 0.1), "jitter_p": 0.8, "gray": 0.2, "blur": 0.5}


@dataclass(frozen=True)
class View:
    """One kind of augmented view of an image.

    Args:
        size: side in pixels, or None for the encoder's own input size.
        scale: range of the crop's area as a share of the image.
        ratio: range of the crop's aspect ratio.
        flip: probability of a horizontal flip.
        jitter: colour jitter (brightness, contrast, saturation, hue) or None.
        jitter_p: probability of the colour jitter.
        gray: probability of dropping colour.
        blur: probability of a Gaussian blur, whose width is a share of the view's side.
        solarize: probability of solarisation.
        lighting: standard deviation of PCA colour noise (AlexNet), 0 for none.
        rand_augment: how many random operations follow and how strong they are, in (0, 1]; None for none. The view's
            box does not know that some of them move the picture.
        auto_augment: whether two of the operations follow that AutoAugment learnt for ImageNet (Cubuk et al. 2019);
            they change colours, and some move the picture.
        erase: probability that a box of the view, a fiftieth to a third of its area, is blanked out with the colour
            that the encoder takes for nothing (Zhong et al. 2020), in all frames of a clip the same.
        count: how many such views (multi-crop).
        overlap: share of the crop's area that the first view's crop should have in common with it; ten draws are made
            for it, and if none meets it the crop is drawn without it.
    """

    size: int | None = None
    scale: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: tuple[float, float, float, float] | None = None
    jitter_p: float = 1.0
    gray: float = 0.0
    blur: float = 0.0
    solarize: float = 0.0
    lighting: float = 0.0
    rand_augment: tuple[int, float] | None = None
    auto_augment: bool = False
    erase: float = 0.0
    count: int = 1
    overlap: float = 0.0


def byol_views(scale: tuple[float, float], flip: float = 0.5, *, colour: bool = True) -> tuple[View, View]:
    """The two views of BYOL (Grill et al. 2020, appendix B), which are blurred and solarised unequally.

    Args:
        scale: area range of both crops.
        flip: probability of mirroring.
        colour: False leaves colours, blur and solarisation out.

    Example:
        >>> first, second = byol_views((0.2, 1.0))
        >>> first.blur, second.blur, second.solarize
        (1.0, 0.1, 0.2)
    """
    plain = View(scale=scale, flip=flip)
    if not colour:
        return plain, plain
    jittered = replace(plain, jitter=(0.4, 0.4, 0.2, 0.1), jitter_p=0.8, gray=0.2)
    return replace(jittered, blur=1.0), replace(jittered, blur=0.1, solarize=0.2)


@dataclass(frozen=True)
class Crop:
    """What a view shows of a picture or clip, and how it came about; all frames of a clip share box, flip and colours.

    Args:
        pixels: ``(3, h, w)`` uint8, of a clip ``(T, 3, h, w)``.
        box: x0, y0, x1, y1 of the crop, relative to the picture's width and height.
        flip: whether it was mirrored left to right, after cropping.
        lighting: ``(3,)`` colour shift to add before normalisation, in units of [0, 1].
        timeline: of a clip, which of its frames these are.
    """

    pixels: Tensor
    box: Box
    flip: bool
    lighting: Tensor
    timeline: Timeline | None = None


def expand(views: Sequence[Declared]) -> tuple[Declared, ...]:
    """Each view as often as its ``count`` says, in declared order.

    >>> [view.size for view in expand([View(size=224), View(size=96, count=2)])]
    [224, 96, 96]
    """
    return tuple(replace(view, count=1) for view in views for _ in range(view.count))


def centre_box(width: int, height: int, spec: ImageInput) -> Box:
    """What the evaluation view shows of a picture of that size.

    >>> centre_box(200, 100, ImageInput(crop=0.5))
    (0.375, 0.25, 0.625, 0.75)
    >>> centre_box(200, 100, ImageInput(place=1.0))
    (0.5, 0.0, 1.0, 1.0)
    """
    if spec.squeeze and spec.place is None:
        return 0.0, 0.0, 1.0, 1.0
    side = max(1, round(min(height, width) * (spec.crop if spec.place is None else 1)))
    place = 0.5 if spec.place is None else spec.place
    top, left = (int((length - side) * place) for length in (height, width))
    return left / width, top / height, (left + side) / width, (top + side) / height
