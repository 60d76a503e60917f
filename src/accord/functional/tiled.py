"""Log-sum-exp over all pairs without ever holding all pairs.

The similarity matrix of B rows takes B² numbers, and autograd keeps several such matrices. Here blocks of rows of the
scaled inner products are reduced with an online log-sum-exp (Milakov and Gimelshein 2018, "Online normalizer
calculation for softmax") and recomputed block by block in the backward pass, as FlashAttention does (Dao et al. 2022,
NeurIPS, algorithm 4). Values and gradients are those of the dense form. Similarities of one set with itself are
symmetric: only the upper triangle is computed. Second derivatives work too, but hold the whole matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from accord.functional.checks import as_float, check_ndim, check_range, check_same_width
from accord.functional.engine import masked_logsumexp

BLOCK_ELEMENTS = 1 << 20  # similarities per block: 4 MiB in float32 stay near the cores
SMALLEST_TILE = 256  # rows; with fewer, the traffic of the accumulated key gradient outweighs the products
DENSE_ROWS = 512  # a set of up to so many rows against itself is faster in one dense matrix

PairWeight = Callable[[slice, slice], Tensor]
"""Weight of the pairs in a block, given its rows and columns: ``(rows, columns)``, bool (whether a pair counts) or the
logarithm of its weight. It gets no gradient; for a set with itself it must be symmetric."""


def tiled_logsumexp(
    query: Tensor,
    key: Tensor,
    scale: Tensor | float,
    *,
    exclude_self: bool = False,
    pair_weight: PairWeight | None = None,
    tile: int | None = None,
) -> Tensor:
    """Log-sum-exp over the rows of ``scale * query @ key.T`` in memory linear in A and B.

    Args:
        query: ``(A, D)``.
        key: ``(B, D)``.
        scale: scalar factor on the inner products; a tensor receives its gradient.
        exclude_self: leave out the pairs ``[i, i]`` (needs A = B ≥ 2).
        pair_weight: weight of the pairs of a block, see :data:`PairWeight`; by default every pair weighs 1.
        tile: rows per block; None chooses from the shape.

    Returns:
        ``(A,)``; -inf for a row without any pair.

    Raises:
        ShapeError: not matrices of equal width.
        ValueError: ``tile`` below 1, or ``exclude_self`` with A ≠ B or one row.

    Example:
        >>> x = torch.eye(3)
        >>> rows = tiled_logsumexp(x, x, 2.0, tile=2)
        >>> torch.allclose(rows, torch.logsumexp(2 * x @ x.T, dim=1))
        True
    """
    return _apply(query, key, scale, False, exclude_self, pair_weight, tile)[0]


def tiled_logsumexp_both(
    query: Tensor,
    key: Tensor,
    scale: Tensor | float,
    *,
    exclude_self: bool = False,
    pair_weight: PairWeight | None = None,
    tile: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-sum-exp over the rows and over the columns of ``scale * query @ key.T`` in one walk.

    Args:
        query: ``(A, D)``.
        key: ``(B, D)``.
        scale: scalar factor on the inner products; a tensor receives its gradient.
        exclude_self: leave out the pairs ``[i, i]`` (needs A = B ≥ 2).
        pair_weight: weight of the pairs of a block, see :data:`PairWeight`.
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
    return _apply(query, key, scale, True, exclude_self, pair_weight, tile)


def self_logsumexp(
    x: Tensor, scale: Tensor | float, *, pair_weight: PairWeight | None = None, tile: int | None = None
) -> Tensor:
    """Log-sum-exp of the similarities of each row with all *other* rows, ``scale * x @ x.T`` without its diagonal.

    Half the products of :func:`tiled_logsumexp`: a block above the diagonal serves its rows and its columns.

    Args:
        x: ``(N, D)``, N ≥ 2.
        scale: scalar factor on the inner products; a tensor receives its gradient.
        pair_weight: symmetric weight of the pairs of a block, see :data:`PairWeight`.
        tile: rows per block; None chooses from the shape, and takes one dense matrix for a few hundred rows.

    Returns:
        ``(N,)``; -inf for a row without any pair.

    Raises:
        ShapeError: ``x`` is not a matrix.
        ValueError: fewer than two rows, ``tile`` below 1.

    Example:
        >>> self_logsumexp(torch.eye(3), 2.0).exp()
        tensor([2., 2., 2.])
    """
    check_ndim(2, x=x)
    if len(x) < 2:
        raise ValueError(f"x has {len(x)} rows: expected at least 2")
    rows = default_tile(len(x)) if tile is None else tile
    check_range(1, max(rows, 1), tile=rows)
    with torch.autocast(x.device.type, enabled=False):
        x = as_float(x)
        if tile is None and len(x) <= DENSE_ROWS:
            return _dense_self(x, scale, pair_weight)
        return _SelfLogSumExp.apply(x, torch.as_tensor(scale, device=x.device, dtype=x.dtype), pair_weight, rows)


def default_tile(keys: int) -> int:
    """Rows per block for a number of keys, as measured fastest on CPU cores.

    Example:
        >>> default_tile(1024), default_tile(65536)
        (1024, 256)
    """
    return max(SMALLEST_TILE, BLOCK_ELEMENTS // max(1, keys))


def _dense_self(x: Tensor, scale: Tensor | float, pair_weight: PairWeight | None) -> Tensor:
    logits = scale * x @ x.T
    other = ~torch.eye(len(x), dtype=torch.bool, device=x.device)
    if pair_weight is not None:
        weight = pair_weight(slice(0, len(x)), slice(0, len(x)))
        logits = _weighted(logits, weight)
        other = other & (weight if weight.dtype == torch.bool else weight > -torch.inf)
    return masked_logsumexp(logits, other)


def _apply(
    query: Tensor,
    key: Tensor,
    scale: Tensor | float,
    columns: bool,
    exclude_self: bool,
    pair_weight: PairWeight | None,
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
        return _TiledLogSumExp.apply(query, key, factor, columns, exclude_self, pair_weight, rows)


class _TiledLogSumExp(torch.autograd.Function):
    """The recomputing kernel: one matrix product forward, three backward."""

    @staticmethod
    def forward(
        query: Tensor,
        key: Tensor,
        scale: Tensor,
        columns: bool,
        exclude_self: bool,
        pair_weight: PairWeight | None,
        tile: int,
    ) -> tuple[Tensor, Tensor]:
        rows = query.new_empty(len(query))
        of_column = _Running(query, len(key) if columns else 0)
        for here, _, block in _blocks(query, key, scale, exclude_self, pair_weight, tile):
            torch.logsumexp(block, dim=1, out=rows[here])
            if columns:
                of_column.add(slice(None), block)
        return rows, of_column.value()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        query, key, scale, ctx.columns, ctx.exclude_self, ctx.pair_weight, ctx.tile = inputs
        ctx.save_for_backward(query, key, scale, *output)

    @staticmethod
    def backward(ctx: Any, row_grad: Tensor, column_grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, scale, rows, columns = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient itself will be differentiated
            levels, grads = (rows, columns), (row_grad, column_grad)
            dense = _dense_gradient(query, key, scale, levels, grads, ctx.columns, ctx.exclude_self, ctx.pair_weight)
            return *dense, None, None, None, None
        query_grad, key_grad = torch.zeros_like(query), torch.zeros_like(key)
        rows, columns = _finite(rows), _finite(columns)
        with torch.autocast(query.device.type, enabled=False):
            for here, _, block in _blocks(query, key, scale, ctx.exclude_self, ctx.pair_weight, ctx.tile):
                weight = torch.exp(block - rows[here, None]).mul_(row_grad[here, None])
                if ctx.columns:
                    weight.addcmul_(block.sub_(columns).exp_(), column_grad.expand_as(block))
                torch.mm(weight, key, out=query_grad[here])
                key_grad.addmm_(weight.T, query[here])
        scale_grad = (query * query_grad).sum()  # Σ_ij weight_ij · (q_i · k_j)
        return query_grad.mul_(scale), key_grad.mul_(scale), scale_grad, None, None, None, None


class _SelfLogSumExp(torch.autograd.Function):
    """Half a matrix product forward; half a product again, and one for the gradient, backward."""

    @staticmethod
    def forward(x: Tensor, scale: Tensor, pair_weight: PairWeight | None, tile: int) -> Tensor:
        level = _Running(x, len(x))
        for here, beyond, block in _upper_blocks(x, scale, pair_weight, tile):
            level.add(beyond, block[:, len(block) :])
            level.add(here, block.T)
        return level.value()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, scale, ctx.pair_weight, ctx.tile = inputs
        ctx.save_for_backward(x, scale, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, level = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient itself will be differentiated
            none = x.new_empty(0)
            levels, grads = (level, none), (grad, none)
            left, right, scale_grad = _dense_gradient(x, x, scale, levels, grads, False, True, ctx.pair_weight)
            return left + right, scale_grad, None, None
        x_grad, level = torch.zeros_like(x), _finite(level)
        with torch.autocast(x.device.type, enabled=False):
            for here, beyond, block in _upper_blocks(x, scale, ctx.pair_weight, ctx.tile):
                columns = slice(here.start, None)
                weight = torch.exp(block - level[here, None]).mul_(grad[here, None])
                weight.addcmul_(block.sub_(level[columns]).exp_(), grad[columns].expand_as(block))
                x_grad[here].addmm_(weight, x[columns])
                x_grad[beyond].addmm_(weight[:, len(block) :].T, x[here])
        scale_grad = (x * x_grad).sum() / 2  # every pair stands in it twice
        return x_grad.mul_(scale), scale_grad, None, None


class _Running:
    """Online log-sum-exp of ``count`` columns: their largest value so far, and the sum of exp(value - largest)."""

    def __init__(self, like: Tensor, count: int) -> None:
        self.peak = like.new_full((count,), -torch.inf)
        self.total = torch.zeros_like(self.peak)

    def add(self, columns: slice, block: Tensor) -> None:
        """Take in ``block (rows, columns)``."""
        if not block.shape[1]:
            return
        peak, total = self.peak[columns], self.total[columns]
        higher = torch.maximum(peak, block.amax(dim=0))
        anchor = _finite(higher)  # a column without any pair so far
        total.mul_(torch.exp(peak - anchor)).add_((block - anchor).exp_().sum(dim=0))
        peak.copy_(higher)

    def value(self) -> Tensor:
        return self.peak + self.total.log()


def _finite(level: Tensor) -> Tensor:
    """Levels to subtract: where there is no pair, exp(-inf - 0) is the right weight and exp(-inf + inf) is not."""
    return level.masked_fill(level == -torch.inf, 0.0)


def _dense_gradient(
    query: Tensor,
    key: Tensor,
    scale: Tensor,
    levels: tuple[Tensor, Tensor],
    grads: tuple[Tensor, Tensor],
    has_columns: bool,
    exclude_self: bool,
    pair_weight: PairWeight | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The same gradient in differentiable operations, for second derivatives; holds the whole matrix."""
    with torch.autocast(query.device.type, enabled=False):
        logits = scale * query @ key.T
        if exclude_self:
            own = torch.eye(len(query), dtype=torch.bool, device=query.device)
            logits = logits.masked_fill(own, -torch.inf)
        if pair_weight is not None:
            logits = _weighted(logits, pair_weight(slice(0, len(query)), slice(0, len(key))))
        weight = torch.exp(logits - _finite(levels[0])[:, None]) * grads[0][:, None]
        if has_columns:
            weight = weight + torch.exp(logits - _finite(levels[1])) * grads[1]
        unscaled = weight @ key
        return scale * unscaled, scale * weight.T @ query, (query * unscaled).sum()


def _weighted(block: Tensor, weight: Tensor) -> Tensor:
    if weight.dtype == torch.bool:
        return block.masked_fill(~weight, -torch.inf)
    return block + weight.to(block)


def _blocks(
    query: Tensor, key: Tensor, scale: Tensor, exclude_self: bool, pair_weight: PairWeight | None, tile: int
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield (rows, columns, similarities of ``tile`` rows with all keys); all blocks share one buffer."""
    buffer = query.new_empty(min(tile, len(query)), len(key))
    every = slice(0, len(key))
    for start in range(0, len(query), tile):
        here = slice(start, min(start + tile, len(query)))
        block = torch.mm(query[here] * scale, key.T, out=buffer[: here.stop - start])
        if exclude_self:
            block.diagonal(start).fill_(-torch.inf)
        yield here, every, block if pair_weight is None else _weighted(block, pair_weight(here, every))


def _upper_blocks(
    x: Tensor, scale: Tensor, pair_weight: PairWeight | None, tile: int
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield (rows, the columns beyond them, similarities of the rows with themselves and with those beyond)."""
    for start in range(0, len(x), tile):
        here = slice(start, min(start + tile, len(x)))
        block = (x[here] * scale) @ x[start:].T
        block.diagonal().fill_(-torch.inf)
        if pair_weight is not None:
            block = _weighted(block, pair_weight(here, slice(start, len(x))))
        yield here, slice(here.stop, len(x)), block
