"""The plane of a space in which its points lie widest apart, for pictures of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Plane:
    """Points on the first two principal axes of all of them together.

    Args:
        points: name -> ``(N, 2)`` float32.
        share: how much of the variance the two axes hold, in percent.
    """

    points: Mapping[str, Tensor]
    share: float


def principal_plane(vectors: Mapping[str, Tensor]) -> Plane:
    """The first two principal components of all vectors together, so that a gap between modalities stays visible.

    The axes come from the ``(D, D)`` covariance, whose cost grows with the rows once; of fewer rows than dimensions
    from the rows themselves. Each axis points to where its largest entry is positive, so that a picture is the same
    each time.

    Args:
        vectors: name -> ``(N, D)``, equal D.

    Example:
        >>> found = principal_plane({"image": torch.eye(3)[:2], "text": torch.eye(3)[2:]})
        >>> found.points["image"].shape, round(found.share)
        (torch.Size([2, 2]), 100)
    """
    rows = {name: side.float() for name, side in vectors.items()}
    count = sum(len(side) for side in rows.values())
    mean = torch.stack([side.sum(dim=0, dtype=torch.float64) for side in rows.values()]).sum(dim=0) / max(count, 1)
    centred = {name: side - mean.float() for name, side in rows.items()}
    if count <= len(mean):
        values, axes = _of_few(torch.cat(list(centred.values())))
    else:
        values, axes = _of_many(list(centred.values()))
    axes = axes[:2] * axes[:2].gather(1, axes[:2].abs().argmax(dim=1, keepdim=True)).sign()
    flat = {name: side @ axes.float().T for name, side in centred.items()}  # (N, 2), narrower in one dimension
    share = 100 * float(values[:2].sum() / values.sum().clamp_min(torch.finfo(torch.float64).tiny))
    return Plane({name: torch.nn.functional.pad(side, (0, 2 - side.shape[1])) for name, side in flat.items()}, share)


def _of_few(rows: Tensor) -> tuple[Tensor, Tensor]:
    _, values, axes = torch.linalg.svd(rows.double(), full_matrices=False)
    return values.square(), axes


def _of_many(sides: list[Tensor]) -> tuple[Tensor, Tensor]:
    scatter = torch.stack([(side.T @ side).double() for side in sides]).sum(dim=0)
    values, axes = torch.linalg.eigh(scatter)  # the smallest first
    return values.flip(0).clamp_min(0), axes.T.flip(0)
