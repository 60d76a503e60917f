"""A first-in-first-out dictionary of features (MoCo; He et al. 2020, CVPR)."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.functional.checks import check_range, check_shape
from accord.functional.distributed import gather_features
from accord.state.base import FullPrecisionState


class FeatureQueue(FullPrecisionState):
    """The last K unit vectors that were enqueued, with the ids of their samples.

    A ring buffer: batches of any size wrap around the end, and the order of the rows says nothing about their age
    (no loss or transport over a queue depends on it). Every process enqueues the rows of all processes, so that all
    hold the same queue. Enqueuing replaces the buffer instead of writing into it: logits that were computed with the
    old queue can still be back-propagated. One queue holds one view; several are a :class:`~torch.nn.ModuleList`.

    Args:
        size: number of vectors K.
        dim: width d.
        generator: makes random initial vectors reproducible.
        start: ``"random"`` begins with unit vectors of id -1, which serve as keys from the first step on (MoCo,
            TCL); ``"zeros"`` begins empty, for those who wait until :attr:`is_full` (SwAV). Read before enqueuing.

    Raises:
        ValueError: size or dim below 1, an unknown start.

    Example:
        >>> queue = FeatureQueue(3, 2)
        >>> queue.enqueue(torch.eye(2), ids=torch.tensor([5, 6]))
        >>> queue.features[:2], queue.ids
        (tensor([[1., 0.],
                 [0., 1.]]), tensor([ 5,  6, -1]))
        >>> queue.is_full
        False
    """

    features: Tensor
    ids: Tensor
    pointer: Tensor
    filled: Tensor

    def __init__(
        self,
        size: int,
        dim: int,
        generator: torch.Generator | None = None,
        *,
        start: Literal["random", "zeros"] = "random",
    ) -> None:
        super().__init__()
        check_range(1, max(size, 1), size=size)
        check_range(1, max(dim, 1), dim=dim)
        if start not in ("random", "zeros"):
            raise ValueError(f"start = {start!r}: expected 'random' or 'zeros'")
        self.start = start
        features = torch.randn(size, dim, generator=generator) if start == "random" else torch.zeros(size, dim)
        self.register_buffer("features", F.normalize(features, dim=1))
        self.register_buffer("ids", torch.full((size,), -1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))
        self._full = False  # as far as is known without reading from an accelerator

    def __len__(self) -> int:
        return len(self.features)

    @property
    def is_full(self) -> bool:
        """Whether K vectors have been enqueued."""
        self._full = self._full or bool(self.filled == len(self))
        return self._full

    def _load_from_state_dict(self, *args: Any, **options: Any) -> None:
        self._full = False
        super()._load_from_state_dict(*args, **options)

    def keys(self) -> Tensor:
        """The vectors to compare with: all of them, or those enqueued so far when the start was empty; ``(n, d)``."""
        return self.features if self.start == "random" else self.features[: int(self.filled)]

    @torch.no_grad()
    def enqueue(self, z: Tensor, ids: Tensor | None = None) -> None:
        """Replace the oldest vectors; of a batch larger than the queue the last K stay.

        Args:
            z: ``(b, d)``, the same shape in every process; normalised here.
            ids: ``(b,)`` integers, by default -1.

        Raises:
            ShapeError: shapes that do not fit the queue.
        """
        check_shape((None, self.features.shape[1]), z=z)
        ids = self.ids.new_full((len(z),), -1) if ids is None else ids.to(self.ids)
        check_shape((len(z),), ids=ids)
        z = gather_features(F.normalize(z.to(self.features), dim=1), with_grad=False)
        ids = gather_features(ids, with_grad=False)
        count = len(z)
        place = (self.pointer + torch.arange(count, device=z.device)) % len(self)
        fresh = slice(max(0, count - len(self)), None)
        self.features = self.features.index_copy(0, place[fresh], z[fresh])
        self.ids = self.ids.index_copy(0, place[fresh], ids[fresh])
        self.pointer = (self.pointer + count) % len(self)
        self.filled = (self.filled + count).clamp(max=len(self))
