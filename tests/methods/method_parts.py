"""A loader that hooks may go through, and batches of words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from accord.encoders.base import Encoder


class FixedLoader:
    """Batches of a fixed table of rows, in order."""

    def __init__(self, rows: dict[str, Tensor], size: int = 16) -> None:
        self.rows, self.size = rows, size
        self.count = len(next(iter(rows.values())))

    def __len__(self) -> int:
        return -(-self.count // self.size)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for start in range(0, self.count, self.size):
            yield {key: value[start : start + self.size] for key, value in self.rows.items()}


def text_batch(towers: dict[str, Encoder], texts: list[str]) -> dict[str, Tensor]:
    ids, mask = towers["text"].input.tokenizer(texts)  # type: ignore[union-attr]
    return {"text": ids, "text_mask": mask}
