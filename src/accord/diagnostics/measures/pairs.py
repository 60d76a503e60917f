"""``pairs``: how two modalities lie to each other."""

from __future__ import annotations

from functools import partial

from accord.diagnostics.finding import Finding
from accord.diagnostics.gap import pair_diagnostics
from accord.diagnostics.measures import Measure, few_modalities
from accord.diagnostics.panels import draw_cosines
from accord.diagnostics.space import Space


def run(space: Space) -> Finding:
    """The numbers of each two modalities of one size, and the cosines of the first two."""
    panels = [partial(draw_cosines, embeddings=two) for two in space.comparable()[:1]]
    return Finding(pair_diagnostics(space.vectors, space.seed), tuple(panels))


MEASURE = Measure(
    "pairs",
    says="gap and alignment of each two modalities, mean cosine of what belongs together and of what does not",
    draws="cosines of pairs and of other rows",
    needs="two modalities",
    order=20,
    lacks=few_modalities,
    run=run,
    in_report=True,
)
