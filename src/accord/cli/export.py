"""``accord export``: the image or clip encoder for use without Accord."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from accord.cli.options import Device, DeviceOption
from accord.cli.runs import RunArgument

EXAMPLE = """Example:

accord export runs/swav runs/encoder --format timm

accord export runs/swav runs/network --format onnx

accord embed runs/network pictures --out runs/vectors.parquet"""


class Format(StrEnum):
    """What is written."""

    timm = "timm"
    onnx = "onnx"


def export(
    run: RunArgument,
    out: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", file_okay=False, help="Folder to write: new, empty, or an earlier export."),
    ],
    format: Annotated[
        Format, typer.Option(help="timm: weights that timm.create_model loads; onnx: pixels to unit vectors.")
    ] = Format.timm,
    device: DeviceOption = Device.auto,
) -> None:
    """Write the image or clip encoder of a run for use without Accord; an ONNX file is compared with torch first."""
    from accord import pipeline

    path = pipeline.export(run, out, format.value, device=device.value)
    use = f'timm.create_model("local-dir:{path}", pretrained=True, num_classes=0)'
    typer.echo(f"wrote {path}; use it: {use if format is Format.timm else f'accord embed {path} FOLDER'}")
