"""Features: what an encoder returns, and the cache of a frozen encoder's features that the loader reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from accord.errors import DataError, ShapeError
from accord.files import replacing


@dataclass
class Features:
    """What an encoder returns.

    Args:
        pooled: ``(B, D)`` one vector per item.
        tokens: ``(B, N, D)`` one vector per token, patch or frame, or None.
        mask: ``(B, N)`` bool, True where a token is real, or None when all are.
        maps: ``{stride: (B, C, h, w)}`` feature maps, or None.
    """

    pooled: Tensor
    tokens: Tensor | None = None
    mask: Tensor | None = None
    maps: dict[int, Tensor] | None = None

    @classmethod
    def cat(cls, parts: Sequence[Features]) -> Features:
        """The features of several batches, whose items have equally many tokens, as those of one.

        >>> Features.cat([Features(torch.zeros(2, 8)), Features(torch.zeros(1, 8))]).pooled.shape
        torch.Size([3, 8])
        """
        first = parts[0]

        def joined(name: str) -> Tensor | None:
            held = [getattr(part, name) for part in parts]
            return None if held[0] is None else torch.cat(held)

        maps = None
        if first.maps is not None:
            maps = {stride: torch.cat([part.maps[stride] for part in parts if part.maps]) for stride in first.maps}
        return cls(torch.cat([part.pooled for part in parts]), joined("tokens"), joined("mask"), maps)

    def sequence(self) -> tuple[Tensor, Tensor]:
        """``tokens`` and their mask, made where all are real.

        Raises:
            ShapeError: there are no tokens.

        Example:
            >>> Features(torch.zeros(1, 2), torch.zeros(1, 3, 2)).sequence()[1]
            tensor([[True, True, True]])
        """
        if self.tokens is None:
            raise ShapeError("these features hold no tokens: expected (B, N, D)")
        mask = self.mask
        if mask is None:
            mask = torch.ones(self.tokens.shape[:2], dtype=torch.bool, device=self.tokens.device)
        return self.tokens, mask

    def grid(self) -> Tensor:
        """The tokens of a square picture as a map ``(B, D, s, s)``, rows first.

        Raises:
            ShapeError: there are no tokens, or their number is not a square.

        Example:
            >>> Features(torch.zeros(1, 2), torch.arange(8.0).view(1, 4, 2)).grid()[0, 0]
            tensor([[0., 2.],
                    [4., 6.]])
        """
        tokens, _ = self.sequence()
        side = math.isqrt(tokens.shape[1])
        if side * side != tokens.shape[1]:
            raise ShapeError(f"tokens: {tokens.shape[1]} of them are no square map; expected (B, s·s, D)")
        return tokens.transpose(1, 2).unflatten(2, (side, side))

    def to(self, *args: Any, **kwargs: Any) -> Features:
        """Move every tensor, as :meth:`torch.Tensor.to` does."""
        return self._each(lambda tensor: tensor.to(*args, **kwargs))

    def select(self, rows: Tensor) -> Features:
        """The features of these rows ``(P,)``, in this order; rows may repeat.

        Example:
            >>> Features(torch.tensor([[1.0], [2.0]])).select(torch.tensor([1, 1])).pooled.T
            tensor([[2., 2.]])
        """
        return self._each(lambda tensor: tensor[rows])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Features:
        def changed(value: Any) -> Any:
            if isinstance(value, Tensor):
                return change(value)
            return {key: changed(item) for key, item in value.items()} if isinstance(value, dict) else value

        return Features(**{field.name: changed(getattr(self, field.name)) for field in fields(self)})


@dataclass(frozen=True)
class FeatureCache:
    """Features of one modality, computed once by a frozen encoder and fed instead of raw input.

    Training draws, for every epoch, row and view, one of the row's ``A`` variants: cached augmentations of an
    image, or the captions of a row. Evaluation reads ``plain``.

    Args:
        plain: ``(N, D)`` features without augmentation (image) or of the first caption (text).
        variants: ``(N, V, A, D)``, V views by A augmentations, or ``(N, 1, A, D)`` captions; None when
            training reads ``plain`` too.
        counts: ``(N,)`` int64, how many of the A variants of a row are filled, or None when all are.
        boxes: ``(N, V, A, 4)`` relative crop boxes of the variants, or None.
        flips: ``(N, V, A)`` bool, which variants are mirrored, or None.
        key: what the features were computed from (encoder and data), compared before a saved cache is reused.
        tokens: number n of tokens that lie behind the vector in each row, :func:`pack`; 0 for the vector alone.
        dim: width of that vector, where there are tokens.

    Raises:
        ShapeError: the tensors do not agree on N, V, A or D.

    Example:
        >>> cache = FeatureCache(torch.eye(3), torch.zeros(3, 2, 4, 3))
        >>> len(cache), cache.views, cache.select([0, 2]).plain.shape
        (3, 2, torch.Size([2, 3]))
    """

    plain: Tensor
    variants: Tensor | None = None
    counts: Tensor | None = None
    boxes: Tensor | None = None
    flips: Tensor | None = None
    key: str = ""
    tokens: int = 0
    dim: int = 0

    def __post_init__(self) -> None:
        rows, width = self.plain.shape
        shape = (rows, *(self.variants.shape[1:3] if self.variants is not None else (0, 0)))
        expected = {"variants": (*shape, width), "counts": (rows,), "boxes": (*shape, 4), "flips": shape}
        for name, value in self._tensors().items():
            if name in expected and tuple(value.shape) != expected[name]:
                raise ShapeError(f"FeatureCache.{name} is {tuple(value.shape)}, expected {expected[name]}")

    def __len__(self) -> int:
        return len(self.plain)

    def unpack(self, rows: Tensor) -> Features:
        """The features that rows ``(B, D)`` of this cache hold, in float32.

        Example:
            >>> features = Features(torch.zeros(2, 3), torch.ones(2, 4, 5))
            >>> FeatureCache(pack(features), tokens=4, dim=3).unpack(pack(features)).tokens.shape
            torch.Size([2, 4, 5])
        """
        if not self.tokens:
            return Features(rows)
        pooled, flat = rows.float().split([self.dim, rows.shape[1] - self.dim], dim=1)
        return Features(pooled, flat.unflatten(1, (self.tokens, -1)))

    @property
    def views(self) -> int:
        """Number of views V, 0 when only un-augmented features are held."""
        return 0 if self.variants is None else self.variants.shape[1]

    def select(self, rows: Sequence[int] | np.ndarray | Tensor) -> FeatureCache:
        """The cache of these rows, in this order, as :meth:`accord.data.corpus.Corpus.select`."""
        index = torch.as_tensor(np.asarray(rows), dtype=torch.int64)
        return replace(self, **{name: value[index] for name, value in self._tensors().items()})  # type: ignore[arg-type]

    def save(self, path: Path) -> None:
        """Write a safetensors file atomically."""
        tensors = {name: value.contiguous() for name, value in self._tensors().items()}
        facts = {"key": self.key, "tokens": str(self.tokens), "dim": str(self.dim)}
        with replacing(path) as partial:
            save_file(tensors, partial, metadata=facts)

    @classmethod
    def load(cls, path: Path) -> FeatureCache:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: the file is missing or is not such a cache.
        """
        names = {field.name for field in fields(cls)} - {"key", "tokens", "dim"}
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys() if name in names}  # noqa: SIM118
                facts = file.metadata() or {}
                tokens, dim = (int(facts.get(name, 0)) for name in ("tokens", "dim"))
                return cls(**tensors, key=facts.get("key", ""), tokens=tokens, dim=dim)
        except (OSError, SafetensorError, TypeError) as error:
            raise DataError(f"{path} is not a feature cache ({error}): delete it to rebuild it") from None

    def _tensors(self) -> dict[str, Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def pack(features: Features) -> Tensor:
    """Vector and tokens of each item in one row ``(B, D + n D')``, in half precision: tokens are many.

    Raises:
        ShapeError: there are no tokens, or some of them are padding.
    """
    if features.tokens is None or features.mask is not None:
        raise ShapeError("these features cannot be packed: expected tokens (B, N, D) without padding")
    return torch.cat([features.pooled, features.tokens.flatten(1)], dim=1).half()
