"""``accord search``: find rows by words or by a picture."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.markup import escape

from accord.cli.runs import RunArgument

EXAMPLE = """Example:

accord search runs/first "red heart" --open"""


def search(
    run: RunArgument,
    query: Annotated[str, typer.Argument(help="Words, or the path of a picture.")],
    data: Annotated[
        str | None, typer.Option(metavar="DATA", help="What to search. Default: the data of the run.")
    ] = None,
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
    open_sheet: Annotated[
        bool, typer.Option("--open", help="Write a contact sheet of the answers and open it.")
    ] = False,
) -> None:
    """Search data with words or a picture; the index is built on first use and kept up to date."""
    from accord import pipeline
    from accord.cli.output import console
    from accord.search.place import writable_folder
    from accord.search.show import contact_sheet, format_hits

    hits = pipeline.search(run, query, data=data, k=k, ann=ann, candidates=candidates)
    console().print(format_hits(hits, title=escape(query)))
    if open_sheet:
        sheet = contact_sheet(hits, writable_folder(run) / "search.png", title=query)
        typer.echo(f"contact sheet: {sheet}")
        if sys.stdout.isatty():
            typer.launch(str(sheet))
