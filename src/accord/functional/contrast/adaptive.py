"""Contrast whose negatives are weighed by a small network that learns with the loss, in memory linear in the nodes.

AdaMEOW (Yu et al. 2024, TKDE). Vectors have unit norm.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from accord.functional.checks import as_float, check_positive, check_same_shape, check_same_width, check_shape

HIDDEN_UNITS = 1 << 21  # of pairs held at a time: 8 MiB in float32
LEAST_ROWS = 16  # of a block, so that its products with all columns are worth reading them


def adaptive_infonce(
    anchor: Tensor,
    other: Tensor,
    left: Tensor,
    right: Tensor,
    readout: Tensor,
    bias: Tensor,
    tau: Tensor | float,
    *,
    normalize: bool = False,
) -> Tensor:
    """:func:`accord.functional.weighted_infonce` whose weights are learned with it (AdaMEOW).

    ``mean_i [log Σ_j w_ij exp(⟨anchor_i, other_j⟩ / tau) - ⟨anchor_i, other_i⟩ / tau]`` with
    ``w_ij = sigmoid(readout · tanh(left_i + right_j) + bias)`` and gradient to all of it. The pairs are made in blocks
    of rows and again in the backward pass, with one buffer for the hidden units.

    Args:
        anchor: ``(N, d)`` unit norm.
        other: ``(N, d)`` unit norm; row i is the positive of row i of ``anchor``.
        left: ``(N, J)`` part of the hidden units that an anchor brings.
        right: ``(N, J)`` part that the other one brings.
        readout: ``(J,)`` weights of the hidden units.
        bias: ``()`` or ``(1,)``.
        tau: divides the cosines.
        normalize: scale the weights of each anchor to the mean 1. Without it the loss has no lower bound: pushing all
            weights to 0 lowers it.

    Returns:
        Scalar.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a temperature that is not finite and positive.

    Example:
        >>> from accord.functional import info_nce
        >>> x, zero = torch.eye(3), torch.zeros(3, 2)
        >>> even = adaptive_infonce(x, x, zero, zero, torch.ones(2), torch.zeros(1), 0.5, normalize=True)
        >>> torch.isclose(even, info_nce(x, x, 2.0))
        tensor(True)
    """
    check_same_shape(anchor=anchor, other=other)
    check_same_width(left=left, right=right)
    check_shape((len(anchor), None), left=left, right=right)
    check_shape((left.shape[1],), readout=readout)
    check_shape((1,), bias=bias.reshape(-1))
    check_positive(tau=tau)
    with torch.autocast(anchor.device.type, enabled=False):
        anchor, other, left, right, readout, bias = map(as_float, (anchor, other, left, right, readout, bias))
        level = _Level.apply(anchor / tau, other, left, right, readout, bias.reshape(()), normalize)
        return (level - (anchor * other).sum(dim=1) / tau).mean()


class _Level(torch.autograd.Function):
    """``log Σ_j w_ij exp⟨a_i, o_j⟩`` of every row i.

    The gradient is written out, because blocks that autograd keeps apart until the backward pass leave holes in the
    heap that add up to the whole matrix.
    """

    @staticmethod
    def forward(
        ctx: Any, a: Tensor, o: Tensor, left: Tensor, right: Tensor, v: Tensor, bias: Tensor, normalize: bool
    ) -> Tensor:
        level, mean = a.new_empty(len(a)), a.new_zeros(len(a))
        halves = _Halves(left, right)
        for rows in halves.blocks:
            log_weight = F.logsigmoid(halves.of(rows) @ (-2 * v) + (v.sum() + bias))
            if normalize:
                mean[rows] = log_weight.logsumexp(dim=1) - math.log(len(o))
            level[rows] = torch.addmm(log_weight, a[rows], o.T).logsumexp(dim=1) - mean[rows]
        ctx.save_for_backward(a, o, left, right, v, bias, level, mean)
        ctx.normalize = normalize
        return level

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        a, o, left, right, v, bias, level, mean = ctx.saved_tensors
        da, do, dleft, dright = (torch.zeros_like(x) for x in (a, o, left, right))
        dv, dbias = torch.zeros_like(v), torch.zeros_like(bias)
        halves = _Halves(left, right)
        for rows in halves.blocks:
            half, g = halves.of(rows), grad[rows, None]
            score = half @ (-2 * v) + (v.sum() + bias)
            log_weight = F.logsigmoid(score)
            share = torch.addmm(log_weight, a[rows], o.T).sub_((level + mean)[rows, None]).exp_().mul_(g)
            torch.mm(share, o, out=da[rows])
            do.addmm_(share.T, a[rows])
            if ctx.normalize:  # the mean weight of a row falls as one of its weights grows
                share -= log_weight.sub_(mean[rows, None]).exp_().mul_(g / len(o))
            dscore = share.mul_(score.neg_().sigmoid_())
            dbias += dscore.sum()
            dv -= 2 * (dscore.flatten() @ half.flatten(end_dim=1))
            slope = torch.addcmul(half, half, half, value=-1, out=half).mul_(dscore[..., None])
            dleft[rows] = slope.sum(dim=1)
            dright += slope.sum(dim=0)
        return da, do, dleft * (4 * v), dright * (4 * v), dv + dbias, dbias, None


class _Halves:
    """``(1 - tanh(left_i + right_j)) / 2`` in blocks of rows, all in one buffer.

    It is a logistic function, far cheaper than ``tanh`` on CPUs.
    """

    def __init__(self, left: Tensor, right: Tensor) -> None:
        self.left, self.right = -2 * left, -2 * right
        count = min(len(left), max(LEAST_ROWS, HIDDEN_UNITS // max(1, right.numel())))
        self.buffer = left.new_empty(count, *right.shape)
        self.blocks = [slice(start, start + count) for start in range(0, len(left), max(1, count))]

    def of(self, rows: slice) -> Tensor:
        """A block ``(R, N, J)``; the next call overwrites it."""
        some = self.left[rows, None]
        return torch.add(some, self.right, out=self.buffer[: len(some)]).sigmoid_()
