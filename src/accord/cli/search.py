"""``accord search``: find rows by words or by a picture."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from rich.markup import escape

from accord.cli.options import (
    Device,
    DeviceOption,
    Given,
    NamedColumns,
    WorkersOption,
    columns_by_key,
    given,
    parse_columns,
    queried,
    takes_files,
)
from accord.cli.runs import RunArgument

EXAMPLE = """Example:

accord search house "building" --open

accord search clip:models/vit-b-32 pack:emoji "red fruit"

accord search runs/first cat.png --minus "a cat" --plus "a dog" -k 5

accord search runs/gram --text "a large dog" --audio bark.wav

accord search runs/papers --like 1706.03762

accord search house "a red heart" --label heart --label game

accord search runs/first "red heart" --data photos.csv --column image=file --column text=title"""


@takes_files
def search(
    run: RunArgument,
    asked: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DATA] [QUERY]",
            help="Words, or the path of a picture, clip, folder of frames or recording; before it what to search. "
            "Default: the data of the run.",
        ),
    ] = None,
    data: Annotated[str | None, typer.Option(metavar="DATA", help="What to search, written as an option.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many answers.")] = 10,
    ann: Annotated[
        bool | None,
        typer.Option("--ann/--exact", help="Approximate or exact. Default: approximate for large data only."),
    ] = None,
    candidates: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="How many of the nearest a method with a second stage (filip, tcl) scores once more; 0 for none. "
            "Default: ten an answer, at least 100.",
        ),
    ] = None,
    plus: Annotated[
        list[str] | None, typer.Option(metavar="WORDS", help="What the answers should show besides; repeatable.")
    ] = None,
    minus: Annotated[
        list[str] | None, typer.Option(metavar="WORDS", help="What they should not show any more; repeatable.")
    ] = None,
    strength: Annotated[float, typer.Option(help="How much the words of --plus and --minus count.")] = 1.0,
    text: Annotated[str | None, typer.Option(metavar="WORDS", help="Instead of QUERY: words to look for.")] = None,
    *,
    files: Given,
    like: Annotated[
        str | None,
        typer.Option(
            metavar="ROW", help="A row of the data: its number, or what one of its columns says, as a node's id."
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="CLASS", help="Only rows of this class, or of one of several; repeatable."),
    ] = None,
    open_sheet: Annotated[
        bool, typer.Option("--open", help="Write a contact sheet of the answers and open it.")
    ] = False,
    column: NamedColumns = None,
    device: DeviceOption = Device.auto,
    workers: WorkersOption = None,
) -> None:
    """Search data with words, a picture or one of its rows; the index is built on first use and kept up to date."""
    from accord import pipeline
    from accord.cli.output import console
    from accord.searching.place import writable_folder
    from accord.searching.show import contact_sheet, format_hits

    query, data = _query_and_data(asked or [], data)
    together = given(text=text) | files
    if (query is not None) + bool(together) + (like is not None) != 1:
        asking = ", ".join(f"--{name}" for name in ("text", *queried()))
        raise typer.BadParameter(f"give either QUERY, or --like, or one or several of {asking}")
    changes: dict[str, Any] = {"plus": plus or (), "minus": minus or (), "strength": strength, "like": like}
    changes |= {"labels": label} if label else {}
    how: dict[str, Any] = {"k": k, "ann": ann, "candidates": candidates, "device": device.value, "workers": workers}
    columns = parse_columns(column or ())
    with columns_by_key():
        hits = pipeline.search(run, query, data=data, together=together, columns=columns, **changes, **how)
    words = [query or (f"like {like}" if like is not None else " and ".join(together.values()))]
    title = " ".join([*words, *(f"+ {words}" for words in plus or ()), *(f"- {words}" for words in minus or ())])
    console().print(format_hits(hits, title=escape(title)))
    if open_sheet:
        sheet = contact_sheet(hits, writable_folder(run) / "search.png", title=title)
        typer.echo(f"contact sheet: {sheet}")
        if sys.stdout.isatty():
            typer.launch(str(sheet))


def _query_and_data(asked: list[str], data: str | None) -> tuple[str | None, str | None]:
    """The one word or two behind RUN: the query last, what to search before it.

    Raises:
        typer.BadParameter: there are more, or what to search is named twice.

    >>> _query_and_data(["pack:emoji", "red fruit"], None)
    ('red fruit', 'pack:emoji')
    """
    if len(asked) > 2:
        raise typer.BadParameter(f"{' '.join(asked)}: put the words of a query into quotes")
    if len(asked) == 2 and data is not None:
        raise typer.BadParameter(f"{asked[0]} and --data {data}: name what to search once")
    return (asked[-1] if asked else None), (asked[0] if len(asked) == 2 else data)
