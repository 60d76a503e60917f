"""The argument RUN that most verbs take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from accord.cli import complete
from accord.errors import ConfigError
from accord.shipped import require_model


def known_run(run: str) -> str:
    """The run as given, if there is a model of that name."""
    return _known(run)


def run_or_export(run: str) -> str:
    """The run or the export as given, if there is one."""
    return _known(run, exports=True)


def run_or_table(run: str) -> str:
    """The run or the Parquet file as given, if there is one."""
    return run if Path(run).suffix.lower() in (".parquet", ".pq") and Path(run).is_file() else _known(run)


def _known(run: str, exports: bool = False) -> str:
    try:
        require_model(run, exports=exports)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None
    return run


RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        callback=known_run,
        autocompletion=complete.runs,
        help="Folder of a trained run, a model that ships (house), or one from elsewhere (clip:FOLDER).",
    ),
]
