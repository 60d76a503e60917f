"""What scores token by token have in common: tiles of all products of tokens, votes, and pairs without any."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from accord.errors import ShapeError
from accord.functional.checks import check_ndim, check_shape

TILE_ELEMENTS = 1 << 22  # token similarities held at a time: 16 MiB in float32


def token_tiles(query: Tensor, key: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Groups of queries and of keys, and room for all similarities of their tokens, ``(t n, u m)``.

    They are at most ``TILE_ELEMENTS``, if those of one pair are; all groups share one memory.
    """
    (a, n, _), (b, m, _) = query.shape, key.shape
    keys = max(1, min(b, TILE_ELEMENTS // (n * m)))
    queries = max(1, min(a, TILE_ELEMENTS // (n * m * keys)))
    buffer = query.new_empty(queries * n * keys * m)
    for row in range(0, a, queries):
        for column in range(0, b, keys):
            height, width = min(queries, a - row) * n, min(keys, b - column) * m
            room = buffer[: height * width].view(height, width)
            yield slice(row, row + queries), slice(column, column + keys), room


def token_products(query: Tensor, key: Tensor, out: Tensor | None = None) -> Tensor:
    """All inner products of tokens, ``(t, n, u, m)``."""
    (t, n, width), (u, m, _) = query.shape, key.shape
    return torch.mm(query.reshape(-1, width), key.reshape(-1, width).T, out=out).view(t, n, u, m)


def sum_voting(best: Tensor, voting: Tensor | None, dim: int) -> Tensor:
    """The sum over the tokens that vote."""
    return best.sum(dim=dim) if voting is None else torch.where(voting, best, 0.0).sum(dim=dim)


def per_voter(total: Tensor, query: Tensor, query_mask: Tensor | None, key_mask: Tensor | None, reduce: str) -> Tensor:
    """Divide by the number of voting tokens; 0 where a side has none."""
    if reduce == "mean":
        total = total / (query.shape[1] if query_mask is None else query_mask.sum(dim=1, keepdim=True).clamp(min=1))
    if query_mask is not None:
        total = total.masked_fill(~query_mask.any(dim=1)[:, None], 0.0)
    return total if key_mask is None else total.masked_fill(~key_mask.any(dim=1), 0.0)


def or_all(mask: Tensor | None) -> Tensor | None:
    """The mask, with all tokens where none is valid: no maximum of nothing, :func:`per_voter` makes such pairs 0."""
    return None if mask is None else mask | ~mask.any(dim=1, keepdim=True)


def check_tokens(
    query: Tensor,
    key: Tensor,
    query_mask: Tensor | None,
    key_mask: Tensor | None,
    names: tuple[str, str] = ("query", "key"),
) -> None:
    """Refuse tokens and masks that do not fit together.

    Raises:
        ShapeError: tokens of different width or none at all, or masks of another shape.
        ValueError: a mask that is not bool.
    """
    check_ndim(3, **dict(zip(names, (query, key), strict=True)))
    if query.shape[2] != key.shape[2]:
        raise ShapeError(f"{names[1]} has shape {tuple(key.shape)}: expected width {query.shape[2]}, as {names[0]} has")
    for name, tokens, mask in ((names[0], query, query_mask), (names[1], key, key_mask)):
        if tokens.shape[1] == 0:
            raise ShapeError(f"{name} has shape {tuple(tokens.shape)}: expected at least one token")
        if mask is not None:
            check_shape(tuple(tokens.shape[:2]), **{f"{name.removesuffix('_tokens')}_mask": mask})
            if mask.dtype != torch.bool:
                raise ValueError(f"the mask of {name} has type {mask.dtype}: expected bool")
