"""``accord train``: fit a method to data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from accord.cli.settings import parse_settings

EXAMPLE = """Example:

accord train pack:emoji --method clip --epochs 3 --out runs/first

accord train papers.csv --method meow --graph authors --graph venue --out runs/papers"""

_DATA = "Data"
_ENCODERS = "Encoders"


def train(
    source: Annotated[
        str | None,
        typer.Argument(metavar="DATA", help="Folder, CSV/JSONL/Parquet file, tar shards, pack:NAME or a hub name."),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Method to train (see: accord papers list). Default: clip.")
    ] = None,
    image: Annotated[str | None, typer.Option(metavar="COL", help="Image column.", rich_help_panel=_DATA)] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(metavar="COL", help="Text column; repeat for several captions.", rich_help_panel=_DATA),
    ] = None,
    label: Annotated[str | None, typer.Option(metavar="COL", help="Label column.", rich_help_panel=_DATA)] = None,
    video: Annotated[str | None, typer.Option(metavar="COL", help="Video column.", rich_help_panel=_DATA)] = None,
    audio: Annotated[str | None, typer.Option(metavar="COL", help="Audio column.", rich_help_panel=_DATA)] = None,
    group: Annotated[
        str | None,
        typer.Option(metavar="COL", help="Rows of one group stay in one split.", rich_help_panel=_DATA),
    ] = None,
    graph: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COL",
            help="Column that names what a row is linked to (authors, tags): a graph's nodes; repeatable.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE", help="In a folder of nodes and edges, the node type to learn.", rich_help_panel=_DATA
        ),
    ] = None,
    image_encoder: Annotated[
        str | None, typer.Option(metavar="NAME", help="Such as efficientnet_lite0.", rich_help_panel=_ENCODERS)
    ] = None,
    text_encoder: Annotated[
        str | None, typer.Option(metavar="NAME", help="Such as minilm.", rich_help_panel=_ENCODERS)
    ] = None,
    video_encoder: Annotated[
        str | None, typer.Option(metavar="NAME", help="Such as frames:tiny_vit.", rich_help_panel=_ENCODERS)
    ] = None,
    audio_encoder: Annotated[
        str | None, typer.Option(metavar="NAME", help="Such as tiny_audio.", rich_help_panel=_ENCODERS)
    ] = None,
    objective_add: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Objective added to the method's loss, e.g. contrastive_gap; repeatable."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the data.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows per step.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    config: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="YAML file of a whole run, or the name of one that ships; options override."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other setting, e.g. method.temperature=0.1; repeatable."),
    ] = None,
    out: Annotated[Path | None, typer.Option(file_okay=False, help="Folder of the run: new or empty. Default: runs/METHOD-DATA.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Train a method on your data; evaluate it, and write the model and its report."""
    if source is None and config is None and not resume:
        raise typer.BadParameter("say what to train on: DATA, or --config FILE", param_hint="DATA")
    options: dict[str, Any] = {
        "config": config,
        "encoders": _given(image=image_encoder, text=text_encoder, video=video_encoder, audio=audio_encoder),
        "columns": _given(image=image, text=text, label=label, video=video, audio=audio, group=group, graph=graph),
        "out": out,
        "resume": resume,
        "seed": seed,
        "epochs": epochs,
        "batch_size": batch_size,
        "objective_add": objective_add or (),
        "settings": parse_settings(settings or ()) | ({} if target is None else {"data.target": target}),
        "progress": not quiet,
    }
    from accord import pipeline
    from accord.cli.output import show_run
    from accord.training.processes import is_first_process

    run = pipeline.train(source, **_given(method=method), **options)
    if is_first_process():
        show_run(run)


def _given(**options: Any) -> dict[str, Any]:
    """The options that the user set."""
    return {name: value for name, value in options.items() if value is not None}
