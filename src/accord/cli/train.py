"""``accord train``: fit a method to data."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from accord.cli import complete
from accord.cli.options import (
    DATA,
    ENCODERS,
    Device,
    Given,
    given,
    takes_columns,
    takes_encoders,
)
from accord.cli.settings import parse_settings

EXAMPLE = """Example:

accord train pack:emoji --method clip --epochs 3 --out runs/first

accord train pictures --image-encoder resnet50 --freeze image=2 --logger csv --out runs/tuned

accord train papers.csv --method meow --graph authors --graph venue --out runs/papers"""

_MACHINE = "Machine and logs"


class Precision(StrEnum):
    """Arithmetic of the networks."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class Logger(StrEnum):
    """Where curves go."""

    csv = "csv"
    tensorboard = "tensorboard"
    wandb = "wandb"
    mlflow = "mlflow"


@takes_encoders
@takes_columns
def train(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            autocompletion=complete.sources,
            help="Folder, CSV/JSONL/Parquet file, tar shards, pack:NAME or hf:NAME.",
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            autocompletion=complete.method_names,
            help="Method to train (see: accord papers list). Default: one that fits.",
        ),
    ] = None,
    *,
    columns: Given,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE", help="In a folder of nodes and edges, the node type to learn.", rich_help_panel=DATA
        ),
    ] = None,
    encoders: Given,
    bundle: Annotated[
        str | None,
        typer.Option(
            metavar="KIND:FOLDER",
            help="Pretrained encoders with their joint space to start from: clip:, siglip: or open_clip:, and a folder "
            "or hf:NAME.",
            rich_help_panel=ENCODERS,
        ),
    ] = None,
    freeze: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[ENCODER=]HOW",
            help="all, none, or how many of the last blocks are trained: of every pretrained encoder, or of one, "
            "such as image=2. Or names of an encoder's parameters that are frozen, after ! of those that are trained: "
            "image='model.blocks.*,!*.bias'. Repeatable. Default: pretrained ones are frozen, others are trained.",
            rich_help_panel=ENCODERS,
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[ENCODER=]FILE|random",
            help="An encoder's weights, such as image=mine.safetensors, or random to start without any; repeatable.",
            rich_help_panel=ENCODERS,
        ),
    ] = None,
    objective_add: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            autocompletion=complete.objective_names,
            help="Objective added to the method's loss, e.g. contrastive_gap; repeatable.",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the data, of stages without a number of their own.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows per step.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    device: Annotated[
        Device | None, typer.Option(help="What to train on. Default: the best there is.", rich_help_panel=_MACHINE)
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(help="Arithmetic; auto is bf16 on CUDA cards that have it.", rich_help_panel=_MACHINE),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that decode and augment.", rich_help_panel=_MACHINE)
    ] = None,
    logger: Annotated[
        list[Logger] | None,
        typer.Option(
            metavar="csv|tensorboard|wandb|mlflow",
            help="Where the curves go beside train.jsonl; repeatable.",
            rich_help_panel=_MACHINE,
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="YAML file of a whole run, or the name of one that ships; options override."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other setting, e.g. method.temperature=0.1; repeatable."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder of the run: new or empty. Default: runs/METHOD-DATA.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Train a method on your data; evaluate it, and write the model and its report."""
    if source is None and config is None and not resume:
        raise typer.BadParameter("say what to train on: DATA, or --config FILE", param_hint="DATA")
    options: dict[str, Any] = {
        "config": config,
        "encoders": encoders,
        "bundle": bundle,
        "columns": columns,
        "out": out,
        "resume": resume,
        "seed": seed,
        "epochs": epochs,
        "batch_size": batch_size,
        "device": device and device.value,
        "precision": precision and precision.value,
        "workers": workers,
        "freeze": {name: int(how) if how.isdecimal() else how for name, how in _by_encoder(freeze).items()},
        "weights": _by_encoder(weights),
        "loggers": [item.value for item in logger or ()],
        "objective_add": objective_add or (),
        "settings": parse_settings(settings or ()) | ({} if target is None else {"data.target": target}),
        "progress": not quiet,
    }
    from accord import pipeline
    from accord.cli.output import show_run
    from accord.processes import is_first_process

    run = pipeline.train(source, **given(method=method), **options)
    if is_first_process():
        show_run(run)


def _by_encoder(wishes: list[str] | None) -> dict[str, str]:
    """``["all", "image=2"]`` as encoder -> wish; ``"*"`` stands for the encoders that none names.

    >>> _by_encoder(["all", "image=2"])
    {'*': 'all', 'image': '2'}
    """
    split = [wish.partition("=") for wish in wishes or ()]
    return dict((name.strip(), wish.strip()) if equals else ("*", name.strip()) for name, equals, wish in split)
