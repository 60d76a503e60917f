"""k-means for millions of rows: a random batch in every round (Sculley 2010, WWW)."""

from __future__ import annotations

import torch
from torch import Tensor

from accord.functional.checks import as_float, check_finite, check_ndim, check_range
from accord.functional.clusters.blocks import inertia_of
from accord.functional.clusters.k_means import assign_to_nearest, class_means
from accord.functional.clusters.starts import far_rows, seeded


@torch.no_grad()
def mini_batch_kmeans(
    x: Tensor, k: int, *, batch_size: int = 4096, n_iter: int = 100, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """k-means that looks at a random batch in every round: for millions of rows (Sculley 2010, Algorithm 1).

    Every centroid is the mean of all rows that the batches have given it so far.

    Args:
        x: ``(N, D)``; finite.
        k: number of clusters.
        batch_size: rows per round, drawn with replacement; at least k, and at most N are used.
        n_iter: number of rounds.
        seed: of start and batches.

    Returns:
        As :func:`kmeans`; all N rows are assigned once at the end.

    Raises:
        ShapeError: ``x`` is not a matrix.
        ValueError: a row that is not finite, k outside [1, N], a batch smaller than k, fewer than one round.

    Example:
        >>> x = torch.tensor([[0.0], [10.0]]).repeat(50, 1)
        >>> labels, centroids, inertia = mini_batch_kmeans(x, k=2, batch_size=20)
        >>> centroids.flatten().sort().values
        tensor([ 0., 10.])
    """
    check_ndim(2, x=x)
    check_range(1, len(x), k=k)
    check_range(k, max(batch_size, k), batch_size=batch_size)
    check_range(1, max(n_iter, 1), n_iter=n_iter)
    check_finite(x=x)
    with torch.autocast(x.device.type, enabled=False):
        x = as_float(x)
        size, generator = min(batch_size, len(x)), seeded(seed)

        def draw() -> Tensor:
            return x[torch.randint(len(x), (size,), generator=generator).to(x.device)]

        first = x[torch.randperm(len(x), generator=generator)[:size].to(x.device)]
        centroids = far_rows(first, k, None, generator)
        seen = x.new_zeros(k)
        for _ in range(n_iter):
            batch = draw()
            labels, _ = assign_to_nearest(batch, centroids)
            mean, count = class_means(batch, labels, k)
            seen = seen + count
            centroids = centroids + (mean - centroids) * (count / seen.clamp(min=1))[:, None]
        labels, _ = assign_to_nearest(x, centroids)
        return labels, centroids, inertia_of(x, centroids, labels)
