"""What can be said of how embeddings lie: each measure is one file here, which is found by its name.

``NAME.py`` declares ``MEASURE = Measure("NAME", ...)``: what it says, how many modalities it compares, how it is run,
whether the report shows it, and what figure it draws. ``accord diagnose`` and the report read these declarations; a
file is imported when its measure is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from accord.errors import ConfigError, no_such

if TYPE_CHECKING:
    from torch import Tensor

    from accord.diagnostics.gap import Diagnostic


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One way to look at embeddings, given as modality -> ``(N, D)`` unit norm, rows that belong together.

    Args:
        name: what the user calls it.
        says: what comes out, in half a sentence; for the documentation.
        order: where it comes among all, the lowest first; a later one's number replaces one of the same name.
        modalities: how many there have to be.
        run: its numbers.
        in_report: whether the report of a run shows them.
        draw: draws a figure to a PNG, or None.
    """

    name: str = field(kw_only=False)
    says: str
    order: int
    run: Callable[[Mapping[str, Tensor]], list[Diagnostic]]
    modalities: int = 1
    in_report: bool = False
    draw: Callable[[Mapping[str, Tensor], Path], Path] | None = None

    def check(self, modalities: Sequence[str]) -> None:
        """Refuse embeddings of too few modalities.

        Raises:
            ConfigError: says how many there have to be, and which there are.
        """
        if len(modalities) < self.modalities:
            raise ConfigError(
                f"measure {self.name} does not fit: it compares {self.modalities} modalities; of these data the model "
                f"embeds {', '.join(modalities) or 'none'}"
            )


def measure_names() -> list[str]:
    """Names of all measures; imports none of them.

    >>> measure_names()
    ['gap', 'pairs', 'spread']
    """
    return [module.name for module in iter_modules(__path__)]


def get_measure(name: str) -> Measure:
    """The measure called ``name``.

    Raises:
        ConfigError: there is none, lists those there are.

    Example:
        >>> get_measure("gap").modalities
        2
    """
    if name not in measure_names():
        raise ConfigError(no_such("measure", name, measure_names()))
    measure: Measure = import_module(f"{__name__}.{name}").MEASURE
    return measure


def get_measures() -> list[Measure]:
    """All measures in order."""
    return sorted((get_measure(name) for name in measure_names()), key=lambda measure: measure.order)


def measured(measures: Sequence[Measure], embeddings: Mapping[str, Tensor]) -> list[Diagnostic]:
    """The numbers of those measures that have enough modalities; one of a later measure replaces its namesake.

    Args:
        measures: in order.
        embeddings: modality -> ``(N, D)`` unit norm.
    """
    found: dict[str, Diagnostic] = {}
    for measure in measures:
        for item in measure.run(embeddings) if len(embeddings) >= measure.modalities else ():
            found.pop(item.name, None)
            found[item.name] = item
    return list(found.values())
