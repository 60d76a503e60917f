"""What the losses are compared with: other libraries' implementations, and direct forms where there is none."""

from __future__ import annotations

import math
from collections.abc import Callable
from inspect import signature
from itertools import combinations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Call = Callable[..., Tensor]


def clip_loss() -> Call:
    """Symmetric InfoNCE of open_clip."""
    from open_clip.loss import ClipLoss

    return ClipLoss()


def chunked_clip_loss(image: Tensor, text: Tensor, scale: Tensor, rows: int = 1024) -> Tensor:
    """Symmetric InfoNCE, some rows at a time, whose logits are computed again for the gradient."""

    def part(a: Tensor, b: Tensor, start: int) -> Tensor:
        logits = scale * a[start : start + rows] @ b.T
        own = torch.arange(start, start + len(logits), device=a.device)
        return torch.nn.functional.cross_entropy(logits, own, reduction="sum")

    sums = [
        checkpoint(part, a, b, start, use_reentrant=False)
        for a, b in ((image, text), (text, image))
        for start in range(0, len(a), rows)
    ]
    return torch.stack(sums).sum() / (2 * len(image))


def siglip_loss() -> Call:
    """Pairwise sigmoid loss of open_clip, in chunks of 1024 rows where its release has them."""
    from open_clip.loss import SigLipLoss

    chunked = "chunk_size" in signature(SigLipLoss).parameters
    return SigLipLoss(**({"chunk_size": 1024} if chunked else {}))


def lightly_nt_xent() -> Call:
    """NT-Xent of lightly."""
    from lightly.loss import NTXentLoss

    return NTXentLoss(temperature=0.1)


def metric_learning_supcon(labels: Tensor) -> Call:
    """Supervised contrast of pytorch-metric-learning, with the given labels."""
    from pytorch_metric_learning.losses import SupConLoss

    loss = SupConLoss(temperature=0.1)
    return lambda z: loss(z, labels)


def lightly_sinkhorn(epsilon: float) -> Call:
    """Sinkhorn-Knopp of lightly."""
    from lightly.loss.swav_loss import sinkhorn

    return lambda scores: sinkhorn(scores, epsilon=epsilon)


def lightly_swav() -> Call:
    """Swapped prediction of lightly; the first two views are the large crops."""
    from lightly.loss import SwaVLoss

    loss = SwaVLoss()
    return lambda *scores: loss(list(scores[:2]), list(scores[2:]))


def einsum_late_interaction(image: Tensor, text: Tensor) -> Tensor:
    """All token similarities in one tensor, and the maximum over either side."""
    similarity = torch.einsum("and,bmd->abnm", image, text)
    return (similarity.amax(dim=3).mean(dim=2) * 14.3).logsumexp(dim=1).mean() + (
        similarity.amax(dim=2).mean(dim=2) * 14.3
    ).logsumexp(dim=0).mean()


def det_volume(anchor: Tensor, *others: Tensor) -> Tensor:
    """Every Gram matrix, and its determinant."""
    n = 1 + len(others)
    rows, columns = len(anchor), len(others[0])
    gram = [[torch.empty(0)] * n for _ in range(n)]
    gram[0][0] = (anchor * anchor).sum(dim=1)[:, None].expand(rows, columns)
    for p, a in enumerate(others, start=1):
        gram[0][p] = gram[p][0] = anchor @ a.T
        for q, b in enumerate(others, start=1):
            gram[p][q] = (a * b).sum(dim=1).expand(rows, columns)
    matrix = torch.stack([torch.stack(row, dim=-1) for row in gram], dim=-2)  # (rows, columns, n, n)
    return torch.linalg.det(matrix).abs().sqrt()


def loop_mv_infonce(*views: Tensor) -> Tensor:
    """Every pair of views has its own matrix of similarities, as one writes it at first."""
    tau, m = 0.2, len(views[0])
    own = torch.eye(m, dtype=torch.bool)
    below, above = [], []
    for a in range(len(views)):
        for b in range(len(views)):
            logits = views[a] @ views[b].T / tau
            above += [logits.diagonal()] if a != b else []
            below.append(logits.masked_fill(own, -math.inf).logsumexp(dim=1) if a == b else logits.logsumexp(dim=1))
    return (torch.stack(below).logsumexp(dim=0) - torch.stack(above).logsumexp(dim=0)).mean()


def loop_mv_dhel(*views: Tensor) -> Tensor:
    """DHEL's uniformity for each pair of views, counted once per view, and the joint positive."""
    tau, n, own = 0.2, len(views), torch.eye(len(views[0]), dtype=torch.bool)
    spread, above = torch.zeros(len(views[0])), []
    for a, b in combinations(range(n), 2):
        for view in (views[a], views[b]):
            level = (view @ view.T / tau).masked_fill(own, -math.inf).logsumexp(dim=1)
            spread = spread + level / (n - 1)
        above.append((views[a] * views[b]).sum(dim=1) / tau)
    return (spread - torch.stack(above).logsumexp(dim=0)).mean()
