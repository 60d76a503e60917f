"""Similarities between embeddings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.functional.checks import as_float, check_same_width


def pairwise_cosine_similarity(a: Tensor, b: Tensor | None = None) -> Tensor:
    """Cosine of every row of ``a`` with every row of ``b``, in float32 even under autocast.

    Args:
        a: ``(A, D)``, any norm; a zero row has cosine 0 with everything.
        b: ``(B, D)``, by default ``a``.

    Returns:
        ``(A, B)``.

    Raises:
        ShapeError: not matrices of equal width.

    Example:
        >>> pairwise_cosine_similarity(torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 9.0]]))
        tensor([[1., 0.]])
    """
    b = a if b is None else b
    check_same_width(a=a, b=b)
    with torch.autocast(a.device.type, enabled=False):
        return F.normalize(as_float(a), dim=1) @ F.normalize(as_float(b), dim=1).T
