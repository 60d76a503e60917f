"""``spread``: how each modality fills its space."""

from __future__ import annotations

from functools import partial

from accord.diagnostics.finding import Finding
from accord.diagnostics.gap import spread_diagnostics
from accord.diagnostics.measures import Measure
from accord.diagnostics.panels import draw_spectrum
from accord.diagnostics.space import Space


def run(space: Space) -> Finding:
    """The numbers of each modality, and all spectra in one panel."""
    panel = partial(draw_spectrum, embeddings=space.vectors, seed=space.seed)
    return Finding(spread_diagnostics(space.vectors, space.seed), (panel,))


MEASURE = Measure(
    "spread",
    says="uniformity and effective rank of each modality",
    draws="singular values, with the effective rank",
    order=10,
    run=run,
    in_report=True,
)
