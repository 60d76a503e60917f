"""Features: what an encoder returns, a vector for each item and named streams of vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from accord.errors import ShapeError

MAIN = "tokens"  # in the needs of a method: the main sequence, whatever its encoder calls it


@dataclass(frozen=True)
class Stream:
    """One sequence of vectors of each item: its patches, words, frames, steps of sound, or the layers of a network.

    Args:
        values: ``(B, N, D)``.
        mask: ``(B, N)`` bool, True where a position is real, or None when all are.
        grid: how the N positions lie, outermost axis first: ``(h, w)`` of a picture, ``(T, h, w)`` of a clip; None for
            a sequence without places.
        times: ``(B, N)`` seconds from the start of the item, or None where they are not known.

    Raises:
        ShapeError: the parts do not agree on B or N.

    Example:
        >>> Stream(torch.zeros(2, 6, 8), grid=(2, 3)).map().shape
        torch.Size([2, 8, 2, 3])
        >>> Stream(torch.zeros(2, 5, 8), grid=(2, 3))
        Traceback (most recent call last):
        accord.errors.ShapeError: a stream of 5 positions with grid (2, 3): expected a grid of as many cells
    """

    values: Tensor
    mask: Tensor | None = None
    grid: tuple[int, ...] | None = None
    times: Tensor | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 3:
            raise ShapeError(f"a stream of shape {tuple(self.values.shape)}: expected (B, N, D)")
        if self.grid is not None and prod(self.grid) != self.values.shape[1]:
            raise ShapeError(
                f"a stream of {self.values.shape[1]} positions with grid {self.grid}: expected a grid of as many cells"
            )
        for name, held in (("mask", self.mask), ("times", self.times)):
            if held is not None and held.shape != self.values.shape[:2]:
                shape = tuple(self.values.shape[:2])
                raise ShapeError(f"a stream's {name} has shape {tuple(held.shape)}: expected (B, N) = {shape}")

    @classmethod
    def of_map(cls, cells: Tensor) -> Stream:
        """The cells of a map ``(B, D, *grid)``, rows first; nothing is copied where channels lie last in memory.

        >>> Stream.of_map(torch.zeros(2, 8, 4, 3)).grid
        (4, 3)
        """
        return cls(cells.flatten(2).transpose(1, 2), grid=tuple(cells.shape[2:]))

    @classmethod
    def cat(cls, parts: Sequence[Stream]) -> Stream:
        """The streams of several batches, whose items have equally many positions, as that of one.

        Raises:
            ShapeError: their grids differ.
        """
        first = parts[0]
        if any(part.grid != first.grid for part in parts):
            raise ShapeError(f"streams of grids {', '.join(str(part.grid) for part in parts)}: expected one grid")
        masked = any(part.mask is not None for part in parts)
        return cls(
            torch.cat([part.values for part in parts]),
            torch.cat([part.real() for part in parts]) if masked else None,
            first.grid,
            None if first.times is None else torch.cat([part.times for part in parts if part.times is not None]),
        )

    def real(self) -> Tensor:
        """:attr:`mask`, made where all positions are real: ``(B, N)`` bool."""
        if self.mask is not None:
            return self.mask
        return torch.ones(self.values.shape[:2], dtype=torch.bool, device=self.values.device)

    def map(self) -> Tensor:
        """The values as a map ``(B, D, *grid)``: ``(B, D, h, w)`` of a picture, ``(B, D, T, h, w)`` of a clip.

        Raises:
            ShapeError: the places of the positions are not known.
        """
        if self.grid is None:
            raise ShapeError(
                f"a stream of {self.values.shape[1]} positions without a grid is no map: take one of patches or maps"
            )
        return self.values.transpose(1, 2).unflatten(2, self.grid)

    def to(self, *args: Any, **kwargs: Any) -> Stream:
        """Move every tensor, as :meth:`torch.Tensor.to` does; a type is for the values, masks and times keep theirs."""
        values = self.values.to(*args, **kwargs)

        def beside(held: Tensor | None) -> Tensor | None:
            return None if held is None else held.to(values.device)

        return replace(self, values=values, mask=beside(self.mask), times=beside(self.times))

    def select(self, rows: Tensor | slice) -> Stream:
        """The stream of these items ``(P,)``, in this order; items may repeat."""
        parts = {name: held[rows] for name in ("values", "mask", "times") if (held := getattr(self, name)) is not None}
        return replace(self, **parts)


@dataclass(init=False)
class Features:
    """What an encoder returns: a vector for each item, and named streams of vectors.

    Canonical names of streams: ``patches`` (of a picture, or of every frame of a clip), ``words``, ``frames``,
    ``steps`` (of sound), ``nodes``, ``layers`` (the pooled output of every layer), ``prenorm`` (patches before a ViT's
    last norm), and ``map4``, ``map8``, … (the map of a picture at that stride). One of them is the main sequence: what
    a method means that asks for ``tokens``.

    Args:
        pooled: ``(B, D)`` one vector per item.
        tokens: ``(B, N, D)`` a main sequence without a name of its own.
        mask: ``(B, N)`` bool, that of ``tokens``.
        streams: name -> stream.
        main: name of the main sequence; by default the first of the streams.

    Example:
        >>> features = Features(torch.zeros(2, 8), streams={"patches": Stream(torch.zeros(2, 6, 8), grid=(2, 3))})
        >>> features.tokens.shape, features.stream("patches").map().shape
        (torch.Size([2, 6, 8]), torch.Size([2, 8, 2, 3]))
        >>> features.stream("map8")
        Traceback (most recent call last):
        accord.errors.ShapeError: these features hold no stream 'map8'; there are: patches
    """

    pooled: Tensor
    streams: dict[str, Stream]
    main: str

    def __init__(
        self,
        pooled: Tensor,
        tokens: Tensor | None = None,
        mask: Tensor | None = None,
        *,
        streams: Mapping[str, Stream] | None = None,
        main: str | None = None,
    ) -> None:
        self.pooled = pooled
        self.streams = {} if tokens is None else {MAIN: Stream(tokens, mask)}
        self.streams |= streams or {}
        self.main = next(iter(self.streams), MAIN) if main is None else main

    @classmethod
    def cat(cls, parts: Sequence[Features]) -> Features:
        """The features of several batches, whose items have equally many positions, as those of one.

        >>> Features.cat([Features(torch.zeros(2, 8)), Features(torch.zeros(1, 8))]).pooled.shape
        torch.Size([3, 8])
        """
        streams = {name: Stream.cat([part.streams[name] for part in parts]) for name in parts[0].streams}
        return cls(torch.cat([part.pooled for part in parts]), streams=streams, main=parts[0].main)

    def stream(self, name: str = MAIN) -> Stream:
        """The stream of that name; ``"tokens"`` is the main sequence.

        Raises:
            ShapeError: there is none; lists those that there are.
        """
        known = self.main if name == MAIN else name
        if known in self.streams:
            return self.streams[known]
        if name == MAIN:
            raise ShapeError("these features hold no tokens: expected (B, N, D)")
        there = f"there are: {', '.join(self.streams)}" if self.streams else "there is only the pooled vector"
        asked = "; an encoder gives layers when it is called with layers=True" if name == "layers" else ""
        raise ShapeError(f"these features hold no stream {name!r}; {there}{asked}")

    @property
    def tokens(self) -> Tensor | None:
        """The main sequence ``(B, N, D)``, or None where there is none."""
        return self.streams[self.main].values if self.main in self.streams else None

    @property
    def mask(self) -> Tensor | None:
        """The mask ``(B, N)`` of the main sequence, or None when all of it is real."""
        return self.streams[self.main].mask if self.main in self.streams else None

    def sequence(self) -> tuple[Tensor, Tensor]:
        """The main sequence ``(B, N, D)`` and its mask ``(B, N)``, made where all are real.

        Raises:
            ShapeError: there are no tokens.

        Example:
            >>> Features(torch.zeros(1, 2), torch.zeros(1, 3, 2)).sequence()[1]
            tensor([[True, True, True]])
        """
        stream = self.stream()
        return stream.values, stream.real()

    def grid(self) -> Tensor:
        """The main sequence as a map ``(B, D, *grid)``, see :meth:`Stream.map`.

        Raises:
            ShapeError: there are no tokens, or their places are not known.

        Example:
            >>> patches = Stream(torch.arange(8.0).view(1, 4, 2), grid=(2, 2))
            >>> Features(torch.zeros(1, 2), streams={"patches": patches}).grid()[0, 0]
            tensor([[0., 2.],
                    [4., 6.]])
        """
        return self.stream().map()

    def to(self, *args: Any, **kwargs: Any) -> Features:
        """Move every tensor, as :meth:`torch.Tensor.to` does."""
        streams = {name: stream.to(*args, **kwargs) for name, stream in self.streams.items()}
        return Features(self.pooled.to(*args, **kwargs), streams=streams, main=self.main)

    def select(self, rows: Tensor | slice) -> Features:
        """The features of these rows ``(P,)``, in this order; rows may repeat.

        Example:
            >>> Features(torch.tensor([[1.0], [2.0]])).select(torch.tensor([1, 1])).pooled.T
            tensor([[2., 2.]])
        """
        streams = {name: stream.select(rows) for name, stream in self.streams.items()}
        return Features(self.pooled[rows], streams=streams, main=self.main)
