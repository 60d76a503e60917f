"""The role of a row among others: what is looked at, or what it is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch

from accord.data.reading.media import Unreadable
from accord.data.targets.base import Canvas, Target

ROLES = ("query", "support", "target", "reference")


class Role(Target[int]):
    """One of ``ROLES``, which the batch counts from 0 (as the order of rows does); -1 where a row has none."""

    name: ClassVar[str] = "role"
    fields: ClassVar[tuple[str, ...]] = ("role",)
    keys: ClassVar[tuple[str, ...]] = ("role",)  # (B,) int64

    def read(self, cells: Mapping[str, Any], canvas: Canvas) -> int:
        """The number of the role.

        Raises:
            Unreadable: there is no such role.
        """
        role = str(cells["role"]).strip().lower()
        if role not in ROLES:
            raise Unreadable(f"unknown role: {cells['role']!r}, expected one of {', '.join(ROLES)}")
        return ROLES.index(role)

    def blank(self, canvas: Canvas) -> int:
        """No role."""
        return -1

    def collate(self, values: Sequence[int]) -> dict[str, Any]:
        """``role (B,)``."""
        return {"role": torch.tensor(values, dtype=torch.int64)}
