"""Row and column log-sum-exp of a similarity matrix that is never held: the memory-linear part of InfoNCE.

Every softmax-contrastive loss is ``logsumexp(similarities) - similarity of the positives``. The second term
is linear in memory; the first needs the whole matrix, unless it is walked through in blocks of rows with an
online log-sum-exp and recomputed block by block in the backward pass. Values and gradients are those of the
dense form. Second derivatives work too, but hold the whole matrix.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from accord.functional.checks import as_float, check_range, check_same_width

BLOCK_ELEMENTS = 1 << 20  # similarities per block: 4 MiB in float32 stay near the cores
SMALLEST_TILE = 256  # rows; with fewer, the traffic of the accumulated key gradient outweighs the products


def tiled_logsumexp(
    query: Tensor,
    key: Tensor,
    scale: Tensor | float,
    *,
    exclude_self: bool = False,
    tile: int | None = None,
) -> Tensor:
    """Log-sum-exp over the rows of ``scale * query @ key.T`` in memory linear in A and B.

    Args:
        query: ``(A, D)``.
        key: ``(B, D)``.
        scale: scalar factor on the inner products; a tensor receives its gradient.
        exclude_self: leave out the pairs ``[i, i]`` (needs A = B ≥ 2).
        tile: rows per block; None chooses from the shape.

    Returns:
        ``(A,)``.

    Raises:
        ShapeError: not matrices of equal width.
        ValueError: ``tile`` below 1, or ``exclude_self`` with A ≠ B or one row.

    Example:
        >>> x = torch.eye(3)
        >>> rows = tiled_logsumexp(x, x, 2.0, tile=2)
        >>> torch.allclose(rows, torch.logsumexp(2 * x @ x.T, dim=1))
        True
    """
    return _apply(query, key, scale, False, exclude_self, tile)[0]


def tiled_logsumexp_both(
    query: Tensor,
    key: Tensor,
    scale: Tensor | float,
    *,
    exclude_self: bool = False,
    tile: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-sum-exp over the rows and over the columns of ``scale * query @ key.T`` in one walk.

    Args:
        query: ``(A, D)``.
        key: ``(B, D)``.
        scale: scalar factor on the inner products; a tensor receives its gradient.
        exclude_self: leave out the pairs ``[i, i]`` (needs A = B ≥ 2).
        tile: rows per block; None chooses from the shape.

    Returns:
        ``(A,)`` one value per query, and ``(B,)`` one value per key.

    Raises:
        ShapeError: not matrices of equal width.
        ValueError: ``tile`` below 1, or ``exclude_self`` with A ≠ B or one row.

    Example:
        >>> rows, columns = tiled_logsumexp_both(torch.eye(3), torch.eye(3)[:2], 2.0)
        >>> rows.shape, columns.shape
        (torch.Size([3]), torch.Size([2]))
    """
    return _apply(query, key, scale, True, exclude_self, tile)


def _apply(
    query: Tensor,
    key: Tensor,
    scale: Tensor | float,
    columns: bool,
    exclude_self: bool,
    tile: int | None,
) -> tuple[Tensor, Tensor]:
    check_same_width(query=query, key=key)
    if exclude_self and (len(query) != len(key) or len(query) < 2):
        raise ValueError(f"exclude_self with {len(query)} queries and {len(key)} keys: expected equal numbers ≥ 2")
    rows = default_tile(len(key)) if tile is None else tile
    check_range(1, max(rows, 1), tile=rows)
    with torch.autocast(query.device.type, enabled=False):
        query, key = as_float(query), as_float(key)
        factor = torch.as_tensor(scale, device=query.device, dtype=query.dtype)
        return _TiledLogSumExp.apply(query, key, factor, columns, exclude_self, rows)


def default_tile(keys: int) -> int:
    """Rows per block for a number of keys, as measured fastest on CPU cores.

    Example:
        >>> default_tile(1024), default_tile(65536)
        (1024, 256)
    """
    return max(SMALLEST_TILE, BLOCK_ELEMENTS // max(1, keys))


class _TiledLogSumExp(torch.autograd.Function):
    """The recomputing kernel: one matrix product forward, three backward."""

    @staticmethod
    def forward(
        query: Tensor, key: Tensor, scale: Tensor, columns: bool, exclude_self: bool, tile: int
    ) -> tuple[Tensor, Tensor]:
        rows = query.new_empty(len(query))
        peak = query.new_full((len(key) if columns else 0,), -torch.inf)  # running maximum of every column
        total = torch.zeros_like(peak)  # and sum of exp(value - maximum)
        for start, block in _blocks(query, key, scale, exclude_self, tile):
            torch.logsumexp(block, dim=1, out=rows[start : start + len(block)])
            if columns:
                higher = torch.maximum(peak, block.amax(dim=0))
                anchor = higher.masked_fill(higher == -torch.inf, 0.0)  # a column without any pair so far
                total.mul_(torch.exp(peak - anchor)).add_(block.sub_(anchor).exp_().sum(dim=0))
                peak = higher
        return rows, peak + total.log()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        query, key, scale, ctx.columns, ctx.exclude_self, ctx.tile = inputs
        ctx.save_for_backward(query, key, scale, *output)

    @staticmethod
    def backward(ctx: Any, row_grad: Tensor, column_grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, scale, rows, columns = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient itself will be differentiated
            levels, grads = (rows, columns), (row_grad, column_grad)
            dense = _dense_gradient(query, key, scale, levels, grads, ctx.columns, ctx.exclude_self)
            return *dense, None, None, None
        query_grad, key_grad = torch.zeros_like(query), torch.zeros_like(key)
        with torch.autocast(query.device.type, enabled=False):
            for start, block in _blocks(query, key, scale, ctx.exclude_self, ctx.tile):
                here = slice(start, start + len(block))
                weight = torch.exp(block - rows[here, None]).mul_(row_grad[here, None])
                if ctx.columns:
                    weight.addcmul_(block.sub_(columns).exp_(), column_grad.expand_as(block))
                torch.mm(weight, key, out=query_grad[here])
                key_grad.addmm_(weight.T, query[here])
        scale_grad = (query * query_grad).sum()  # Σ_ij weight_ij · (q_i · k_j)
        return query_grad.mul_(scale), key_grad.mul_(scale), scale_grad, None, None, None


def _dense_gradient(
    query: Tensor,
    key: Tensor,
    scale: Tensor,
    levels: tuple[Tensor, Tensor],
    grads: tuple[Tensor, Tensor],
    has_columns: bool,
    exclude_self: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The same gradient in differentiable operations, for second derivatives; holds the whole matrix."""
    with torch.autocast(query.device.type, enabled=False):
        logits = scale * query @ key.T
        weight = torch.exp(logits - levels[0][:, None]) * grads[0][:, None]
        if has_columns:
            weight = weight + torch.exp(logits - levels[1]) * grads[1]
        if exclude_self:
            weight = weight * ~torch.eye(len(query), dtype=torch.bool, device=query.device)
        unscaled = weight @ key
        return scale * unscaled, scale * weight.T @ query, (query * unscaled).sum()


def _blocks(query: Tensor, key: Tensor, scale: Tensor, exclude_self: bool, tile: int) -> Iterator[tuple[int, Tensor]]:
    """Yield (first row, similarities of ``tile`` rows with all keys); all blocks share one buffer."""
    buffer = query.new_empty(min(tile, len(query)), len(key))
    for start in range(0, len(query), tile):
        rows = query[start : start + tile]
        block = torch.mm(rows * scale, key.T, out=buffer[: len(rows)])
        if exclude_self:
            block.diagonal(start).fill_(-torch.inf)
        yield start, block
