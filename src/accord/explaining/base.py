"""What every explanation is: something to print and something to draw; and how one is asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accord.methods.abilities import Ability

if TYPE_CHECKING:
    from accord.data.corpus import Corpus
    from accord.training.model import Model


class Explanation(ABC):
    """Why a model answers as it does."""

    @property
    def summary(self) -> str:
        """One line on the whole; empty where the table says all."""
        return ""

    @property
    @abstractmethod
    def columns(self) -> Mapping[str, str]:
        """Headings of the table, and ``left`` or ``right``."""

    @abstractmethod
    def rows(self) -> Sequence[Sequence[str]]:
        """The lines of the table."""

    @abstractmethod
    def draw(self, path: str | Path) -> Path:
        """Draw it as PNG, SVG or PDF, atomically.

        Raises:
            ConfigError: a format that cannot be drawn.
        """


@dataclass(frozen=True)
class Way:
    """One way to explain, by what a method can do.

    Args:
        name: what it is called where one of several is asked for.
        title: what it shows, as a heading.
        ability: what the method has to be able to do.
        explain: ``(model, item, text, corpus, k)`` to an explanation; the item is a picture, or what else it reads.
        reads_text: whether it explains how a text fits; else a picture alone.
        reads_rows: whether it looks into a corpus for what its parts stand for.
    """

    name: str
    title: str
    ability: type[Ability]
    explain: Callable[[Model, Any, str, Corpus | None, int], Explanation]
    reads_text: bool = False
    reads_rows: bool = False
