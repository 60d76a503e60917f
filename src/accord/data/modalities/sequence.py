"""Precomputed features of steps, such as snippets of a film or poses: ``.npy`` files, or lists of lists of numbers."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from accord.data.draws import Draws, Purpose
from accord.data.inputs import SequenceInput
from accord.data.modalities.base import Modality, Reading
from accord.data.reading.media import NO_VALUE, Unreadable, read_bytes
from accord.errors import DataError

_MAGIC = b"\x93NUMPY"


@dataclass(frozen=True)
class Steps:
    """The steps that were kept of a sequence.

    Args:
        values: ``(n, F)`` float32.
        seconds: ``(n,)`` when each begins; steps where nothing says how long one lasts.
    """

    values: np.ndarray
    seconds: np.ndarray


class Sequences(Modality):
    """Features of steps. A value is :class:`Steps`, already no longer than the encoder wants."""

    name = "sequence"
    argument = "sequences"
    item, items = "sequence", "sequences"
    example = "cat.npy"
    suffixes = frozenset({".npy"})
    even = True
    draws_in_reading = True

    def knows(self, content: bytes) -> bool:
        """NumPy's own format."""
        return content.startswith(_MAGIC)

    def read(self, cell: Any, reading: Reading) -> Steps:
        """The steps that the encoder is fed; without a ``spec`` all, as they are.

        Raises:
            Unreadable: no numbers, not two axes, nothing in it, not finite, or of another width than the encoder's.
        """
        values = read_steps(cell, reading.root)
        spec = reading.spec
        if not isinstance(spec, SequenceInput):
            return Steps(values, np.arange(len(values), dtype=np.float32))
        if values.shape[1] != spec.dim:
            raise Unreadable(f"wrong width: {values.shape[1]} features a step, the encoder takes {spec.dim}")
        return fitted(values, spec, reading.draws)

    def check(self, cell: Any, root: Path | None) -> str:
        """Read it, and say how wide it is: one encoder reads all rows."""
        return f"{read_steps(cell, root).shape[1]} features a step"

    def blank(self, spec: Any) -> Steps:
        """One step of zeros."""
        return Steps(np.zeros((1, spec.dim), dtype=np.float32), np.zeros(1, dtype=np.float32))

    def collate(
        self, field: str, values: Sequence[Steps], spec: Any, views: Sequence[Any], draws: Draws
    ) -> dict[str, Any]:
        """``FIELD (B, T, F)``, ``FIELD_mask (B, T)`` and ``FIELD_times (B, T)`` in seconds, padded with zeros."""
        whole = spec.whole and not draws.training
        length = max((len(steps.values) for steps in values), default=0) if whole else spec.length
        batch, times = torch.zeros(len(values), length, spec.dim), torch.zeros(len(values), length)
        mask = torch.zeros(len(values), length, dtype=torch.bool)
        for row, steps in enumerate(values):
            count = len(steps.values)
            batch[row, :count], mask[row, :count] = torch.from_numpy(steps.values), True
            times[row, :count] = torch.from_numpy(steps.seconds)
        return {field: batch, f"{field}_mask": mask, f"{field}_times": times}

    def contents(self, cell: Any, root: Path | None) -> Iterator[bytes]:
        """The file, or the numbers."""
        yield np.asarray(cell, dtype=np.float32).tobytes() if isinstance(cell, list) else read_bytes(cell, root)

    def cell(self, item: Any, position: int) -> Any:
        """Of a path, bytes of a ``.npy`` file, or an array."""
        if isinstance(item, bytes | str | Path):
            return super().cell(item, position)
        if not hasattr(item, "__array__"):
            raise DataError(f"item {position} is a {type(item).__name__}; expected a .npy file or an array (T, F)")
        stream = io.BytesIO()
        np.save(stream, np.asarray(item, dtype=np.float32), allow_pickle=False)
        return {"bytes": stream.getvalue(), "path": None}


def read_steps(cell: Any, root: Path | None) -> np.ndarray:
    """All steps ``(T, F)`` float32 of a cell.

    Raises:
        Unreadable: no numbers, pickled, not two axes, nothing in it, or not finite.
    """
    values = _listed(cell) if isinstance(cell, list) else _loaded(cell, root)
    if values.dtype.kind not in "fiub":
        raise Unreadable(f"no numbers: the array holds {values.dtype}")
    if values.ndim != 2:
        raise Unreadable(f"wrong shape: {tuple(values.shape)}, expected (steps, features)")
    if not values.size:
        raise Unreadable(f"empty sequence: shape {tuple(values.shape)}")
    values = values.astype(np.float32)
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        raise Unreadable(f"not finite: step {int(np.flatnonzero(~finite)[0])} holds NaN or infinity")
    return values


def _listed(cell: list[Any]) -> np.ndarray:
    if not cell:
        raise Unreadable(NO_VALUE)
    try:
        return np.array(cell, dtype=np.float64)
    except (TypeError, ValueError):
        raise Unreadable("wrong shape: steps of different widths, or entries that are no numbers") from None


def _loaded(cell: Any, root: Path | None) -> np.ndarray:
    content = read_bytes(cell, root)
    if not content.startswith(_MAGIC):
        raise Unreadable("not a .npy file: save the array with numpy.save")
    try:
        loaded: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
        return loaded
    except (ValueError, OSError, EOFError) as error:
        if "pickle" in str(error).lower():
            raise Unreadable("pickled objects are not loaded: save numbers") from None
        raise Unreadable(f"damaged .npy file: {error}") from None


def fitted(values: np.ndarray, spec: SequenceInput, draws: Draws) -> Steps:
    """At most ``spec.length`` steps of a sequence, and when they begin.

    Example:
        >>> steps = np.arange(5, dtype=np.float32)[:, None]
        >>> fitted(steps, SequenceInput(1, length=3), Draws()).values[:, 0]
        array([0., 2., 4.], dtype=float32)
        >>> fitted(steps, SequenceInput(1, length=2, sampling="slots"), Draws()).values[:, 0]
        array([0.5, 2.5], dtype=float32)
        >>> fitted(steps, SequenceInput(1, length=3, sampling="window", seconds_per_step=2.0), Draws()).seconds
        array([2., 4., 6.], dtype=float32)
    """
    if spec.unit_norm:
        values = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    count, wanted = len(values), spec.length
    if spec.whole and not draws.training:
        return Steps(values, (np.arange(count) * spec.seconds_per_step).astype(np.float32))
    if spec.sampling == "slots":
        return _slots(values, spec)
    places = np.arange(min(count, wanted))
    if count > wanted and spec.sampling == "uniform":
        places = np.floor(np.linspace(0, count - 1, wanted)).astype(np.int64)
    elif count > wanted and spec.sampling == "window":
        free = count - wanted
        share = float(draws.shares(Purpose.MOMENT)[0])
        places = places + (int((free + 1) * share) if draws.training else free // 2)
    return Steps(values[places], (places * spec.seconds_per_step).astype(np.float32))


def _slots(values: np.ndarray, spec: SequenceInput) -> Steps:
    """Means of equal spans, bounds rounded half to even; an empty span repeats the step where it begins (G2L)."""
    count, wanted = len(values), spec.length
    bounds = np.minimum(np.round(np.arange(wanted + 1) * count / wanted), count - 1).astype(np.int64)
    means = [values[start:stop].mean(axis=0) if stop > start else values[start] for start, stop in pairwise(bounds)]
    starts = np.arange(wanted) * count / wanted * spec.seconds_per_step
    return Steps(np.stack(means).astype(np.float32), starts.astype(np.float32))


MODALITY: Modality = Sequences()
