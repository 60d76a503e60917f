"""What is told and drawn of two models that were held against each other: layers, and what more evidence brings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from accord.diagnostics.finding import Panel
from accord.diagnostics.law import LEAST, Form, ScalingLaw
from accord.diagnostics.panels import COLOURS, MUTED
from accord.functional import Sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMS: tuple[Form, ...] = ("additive", "multiplicative")


@dataclass(frozen=True, eq=False)
class Cell:
    """How far two models agree when they are shown so much.

    Args:
        frames: of each clip; None for as many as the model wants.
        captions: of each row; None for the first.
        sweep: neighbours in common, of each two layers.
        cka: of the best two layers.
    """

    frames: int | None
    captions: int | None
    sweep: Sweep
    cka: float

    @property
    def score(self) -> float:
        """The best two layers' share of neighbours in common."""
        return float(self.sweep.scores.max())


@dataclass(frozen=True, eq=False)
class Law:
    """A law over what was varied.

    Args:
        fitted: the law, in the form that predicts left-out cells better.
        names: what was varied.
        evidence: how much of each there was in each cell.
    """

    fitted: ScalingLaw
    names: tuple[str, ...]
    evidence: list[NDArray[np.float64]]

    @property
    def formula(self) -> str:
        """The law in percent, as people write it."""
        kinds = zip(self.names, self.fitted.costs, self.fitted.exponents, strict=True)
        limit = f"{100 * self.fitted.limit:.1f}"
        if self.fitted.form == "additive":
            return limit + "".join(f" - {100 * cost:.1f} {name}^-{alpha:.2f}" for name, cost, alpha in kinds)
        return limit + "".join(f" (1 - {cost:.2f} {name}^-{alpha:.2f})" for name, cost, alpha in kinds)

    def spread(self, bounds: NDArray[np.float64]) -> str:
        """Where costs and exponents lie, which stand in for each other where amounts are few.

        Args:
            bounds: of :func:`accord.diagnostics.law.intervals`.
        """
        kinds, unit = len(self.names), 100 if self.fitted.form == "additive" else 1
        parts = []
        for place, name in enumerate(self.names, 1):
            costs, exponents = unit * bounds[:, place], bounds[:, kinds + place]
            parts.append(f"{name}: {costs[0]:.2f} to {costs[1]:.2f}, exponent {exponents[0]:.2f} to {exponents[1]:.2f}")
        return "; ".join(parts)


def law_of(cells: Sequence[Cell]) -> Law | None:
    """The law over frames and captions of which there were three numbers or more; None where there were not."""
    amounts = {name: [getattr(cell, name) or 1 for cell in cells] for name in ("frames", "captions")}
    varied = {name: np.array(each, dtype=np.float64) for name, each in amounts.items() if len(set(each)) > 1}
    if not varied or any(len(np.unique(each)) < LEAST for each in varied.values()):
        return None
    evidence, scores = list(varied.values()), np.array([cell.score for cell in cells])
    forms = FORMS if len(varied) > 1 else FORMS[:1]  # of one kind of evidence both are the same
    form = min(forms, key=lambda one: _left_out_error(evidence, scores, one))
    return Law(ScalingLaw.fit(evidence, scores, form), tuple(varied), evidence)


def panels_of(cells: Sequence[Cell], one: str, other: str) -> list[Panel]:
    """The layers where there are several, and the curves where something was varied."""
    panels: list[Panel] = []
    if cells[-1].sweep.scores.numel() > 1:
        panels.append(partial(draw_layers, cell=cells[-1], one=one, other=other))
    if len(cells) > 1:
        panels.append(partial(draw_evidence, cells=cells))
    return panels or [partial(draw_overlaps, cell=cells[-1], one=one, other=other)]


def draw_layers(axes: Axes, cell: Cell, one: str, other: str) -> None:
    """Neighbours in common of each two layers, in percent, and the best two."""
    scores = 100 * cell.sweep.scores.numpy()
    image = axes.imshow(scores, origin="lower", aspect="auto", cmap="viridis", vmin=0)
    axes.figure.colorbar(image, ax=axes, label="neighbours in common, %")
    row, column = cell.sweep.best
    axes.plot(column, row, marker="o", markerfacecolor="none", markeredgecolor="white", markersize=12)
    axes.set(xlabel=f"layer of {other}", ylabel=f"layer of {one}")
    axes.set_xticks(range(scores.shape[1]), [str(place + 1) for place in range(scores.shape[1])])
    axes.set_yticks(range(scores.shape[0]), [str(place + 1) for place in range(scores.shape[0])])


def draw_evidence(axes: Axes, cells: Sequence[Cell]) -> None:
    """Agreement over what was varied with more numbers, a line for each number of the other, and the law as dots."""
    along, apart = sorted(("frames", "captions"), key=lambda name: -len({getattr(cell, name) for cell in cells}))
    law = law_of(cells)
    groups = sorted({getattr(cell, apart) for cell in cells}, key=lambda amount: amount or 0)
    for number, amount in enumerate(groups):
        line = sorted(
            (cell for cell in cells if getattr(cell, apart) == amount), key=lambda cell: getattr(cell, along) or 0
        )
        at, colour = [getattr(cell, along) for cell in line], COLOURS[number % len(COLOURS)]
        axes.plot(at, [100 * cell.score for cell in line], marker="o", color=colour, label=_named(amount, apart))
        if law is not None:
            grid = np.geomspace(at[0], at[-1], 50)
            other = np.full(50, amount or 1)
            expected = law.fitted.predict([grid if name == along else other for name in law.names])
            axes.plot(grid, 100 * expected, color=colour, linestyle=(0, (1, 2)), linewidth=1)
    if law is not None:
        axes.axhline(100 * law.fitted.limit, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label="limit of the law")
    axes.set(xlabel=along, ylabel="neighbours in common, %", xscale="log")
    axes.set_xticks(at, [str(amount) for amount in at])
    axes.minorticks_off()
    axes.legend(frameon=False)


def draw_overlaps(axes: Axes, cell: Cell, one: str, other: str) -> None:
    """How many rows have how many of their neighbours in common."""
    shares = 100 * cell.sweep.per_item.numpy()
    axes.hist(shares, bins=np.linspace(-5, 105, 12).tolist(), color=COLOURS[0], alpha=0.8)
    axes.set(xlabel=f"neighbours in common of {one} and {other}, %", ylabel="rows")


def _named(amount: int | None, what: str) -> str | None:
    return None if amount is None else f"{amount} {what}"


def _left_out_error(evidence: Sequence[NDArray[np.float64]], scores: NDArray[np.float64], form: Form) -> float:
    """Mean absolute error of every second cell by a law that was fitted on the others; infinite where there are few."""
    odd = np.arange(len(scores)) % 2 == 1
    for each in evidence:
        if len(np.unique(each[~odd])) < LEAST:
            return 0.0 if form == FORMS[0] else np.inf
    law = ScalingLaw.fit([each[~odd] for each in evidence], scores[~odd], form)
    return float(np.abs(law.predict([each[odd] for each in evidence]) - scores[odd]).mean())
