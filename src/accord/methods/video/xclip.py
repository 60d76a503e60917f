"""X-CLIP: Expanding Language-Image Pretrained Models for General Video Recognition (Ni et al., ECCV 2022).

Clips are classified by texts, the class names, which are corrected by what each clip shows
(:mod:`accord.methods.video.recognition`). The vision tower whose frames exchange messages is the encoder
``cross_frame``. Other names can be put in the place of those of training.
"""

from __future__ import annotations

from typing import ClassVar

from accord import config as settings
from accord.methods.video.recognition import ClipRecognition, RecognitionConfig


class XclipConfig(RecognitionConfig):
    """Settings of :class:`Xclip`; defaults from the paper and its reference training code."""


class Xclip(ClipRecognition):
    """X-CLIP over any video encoder that gives patches and any text encoder.

    Batch keys: ``video (B, T, 3, H, W)``, ``video_mask (B, T)``, ``label (B,)`` or ``(B, C)``.

    Example:
        >>> import torch
        >>> from accord.encoders import build_encoder
        >>> from accord.methods import DataInfo
        >>> names = ("moves left", "moves right")
        >>> tower = {"name": "cross_frame", "size": 16, "width": 64, "depth": 1, "frames": 4}
        >>> encoders = {"video": build_encoder("video", tower), "text": build_encoder("text", "tiny_text", texts=names)}
        >>> xclip = Xclip({}, encoders, DataInfo(classes=names, definitions=names))
        >>> xclip.classify({"video": torch.zeros(3, 4, 3, 16, 16)}).shape
        torch.Size([3, 2])
    """

    name: ClassVar[str] = "xclip"
    tower: ClassVar[str] = "cross_frame"
    Config: ClassVar[type[settings.Config]] = XclipConfig
    config: XclipConfig
