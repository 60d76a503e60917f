"""Rows against centroids some rows at a time, so that memory is linear in the number of rows."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

# Similarities per block: 4 MiB in float32. With it the plain product was as fast on two cores as the flat index of
# faiss from 2,000 × 10 (64-d) to 50,000 × 2,000 (128-d) rows × centroids, or faster, so faiss is not used.
BLOCK_ELEMENTS = 1 << 20


def inertia_of(x: Tensor, centroids: Tensor, labels: Tensor) -> Tensor:
    """Sum of the squared distances of rows to their centroids; from differences: exact also in tight clusters."""
    parts = [(x[rows] - centroids[labels[rows]]).square().sum() for rows in blocks_of(len(x), x.shape[1])]
    return torch.stack(parts).sum()


def blocks_of(rows: int, width: int) -> Iterator[slice]:
    """Slices of rows such that ``rows in slice × width`` stays below ``BLOCK_ELEMENTS``."""
    step = max(1, BLOCK_ELEMENTS // max(1, width))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
