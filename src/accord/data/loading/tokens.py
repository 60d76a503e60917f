"""Tokens of many rows, without padding and in half precision: what the second stage of a search looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from accord.data.loading.features import Features
from accord.errors import ShapeError


@dataclass(frozen=True)
class TokenRows:
    """The tokens of N rows, one row after another.

    A row takes what it has: a caption of five words among captions of seventy holds five vectors. Half precision
    rounds a cosine by less than 0.001.

    Args:
        pooled: ``(N, D)`` float32, the embedding of each row.
        values: ``(T, W)`` float16, the real tokens of all rows.
        starts: ``(N + 1,)`` int64; row i has the tokens ``starts[i]`` to ``starts[i + 1]``.

    Raises:
        ShapeError: the tensors do not agree on N or T.

    Example:
        >>> mask = torch.tensor([[True, True], [True, False]])
        >>> rows = TokenRows.of([Features(torch.eye(2), torch.ones(2, 2, 3), mask)])
        >>> len(rows), rows.values.shape
        (2, torch.Size([3, 3]))
        >>> rows.padded([1]).tokens.shape
        torch.Size([1, 1, 3])
    """

    pooled: Tensor
    values: Tensor
    starts: Tensor

    def __post_init__(self) -> None:
        if len(self.starts) != len(self.pooled) + 1 or int(self.starts[-1]) != len(self.values):
            raise ShapeError(
                f"{len(self.pooled)} rows with {len(self.values)} tokens: expected starts of length "
                f"{len(self.pooled) + 1} that end with {len(self.values)}"
            )

    @classmethod
    def of(cls, parts: Sequence[Features]) -> TokenRows:
        """The rows of several batches of features with tokens.

        Raises:
            ShapeError: there is no batch, or one holds no tokens.
        """
        if not parts:
            raise ShapeError("no features came: expected at least one batch")
        values, counts = [], []
        for part in parts:
            tokens, mask = part.sequence()
            values.append(tokens[mask].half())
            counts.append(mask.sum(dim=1))
        ends = torch.cat(counts).cumsum(0)
        starts = torch.cat([ends.new_zeros(1), ends])
        return cls(torch.cat([part.pooled.float() for part in parts]), torch.cat(values), starts)

    def __len__(self) -> int:
        return len(self.pooled)

    def padded(self, rows: Tensor | Sequence[int] | slice | None = None) -> Features:
        """These rows as :class:`Features` in float32, padded to the longest of them; all rows by default."""
        index = torch.arange(len(self)) if rows is None or isinstance(rows, slice) else torch.as_tensor(rows)
        index = index[rows] if isinstance(rows, slice) else index
        first, count = self.starts[index], self.starts[index + 1] - self.starts[index]
        place = torch.arange(max(1, int(count.max())))
        mask = place < count[:, None]  # (R, L)
        tokens = self.values[torch.where(mask, first[:, None] + place, 0)]  # (R, L, W)
        return Features(self.pooled[index], tokens.float().masked_fill(~mask[..., None], 0.0), mask)
