"""One side of a row foretold from the other by a linear map that has not seen the row: ridge regression, left one out.

The prediction without a row follows in closed form from that with it, ``y - (y - ŷ) / (1 - h)`` with the row's leverage
``h``, so that a million rows cost one pass. Rows weigh as much as they are believed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)  # of the penalty, relative to the mean variance of a dimension
_BLOCK = 8192
_TRIED = 4096  # rows on which the strength is chosen
_LEVERAGE = 0.99


class LeaveOneOut:
    """A ridge regression of ``y`` on ``x``.

    Args:
        x: ``(N, D)``.
        y: ``(N, C)``, or ``(N,)`` int64 classes of ``classes``, which stand for their indicators.
        weight: ``(N,)`` non-negative.
        classes: C where ``y`` are classes.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
        >>> bool((LeaveOneOut(x, 2 * x, torch.ones(4))(torch.arange(4)) - 2 * x).abs().max() < 0.2)
        True
    """

    def __init__(self, x: Tensor, y: Tensor, weight: Tensor, classes: int = 0) -> None:
        self.x, self.y, self.classes = x, y, classes
        self.weight = weight / weight.sum()
        self.centre = self.weight @ x
        blocks = torch.arange(len(x)).split(_BLOCK)
        self.mean = sum((self.weight[rows] @ self.target(rows) for rows in blocks), torch.zeros(()))  # (C,)
        second, cross = torch.zeros(()), torch.zeros(())
        for rows in blocks:
            centred = (x[rows] - self.centre).double()
            weighted = self.weight[rows, None] * centred
            second = second + weighted.T @ centred  # (D, D)
            cross = cross + weighted.T @ (self.target(rows) - self.mean).double()  # (D, C)
        self.variance, axes = torch.linalg.eigh(second)
        self.variance = self.variance.clamp_min(0)
        self.axes, self.cross = axes.float(), (axes.T @ cross).float()
        self.strength = self._chosen()

    def target(self, rows: Tensor) -> Tensor:
        """``(B, C)`` of some rows."""
        return F.one_hot(self.y[rows], self.classes).float() if self.classes else self.y[rows]

    def __call__(self, rows: Tensor, strength: float | None = None) -> Tensor:
        """``(B, C)``: what the other rows foretell of these."""
        penalty = (self.strength if strength is None else strength) * self.variance.mean().clamp_min(1e-12)
        shrunk = (1 / (self.variance + penalty)).float()
        turned = (self.x[rows] - self.centre) @ self.axes  # (B, D)
        fitted = turned @ (shrunk[:, None] * self.cross)
        leverage = self.weight[rows] * (1 + turned.square() @ shrunk)
        own = self.target(rows) - self.mean
        leverage = leverage.clamp(max=_LEVERAGE)[:, None]
        return self.mean + (fitted - leverage * own) / (1 - leverage)

    def _chosen(self) -> float:
        """The strength of least error on rows left out."""
        rows = torch.arange(0, len(self.x), max(1, len(self.x) // _TRIED))
        target, weight = self.target(rows), self.weight[rows]
        errors = [float(weight @ (self(rows, one) - target).square().sum(dim=1)) for one in _STRENGTHS]
        return _STRENGTHS[errors.index(min(errors))]
