"""``accord embed``: data in, vectors out."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from accord.cli import complete
from accord.cli.options import (
    Device,
    DeviceOption,
    Given,
    takes_columns,
)
from accord.cli.runs import run_or_export

EXAMPLE = """Example:

accord embed runs/first pack:emoji --out runs/emoji.parquet

accord embed runs/first photos.csv --image file --text title --out runs/photos.parquet

accord embed clip:models/vit-b-32 pack:emoji --out runs/clip.parquet

accord embed runs/first pack:emoji --engine ray --workers 2 --out runs/emoji.parquet"""


class Engine(StrEnum):
    """Where the rows are embedded."""

    plain = "plain"
    ray = "ray"


@takes_columns
def embed(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            callback=run_or_export,
            autocompletion=complete.runs,
            help="Folder of a run or of an ONNX export, a model that ships, or one from elsewhere (clip:FOLDER).",
        ),
    ],
    source: Annotated[str, typer.Argument(metavar="DATA", help="What to embed; anything that train takes.")],
    out: Annotated[Path, typer.Option(dir_okay=False, help="Parquet file to write.")] = Path("embeddings.parquet"),
    engine: Annotated[
        Engine, typer.Option(help="plain: in this process; ray: in several, here or on a Ray cluster.")
    ] = Engine.plain,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="ray: how many processes embed, each on a processor core, 2 by default. plain: how many decode files; "
            "default: what suits the device.",
        ),
    ] = None,
    *,
    columns: Given,
    device: DeviceOption = Device.auto,
) -> None:
    """Embed every row and write the unit-norm vectors as Parquet, one column per modality.

    Rows that cannot be read are left out, and counted on stderr; the column id says which are there.
    """
    if engine is Engine.ray and workers == 0:
        raise typer.BadParameter("--engine ray needs one at least", param_hint="--workers")
    from accord import pipeline

    options: dict[str, Any] = {"out": out, "engine": engine.value, "workers": workers, "device": device.value}
    typer.echo(f"wrote {pipeline.embed(run, source, columns=columns, **options)}")
