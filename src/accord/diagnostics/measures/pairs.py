"""``pairs``: how two modalities lie to each other."""

from __future__ import annotations

from accord.diagnostics.gap import pair_diagnostics
from accord.diagnostics.measures import Measure

MEASURE = Measure(
    "pairs",
    says="gap and alignment of each two modalities, mean cosine of what belongs together and of what does not",
    order=20,
    modalities=2,
    run=pair_diagnostics,
    in_report=True,
)
