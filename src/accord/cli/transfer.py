"""``accord transfer``: train on texts alone what is used on pictures."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from accord.cli import complete
from accord.cli.options import Device, Given, takes_columns
from accord.cli.runs import known_run
from accord.cli.settings import parse_settings

EXAMPLE = """Example:

accord transfer house pack:emoji --epochs 5 --out runs/close

accord transfer clip:models/vit-b-32 stories.csv --task captions --pairs few-pictures/ --out runs/stories

accord zero-shot runs/close pictures/"""


class Learnt(StrEnum):
    """What is learnt."""

    classification = "classification"
    entailment = "entailment"
    answers = "answers"
    captions = "captions"


class Adapter(StrEnum):
    """What moves texts in training."""

    noise = "noise"
    shift = "shift"
    linear = "linear"
    cov = "cov"
    random = "random"
    none = "none"


def _known_space(space: str | None) -> str | None:
    return None if space is None else known_run(space)


@takes_columns
def transfer(
    space: Annotated[
        str | None,
        typer.Argument(
            metavar="SPACE",
            callback=_known_space,
            autocompletion=complete.runs,
            help="What knows texts and pictures: folder of a run, house, or clip:FOLDER.",
        ),
    ] = None,
    texts: Annotated[
        str | None,
        typer.Argument(
            metavar="TEXTS", autocompletion=complete.sources, help="Rows with texts; pictures are not used."
        ),
    ] = None,
    *,
    task: Annotated[
        Learnt,
        typer.Option(
            help="classification: the labels; entailment: those of a text with --input-text; answers: --answers to "
            "the question in --input-text; captions: the texts themselves."
        ),
    ] = Learnt.classification,
    pairs: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            autocompletion=complete.sources,
            help="Some rows with texts and pictures, not those of the task: how far the two lie apart sets the noise.",
        ),
    ] = None,
    adapter: Annotated[
        Adapter | None, typer.Option(help="What moves texts in training; shift, linear and cov need --pairs.")
    ] = None,
    columns: Given,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the texts. Default: 30.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows per step.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    device: Annotated[Device | None, typer.Option(help="What to train on. Default: the best there is.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other setting, e.g. method.noise=0.1; repeatable."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder of the run: new or empty. Default: runs/close-TEXTS.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Train on texts alone a classifier or a writer that is used on pictures, in the space of a model that knows both.

    The numbers that it ends with are of held-out texts; measure on a few pictures before you rely on it.
    """
    if (space is None or texts is None) and not (resume and out is not None):
        raise typer.BadParameter("say in which space, and on which texts", param_hint="SPACE TEXTS")
    from accord import pipeline
    from accord.cli.output import show_run
    from accord.processes import is_first_process

    run = pipeline.transfer(
        space,
        texts,
        task=task.value,
        pairs=pairs,
        adapter=adapter and adapter.value,
        columns=columns,
        out=out,
        resume=resume,
        settings=parse_settings(settings or ()),
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        device=device and device.value,
        progress=not quiet,
    )
    if is_first_process():
        show_run(run)
