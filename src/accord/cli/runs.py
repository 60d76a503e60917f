"""The argument RUN that most verbs take."""

from __future__ import annotations

from typing import Annotated

import typer

from accord.cli import complete
from accord.errors import ConfigError
from accord.shipped import run_folder


def known_run(run: str) -> str:
    """The run as given, if there is one of that name."""
    try:
        run_folder(run)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None
    return run


RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        callback=known_run,
        autocompletion=complete.runs,
        help="Folder of a trained run, or a model that ships (house).",
    ),
]
