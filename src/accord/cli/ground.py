"""``accord ground``: when something happens in a clip that a sentence says."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from accord.cli.options import Device, DeviceOption, WorkersOption
from accord.cli.runs import RunArgument

EXAMPLE = """Example:

accord ground runs/g2l kitchen.mp4 "she opens the fridge"

accord ground runs/g2l kitchen.mp4 garden/ "a dog runs" "a man sits down" --top 3 --out moments.jsonl

accord ground runs/g2l kitchen.mp4 "she opens the fridge" --nms 0.3 --figure moments.png"""


def ground(
    run: RunArgument,
    asked: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE... SENTENCE...",
            help="Clips, folders of frames or of clips, or .npy files of features, as the run was trained on; and what "
            "happens, in quotes.",
        ),
    ],
    sentence: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="What happens, written as an option; repeatable."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many moments for a sentence in a file, at most.")] = 5,
    nms: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=1,
            metavar="OVERLAP",
            help="Of two moments that overlap (IoU) by more the less likely is dropped. Default: as the run is set.",
        ),
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="How long every file lasts. Default: what the files say."),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False, help="PNG, SVG or PDF to draw to: scores over time, and pictures of the moments of clips."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="JSON Lines file to write: file, sentence, start, end, score."),
    ] = None,
    device: DeviceOption = Device.auto,
    workers: WorkersOption = None,
) -> None:
    """Find the moments of clips, in seconds, at which a sentence is true; the likeliest come first.

    The run's method must find moments, as g2l does. A file that cannot be read is left out, and named on stderr.
    """
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from accord import pipeline
    from accord.cli.output import console

    files, sentences = _files_and_sentences(asked, sentence or [])
    found = pipeline.ground(
        run,
        files,
        sentences,
        top=top,
        nms=nms,
        duration=duration,
        out=out,
        figure=figure,
        device=device.value,
        workers=workers,
    )
    if out is not None:
        typer.echo(f"wrote {len(found)} moments to {out}")
    else:
        table = Table(box=SIMPLE_HEAD)
        table.add_column("file")
        table.add_column("sentence")
        for column in ("start", "end", "score"):
            table.add_column(column, justify="right", no_wrap=True)
        for item in found:
            numbers = (f"{item.start:.1f} s", f"{item.end:.1f} s", f"{item.score:.3f}")
            table.add_row(escape(str(item.file)), escape(item.sentence), *numbers)
        console().print(table)
    if figure is not None:
        typer.echo(f"figure: {figure}")


def _files_and_sentences(asked: Sequence[str], sentences: Sequence[str]) -> tuple[list[str], list[str]]:
    """What stands behind RUN: what there is are files, all else is said in words.

    Raises:
        typer.BadParameter: there is no file or no sentence, or a file is not there.

    >>> _files_and_sentences([".", "a dog runs"], [])
    (['.'], ['a dog runs'])
    """
    files = [word for word in asked if os.path.exists(word)]
    said = [word for word in asked if not os.path.exists(word)]
    for word in said:
        if " " not in word and (Path(word).suffix or os.sep in word):
            raise typer.BadParameter(f"there is no {word}: a sentence of one word that looks like a file is --sentence")
    if not files:
        raise typer.BadParameter(f"{', '.join(asked)}: none of these is a file: name one, or a folder")
    if not said and not sentences:
        raise typer.BadParameter("no sentence: say in quotes what happens")
    return files, [*said, *sentences]
