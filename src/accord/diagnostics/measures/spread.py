"""``spread``: how each modality fills its space."""

from __future__ import annotations

from accord.diagnostics.gap import spread_diagnostics
from accord.diagnostics.measures import Measure

MEASURE = Measure(
    "spread",
    says="uniformity and effective rank of each modality",
    order=10,
    run=spread_diagnostics,
    in_report=True,
)
