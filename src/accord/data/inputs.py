"""What an encoder wants to be fed: the one place where pixels, samples and words get their numbers.

An encoder states its ``Input``; the data layer builds batches from it; the saved artifact records it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ImageInput:
    """Size and normalisation of an image: ``(x - mean) / std`` with x in [0, 1].

    Args:
        size: height and width in pixels of the network's input.
        mean: per-channel mean.
        std: per-channel standard deviation.
        interpolation: ``"bilinear"`` or ``"bicubic"``.
        crop: share of the shorter side kept by the centre crop at evaluation (0.875 is 224 out of 256).
        background: RGB colour put under transparent pixels.
        squeeze: whether the whole picture is pressed into the square at evaluation, whatever its shape (SigLIP).
        place: of several evaluation views along the longer side, which one: a square as large as the shorter side
            allows, from 0 for the first to 1 for the last; None for the one view in the middle.
    """

    size: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: str = "bilinear"
    crop: float = 1.0
    background: tuple[int, int, int] = (255, 255, 255)
    squeeze: bool = False
    place: float | None = None


@dataclass(frozen=True)
class VideoInput:
    """``frames`` frames of a clip, each prepared as ``image`` says.

    Args:
        image: size and normalisation of a frame.
        frames: how many; a shorter clip gives all it has.
        sampling: ``"segments"``, one of each of equal segments (any in training, else the middle one), ``"dense"``, a
            run of frames (from any start in training, else the middle of the clip), or ``"around"``: any frame, and
            others near it (CTVIS), else as ``"segments"``.
        stride: distance of the frames of a dense run.
        span: how many frames away from the first one the others may be, around it.
        rate: frames a second of clips that do not say when their frames are shown, such as folders of pictures.
        moment: where in its segment a frame lies at evaluation, and where in the clip a dense run, in [0, 1].
    """

    image: ImageInput = ImageInput()
    frames: int = 8
    sampling: Literal["segments", "dense", "around"] = "segments"
    stride: int = 1
    span: int = 20
    rate: float = 1.0
    moment: float = 0.5


@dataclass(frozen=True)
class AudioInput:
    """Log-mel spectrogram: ``mels`` bands, at most ``seconds`` long, ``hop`` and ``window`` in samples."""

    sample_rate: int = 16_000
    mels: int = 80
    window: int = 400
    hop: int = 160
    seconds: float = 10.0


class Tokenizer(Protocol):
    """Turns texts into a batch."""

    def __call__(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Return token ids ``(B, L)`` int64 and mask ``(B, L)`` bool, True on real tokens."""
        ...


@dataclass(frozen=True)
class TextInput:
    """The tokenizer of a text encoder.

    Args:
        tokenizer: makes ids of texts.
        takes: which texts of a row: ``"one"``, drawn in training and else the first; ``"all"``; or ``"common"``, those
            that stand there as often as any other or three times (what people agree on of the answers to a question).
    """

    tokenizer: Tokenizer
    takes: Literal["one", "all", "common"] = "one"


@dataclass(frozen=True)
class SequenceInput:
    """Precomputed features of ``length`` steps.

    Args:
        dim: width F of a step.
        length: steps T of a batch.
        sampling: what a longer or shorter sequence becomes. ``"uniform"``: T steps at ``floor(linspace(0, n - 1, T))``,
            a shorter one is padded (CiCo; MACIL-SD). ``"slots"``: means of T equal spans, a shorter one repeats steps
            (G2L). ``"window"``: T steps in a row, from any start in training and else from the middle; a shorter one is
            padded. ``"first"``: the first T steps, likewise.
        seconds_per_step: from the start of one step to that of the next.
        unit_norm: make each step a vector of length 1 first.
        whole: keep all steps outside of training; batches are then as long as their longest row.
    """

    dim: int
    length: int = 64
    sampling: Literal["uniform", "slots", "window", "first"] = "uniform"
    seconds_per_step: float = 1.0
    unit_norm: bool = False
    whole: bool = False


@dataclass(frozen=True)
class GraphInput:
    """A typed graph: feature width of each node type, relations, and the node type that is encoded."""

    nodes: dict[str, int]
    edges: tuple[tuple[str, str, str], ...]
    target: str


Input = ImageInput | VideoInput | AudioInput | TextInput | GraphInput | SequenceInput


def describe(value: ImageInput | VideoInput | AudioInput | SequenceInput) -> dict[str, Any]:
    """The plain dict that ``config.yaml`` records.

    >>> describe(ImageInput(size=64))["size"]
    64
    """
    return asdict(value)
