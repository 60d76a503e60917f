"""What can be said of how embeddings lie: each measure is one file here, which is found by its name.

``NAME.py`` declares ``MEASURE = Measure("NAME", ...)``: what it says and draws, what it needs of the rows, how it is
run, and whether the report shows it. ``accord probe`` and the report read these declarations; a file is imported when
its measure is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from accord.errors import ConfigError, no_such

if TYPE_CHECKING:
    from accord.diagnostics.finding import Diagnostic, Finding, Panel
    from accord.diagnostics.space import Space


def nothing(space: Space) -> str:
    """Any rows will do."""
    return ""


def few_modalities(space: Space) -> str:
    """Why nothing can be compared: there is one modality; empty where there are two of one size."""
    if space.comparable():
        return ""
    return f"two modalities of one size are compared, and there are vectors of {', '.join(space.vectors) or 'none'}"


def no_classes(space: Space) -> str:
    """Why nothing can be said of classes; empty where there are two, one of which has rows to compare."""
    if space.classes is None:
        return "the rows have no labels, or several each: name a column that holds one with --label COL"
    known = space.classes.known
    labels = space.classes.values[known].tolist()
    groups = known if space.groups is None else space.groups[known]
    count = len(set(labels))
    if count < 2:
        return f"the rows have labels of {count} class: expected at least two"
    alone = len(set(zip(labels, groups.tolist(), strict=True))) == count
    return "no class has two rows" + (" of different groups" if space.groups is not None else "") if alone else ""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One way to look at a space.

    Args:
        name: what the user calls it.
        says: what comes out, in half a sentence; for the documentation.
        draws: what its panels of the figure show, likewise.
        needs: what rows have to have besides vectors, likewise.
        order: where it comes among all, the lowest first; a later one's number replaces one of the same name.
        run: what it finds.
        lacks: why it does not fit the rows, as a sentence; empty where it does. It is asked before anything is embedded
            as well, with vectors of no rows.
        in_report: whether the report of a run shows its numbers.
    """

    name: str = field(kw_only=False)
    says: str
    draws: str
    needs: str = ""
    order: int
    run: Callable[[Space], Finding]
    lacks: Callable[[Space], str] = nothing
    in_report: bool = False

    def check(self, space: Space) -> None:
        """Refuse rows that the measure does not fit.

        Raises:
            ConfigError: says what they lack.
        """
        if lacking := self.lacks(space):
            raise ConfigError(f"measure {self.name} does not fit: {lacking}")


def measure_names() -> list[str]:
    """Names of all measures; imports none of them.

    >>> measure_names()
    ['classes', 'factors', 'gap', 'pairs', 'purity', 'spread']
    """
    return [module.name for module in iter_modules(__path__)]


def get_measure(name: str) -> Measure:
    """The measure called ``name``.

    Raises:
        ConfigError: there is none, lists those there are.

    Example:
        >>> get_measure("gap").needs
        'two modalities'
    """
    if name not in measure_names():
        raise ConfigError(no_such("measure", name, measure_names()))
    measure: Measure = import_module(f"{__name__}.{name}").MEASURE
    return measure


def get_measures() -> list[Measure]:
    """All measures in order."""
    return sorted((get_measure(name) for name in measure_names()), key=lambda measure: measure.order)


def measured(measures: Sequence[Measure], space: Space) -> Finding:
    """What those measures find that fit the rows; a number of a later measure replaces its namesake.

    Args:
        measures: in order.
        space: embeddings, and what is known of their rows.
    """
    from accord.diagnostics.finding import Finding

    numbers: dict[str, Diagnostic] = {}
    panels: list[Panel] = []
    for measure in measures:
        if measure.lacks(space):
            continue
        found = measure.run(space)
        for item in found.numbers:
            numbers.pop(item.name, None)
            numbers[item.name] = item
        panels += found.panels
    return Finding(list(numbers.values()), tuple(panels))
