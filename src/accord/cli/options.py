"""Options that several verbs share: which column of the data is what, and where the model runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any

import typer

from accord.errors import DataError

DATA = "Data"

ImageColumn = Annotated[str | None, typer.Option(metavar="COL", help="Image column.", rich_help_panel=DATA)]
TextColumns = Annotated[
    list[str] | None,
    typer.Option(metavar="COL", help="Text column; repeat for several captions.", rich_help_panel=DATA),
]
LabelColumn = Annotated[
    str | None, typer.Option(metavar="COL", help="Label column; none for no labels.", rich_help_panel=DATA)
]
VideoColumn = Annotated[str | None, typer.Option(metavar="COL", help="Video column.", rich_help_panel=DATA)]
AudioColumn = Annotated[str | None, typer.Option(metavar="COL", help="Audio column.", rich_help_panel=DATA)]
GroupColumn = Annotated[
    str | None,
    typer.Option(metavar="COL", help="Rows of one group stay in one split.", rich_help_panel=DATA),
]
GraphColumns = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COL",
        help="Column that names what a row is linked to (authors, tags): a graph's nodes; repeatable.",
        rich_help_panel=DATA,
    ),
]
NamedColumns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="KEY=COL",
        help="Column of DATA where the guess is wrong: image=COL, text=COL, label=COL and so on; repeatable.",
        rich_help_panel=DATA,
    ),
]


class Device(StrEnum):
    """Where a model runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


DeviceOption = Annotated[Device, typer.Option(help="Where the model runs; auto takes the best there is.")]


def given(**options: Any) -> dict[str, Any]:
    """The options that the user set.

    >>> given(image="file", text=None)
    {'image': 'file'}
    """
    return {name: value for name, value in options.items() if value is not None}


def parse_columns(assignments: Iterable[str]) -> dict[str, list[str]]:
    """What ``--column`` says, for verbs whose own ``--image`` and ``--text`` mean something else.

    Raises:
        typer.BadParameter: an assignment has no ``=``.

    >>> parse_columns(["text=title", "text=tags", "image=file"])
    {'text': ['title', 'tags'], 'image': ['file']}
    """
    columns: dict[str, list[str]] = {}
    for assignment in assignments:
        key, equals, column = assignment.partition("=")
        if not (equals and key.strip() and column.strip()):
            raise typer.BadParameter(f"--column {assignment}: write KEY=COL, for example text=title")
        columns.setdefault(key.strip(), []).append(column.strip())
    return columns


@contextmanager
def columns_by_key() -> Iterator[None]:
    """Let what is wrong with the data name ``--column text=COL`` where other verbs have ``--text COL``."""
    try:
        yield
    except DataError as error:
        message = re.sub(r"--(image|text|label|video|audio|group|graph) COL", r"--column \1=COL", str(error))
        raise DataError(message) from None
