"""``accord caption``: words for pictures and clips."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from accord.cli.options import Device, DeviceOption, WorkersOption, given
from accord.cli.runs import RunArgument

EXAMPLE = """Example:

accord caption runs/coca cat.png holiday/ --out runs/captions.jsonl

accord caption runs/coca cat.png --method nucleus --top-p 0.8 --seed 3"""


class Writing(StrEnum):
    """How a caption is written."""

    beam = "beam"
    greedy = "greedy"
    nucleus = "nucleus"


def caption(
    run: RunArgument,
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Pictures (clips, for a run of clips), or folders.")
    ],
    question: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Answer this about each of them; the run must answer questions."),
    ] = None,
    method: Annotated[
        Writing, typer.Option(help="beam: the likeliest caption found; greedy: faster; nucleus: sampled, varied.")
    ] = Writing.beam,
    beams: Annotated[int, typer.Option(min=1, help="beam: captions followed at a time.")] = 6,
    top_p: Annotated[
        float, typer.Option(min=0.01, max=1, help="nucleus: draw from the likeliest tokens that hold this probability.")
    ] = 0.9,
    top_k: Annotated[int | None, typer.Option(min=1, help="nucleus: and from at most that many.")] = None,
    temperature: Annotated[float, typer.Option(min=0.01, help="nucleus: above 1 is bolder, below 1 safer.")] = 1.0,
    min_tokens: Annotated[int, typer.Option(min=0, help="Shortest caption in tokens.")] = 1,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest caption in tokens. Default: 30.")] = None,
    seed: Annotated[int, typer.Option(help="nucleus: another seed gives other captions.")] = 0,
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="JSON Lines file to write: image, caption, score.")
    ] = None,
    device: DeviceOption = Device.auto,
    workers: WorkersOption = None,
) -> None:
    """Write a caption for each picture or clip, with its mean log-likelihood per token; nearer to 0 is likelier.

    The run's method must write captions, as coca does, or answer questions. What cannot be read is left out, and named
    on stderr.
    """
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from accord import pipeline
    from accord.cli.output import console

    decoding = {
        "method": method.value,
        "beams": beams,
        "top_p": top_p,
        "top_k": top_k,
        "temperature": temperature,
        "min_tokens": min_tokens,
        "max_tokens": max_tokens,
    }
    asked = given(question=question)
    found = pipeline.caption(
        run, images, **asked, decoding=decoding, seed=seed, out=out, device=device.value, workers=workers
    )
    if out is not None:
        typer.echo(f"wrote {len(found)} captions to {out}")
        return
    table = Table(box=SIMPLE_HEAD)
    table.add_column("image")
    table.add_column("caption" if question is None else "answer")
    table.add_column("score", justify="right")
    for item in found:
        table.add_row(escape(str(item.image)), escape(item.caption), f"{item.score:.2f}")
    console().print(table)
