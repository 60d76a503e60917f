"""One forward pass over views of several sizes (multi-crop; Caron et al. 2020, NeurIPS, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

import torch
from torch import Tensor

from accord.data.loading.features import Features


def pooled_views(encoder: Callable[..., Features], views: Sequence[Tensor | Features]) -> Tensor:
    """The encoder's vectors of all views, view after view.

    Neighbouring views of one size go through the encoder together, so that its batch norm sees one resolution at a
    time; views that are features already stay as they are.

    Args:
        encoder: gives ``pooled``.
        views: V batches ``(B, 3, H_v, W_v)``, or their features.

    Returns:
        ``(V·B, D)``, view-major.

    Example:
        >>> from accord.encoders import build_encoder
        >>> encoder = build_encoder("image", {"name": "tiny_resnet", "width": 16})
        >>> large, small = torch.zeros(3, 3, 64, 64), torch.zeros(3, 3, 32, 32)
        >>> pooled_views(encoder, [large, large, small]).shape
        torch.Size([9, 16])
    """
    parts = []
    for _, same in groupby(views, key=lambda view: view.shape[-2:] if isinstance(view, Tensor) else None):
        found = list(same)
        pixels = [view for view in found if isinstance(view, Tensor)]
        parts += [encoder(torch.cat(pixels)).pooled] if pixels else [encoder(view).pooled for view in found]
    return torch.cat(parts)
