"""Distances of vectors to the spans of tuples, and the size of the tuples: the two factors of a volume.

Each tuple's Gram matrix is factorised once; after that every anchor costs one product per vector of the tuple. Both
factors lose all digits to cancellation when vectors nearly coincide: there they are computed in float64, if the device
has it. Where nothing but rounding is left, length and distance are exactly 0 and carry no gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from accord.functional.checks import as_float

TILE_ELEMENTS = 1 << 20  # coordinates held in float64 at a time: 8 MiB stay near the cores
ENOUGH = 0.1  # share of a squared length that must be left for single precision to keep six digits of the distance
MANY = 16  # more than one pair in so many to be computed again: then all are, in one product
SMALLEST_TILE = 256  # anchors; with fewer, the traffic of the accumulated gradient outweighs the products


def span_factors(
    anchor: Tensor, stacked: Tensor, present: Tensor | None, eps: float = 0.0, *, products: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Size of each tuple, and the distance of every anchor to its span; their product is the volume.

    Args:
        anchor: ``(B1, D)``.
        stacked: ``(k, B2, D)`` tuples.
        present: ``(B2, k)`` bool, False for a vector that a tuple lacks.
        eps: added to every squared length.
        products: give the inner products as well, which the distances are made from.

    Returns:
        ``(B2,)`` and ``(B1, B2)``; inner products ``(B1, k, B2)``, or nothing.

    Example:
        >>> span_factors(torch.eye(2)[:1], torch.eye(2)[None], None)
        (tensor([1., 1.]), tensor([[0., 1.]]), tensor([]))
        >>> span_factors(torch.eye(2)[:1], torch.eye(2)[None], None, products=True)[2]
        tensor([[[1., 0.]]])
    """
    length, lower, diagonal = gram_cholesky(stacked, present, eps)
    distance, _, inner = _Distance.apply(anchor, stacked, lower, diagonal, eps, products)
    return length.prod(dim=0).to(distance.dtype), distance, inner


def gram_cholesky(stacked: Tensor, present: Tensor | None, eps: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Edge lengths ``(k, B)``, whose product is the volume, and the Cholesky factor of each tuple's Gram matrix.

    The factor comes as ``(k, k, B)`` below the diagonal and ``(k, B)`` on it. A vector in the span of those before it
    has length 0, an absent one length 1; both have an infinite diagonal, so that they have no coordinates.

    Args:
        stacked: ``(k, B, D)`` tuples.
        present: ``(B, k)`` bool, False for a vector that a tuple lacks.
        eps: added to every squared length.

    Returns:
        ``(k, B)``, ``(k, k, B)`` and ``(k, B)``, in float64 where the device has it.

    Example:
        >>> lengths, lower, diagonal = gram_cholesky(torch.tensor([[[2.0, 0.0]], [[1.0, 3.0]]]), None)
        >>> lengths.flatten().tolist(), lower[1, 0].item()
        ([2.0, 3.0], 1.0)
    """
    gram = _Gram.apply(stacked)
    tolerance, zero = rounding(gram.dtype, stacked.shape[2]), torch.zeros_like(gram[0, 0])
    lower: list[list[Tensor]] = []
    lengths: list[Tensor] = []
    diagonal: list[Tensor] = []
    for p in range(len(stacked)):
        row: list[Tensor] = []
        square = gram[p, p] + eps
        for q in range(p):
            inner = gram[p, q]
            for r in range(q):
                inner = inner - row[r] * lower[q][r]
            row.append(inner / diagonal[q])
            square = square - row[q].square()
        square = square.clamp(min=eps)
        real = square > (0.0 if eps else tolerance * gram[p, p])
        there = torch.ones_like(real) if present is None else present[:, p]
        length = torch.where(real & there, square, 1.0).sqrt()
        lengths.append(length.masked_fill(there & ~real, 0.0))
        diagonal.append(length.masked_fill(~(real & there), torch.inf))
        lower.append(row)
    factor = torch.stack([torch.stack(row + [zero] * (len(stacked) - len(row))) for row in lower])
    return torch.stack(lengths), factor, torch.stack(diagonal)


class _Gram(torch.autograd.Function):
    """Inner products of the vectors of each tuple, in float64; the backward pass has the vectors' precision."""

    generate_vmap_rule = True

    @staticmethod
    def forward(stacked: Tensor) -> Tensor:
        """``(k, B, D)`` to ``(k, k, B)``."""
        wide = _widen(stacked.transpose(0, 1))  # (B, k, D)
        return (wide @ wide.mT).permute(1, 2, 0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (stacked,) = ctx.saved_tensors
        symmetric = (grad + grad.transpose(0, 1)).to(stacked.dtype).permute(2, 0, 1)  # (B, k, k)
        # contiguous: with strides, the rows of a batch are multiplied one after the other
        return (symmetric.contiguous() @ stacked.transpose(0, 1).contiguous()).transpose(0, 1)


class _Distance(torch.autograd.Function):
    """Distance of every anchor to every span; the backward pass multiplies in the precision of the input.

    With L the Cholesky factor of a tuple's Gram matrix, the coordinates of an anchor in the orthonormal basis of the
    tuple are ``c = L⁻¹ (products of the anchor with the tuple)``, and ``d² = |a|² + eps - |c|²``. This difference needs
    float64 where little is left: those pairs are computed again, or all when they are many. The gradient never does:
    it is a difference of vectors, not of squares.
    """

    @staticmethod
    def forward(
        anchor: Tensor, stacked: Tensor, lower: Tensor, diagonal: Tensor, eps: float, keep: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Distances ``(B1, B2)``, coordinates ``(B1, k, B2)`` and products, all in the precision of the anchors.

        ``stacked (k, B2, D)`` are the tuples, ``lower (k, k, B2)`` their L below the diagonal, and
        ``diagonal (k, B2)``, infinite for a vector that has no direction of its own. ``keep`` the products
        ``(B1, k, B2)``, which come with a gradient of their own; otherwise they are empty.
        """
        distance = anchor.new_empty(len(anchor), stacked.shape[1])
        along = anchor.new_empty(len(anchor), *stacked.shape[:2])
        products = torch.empty_like(along) if keep else anchor.new_empty(0)
        directions, inverse = stacked.flatten(0, 1), diagonal.reciprocal()  # (k·B2, D)
        low, small = lower.to(anchor.dtype), inverse.to(anchor.dtype)
        narrow = anchor.dtype != lower.dtype and not torch.compiler.is_compiling()
        near = _nearly_dependent(lower, diagonal) if narrow else None
        for rows in _row_tiles(anchor, stacked):
            x, c, square = anchor[rows], along[rows], distance[rows]
            if keep or near is not None:
                torch.mm(x, directions.T, out=c.view(len(x), -1))
            if keep:
                products[rows] = c
            if near is None:
                _project_exactly(x, directions, lower, inverse, eps, c, square)
                continue
            whole = x.square().sum(dim=1, keepdim=True) + eps
            _solve_(c, square.copy_(whole), low, small)
            doubtful = (square < ENOUGH * whole) | near
            count = int(doubtful.sum())
            if count > doubtful.numel() // MANY:
                _project_exactly(x, directions, lower, inverse, eps, c, square)
            elif count:
                i, j = doubtful.nonzero(as_tuple=True)
                c[i, :, j], square[i, j] = _pairs_exactly(x, stacked, lower, inverse, eps, i, j)
        return distance.sqrt_(), along, products

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        anchor, stacked, lower, diagonal, ctx.eps, ctx.kept = inputs
        distance, along, _ = output
        ctx.mark_non_differentiable(along)
        ctx.set_materialize_grads(False)  # no zeros for the coordinates
        ctx.save_for_backward(anchor, stacked, lower, diagonal, distance, along)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, _: Any, of_products: Tensor | None) -> tuple[Tensor | None, ...]:
        of_products = of_products if ctx.kept else None  # of what is empty, a compiler has a gradient too
        if grad is None and of_products is None:
            return (None,) * 6
        anchor, stacked, lower, diagonal, distance, along = ctx.saved_tensors
        grad = torch.zeros_like(distance) if grad is None else grad
        if torch.is_grad_enabled():  # the gradient itself will be differentiated
            return *_dense_gradient(grad, of_products, anchor, stacked, lower, diagonal, distance, ctx.eps), None, None
        directions = stacked.flatten(0, 1)  # (k·B2, D)
        low, inverse = lower.to(anchor.dtype), diagonal.reciprocal().to(anchor.dtype)
        of_anchor, of_directions = torch.empty_like(anchor), torch.zeros_like(directions)
        of_lower, of_diagonal = torch.zeros_like(low), torch.zeros_like(inverse)
        tiles = _row_tiles(anchor, stacked)
        room, weights, product = (
            anchor.new_empty(tiles[0].stop, *width) for width in (stacked.shape[:2], grad.shape[1:], grad.shape[1:])
        )
        for rows in tiles:
            x, d, c = anchor[rows], distance[rows], along[rows]
            weight, share, scratch = weights[: len(x)], room[: len(x)], product[: len(x)]
            torch.div(grad[rows], d, out=weight).masked_fill_(d <= ctx.eps**0.5, 0.0)
            torch.mul(c, weight[:, None], out=share).neg_()  # the gradient of every coordinate
            for p in reversed(range(len(low))):  # becomes that of its product, L being undone from the bottom
                here = share[:, p].mul_(inverse[p])
                of_diagonal[p].sub_(torch.mul(here, c[:, p], out=scratch).sum(dim=0))
                for q in range(p):
                    of_lower[p, q].sub_(torch.mul(here, c[:, q], out=scratch).sum(dim=0))
                    share[:, q].addcmul_(low[p, q], here, value=-1)
            if of_products is not None:
                share.add_(of_products[rows])
            torch.mm(share.flatten(1), directions, out=of_anchor[rows]).addcmul_(weight.sum(dim=1, keepdim=True), x)
            of_directions.addmm_(share.flatten(1).T, x)
        of_factor = (of_lower.to(lower.dtype), of_diagonal.to(diagonal.dtype))
        return of_anchor, of_directions.view_as(stacked), *of_factor, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        """One problem after the other: the tiles are written in place."""
        each = [
            _Distance.apply(*(x if dim is None else x.select(dim, i) for x, dim in zip(args, in_dims, strict=True)))
            for i in range(info.batch_size)
        ]
        return tuple(torch.stack(part) for part in zip(*each, strict=True)), (0, 0, 0)


def _nearly_dependent(lower: Tensor, diagonal: Tensor) -> Tensor:
    """``(B,)`` bool: a vector of the tuple is mostly explained by those before it."""
    length = torch.where(diagonal.isinf(), 1.0, diagonal).square()
    return (length < ENOUGH * (length + lower.square().sum(dim=1))).any(dim=0)


def _project_exactly(
    x: Tensor, directions: Tensor, lower: Tensor, inverse: Tensor, eps: float, along: Tensor, square: Tensor
) -> None:
    """Coordinates ``(t, k, B2)`` and squared distances ``(t, B2)`` of all anchors, computed in float64."""
    wide = _widen(x)
    products = (wide @ _widen(directions).T).unflatten(1, along.shape[1:])
    whole = wide.square().sum(dim=1, keepdim=True)
    exact = (whole + eps).expand(square.shape).contiguous()
    _solve_(products, exact, lower, inverse)
    along.copy_(products)
    square.copy_(_floored(exact, whole, directions.shape[1], eps))


def _pairs_exactly(
    x: Tensor, stacked: Tensor, lower: Tensor, inverse: Tensor, eps: float, rows: Tensor, columns: Tensor
) -> tuple[Tensor, Tensor]:
    """The same for n pairs of an anchor and a tuple, given by their numbers: ``(n, k)`` and ``(n,)``."""
    step = max(1, TILE_ELEMENTS // x.shape[1])
    parts, wholes = [], []
    for i, j in zip(rows.split(step), columns.split(step), strict=True):
        wide = _widen(x[i])
        wholes.append(wide.square().sum(dim=1))
        parts.append((wide * _widen(stacked[:, j])).sum(dim=2))  # (k, n)
    products, whole = torch.cat(parts, dim=1)[None], torch.cat(wholes)[None]
    exact = whole + eps
    _solve_(products, exact, lower[:, :, columns], inverse[:, columns])
    return products[0].T.to(x.dtype), _floored(exact, whole, x.shape[1], eps)[0].to(x.dtype)


def _solve_(products: Tensor, square: Tensor, lower: Tensor, inverse: Tensor) -> None:
    """In place: products ``(t, k, b)`` become coordinates, whose squares are taken from ``square (t, b)``."""
    for p, c in enumerate(products.unbind(dim=1)):
        for q in range(p):
            c.addcmul_(lower[p, q], products[:, q], value=-1)
        square.addcmul_(c.mul_(inverse[p]), c, value=-1)


def _floored(square: Tensor, whole: Tensor, width: int, eps: float) -> Tensor:
    """Squared distances, ``eps`` where nothing but rounding is left."""
    floor = torch.full_like(whole, eps) if eps else rounding(square.dtype, width) * whole
    return square.masked_fill(square <= floor, eps)


def _dense_gradient(
    grad: Tensor,
    of_products: Tensor | None,
    anchor: Tensor,
    stacked: Tensor,
    lower: Tensor,
    diagonal: Tensor,
    distance: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same gradient in differentiable operations, for second derivatives."""
    low, inverse = lower.to(anchor.dtype), diagonal.reciprocal().to(anchor.dtype)
    along: list[Tensor] = []
    for p, x in enumerate(stacked):
        c = anchor @ x.T
        for q, earlier in enumerate(along):
            c = c - low[p, q] * earlier
        along.append(c * inverse[p])
    real = distance > eps**0.5
    weight = torch.where(real, grad / torch.where(real, distance, 1.0), 0.0)
    share = [-weight * c for c in along]
    of_lower = [[torch.zeros_like(inverse[0])] * len(along) for _ in along]
    of_diagonal = [inverse[0]] * len(along)
    for p in reversed(range(len(along))):
        share[p] = share[p] * inverse[p]
        of_diagonal[p] = -(share[p] * along[p]).sum(dim=0)
        for q in range(p):
            of_lower[p][q] = -(share[p] * along[q]).sum(dim=0)
            share[q] = share[q] - low[p, q] * share[p]
    if of_products is not None:
        share = [one + other for one, other in zip(share, of_products.unbind(dim=1), strict=True)]
    of_anchor = weight.sum(dim=1, keepdim=True) * anchor + torch.cat(share, dim=1) @ stacked.flatten(0, 1)
    of_stacked = torch.stack([part.T @ anchor for part in share])
    of_factor = torch.stack([torch.stack(row) for row in of_lower]), torch.stack(of_diagonal)
    return of_anchor, of_stacked, of_factor[0].to(lower.dtype), of_factor[1].to(diagonal.dtype)


def _row_tiles(anchor: Tensor, stacked: Tensor) -> list[slice]:
    """Groups of anchors whose distances to all spans are computed at a time."""
    step = max(SMALLEST_TILE, TILE_ELEMENTS // (stacked.shape[0] * stacked.shape[1]))
    return [slice(start, min(start + step, len(anchor))) for start in range(0, len(anchor), step)]


def rounding(dtype: torch.dtype, width: int) -> float:
    """Share of a squared length below which a difference of inner products over D coordinates is rounding.

    Example:
        >>> rounding(torch.float32, 512) < 1e-4
        True
    """
    return torch.finfo(dtype).eps * (32 + width)


def _widen(x: Tensor) -> Tensor:
    return as_float(x) if x.device.type == "mps" else x.double()  # Apple's GPUs have no float64
