"""``accord compare``: a method against its baselines, over several seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from accord.cli.options import Device

EXAMPLE = """Example:

accord compare emoji-web --seeds 5 --out runs/comparison"""


def compare(
    config: Annotated[
        str, typer.Argument(metavar="CONFIG", help="YAML file of the comparison, or the name of one that ships.")
    ],
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds; intervals are over seeds.")] = 5,
    out: Annotated[Path | None, typer.Option(file_okay=False, help="Folder of the runs and the report.")] = None,
    device: Annotated[
        Device | None, typer.Option(help="What to train on. Default: what CONFIG says, or the best there is.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the comparison in --out; what is measured is not trained again."),
    ] = False,
) -> None:
    """Train a method and its baselines on the same data and seeds, and print one table."""
    from accord import pipeline
    from accord.cli.output import console

    options: dict[str, Any] = {"seeds": seeds, "out": out, "resume": resume, "device": device and device.value}
    comparison = pipeline.compare(config, **options)
    console().print(comparison.table())
    for sentence in comparison.sentences():
        console().print(sentence)
    typer.echo(f"report: {comparison.report}")
