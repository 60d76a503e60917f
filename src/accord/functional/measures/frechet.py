"""The Fréchet distance between two sets of embeddings, as if each were normally distributed."""

from __future__ import annotations

import torch
from torch import Tensor

from accord.functional.checks import check_same_width


def frechet_distance(x: Tensor, y: Tensor) -> Tensor:
    """``|mean(x) - mean(y)|² + tr(S_x + S_y - 2 (S_x S_y)^½)`` with covariances S (Heusel et al. 2017; Fréchet 1957).

    Args:
        x: ``(N, D)``, N ≥ 2.
        y: ``(M, D)``, M ≥ 2.

    Returns:
        Scalar, float64.

    Raises:
        ShapeError: not matrices of equal width.

    Example:
        >>> x = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
        >>> frechet_distance(x, x + torch.tensor([3.0, 0.0])), frechet_distance(x, 2 * x)
        (tensor(9., dtype=torch.float64), tensor(3., dtype=torch.float64))
    """
    check_same_width(x=x, y=y)
    x, y = x.double(), y.double()
    root_x, root_y = (torch.linalg.qr(_centred(rows), mode="r").R for rows in (x, y))  # S = R^T R, without forming S
    shared = torch.linalg.svdvals(root_x @ root_y.T).sum()  # tr (S_x S_y)^½
    return (x.mean(dim=0) - y.mean(dim=0)).square().sum() + root_x.square().sum() + root_y.square().sum() - 2 * shared


def _centred(rows: Tensor) -> Tensor:
    return (rows - rows.mean(dim=0)) / (len(rows) - 1) ** 0.5
