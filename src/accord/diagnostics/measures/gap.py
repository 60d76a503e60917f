"""``gap``: how far two modalities lie apart, and what is left of it when the gap is closed after training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from accord.diagnostics.gap import gap_diagnostics
from accord.diagnostics.measures import Measure


def draw(embeddings: Mapping[str, Tensor], path: Path) -> Path:
    """The first two modalities on their two main axes, and the cosines of their pairs."""
    from accord.diagnostics.figure import gap_figure

    return gap_figure(embeddings, path)


MEASURE = Measure(
    "gap",
    says="how well a hyperplane tells two modalities apart and how far they lie apart; the same after centring and "
    "rotation, which cost nothing",
    order=30,
    modalities=2,
    run=gap_diagnostics,
    draw=draw,
)
