"""``factors``: which properties of the rows the embeddings tell, and which are suppressed."""

from __future__ import annotations

from functools import partial

from accord.diagnostics.factors import factor_diagnostics
from accord.diagnostics.finding import Diagnostic, Finding, Panel
from accord.diagnostics.measures import Measure
from accord.diagnostics.panels import Bar, draw_bars
from accord.diagnostics.space import Space


def no_factors(space: Space) -> str:
    """Why nothing can be said: there is no factor; empty where there is."""
    return "" if space.factors else "no factor: name a column that says more of the rows with --factor COL"


def run(space: Space) -> Finding:
    """Two numbers for each modality and factor; bars of the probes of each modality."""
    numbers: list[Diagnostic] = []
    panels: list[Panel] = []
    for name, x in space.vectors.items():
        found = {
            column: factor_diagnostics(f"{name}: {column}", x, factor, space.groups, space.seed)
            for column, factor in space.factors.items()
        }
        numbers += [number for pair in found.values() for number in pair]
        bars = [Bar.of(column, probe) for column, (probe, _) in found.items()]
        panels.append(partial(draw_bars, bars=bars, what=f"{name}: a linear probe is right, %"))
    return Finding(numbers, tuple(panels))


MEASURE = Measure(
    "factors",
    says="how well a linear probe tells each factor on unseen rows, against guessing: what is suppressed; what "
    "clusters share with it (NMI): by what the space is organised",
    draws="the probe of each factor",
    needs="columns named with `--factor`",
    order=60,
    lacks=no_factors,
    run=run,
)
