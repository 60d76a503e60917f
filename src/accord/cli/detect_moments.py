"""``accord detect-moments``: when something happens in recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from accord.cli.options import Device, DeviceOption, NamedColumns, WorkersOption, columns_by_key, parse_columns
from accord.cli.runs import RunArgument

EXAMPLE = """Example:

accord detect-moments runs/first night.npy --with second_sequence=night-sound.npy --figure night.png

accord detect-moments runs/first recordings.jsonl --threshold 0.6 --low 0.3 --out moments.jsonl"""


def detect_moments(
    run: RunArgument,
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...", help="Recordings of what the run reads first; or a table or folder, as train takes it."
        ),
    ],
    beside: Annotated[
        list[str] | None,
        typer.Option(
            "--with", metavar="KEY=FILE", help="The same recordings in the other streams, in order; repeatable."
        ),
    ] = None,
    column: NamedColumns = None,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Score that a step of each interval reaches.")] = 0.5,
    low: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Score that all steps of an interval reach. Default: the threshold."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="JSON Lines file to write: intervals, and a score for each step."),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(dir_okay=False, help="PNG, SVG or PDF to draw the scores over time to.")
    ] = None,
    device: DeviceOption = Device.auto,
    workers: WorkersOption = None,
) -> None:
    """Say when something happens in recordings, by a run that was taught from labels of whole ones.

    The run's method must score moments, as macil_sd does. A recording in which nothing is found has a line with its
    highest score.
    """
    from accord import pipeline
    from accord.cli.output import show_moments

    files = {key: [Path(file) for file in given] for key, given in parse_columns(beside or (), "--with").items()}
    columns = parse_columns(column or ())
    with columns_by_key():
        found = pipeline.detect_moments(
            run,
            data,
            beside=files,
            columns=columns,
            threshold=threshold,
            low=low,
            out=out,
            figure=figure,
            device=device.value,
            workers=workers,
        )
    show_moments(found)
    for what, path in (("moments", out), ("figure", figure)):
        if path is not None:
            typer.echo(f"{what}: {path}")
