"""``purity``: how often neighbours are of one class, and which classes mix."""

from __future__ import annotations

from functools import partial

from accord.diagnostics.finding import Diagnostic, Finding, Panel
from accord.diagnostics.measures import Measure, no_classes
from accord.diagnostics.panels import Bar, draw_bars
from accord.diagnostics.purity import K, Purity, neighbour_purity
from accord.diagnostics.space import Space

TOLD, SHOWN = 5, 20  # of the worst classes


def run(space: Space) -> Finding:
    """Purity of each modality and of its worst classes; bars of the worst of all."""
    numbers: list[Diagnostic] = []
    panels: list[Panel] = []
    if space.classes is None:
        return Finding(numbers)
    for name, x in space.vectors.items():
        found = neighbour_purity(x, space.classes, space.groups, seed=space.seed)
        worst = found.worst(SHOWN)
        numbers.append(
            Diagnostic.of(
                found.metric(f"{name} purity"),
                f"percent of the {K} nearest rows (fewer in smaller classes) that are of a row's own class",
            )
        )
        numbers += [_of_class(name, found, of) for of in worst[:TOLD]]
        bars = [Bar.of(found.classes.names[of], found.metric("", of)) for of in worst]
        panels.append(partial(draw_bars, bars=bars, what=f"{name}: purity of the classes that mix most, %"))
    return Finding(numbers, tuple(panels))


def _of_class(name: str, found: Purity, of: int) -> Diagnostic:
    """The purity of a class, and which other class its neighbours are of."""
    mixes = found.mixes_with(of)
    meaning = f"{mixes[1]:.0f} % of its neighbours are of {mixes[0]}" if mixes else "no other class comes near"
    return Diagnostic.of(found.metric(f"{name} purity of {found.classes.names[of]}", of), meaning)


MEASURE = Measure(
    "purity",
    says="how many of the nearest rows are of the same class, against chance; the classes that mix most, and with "
    "which",
    draws="the 20 classes that mix most",
    needs="labels",
    order=50,
    lacks=no_classes,
    run=run,
)
