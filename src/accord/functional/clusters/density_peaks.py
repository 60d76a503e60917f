"""Clusters around density peaks: tokens of a sequence are merged where they lie close together.

Density peaks (Rodriguez and Laio 2014, Science) with a density from the k nearest neighbours (Du et al. 2016), as in
TCFormer (Zeng et al. 2022, CVPR) and HBI (Jin et al. 2023, CVPR). All sequences of a batch at once; padding counts for
nothing, so that what becomes of a sequence does not depend on how far its batch was padded.
"""

from __future__ import annotations

import torch
from torch import Tensor

from accord.functional.checks import as_float, check_ndim, check_range, check_shape

EPS = 1e-6  # keeps a cluster without weight from dividing by zero


@torch.no_grad()
def dpc_knn(
    x: Tensor, clusters: int | Tensor, k: int = 5, mask: Tensor | None = None, noise: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Cluster of each token, by density peaks.

    The density of a token is ρ = exp(-mean d²) over its k nearest tokens, itself among them, with d the Euclidean
    distance over √D; δ is its distance to the nearest token of higher density, or to the farthest one where there is
    none. The tokens with the largest ρ δ are centres, and every other token joins the nearest centre. Of equal
    densities the earlier token's counts as the higher one.

    Args:
        x: ``(B, N, D)`` tokens.
        clusters: how many; or ``(B,)`` int64, how many of each sequence. A sequence has at most as many as real tokens.
        k: neighbours of the density; fewer in a sequence that has fewer tokens.
        mask: ``(B, N)`` bool, False for padding, which is nobody's neighbour and no centre.
        noise: ``(B, N)`` added to the densities, such as uniform up to 1e-6, to break ties by chance.

    Returns:
        ``(B, N)`` int64 number of the cluster, 0 for padding; and ``(B, K)`` int64 positions of the centres, largest
        ρ δ first, N where each sequence has a number of its own. A sequence with fewer has its own first. Without
        gradient.

    Raises:
        ShapeError: shapes that do not fit.
        ValueError: no cluster, more than N, or no neighbour.

    Example:
        >>> x = torch.tensor([[[0.0], [0.1], [5.0], [5.1], [5.2]]])
        >>> ids, centres = dpc_knn(x, clusters=2, k=2)
        >>> ids.tolist(), len(centres[0])
        ([[0, 0, 1, 1, 1]], 2)
    """
    check_ndim(3, x=x)
    rows, count, width = x.shape
    check_range(1, max(k, 1), k=k)
    most = count if isinstance(clusters, Tensor) else clusters  # the largest of a tensor would have to be waited for
    check_range(1, count, clusters=most)
    real = torch.ones(rows, count, dtype=torch.bool, device=x.device) if mask is None else mask
    check_shape((rows, count), mask=real)
    with torch.autocast(x.device.type, enabled=False):
        x = as_float(x)
        # from differences: a product of matrices would not give 0 for a token and itself
        distance = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist") / width**0.5
        density = _density(distance.masked_fill(~real[:, None], torch.inf), min(k, count))
        density = density if noise is None else density + noise.to(density)
        peak = (density * _separation(distance, density, real)).masked_fill(~real, -torch.inf)
    centres = peak.argsort(dim=1, descending=True, stable=True)[:, :most]
    wanted = torch.as_tensor(clusters, device=x.device).expand(rows).minimum(real.sum(dim=1)).clamp(min=1)
    held = torch.arange(most, device=x.device) < wanted[:, None]  # (B, K)
    nearest = distance.take_along_dim(centres[:, None], dim=2).masked_fill(~held[:, None], torch.inf)  # (B, N, K)
    own = (centres[:, None] == torch.arange(count, device=x.device)[:, None]) & held[:, None]
    return nearest.masked_fill(own, -1.0).argmin(dim=2).masked_fill(~real, 0), centres


def merge_tokens(x: Tensor, ids: Tensor, clusters: int, weight: Tensor) -> Tensor:
    """One token for each cluster: ``Σ_n w_n x_n / (Σ_n w_n + 1e-6)`` over its members.

    Args:
        x: ``(B, N, D)`` tokens.
        ids: ``(B, N)`` int64 cluster of each, below ``clusters``.
        clusters: K.
        weight: ``(B, N)`` not negative, 0 for padding.

    Returns:
        ``(B, K, D)``; 0 for a cluster without weight.

    Raises:
        ShapeError: shapes that do not fit.

    Example:
        >>> merge_tokens(torch.tensor([[[2.0], [4.0], [9.0]]]), torch.tensor([[0, 0, 1]]), 2, torch.ones(1, 3)).round()
        tensor([[[3.],
                 [9.]]])
    """
    check_ndim(3, x=x)
    check_shape(tuple(x.shape[:2]), ids=ids, weight=weight)
    with torch.autocast(x.device.type, enabled=False):
        x, weight = as_float(x), as_float(weight)
        member = (ids[:, None] == torch.arange(clusters, device=x.device)[:, None]) * weight[:, None].to(x)  # (B, K, N)
        return member @ x / (member.sum(dim=2, keepdim=True) + EPS)


def clusters_of(tokens: Tensor, ratio: float, fewest: int = 1) -> Tensor:
    """How many clusters sequences of that many tokens get: the share ``ratio``, rounded up, and one at least.

    Args:
        tokens: ``(B,)`` number of real tokens.
        ratio: in (0, 1].
        fewest: what each gets at least, if it has as many tokens.

    Returns:
        ``(B,)`` int64.

    Example:
        >>> clusters_of(torch.tensor([24, 5, 0]), 0.25)
        tensor([6, 2, 1])
    """
    share = (tokens * ratio - 1e-4).ceil().long()  # 0.7 of 10 is 7, whatever the product's last bit
    return share.maximum(tokens.clamp(max=fewest)).clamp(min=1)


def _density(distance: Tensor, k: int) -> Tensor:
    """``(B, N)`` from distances ``(B, N, N)``, infinite to padding: of the k nearest those that are real."""
    square = distance.square().topk(k, dim=2, largest=False).values
    near = square.isfinite()
    return torch.exp(-square.where(near, 0.0).sum(dim=2) / near.sum(dim=2).clamp(min=1))


def _separation(distance: Tensor, density: Tensor, real: Tensor) -> Tensor:
    """``(B, N)`` distance to the nearest real token of higher density, or to the farthest real token."""
    place = torch.arange(distance.shape[1], device=distance.device)
    tied = (density[:, None] == density[:, :, None]) & (place < place[:, None])
    higher = ((density[:, None] > density[:, :, None]) | tied) & real[:, None]  # (B, N, N): whether the second is
    farthest = distance.masked_fill(~real[:, None], 0.0).amax(dim=2)
    nearest = distance.masked_fill(~higher, torch.inf).amin(dim=2)
    return nearest.where(higher.any(dim=2), farthest)
