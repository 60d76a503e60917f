"""``gap``: how far two modalities lie apart, and what is left of it when the gap is closed after training."""

from __future__ import annotations

from functools import partial

from accord.diagnostics.finding import Finding
from accord.diagnostics.gap import gap_diagnostics, sampled
from accord.diagnostics.measures import Measure, few_modalities
from accord.diagnostics.panels import draw_plane
from accord.diagnostics.space import Space


def run(space: Space) -> Finding:
    """The numbers of each two modalities of one size, and the first two on their main axes."""
    panels = [partial(draw_plane, embeddings=sampled(two, space.seed)) for two in space.comparable()[:1]]
    return Finding(gap_diagnostics(space.vectors, space.seed), tuple(panels))


MEASURE = Measure(
    "gap",
    says="how well a hyperplane tells two modalities apart and how far they lie apart; the same after centring and "
    "rotation, which cost nothing",
    draws="both modalities on their two main axes",
    needs="two modalities",
    order=30,
    lacks=few_modalities,
    run=run,
)
