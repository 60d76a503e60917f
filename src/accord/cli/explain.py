"""``accord explain``: why a picture, clip or sequence and a text match, or what a model makes of a picture or clip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from accord.cli.options import Device, DeviceOption, NamedColumns, columns_by_key, parse_columns
from accord.cli.runs import RunArgument

EXAMPLE = """Example:

accord explain runs/fdt heart.png --text "a red heart"

accord explain runs/hbi clip.mp4 --text "a wolf attacks"

accord explain runs/slots street.jpg

accord explain runs/mae walk.mp4

accord explain runs/cico poses.npy --text "rain in the north" --out why.svg"""


def explain(
    run: RunArgument,
    image: Annotated[
        Path,
        typer.Argument(exists=True, help="Path of a picture or clip, of a folder of frames, or of a .npy file."),
    ],
    text: Annotated[
        str | None,
        typer.Option(help="The words whose match with it is to be explained; not for methods that take none."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Where to look for what concepts stand for. Default: the run's own data."),
    ] = None,
    out: Annotated[Path, typer.Option(dir_okay=False, help="PNG, SVG or PDF to draw the explanation to.")] = Path(
        "explanation.png"
    ),
    k: Annotated[int, typer.Option("-k", min=1, help="How many concepts.")] = 8,
    column: NamedColumns = None,
    device: DeviceOption = Device.auto,
) -> None:
    """Say why a picture, clip or sequence and a text match, what parts it has, or how it is filled in, and draw it."""
    from accord import pipeline
    from accord.cli.output import show_explanation

    columns = parse_columns(column or ())
    with columns_by_key():
        explanation = pipeline.explain(run, image, text, data=data, out=out, k=k, columns=columns, device=device.value)
    show_explanation(explanation)
    typer.echo(f"figure: {out}")
