"""Log-sum-exp over all pairs without ever holding all pairs.

The similarity matrix of B rows takes B² numbers, and autograd keeps several such matrices. Here blocks of rows of the
scaled inner products are reduced with an online log-sum-exp (Milakov and Gimelshein 2018, "Online normalizer
calculation for softmax") and recomputed block by block in the backward pass, as FlashAttention does (Dao et al. 2022,
NeurIPS, algorithm 4). Values and gradients are those of the dense form. Similarities of one set with itself are
symmetric: only the upper triangle is computed. Second derivatives of these work too, but hold the whole matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from accord.functional.checks import as_float, check_ndim, check_range, check_same_shape, check_same_width
from accord.functional.engine import masked_logsumexp

BLOCK_ELEMENTS = 1 << 20  # similarities per block: 4 MiB in float32 stay near the cores
SMALLEST_TILE = 256  # rows; with fewer, the traffic of the accumulated key gradient outweighs the products
SELF_TILE = 128  # rows of a triangle: as fast as any from 64 to 512, with the least memory
ACCELERATOR_FACTOR = 16  # larger blocks where a block is one kernel launch: 64 MiB in float32
DENSE_ROWS = 256  # up to so many rows against themselves make one matrix, which `vmap` and `compile` see through

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
    return _apply(query, key, scale, False, False, exclude_self, pair_weight, tile)[0]


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
    rows, columns, _ = _apply(query, key, scale, True, False, exclude_self, pair_weight, tile)
    return rows, columns


def tiled_pair_terms(
    query: Tensor, key: Tensor, scale: Tensor | float, *, tile: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`tiled_logsumexp_both` of matched rows, and the similarity of each pair, from the same walk.

    The pairs stand on the diagonal of the blocks, so that their gradient costs neither time nor memory.

    Args:
        query: ``(B, D)``.
        key: ``(B, D)``; row i belongs to row i of ``query``.
        scale: scalar factor on the inner products; a tensor receives its gradient.
        tile: rows per block; None chooses from the shape.

    Returns:
        ``(B,)`` log-sum-exp of the rows, ``(B,)`` of the columns, ``(B,)`` similarities of the pairs.

    Raises:
        ShapeError: not two matrices of the same shape.
        ValueError: ``tile`` below 1.

    Example:
        >>> rows, columns, own = tiled_pair_terms(torch.eye(3), torch.eye(3), 2.0)
        >>> own
        tensor([2., 2., 2.])
    """
    check_same_shape(query=query, key=key)
    return _apply(query, key, scale, True, True, False, None, tile)


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
    rows = SELF_TILE * (1 if x.device.type == "cpu" else ACCELERATOR_FACTOR) if tile is None else tile
    check_range(1, max(rows, 1), tile=rows)
    with torch.autocast(x.device.type, enabled=False):
        x = as_float(x)
        if tile is None and len(x) <= DENSE_ROWS:
            return _dense_self(x, scale, pair_weight)
        factor = torch.as_tensor(scale, device=x.device, dtype=x.dtype)
        return _SelfLogSumExp.apply(x, factor, pair_weight, rows, _bounded(x, x, factor, pair_weight))


def tiled_sigmoid_sum(
    query: Tensor, key: Tensor, scale: Tensor | float, bias: Tensor | float, *, tile: int | None = None
) -> Tensor:
    """``-Σ_ij log σ(±z_ij)`` with ``z = scale · query keyᵀ + bias``, plus where i = j, in memory linear in B.

    A block's value and its gradient come from the same products, so that nothing is computed again.

    Args:
        query: ``(B, D)``.
        key: ``(B, D)``; row i belongs to row i of ``query``.
        scale: scalar factor on the inner products; a tensor receives its gradient.
        bias: scalar, added to every product; likewise.
        tile: rows per block; None chooses from the shape.

    Returns:
        Scalar.

    Raises:
        ShapeError: not two matrices of the same shape.
        ValueError: ``tile`` below 1.

    Example:
        >>> x = torch.eye(3)
        >>> z = 4 * x @ x.T - 2
        >>> expected = -F.logsigmoid(torch.where(x > 0, z, -z)).sum()
        >>> torch.allclose(tiled_sigmoid_sum(x, x, 4.0, -2.0, tile=2), expected)
        True
    """
    check_same_shape(query=query, key=key)
    rows = default_tile(len(key), key.device.type) if tile is None else tile
    check_range(1, max(rows, 1), tile=rows)
    with torch.autocast(query.device.type, enabled=False):
        query, key = as_float(query), as_float(key)
        if len(query) <= min(DENSE_ROWS, rows):
            sign = 2 * torch.eye(len(query), dtype=query.dtype, device=query.device) - 1
            return -F.logsigmoid(sign * (scale * query @ key.T + bias)).sum()
        factor, added = (torch.as_tensor(x, device=query.device, dtype=query.dtype) for x in (scale, bias))
        return _SigmoidSum.apply(query, key, factor, added, rows)[0]


def default_tile(keys: int, device: str = "cpu") -> int:
    """Rows per block for a number of keys: as measured fastest on CPU cores, in larger blocks elsewhere.

    Example:
        >>> default_tile(1024), default_tile(65536)
        (1024, 256)
    """
    elements = BLOCK_ELEMENTS * (1 if device == "cpu" else ACCELERATOR_FACTOR)
    return max(SMALLEST_TILE, elements // max(1, keys))


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
    pairs: bool,
    exclude_self: bool,
    pair_weight: PairWeight | None,
    tile: int | None,
) -> tuple[Tensor, Tensor, Tensor]:
    check_same_width(query=query, key=key)
    if exclude_self and (len(query) != len(key) or len(query) < 2):
        raise ValueError(f"exclude_self with {len(query)} queries and {len(key)} keys: expected equal numbers ≥ 2")
    rows = default_tile(len(key), key.device.type) if tile is None else tile
    check_range(1, max(rows, 1), tile=rows)
    with torch.autocast(query.device.type, enabled=False):
        query, key = as_float(query), as_float(key)
        factor = torch.as_tensor(scale, device=query.device, dtype=query.dtype)
        bounded = columns and _bounded(query, key, factor, pair_weight)
        return _TiledLogSumExp.apply(query, key, factor, columns, pairs, exclude_self, pair_weight, rows, bounded)


class _TiledLogSumExp(torch.autograd.Function):
    """The recomputing kernel: one matrix product forward, three backward."""

    @staticmethod
    def forward(
        query: Tensor,
        key: Tensor,
        scale: Tensor,
        columns: bool,
        pairs: bool,
        exclude_self: bool,
        pair_weight: PairWeight | None,
        tile: int,
        bounded: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        of_row = _Levels(query, len(query), bounded)
        of_column = _Levels(query, len(key) if columns else 0, bounded)
        own = query.new_empty(len(query) if pairs else 0)
        for here, every, block in _blocks(query, key, scale, exclude_self, pair_weight, tile):
            if pairs:
                own[here] = block.diagonal(here.start)
            block = block.exp_() if bounded else block
            of_row.add(here, block.T)
            if columns:
                of_column.add(every, block)
        return of_row.value(), of_column.value(), own

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        query, key, scale, ctx.columns, ctx.pairs, ctx.exclude_self, ctx.pair_weight, ctx.tile, ctx.bounded = inputs
        ctx.save_for_backward(query, key, scale, *output[:2])

    @staticmethod
    def backward(ctx: Any, row_grad: Tensor, column_grad: Tensor, own_grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, scale, *levels = ctx.saved_tensors
        rest = (None,) * 6
        if torch.is_grad_enabled():  # the gradient itself will be differentiated
            grads = (row_grad, column_grad if ctx.columns else None, own_grad if ctx.pairs else None)
            return *_dense_gradient(query, key, scale, levels, grads, ctx.exclude_self, ctx.pair_weight), *rest
        needs_query, needs_key = ctx.needs_input_grad[0] or ctx.needs_input_grad[2], ctx.needs_input_grad[1]
        query_grad = torch.empty_like(query) if needs_query else None
        key_grad = torch.zeros_like(key) if needs_key else None  # keys of a queue or a slow teacher are constants
        of_row = _Softmax(levels[0], row_grad, ctx.bounded)
        of_column = _Softmax(levels[1], column_grad, ctx.bounded) if ctx.columns else None
        with torch.autocast(query.device.type, enabled=False):
            for here, every, block in _blocks(query, key, scale, ctx.exclude_self, ctx.pair_weight, ctx.tile):
                weight = _gradient_weight(block, of_row, here, of_column, every)
                if ctx.pairs:
                    weight.diagonal(here.start).add_(own_grad[here])
                if query_grad is not None:
                    torch.mm(weight, key, out=query_grad[here])
                if key_grad is not None:
                    key_grad.addmm_(weight.T, query[here])
        scale_grad = None if query_grad is None else _inner(query, query_grad)  # Σ_ij weight_ij · (q_i · k_j)
        scaled = (None if grad is None else grad.mul_(scale) for grad in (query_grad, key_grad))
        return *scaled, scale_grad, *rest


class _SelfLogSumExp(torch.autograd.Function):
    """Half a matrix product forward; half a product again, and one for the gradient, backward."""

    @staticmethod
    def forward(x: Tensor, scale: Tensor, pair_weight: PairWeight | None, tile: int, bounded: bool) -> Tensor:
        level = _Levels(x, len(x), bounded)
        for here, beyond, block in _upper_blocks(x, scale, pair_weight, tile):
            block = block.exp_() if bounded else block
            level.add(beyond, block[:, len(block) :])
            level.add(here, block.T)
        return level.value()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, scale, ctx.pair_weight, ctx.tile, ctx.bounded = inputs
        ctx.save_for_backward(x, scale, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, level = ctx.saved_tensors
        rest = (None,) * 3
        if torch.is_grad_enabled():  # the gradient itself will be differentiated
            dense = _dense_gradient(x, x, scale, [level], (grad, None, None), True, ctx.pair_weight)
            return dense[0] + dense[1], dense[2], *rest
        x_grad, softmax = torch.zeros_like(x), _Softmax(level, grad, ctx.bounded)
        with torch.autocast(x.device.type, enabled=False):
            for here, beyond, block in _upper_blocks(x, scale, ctx.pair_weight, ctx.tile):
                columns = slice(here.start, len(x))
                weight = _gradient_weight(block, softmax, here, softmax, columns)
                x_grad[here].addmm_(weight, x[columns])
                x_grad[beyond].addmm_(weight[:, len(block) :].T, x[here])
        scale_grad = _inner(x, x_grad) / 2  # every pair stands in it twice
        return x_grad.mul_(scale), scale_grad, *rest


class _Levels:
    """Log-sum-exp of ``count`` columns that come in blocks.

    Online: the largest value so far and the sum of exp(value - largest). Where the values are bounded, blocks come
    exponentiated, which serves rows and columns with one exponential.
    """

    def __init__(self, like: Tensor, count: int, bounded: bool) -> None:
        self.bounded = bounded
        self.peak = like.new_full((count,), 0.0 if bounded else -torch.inf)
        self.total = like.new_zeros(count)

    def add(self, columns: slice, block: Tensor) -> None:
        """Take in ``block (rows, columns)``."""
        if not block.shape[1]:
            return
        peak, total = self.peak[columns], self.total[columns]
        if self.bounded:
            total.add_(block.sum(dim=0))
            return
        higher = torch.maximum(peak, block.amax(dim=0))
        anchor = _finite(higher)  # a column without any pair so far
        total.mul_(torch.exp(peak - anchor)).add_(_exp_(block - anchor).sum(dim=0))
        peak.copy_(higher)

    def value(self) -> Tensor:
        return self.peak + self.total.log()


class _Softmax:
    """``grad · exp(value - level)``, the gradient of log-sum-exps, for the values of a block."""

    def __init__(self, level: Tensor, grad: Tensor, bounded: bool) -> None:
        self.bounded, self.grad, self.level = bounded, grad, _finite(level)
        self.factor = grad * torch.exp(-self.level) if bounded else grad  # bounded: times exp(value)


class _SigmoidSum(torch.autograd.Function):
    """The sum over pairs, and its gradients, in one walk."""

    @staticmethod
    def forward(query: Tensor, key: Tensor, scale: Tensor, bias: Tensor, tile: int) -> tuple[Tensor, ...]:
        total, of_bias = query.new_zeros(()), query.new_zeros(())
        of_query, of_key = torch.empty_like(query), torch.zeros_like(key)  # without the scale
        for here, _, block in _blocks(query, key, scale, False, None, tile):
            own = block.add_(bias).diagonal(here.start)
            own.neg_()
            total -= F.logsigmoid(-block).sum()
            block.sigmoid_()
            own.neg_()
            of_bias += block.sum()
            torch.mm(block, key, out=of_query[here])
            of_key.addmm_(block.T, query[here])
        return total, of_query * scale, of_key * scale, (of_query * query).sum(), of_bias

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*output[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        return *(grad * gradient for gradient in ctx.saved_tensors), None


def _gradient_weight(block: Tensor, rows: _Softmax, here: slice, columns: _Softmax | None, there: slice) -> Tensor:
    """Gradient of the levels with respect to each similarity of the block, which is used up."""
    if rows.bounded and columns is not None:
        return block.exp_().mul_(rows.factor[here, None] + columns.factor[there])
    weight = _exp_(block - rows.level[here, None]).mul_(rows.grad[here, None])
    if columns is not None:
        weight.addcmul_(_exp_(block.sub_(columns.level[there])), columns.grad[there].expand_as(block))
    return weight


def _exp_(x: Tensor) -> Tensor:
    """exp in place, 0 below about 1e-26 (in float32): what is made of less is soon a denormal number.

    Most cores are up to 80 times as slow on those, and at scale 100 the similarities of well separated pairs lie so far
    below the largest of their row. No sum or gradient in the same precision can tell the difference.
    """
    lowest = 0.7 * math.log(torch.finfo(x.dtype).tiny)
    return F.threshold(F.threshold(x, lowest, lowest, inplace=True).exp_(), 2 * math.exp(lowest), 0.0, inplace=True)


def _bounded(query: Tensor, key: Tensor, scale: Tensor, pair_weight: PairWeight | None) -> bool:
    """Whether exp(similarity) can neither overflow nor vanish, so that no maximum has to be subtracted.

    Asked of processors alone: reading the answer would stall an accelerator.
    """
    if query.device.type != "cpu":
        return False
    if pair_weight is not None and pair_weight(slice(0, 1), slice(0, 1)).dtype != torch.bool:
        return False
    largest = scale.abs() * _largest_norm(query) * _largest_norm(key)
    return bool(largest < 0.45 * math.log(torch.finfo(query.dtype).max))


def _largest_norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x.detach(), dim=1).max() if len(x) else x.new_zeros(())


def _finite(level: Tensor) -> Tensor:
    """Levels to subtract: where there is no pair, exp(-inf - 0) is the right weight and exp(-inf + inf) is not."""
    return level.masked_fill(level == -torch.inf, 0.0)


def _dense_gradient(
    query: Tensor,
    key: Tensor,
    scale: Tensor,
    levels: Sequence[Tensor],
    grads: tuple[Tensor, Tensor | None, Tensor | None],
    exclude_self: bool,
    pair_weight: PairWeight | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The same gradient in differentiable operations, for second derivatives; holds the whole matrix.

    ``grads`` are those of the rows' levels, of the columns' levels and of the pairs, None where there are none.
    """
    row_grad, column_grad, own_grad = grads
    with torch.autocast(query.device.type, enabled=False):
        logits = scale * query @ key.T
        if exclude_self:
            own = torch.eye(len(query), dtype=torch.bool, device=query.device)
            logits = logits.masked_fill(own, -torch.inf)
        if pair_weight is not None:
            logits = _weighted(logits, pair_weight(slice(0, len(query)), slice(0, len(key))))
        weight = torch.exp(logits - _finite(levels[0])[:, None]) * row_grad[:, None]
        if column_grad is not None:
            weight = weight + torch.exp(logits - _finite(levels[1])) * column_grad
        if own_grad is not None:
            weight = weight + torch.diag(own_grad)
        unscaled = weight @ key
        return scale * unscaled, scale * weight.T @ query, (query * unscaled).sum()


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """``Σ a · b`` without their product in memory."""
    return torch.dot(a.reshape(-1), b.reshape(-1))


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
