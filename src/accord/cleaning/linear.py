"""One side of a row foretold from the other by a linear map that has not seen the row: ridge regression, left one out.

The prediction without a row follows in closed form from that with it, ``y - (y - ŷ) / (1 - h)`` with the row's leverage
``h``, so that a million rows cost one pass. Rows weigh as much as they are believed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # of the penalty, relative to the mean variance of a dimension
_BLOCK = 8192
_TRIED = 4096  # rows on which the strength is chosen
_TAME, _MOST = 0.8, 0.99  # leverage of most rows, and of any that is taken out


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

    def __call__(self, rows: Tensor) -> Tensor:
        """``(B, C)``: what the other rows foretell of these."""
        return self._foretold(rows, self.strength)[0]

    def _foretold(self, rows: Tensor, strength: float) -> tuple[Tensor, Tensor]:
        """What the other rows foretell of these ``(B, C)``, and the leverage that these have ``(B,)``."""
        penalty = strength * self.variance.mean().clamp_min(1e-12)
        shrunk = (1 / (self.variance + penalty)).float()
        turned = (self.x[rows] - self.centre) @ self.axes  # (B, D)
        fitted = turned @ (shrunk[:, None] * self.cross)
        leverage = self.weight[rows] * (1 + turned.square() @ shrunk)
        own = self.target(rows) - self.mean
        share = leverage.clamp(max=_MOST)[:, None]
        return self.mean + (fitted - share * own) / (1 - share), leverage

    def _chosen(self) -> float:
        """The strength of least error on rows left out, of those by which no row foretells mostly itself.

        Where dimensions are more than rows, a weak one repeats what it has seen, and taking a row out loses all digits.
        """
        rows = torch.arange(0, len(self.x), max(1, len(self.x) // _TRIED))
        target, weight = self.target(rows), self.weight[rows]
        errors = []
        for strength in _STRENGTHS:
            found, leverage = self._foretold(rows, strength)
            tame = strength == _STRENGTHS[-1] or float(leverage.quantile(0.99)) < _TAME
            errors.append(float(weight @ (found - target).square().sum(dim=1)) if tame else float("inf"))
        return _STRENGTHS[errors.index(min(errors))]
