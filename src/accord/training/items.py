"""Things in memory that a model is called with, as a corpus of their modality."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from accord.data.corpus import corpus_from_items
from accord.data.modalities import get_modalities
from accord.data.quarantine import RowError
from accord.errors import ConfigError, DataError, listed


class Items:
    """The items of one modality that a method of :class:`~accord.training.model.Model` was called with.

    Args:
        verb: the method's name.
        given: argument -> items, or None.

    Raises:
        ConfigError: not exactly one argument was given, or no list.
    """

    def __init__(self, verb: str, **given: Sequence[Any] | None) -> None:
        chosen = {name: listed(name, items) for name, items in given.items() if items is not None}
        kinds = {kind.argument: kind.name for kind in get_modalities() if kind.by_row}
        if len(chosen) != 1 or not chosen.keys() <= kinds.keys():
            *first, last = (f"{name}=" for name in kinds)
            raise ConfigError(f"{verb} takes items of exactly one modality: {', '.join(first)} or {last}")
        (self.name, items), *_ = chosen.items()
        self.modality = kinds[self.name]
        self.corpus = corpus_from_items(self.modality, items)

    @contextmanager
    def named(self) -> Iterator[None]:
        """Say of an item that cannot be read which one it is."""
        try:
            yield
        except RowError as error:
            item = f"{self.name}[{error.row}] ({error.file})"
            raise DataError(f"{item} cannot be read: {error.reason}; mend it, or leave it out") from None
