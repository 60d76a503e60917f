"""Embeddings of several modalities in one plane."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import ArrayLike

from accord.diagnostics.plane import principal_plane


def project(
    embeddings: Mapping[str, ArrayLike], limit: int = 300, seed: int = 0
) -> dict[str, list[tuple[float, float]]]:
    """The first two principal components of all embeddings together, so that a gap between modalities stays visible.

    Args:
        embeddings: modality -> ``(N, D)``, equal D.
        limit: at most that many rows of each modality, the same rows where the modalities have equally many.
        seed: draws the rows.

    Returns:
        modality -> points.

    Example:
        >>> points = project({"image": [[1.0, 0.0], [0.9, 0.1]], "text": [[0.0, 1.0], [0.1, 0.9]]})
        >>> [len(group) for group in points.values()]
        [2, 2]
    """
    groups = {name: _draw(np.asarray(rows, dtype=np.float32), limit, seed) for name, rows in embeddings.items()}
    plane = principal_plane({name: torch.from_numpy(rows) for name, rows in groups.items()})
    return {name: [(x, y) for x, y in rows.tolist()] for name, rows in plane.points.items()}


def _draw(rows: np.ndarray, limit: int, seed: int) -> np.ndarray:
    order = np.random.default_rng(seed).permutation(len(rows))[:limit]
    return rows[np.sort(order)]
