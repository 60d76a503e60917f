"""The panels of a figure, each drawn into axes that somebody else made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.diagnostics.gap import sampled
from accord.diagnostics.plane import principal_plane
from accord.functional.measures.regularity import effective_rank

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from accord.diagnostics.finding import Diagnostic

COLOURS = ("#4455cc", "#cc6633", "#2a9d5c", "#8e5bc0")
MUTED = "#999999"
_ROWS = 2000  # of the histogram of other rows' cosines
_LETTERS = 24  # of a name beside a bar
_SLOTS = 6  # bars that fill the height, at least


@dataclass(frozen=True)
class Bar:
    """A share in percent with its interval and chance level, as a bar."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    chance: float | None = None

    @classmethod
    def of(cls, name: str, found: Diagnostic | Any) -> Bar:
        """The bar of a number, under another name."""
        return cls(name, found.value, found.low, found.high, found.chance)


def draw_plane(axes: Axes, embeddings: Mapping[str, Tensor]) -> None:
    """The first two modalities on the two main axes of all their points together."""
    sides = {name: rows.float() for name, rows in islice(embeddings.items(), 2)}
    for (name, points), colour in zip(principal_plane(sides).points.items(), COLOURS, strict=False):
        at = points.numpy()
        axes.scatter(at[:, 0], at[:, 1], s=8, alpha=0.5, color=colour, label=name, linewidths=0)
    axes.set(xlabel="first main axis", ylabel="second main axis", aspect="equal")
    axes.legend(frameon=False, markerscale=2)


def draw_cosines(axes: Axes, embeddings: Mapping[str, Tensor]) -> None:
    """Histograms of the cosine of what belongs together and of what does not, of the first two modalities."""
    x, y = (rows[:_ROWS].float() for rows in islice(embeddings.values(), 2))
    cosines = x @ y.T
    others = cosines[~torch.eye(len(x), dtype=torch.bool)]
    _draw_histograms(axes, {"pairs": cosines.diagonal(), "other rows": others})


def draw_classes(axes: Axes, x: Tensor, labels: NDArray[np.int64], name: str) -> None:
    """Histograms of the cosine of two rows of one class, and of two of different classes.

    Args:
        axes: to draw into.
        x: ``(N, D)`` unit norm, some thousand rows at most.
        labels: ``(N,)`` classes.
        name: of the modality.
    """
    x, of = x.float(), torch.from_numpy(labels)
    row, column = torch.triu_indices(len(x), len(x), offset=1)
    cosines, same = (x @ x.T)[row, column], of[row] == of[column]
    _draw_histograms(axes, {"of one class": cosines[same], "of different classes": cosines[~same]})
    axes.set_xlabel(f"{name}: cosine of two rows")


def draw_spectrum(axes: Axes, embeddings: Mapping[str, Tensor], seed: int = 0) -> None:
    """Singular values of each modality as shares of the largest, and its effective rank as an upright line."""
    for (name, rows), colour in zip(sampled(embeddings, seed).items(), COLOURS, strict=False):
        spectrum = torch.linalg.svdvals(rows)
        shown = (spectrum / spectrum[0]).clamp_min(1e-6).numpy()
        rank = float(effective_rank(rows))
        axes.plot(np.arange(1, len(shown) + 1), shown, color=colour, label=f"{name}, effective rank {rank:.1f}")
        axes.axvline(rank, color=colour, linewidth=1, linestyle=(0, (4, 3)))
    axes.set(xlabel="dimension", ylabel="singular value", yscale="log")
    axes.legend(frameon=False)


def draw_bars(axes: Axes, bars: Sequence[Bar], what: str) -> None:
    """Shares as bars, the first on top, with their intervals and a stroke where chance is.

    Args:
        axes: to draw into.
        bars: the shares in percent.
        what: says what they are.
    """
    places = np.arange(len(bars))
    axes.barh(places, [bar.value for bar in bars], height=0.7, color=COLOURS[0], alpha=0.8, linewidth=0)
    for place, bar in zip(places, bars, strict=True):
        if bar.low is not None and bar.high is not None:
            axes.plot([bar.low, bar.high], [place, place], color="#1c1c1e", linewidth=1.2)
    chances = [(place, bar.chance) for place, bar in zip(places, bars, strict=True) if bar.chance is not None]
    if chances:
        below, above = [place - 0.42 for place, _ in chances], [place + 0.42 for place, _ in chances]
        axes.vlines([chance for _, chance in chances], below, above, color=COLOURS[1], linewidth=2, label="chance")
        axes.legend(frameon=False, loc="lower right")
    axes.set_yticks(places, [_short(bar.name) for bar in bars], fontsize="small")
    axes.set(xlim=(0, 100), xlabel=what, ylim=(max(len(bars), _SLOTS) - 0.4, -0.6))


def _draw_histograms(axes: Axes, values: Mapping[str, Tensor]) -> None:
    """Histograms of cosines, the first in colour."""
    held = {name: found.numpy() for name, found in values.items() if len(found)}
    ends = np.array([[found.min(), found.max()] for found in held.values()])
    bins = np.linspace(ends.min() - 0.01, ends.max() + 0.01, 60).tolist()
    for name, colour in zip(values, (COLOURS[0], MUTED), strict=True):
        if name in held:
            axes.hist(held[name], bins=bins, density=True, alpha=0.7, color=colour, label=name)
    axes.set(xlabel="cosine", yticks=[])
    axes.legend(frameon=False)


def _short(name: str) -> str:
    return name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"
