"""What a modality is: how its cells are known, read, cut into views, put into a batch, hashed and shown.

A modality is one object; everything around it (guessing of columns, corpora, loaders, feature caches, the model's
``embed``, search, reports, the command line) asks that object. :mod:`accord.data.modalities` lists them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from accord.data.draws import UNDRAWN, Draws, Purpose
from accord.data.reading.media import read_bytes
from accord.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

    from accord.data.inputs import Input


VIEWS = ("views", "text_views")  # what a method may declare: of pictures or clips, and of captions


@dataclass(frozen=True)
class Reading:
    """What a reader is told besides the cell.

    Args:
        spec: what the encoder is fed; None reads all there is, such as every frame.
        root: the folder that paths are relative to.
        draws: what random choices hang on, such as which frames.
    """

    spec: Input | None = None
    root: Path | None = None
    draws: Draws = UNDRAWN


class Modality:
    """Base of all modalities; a subclass says what differs.

    A value goes through four hands: :meth:`read` decodes a cell, :meth:`cut` makes of the value what the views show
    (row by row, so that whole photographs are never held for a batch), :meth:`collate` makes a batch of them, and the
    encoder gets the batch. What is random in them is drawn from ``draws`` alone.
    """

    name: ClassVar[str]
    argument: ClassVar[str]  # what Model.embed calls a list of them
    item: ClassVar[str] = "row"  # what one of them is called in a sentence, and several
    items: ClassVar[str] = "rows"
    example: ClassVar[str] = ""  # a file, or words, to show how Model.embed is called
    suffixes: ClassVar[frozenset[str]] = frozenset()  # of files, in lower case
    also: ClassVar[frozenset[str]] = frozenset()  # of files that are another's, and can be read as one of these
    medium: ClassVar[bool] = True  # whether each cell is decoded by :meth:`read`
    by_row: ClassVar[bool] = True  # whether an encoder is fed values of single rows
    even: ClassVar[bool] = False  # whether an encoder gives as many positions for every one of them
    views_from: ClassVar[str | None] = None  # what a method calls the views that it declares of it, of VIEWS
    draws_in_reading: ClassVar[bool] = False  # whether what is read of a cell depends on the draws

    def knows(self, content: bytes) -> bool:
        """Whether a file with these first bytes holds one."""
        return False

    def read(self, cell: Any, reading: Reading) -> Any:
        """Decode a cell: a path, encoded bytes, or ``{"bytes", "path"}``.

        Raises:
            Unreadable: says what is wrong with it; the corpus adds row and file.
        """
        raise NotImplementedError

    def check(self, cell: Any, root: Path | None) -> str:
        """Find out whether the whole cell can be read, before anything is trained.

        Returns:
            What has to be alike in all rows, in words, such as ``"6 features a step"``; nothing where nothing has to.

        Raises:
            Unreadable: it cannot be read.
        """
        self.read(cell, Reading(root=root))
        return ""

    def blank(self, spec: Input) -> Any:
        """A value to stand in a batch for what a row lacks."""
        raise NotImplementedError

    def cut(self, value: Any, spec: Input, views: Sequence[Any], draws: Draws) -> Any:
        """What the views show of a value; for pictures and clips a list of :class:`~accord.data.augmenting.views.Crop`.

        Args:
            value: of :meth:`read`.
            spec: what the encoder is fed.
            views: one entry for each view; empty for the evaluation view.
            draws: of one row.
        """
        return value

    def collate(
        self, field: str, values: Sequence[Any], spec: Input, views: Sequence[Any], draws: Draws
    ) -> dict[str, Any]:
        """The batch of values that were :meth:`cut`, under keys that begin with ``field``.

        What is large there and small as it was read may be a thing of its own with a method ``to``, which makes the
        tensor on the device where it is wanted, as :class:`~accord.data.augmenting.pixels.Pixels` does.

        Args:
            field: the column's field, by default the modality's name.
            values: of B rows.
            spec: what the encoder is fed.
            views: one entry for each view, as for :meth:`cut`.
            draws: of the B rows.
        """
        raise NotImplementedError

    def variant_hashes(self, draws: Draws, views: int) -> np.ndarray:
        """What decides, ``(B, V)``, which of the variants that a feature cache holds each row and view gets."""
        return draws.hashes(Purpose.VARIANT, np.arange(views))

    def contents(self, cell: Any, root: Path | None) -> Iterator[bytes]:
        """What a feature that is kept for this cell is found again by: its encoded content, in one or several parts.

        Raises:
            Unreadable: there is nothing.
        """
        yield read_bytes(cell, root)

    def picture(self, cell: Any, root: Path | None, side: int) -> Image.Image | None:
        """Something to look at for a cell, at most ``side`` pixels wide and high; None where there is nothing.

        Raises:
            Unreadable: the cell cannot be read.
        """
        return None

    def cell(self, item: Any, position: int) -> Any:
        """The cell of a thing in memory.

        Raises:
            DataError: it is of the wrong kind; names its position.
        """
        if isinstance(item, bytes):
            return {"bytes": item, "path": None}
        if isinstance(item, str | Path):
            return {"bytes": None, "path": str(item)}
        raise DataError(f"item {position} is a {type(item).__name__}; expected a path or bytes")

    def holds(self, path: PurePath) -> bool:
        """Whether a path is that of one of these, by its suffix."""
        return path.suffix.lower() in self.suffixes
